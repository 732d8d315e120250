"""The style sheet of the report: system fonts, light and dark, phone to desktop, and paper."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --raised: #f6f7f9; --ink: #14181f; --soft: #525b69; --line: #dfe3e9; --faint: #eef0f4;
  --deep: #1d4ed8; --warm: #b45309; --good: #15803d; --bad: #b91c1c;
  --right: 29 78 216; --wrong: 185 28 28; --quiet: #9aa4b2; --cell: #000; --cell-strong: #fff;
  --p0: #1d4ed8; --p1: #0891b2; --p2: #7c3aed; --p3: #b45309; --p4: #15803d; --p5: #6b7280;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #0f1217; --raised: #171b22; --ink: #e8ebf0; --soft: #a3adbb; --line: #2b323d; --faint: #1e242d;
    --deep: #7aa2ff; --warm: #f0a44b; --good: #4ade80; --bad: #f87171;
    --right: 88 136 246; --wrong: 240 96 96; --cell: #fff; --cell-strong: #000; --quiet: #5c6675;
    --p0: #7aa2ff; --p1: #22b8cf; --p2: #a78bfa; --p3: #f0a44b; --p4: #4ade80; --p5: #8b95a5;
  }
}
*, *::before, *::after { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-padding-top: 4rem; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Hiragino Sans",
    "Hiragino Kaku Gothic ProN", "Noto Sans JP", "Noto Sans CJK JP", "Yu Gothic UI", Meiryo, sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: break-word;
}
header, main, footer, nav ul { max-width: 1060px; margin-inline: auto; padding-inline: clamp(16px, 4vw, 40px); }
header { padding-block: clamp(28px, 6vw, 64px) 20px; }
h1, h2, h3, p, ul, ol, dl, dd, figure { margin: 0; padding: 0; }
h1 { font-size: clamp(1.7rem, 5vw, 2.6rem); line-height: 1.15; letter-spacing: -.02em; overflow-wrap: anywhere; }
h2 { font-size: 1.35rem; letter-spacing: -.01em; line-height: 1.25; }
h3 { font-size: 1rem; margin-top: 12px; }
small, .small, .note, .meta { font-size: .84rem; color: var(--soft); }
.brand { font-size: .84rem; color: var(--soft); letter-spacing: .02em; margin-bottom: 10px; }
.brand b { color: var(--deep); font-weight: 650; }
.task { display: flex; flex-wrap: wrap; align-items: center; gap: 6px 8px; margin-top: 16px; }
.task > span:not(.chip) { color: var(--soft); }
.meta { margin-top: 12px; }
.chip { display: inline-flex; align-items: baseline; gap: 7px; padding: 2px 10px; border: 1px solid var(--line);
  border-radius: 99px; background: var(--raised); max-width: 100%; overflow-wrap: anywhere; }
.chip b { font-weight: 600; }
.chip i { font-style: normal; font-size: .8rem; color: var(--soft); }
.chip.target { border-color: var(--deep); }
.chip.target i { color: var(--deep); }
nav { position: sticky; top: 0; z-index: 2; background: var(--paper); border-bottom: 1px solid var(--line); }
nav ul { display: flex; gap: 4px; list-style: none; overflow-x: auto; scrollbar-width: none; }
nav a { display: block; padding: 11px 10px; font-size: .88rem; color: var(--soft); text-decoration: none;
  white-space: nowrap; }
nav li:first-child a { padding-left: 0; }
nav a:hover { color: var(--deep); text-decoration: underline; text-underline-offset: 5px; }
:focus-visible { outline: 2px solid var(--deep); outline-offset: 2px; border-radius: 3px; }
main { display: grid; grid-template-columns: minmax(0, 1fr); gap: clamp(44px, 7vw, 72px); padding-block: 36px 56px; }
section { display: grid; grid-template-columns: minmax(0, 1fr); gap: 22px; }
.lead { color: var(--soft); max-width: 68ch; }
.note { max-width: 68ch; }

.headline { display: grid; gap: 24px 48px; align-items: center;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 250px), 1fr)); }
.claim { max-width: 320px; }
.metric { font-weight: 600; }
.metric .of { font-weight: 400; color: var(--soft); }
.value { font-size: clamp(3rem, 11vw, 4.6rem); line-height: 1.1; font-weight: 650; letter-spacing: -.035em;
  color: var(--deep); }
.forest { min-width: 0; grid-column: span 1; }
@media (min-width: 800px) { .headline { grid-template-columns: minmax(0, 5fr) minmax(0, 8fr); } }
.forest ol { list-style: none; display: grid; margin-top: 8px; }
.forest li { display: grid; grid-template-columns: minmax(0, 9.5em) minmax(60px, 1fr) auto; gap: 4px 14px;
  align-items: center; padding: 7px 0; border-top: 1px solid var(--faint); font-size: .92rem; }
.forest .name { line-height: 1.3; }
.forest .own { font-weight: 650; }
.forest .figure { text-align: right; min-width: 4.2em; }
.forest .track { position: relative; height: 20px; }
.forest .ends { position: absolute; top: 9px; height: 2px; min-width: 2px; background: var(--quiet); }
.forest .at { position: absolute; top: 5px; width: 10px; height: 10px; margin-left: -5px; border-radius: 50%;
  background: var(--paper); border: 2.5px solid var(--quiet); }
.forest .off { position: absolute; inset: 0; font-size: .76rem; line-height: 20px; color: var(--soft);
  font-weight: 400; }
.forest .off.right { text-align: right; }
.forest .own .ends { background: var(--deep); }
.forest .own .at { background: var(--deep); border-color: var(--deep); }
@media (max-width: 520px) {
  th, td { padding-inline: 10px; }
  tbody th small { display: none; }
  .forest li { grid-template-columns: minmax(0, 1fr) auto; }
  .forest .track { grid-column: 1 / -1; grid-row: 2; }
}
.findings { list-style: none; display: grid; gap: 8px; max-width: 78ch; }
.findings li { display: grid; grid-template-columns: 1.5em minmax(0, 1fr); }
.findings span { font-weight: 700; }
.findings .is-good span { color: var(--good); }
.findings .is-warning span { color: var(--bad); }
.tiles { display: flex; flex-wrap: wrap; overflow: hidden; border: 1px solid var(--line); border-radius: 10px; }
.tiles div { flex: 1 1 130px; padding: 10px 14px; display: flex; flex-direction: column-reverse;
  box-shadow: 0 0 0 .5px var(--line); }
.tiles dt { font-size: .8rem; color: var(--soft); }
.tiles dd { font-weight: 620; font-size: 1.1rem; }

.box { border: 1px solid var(--line); border-radius: 10px; min-width: 0; overflow: hidden; align-self: start; }
.scroll { overflow-x: auto; background:
  linear-gradient(to right, var(--paper) 30%, transparent) left / 36px 100% no-repeat local,
  linear-gradient(to left, var(--paper) 30%, transparent) right / 36px 100% no-repeat local,
  linear-gradient(to right, rgb(0 0 0 / .16), transparent) left / 10px 100% no-repeat,
  linear-gradient(to left, rgb(0 0 0 / .16), transparent) right / 10px 100% no-repeat, var(--paper); }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
.caption { padding: 10px 14px; font-size: .84rem; color: var(--soft); border-bottom: 1px solid var(--line); }
th, td { padding: 8px 14px; text-align: left; vertical-align: top; border-top: 1px solid var(--faint); }
thead th { color: var(--soft); font-weight: 550; font-size: .82rem; border-top: 0; vertical-align: bottom; }
tbody th { font-weight: 500; overflow-wrap: anywhere; min-width: 8em; }
@media (min-width: 800px) { tbody th:has(small) { min-width: 17em; } }
th small, td > small { display: block; font-weight: 400; }
.n { text-align: right; white-space: nowrap; }
thead .n { white-space: normal; }
tbody tr:hover { background: var(--raised); }
th button { all: unset; cursor: pointer; color: inherit; font: inherit; }
th button:focus-visible { outline: 2px solid var(--deep); outline-offset: 3px; }
th button::after { content: " ↕"; color: var(--quiet); }
th[aria-sort="ascending"] button::after { content: " ↑"; color: var(--deep); }
th[aria-sort="descending"] button::after { content: " ↓"; color: var(--deep); }
.meter { display: inline-grid; grid-template-columns: 56px 3.6em; gap: 10px; align-items: center; }
.track { display: block; position: relative; height: 8px; background: var(--faint); border-radius: 4px; }
.track b { display: block; height: 100%; border-radius: 4px; background: var(--deep); min-width: 2px; }
.track i { position: absolute; top: 3px; height: 2px; background: var(--ink); }
.forest .track { background: none; }

.confusion { font-size: .84rem; }
.confusion th, .confusion td { padding: 6px 8px; text-align: center; border: 1px solid var(--paper); min-width: 2.9em;
  overflow-wrap: normal; vertical-align: middle; }
.confusion th { font-weight: 500; color: var(--ink); }
.confusion tbody th, .confusion .corner { text-align: left; position: sticky; left: 0; background: var(--paper); z-index: 1;
  max-width: 11em; overflow-wrap: anywhere; }
.confusion .corner { color: var(--soft); font-size: .76rem; white-space: nowrap; }
.confusion.tall thead th { writing-mode: vertical-rl; text-align: right; max-height: 11em; padding-block: 8px; }
.confusion.tall thead th span { display: inline-block; max-height: 10em; overflow: hidden; text-overflow: ellipsis;
  white-space: nowrap; }
.confusion .right { background: rgb(var(--right) / var(--share)); }
.confusion .wrong { background: rgb(var(--wrong) / var(--share)); }
.confusion td { color: var(--cell); }
.confusion .strong { color: var(--cell-strong); font-weight: 600; }
.confusion .none { color: var(--quiet); }
.confusion .total { color: var(--soft); padding-left: 14px; }
.confusion tbody tr:hover { background: none; }

.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 320px), 1fr)); gap: 28px 32px;
  align-items: start; }
.figures > * { min-width: 0; max-width: 560px; }
.beside { display: flex; flex-wrap: wrap; gap: 20px; align-items: flex-start; }
.beside > * { flex: 1 1 240px; max-width: 100%; }
.beside > :first-child { flex: 3 1 480px; }
@media (min-width: 1000px) {
  .with-table { grid-template-columns: minmax(0, 5fr) minmax(0, 7fr); }
  .with-table > .box { max-width: none; }
}
figcaption { display: flex; flex-wrap: wrap; gap: 2px 16px; justify-content: space-between; margin-bottom: 6px; }
figure .note { margin-top: 4px; }
.keys { display: flex; flex-wrap: wrap; gap: 2px 14px; font-size: .84rem; color: var(--soft); }
.key::before { content: ""; display: inline-block; width: 12px; height: 3px; border-radius: 2px; margin-right: 6px;
  vertical-align: middle; background: var(--quiet); }
.key small { margin-left: 5px; }
.chart { display: block; width: 100%; height: auto; overflow: visible; }
.chart text { font-size: 12px; fill: var(--soft); }
.chart .end { text-anchor: end; }
.chart .middle { text-anchor: middle; }
.chart .grid { stroke: var(--faint); }
.chart .axis, .chart .equal { stroke: var(--quiet); }
.chart .equal { stroke-dasharray: 5 4; }
.chart .mark { stroke: var(--deep); stroke-opacity: .45; }
.chart .frame { fill: none; stroke: var(--line); }
.chart .line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke: var(--deep); }
.chart .dots { fill: none; stroke-width: 5; stroke-linecap: round; stroke: var(--deep); }
.chart .train, .chart .rate { stroke: var(--warm); }
.chart .cloud { fill: none; stroke: var(--deep); stroke-width: 4.5; stroke-linecap: round; stroke-opacity: .3; }
.chart .bar, .spark .bar { fill: var(--deep); fill-opacity: .8; }
.chart .quiet { fill: var(--quiet); }
.chart .bar:hover { fill-opacity: 1; }
.chart .whisker { stroke: var(--quiet); stroke-width: 1.5; }
.chart .point { fill: var(--deep); stroke: var(--paper); stroke-width: 1.5; }
.chart .band { fill: transparent; }
.chart .band:hover { fill: var(--deep); fill-opacity: .09; }
.chart .right { fill: rgb(var(--right)); }
.chart .wrong { fill: rgb(var(--wrong)); }
.key.validation::before { background: var(--deep); }
.key.train::before { background: var(--warm); }
.spark { width: 140px; height: 30px; display: block; }

.cards { display: grid; gap: 12px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 160px), 1fr)); }
.cards.wide { grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); }
.card { border: 1px solid var(--line); border-radius: 10px; padding: 12px 14px; display: flex; flex-direction: column;
  gap: 10px; min-width: 0; break-inside: avoid; }
.cell { overflow-wrap: anywhere; font-size: .92rem; }
.cell.image, .cell.mask { display: grid; place-items: center; background: var(--raised); border-radius: 8px; padding: 10px;
  order: -1; }
.cell img, .example img { max-width: 100%; height: auto; border-radius: 4px; }
.cell.text { max-height: 12.5em; overflow-y: auto; }
.cell svg { max-width: 100%; }
.verdict { display: grid; gap: 3px; }
.verdict div, .cells div { display: grid; grid-template-columns: 5.2em minmax(0, 1fr); gap: 8px; align-items: baseline; }
.verdict dt, .cells dt { font-size: .8rem; color: var(--soft); overflow-wrap: anywhere; }
.verdict dd { font-weight: 620; overflow-wrap: anywhere; }
.verdict .wrong dd { color: var(--bad); }
.verdict .right dd { color: var(--good); }
.verdict dd { display: flex; flex-wrap: wrap; gap: 0 7px; align-items: baseline; }
.verdict small { font-weight: 400; white-space: nowrap; }
.cards:not(.wide) .verdict div { grid-template-columns: 4.6em minmax(0, 1fr); }
.cells { display: grid; gap: 1px; font-size: .86rem; border-top: 1px solid var(--faint); padding-top: 8px; }
.cells div { grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); }
.cells dd { overflow-wrap: anywhere; }
.row { font-size: .76rem; color: var(--soft); overflow-wrap: anywhere; margin-top: auto; }

.split .bar { display: flex; gap: 2px; height: 12px; border-radius: 6px; overflow: hidden; margin-bottom: 8px; }
.part { background: var(--quiet); flex-basis: 0; min-width: 2px; }
.part.train, .key.train::before { background: var(--p0); }
.part.validation { background: var(--p1); }
.split .key.validation::before { background: var(--p1); }
.figures .key.train::before { background: var(--warm); }
.part.test, .key.test::before { background: var(--p3); }
.p0, .key.p0::before { background: var(--p0); } .p1, .key.p1::before { background: var(--p1); }
.p2, .key.p2::before { background: var(--p2); } .p3, .key.p3::before { background: var(--p3); }
.p4, .key.p4::before { background: var(--p4); } .p5, .key.p5::before { background: var(--p5); }
.key.p0, .key.p1, .key.p2, .key.p3, .key.p4, .key.p5 { background: none; }
.shares { list-style: none; display: grid; gap: 2px; font-size: .84rem; min-width: 220px; }
.shares li { display: grid; grid-template-columns: minmax(0, 8em) minmax(50px, 1fr) 3.6em; gap: 10px; align-items: center; }
.shares .name { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.shares .figure { text-align: right; color: var(--soft); }
.example img { height: 72px; width: auto; display: block; }
.example { max-width: 280px; max-height: 7.4em; overflow: hidden; font-size: .84rem; overflow-wrap: anywhere; }
tbody th .chip { display: block; width: max-content; margin-top: 3px; padding: 0 8px; font-weight: 400; }
.notes { display: grid; gap: 4px; padding-left: 1.2em; font-size: .92rem; max-width: 78ch; }
.notes .warning::marker { color: var(--bad); content: "!  "; }
.roof .track { margin-bottom: 8px; }
details { border: 1px solid var(--line); border-radius: 10px; min-width: 0; }
summary { cursor: pointer; padding: 10px 14px; font-weight: 550; }
details .box { border-width: 1px 0 0; border-radius: 0 0 10px 10px; }
footer { border-top: 1px solid var(--line); padding-block: 20px 44px; font-size: .84rem; color: var(--soft); }
#tip { position: fixed; z-index: 9; pointer-events: none; white-space: pre-line; max-width: min(320px, 90vw);
  background: var(--ink); color: var(--paper); font-size: .82rem; line-height: 1.4; padding: 6px 10px; border-radius: 7px; }
#tip[hidden] { display: none; }

@media print {
  :root { --paper: #fff; --raised: #f6f7f9; --ink: #000; --soft: #444; --line: #ccc; --faint: #eee; --deep: #1d4ed8;
    --warm: #b45309; --good: #15803d; --bad: #b91c1c; --right: 29 78 216; --wrong: 185 28 28;
    --cell: #000; --cell-strong: #fff; --quiet: #888; }
  body { font-size: 10.5pt; -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  nav, #tip { display: none; }
  header, main, footer { max-width: none; padding-inline: 0; }
  main { gap: 28px; }
  .scroll { overflow: visible; }
  .cell.text { max-height: none; }
  figure, .card, tr { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
}
"""
