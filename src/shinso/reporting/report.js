(() => {
  const tip = document.getElementById("tip");
  const hide = () => { tip.hidden = true; };
  const show = (event) => {
    const mark = event.target.closest ? event.target.closest("[data-tip]") : null;
    if (!mark) { hide(); return; }
    tip.textContent = mark.dataset.tip;
    tip.hidden = false;
    const edge = document.documentElement.clientWidth;
    const left = Math.min(Math.max(8, event.clientX + 12), edge - tip.offsetWidth - 8);
    const above = event.clientY - tip.offsetHeight - 14;
    tip.style.left = left + "px";
    tip.style.top = (above > 4 ? above : event.clientY + 18) + "px";
  };
  document.addEventListener("pointermove", show);
  document.addEventListener("pointerdown", show);
  document.addEventListener("scroll", hide, { passive: true });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });

  const value = (row, i) => {
    const cell = row.cells[i];
    const held = cell.querySelector("[data-sort]");
    return held ? held.dataset.sort : cell.textContent;
  };
  const compare = (a, b) => {
    const x = parseFloat(a.replace(/,/g, "")), y = parseFloat(b.replace(/,/g, ""));
    return isNaN(x) || isNaN(y) ? a.localeCompare(b) : x - y;
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, i) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const rows = [...table.tBodies[0].rows];
        rows.sort((a, b) => (up ? 1 : -1) * compare(value(a, i), value(b, i)));
        table.tBodies[0].append(...rows);
      });
    });
  }

  const open = [];
  window.addEventListener("beforeprint", () => {
    open.push(...document.querySelectorAll("details:not([open])"));
    for (const part of open) part.open = true;
  });
  window.addEventListener("afterprint", () => { while (open.length) open.pop().open = false; });
})();
