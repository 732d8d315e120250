// The form is made from what /form says of the model; answers come from /predict. Nothing is kept.
"use strict";
const $ = (id) => document.getElementById(id);
const make = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in node && name !== "list") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
};
const files = new Map();
let form = null;
let model = null;

const headers = () => {
  const key = $("key").value.trim();
  return key ? { Authorization: `Bearer ${key}` } : {};
};

async function load() {
  const response = await fetch(model ? `models/${encodeURIComponent(model)}/form` : "form", { headers: headers() });
  if (response.status === 401) {
    $("key-field").hidden = false;
    $("state").textContent = "asks for a key";
    return;
  }
  if (!response.ok) {
    $("state").textContent = response.status === 503 ? "is being loaded" : "does not answer";
    setTimeout(load, 1000);
    return;
  }
  form = await response.json();
  $("state").textContent = "";
  $("model").textContent = form.model;
  document.title = `${form.model} · shinso`;
  const wanted = form.outputs.map((one) => one.name).join(", ");
  $("about").textContent = `predicts ${wanted} · version ${form.version}`;
  choices();
  files.clear();
  $("fields").replaceChildren(...form.fields.map(field));
  $("fill").hidden = form.fields.every((one) => one.file);
}

function choices() {
  if (form.models.length < 2) return;
  const select = make("select", { id: "models" }, ...form.models.map((name) =>
    make("option", { value: name, selected: name === form.model }, name)));
  select.onchange = () => { model = select.value; load(); };
  $("choice").replaceChildren(make("div", { className: "field" }, make("label", { htmlFor: "models" }, "Model"), select));
  $("choice").hidden = false;
}

function field(one, position) {
  const id = `field-${position}`;
  const label = make("label", { htmlFor: id }, one.name);
  const help = one.help && !one.file ? make("span", { className: "soft", id: `${id}-help` }, one.help) : null;
  if (one.file) return make("div", { className: "field wide" }, label, drop(one, id));
  let input;
  if (one.kind === "category" && one.choices.length) {
    const known = one.choices.map((choice) => make("option", { value: choice }, choice));
    input = make("select", { id }, make("option", { value: "" }, "(not known)"), ...known);
  } else if (one.kind === "text") {
    input = make("textarea", { id, rows: 4 });
  } else if (one.kind === "number") {
    input = make("input", { id, type: "text", inputMode: "decimal" });
  } else if (one.kind === "series") {
    input = make("textarea", { id, rows: 3, placeholder: "1.2, 3.4, 5.6" });
  } else {
    input = make("input", { id, type: "text" });
  }
  input.name = one.name;
  if (help) input.setAttribute("aria-describedby", help.id);
  return make("div", { className: ["text", "series"].includes(one.kind) ? "field wide" : "field" }, label, input, help);
}

function drop(one, id) {
  const input = make("input", { id, type: "file", accept: one.kind === "audio" ? "audio/*" : "image/*" });
  const shown = make("div");
  const hint = make("span", { className: "soft" }, "Drop a file here, paste one, or choose it.");
  const box = make("div", { className: "drop" }, hint, input, shown);
  const take = (file) => {
    if (!file) return;
    files.set(one.name, file);
    const url = URL.createObjectURL(file);
    if (one.kind === "audio") {
      shown.replaceChildren(make("audio", { controls: true, src: url }));
      return;
    }
    const image = make("img", { alt: `The chosen ${one.name}: ${file.name}`, src: url });
    image.onload = () => { image.classList.toggle("tiny", image.naturalWidth < 100); URL.revokeObjectURL(url); };
    shown.replaceChildren(image);
  };
  input.onchange = () => take(input.files[0]);
  box.ondragover = (event) => { event.preventDefault(); box.classList.add("over"); };
  box.ondragleave = () => box.classList.remove("over");
  box.ondrop = (event) => {
    event.preventDefault();
    box.classList.remove("over");
    take(event.dataTransfer.files[0]);
  };
  document.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) take(event.clipboardData.files[0]);
  });
  return box;
}

async function base64(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  let text = "";
  for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
  return btoa(text);
}

async function row() {
  const found = {};
  for (const [position, one] of form.fields.entries()) {
    const input = $(`field-${position}`);
    input.removeAttribute("aria-invalid");
    $(`field-${position}-error`)?.remove();
    if (one.file) {
      found[one.name] = files.has(one.name) ? await base64(files.get(one.name)) : null;
    } else if (one.kind === "series") {
      const rows = input.value.trim().split("\n").map((line) => line.split(/[\s,;]+/).filter(Boolean).map(Number));
      found[one.name] = rows.length > 1 ? rows : rows[0];
    } else {
      found[one.name] = input.value === "" ? null : input.value;
    }
  }
  return found;
}

async function ask(event) {
  event.preventDefault();
  if (!form) return load();
  $("ask").disabled = true;
  $("took").textContent = "…";
  try {
    const body = JSON.stringify(await row());
    const started = performance.now();
    const address = `models/${encodeURIComponent(form.model)}/predict`;
    const options = { method: "POST", headers: { "Content-Type": "application/json", ...headers() }, body };
    const response = await fetch(form.covers ? `${address}?coverage=0.9` : address, options);
    const answer = await response.json();
    $("took").textContent = `${(performance.now() - started).toFixed(1)} ms`;
    show(answer, body, address);
  } catch (error) {
    $("took").textContent = "";
    $("answer").replaceChildren(make("p", { className: "error" }, `The server was not reached: ${error.message}`));
    $("result").hidden = false;
  } finally {
    $("ask").disabled = false;
  }
}

function show(answer, body, address) {
  $("result").hidden = false;
  $("result-title").textContent = answer.error ? "No answer" : "Answer";
  const short = body.length > 300 ? `${body.slice(0, 200)}…` : body;
  const escaped = short.replaceAll("'", "'\\''");
  $("call").textContent = `curl ${location.origin}/models/${form.model}/predict \\\n  -H 'Content-Type: application/json' -d '${escaped}'`;
  if (answer.error) return refused(answer.error);
  const parts = Object.entries(answer.answers[0]).flatMap(([name, one]) => told(name, one, form.outputs.length > 1));
  const why = make("button", { type: "button", className: "quiet why" }, "Why?");
  why.onclick = () => explain(why, body, address);
  $("answer").replaceChildren(...parts, why);
  $("result").focus({ preventScroll: true });
  $("result").scrollIntoView({ block: "nearest" });
}

// The trouble stands at its field too, which is where the reader is taken.
function refused({ message, remedy, field: name }) {
  $("answer").replaceChildren(make("p", { className: "error" }, message), make("p", {}, remedy));
  const position = form.fields.findIndex((one) => one.name === name);
  if (position < 0) {
    $("result").focus({ preventScroll: true });
    $("result").scrollIntoView({ block: "nearest" });
    return;
  }
  const input = $(`field-${position}`);
  const note = make("p", { className: "error", id: `field-${position}-error` }, message);
  input.setAttribute("aria-invalid", "true");
  input.setAttribute("aria-errormessage", note.id);
  input.closest(".field").append(note);
  input.focus();
}

async function explain(button, body, address) {
  button.disabled = true;
  button.textContent = "Asking why…";
  try {
    const options = { method: "POST", headers: { "Content-Type": "application/json", ...headers() }, body };
    const answer = await (await fetch(`${address}?explain=1`, options)).json();
    if (answer.error) throw new Error(`${answer.error.message} ${answer.error.remedy}`);
    button.replaceWith(because(answer.explanations[0]));
  } catch (error) {
    button.replaceWith(make("p", { className: "error" }, error.message));
  }
}

function because(one) {
  const number = (value) => value.toLocaleString(undefined, { maximumSignificantDigits: 3 });
  const most = Math.max(...one.parts.map((part) => Math.abs(part.value)), 1e-12);
  const rows = one.parts.slice(0, 12).map((part) => {
    const name = part.name === part.column ? part.column : `${part.column}: ${part.name}`;
    const side = part.value < 0 ? "against" : "for";
    return make("div", { className: `row ${side}` }, make("span", {}, name),
      make("meter", { value: Math.abs(part.value) / most, min: 0, max: 1, "aria-label": `${name} speaks ${side} it` }),
      make("span", {}, number(part.value)));
  });
  const what = one.answer ? `${one.column}: ${one.answer}` : one.column;
  const about = `What speaks for and against ${what}, in ${one.unit}. With everything hidden: ${number(one.hidden)}.`;
  return make("section", { className: "because" }, make("h3", {}, "Why"), make("p", { className: "soft" }, about), ...rows);
}

function told(name, one, several) {
  const parts = several ? [make("p", { className: "soft name" }, name)] : [];
  const number = typeof one.value === "number";
  const value = number ? one.value.toLocaleString(undefined, { maximumSignificantDigits: 7 }) : one.value;
  parts.push(make("p", { className: "value" }, typeof value === "string" ? value : JSON.stringify(value)));
  if (one.interval) {
    const ends = one.interval.map((end) => end.toLocaleString(undefined, { maximumSignificantDigits: 7 }));
    parts.push(make("p", { className: "soft" }, `between ${ends[0]} and ${ends[1]} nine times in ten`));
  }
  if (one.set && one.set.length > 1) {
    parts.push(make("p", { className: "soft" }, `could also be: ${one.set.filter((label) => label !== one.value).join(", ")}`));
  }
  const shares = Object.entries(one.probabilities || {}).sort((a, b) => b[1] - a[1]).slice(0, 12);
  for (const [label, share] of shares) {
    const percent = `${(100 * share).toFixed(1)}%`;
    parts.push(make("div", { className: "row" }, make("span", {}, label),
      make("meter", { value: share, min: 0, max: 1, "aria-label": `${label}: ${percent}` }), make("span", {}, percent)));
  }
  return parts;
}

function fill() {
  form.fields.forEach((one, position) => {
    const input = $(`field-${position}`);
    if (one.example !== null && one.example !== undefined) input.value = one.example;
    else if (one.choices && one.choices.length) input.value = one.choices[0];
    else if (one.kind === "text") input.value = "An example.";
  });
}

$("form").addEventListener("submit", ask);
$("fill").addEventListener("click", fill);
$("key").addEventListener("change", load);
load();
