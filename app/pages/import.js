// A dry run of POST /imports made visible, then the import itself. Texts of files are shown as text, never as HTML.
const main = document.querySelector("#importing");
const words = JSON.parse(main.dataset.words);
const columns = JSON.parse(main.dataset.columns);
const form = main.querySelector("form");
const result = main.querySelector("#result");
const key = form.elements.key;
const drop = main.querySelector(".drop");
let understood = null;  // what was tried last and can be written: its parameters

key.value = sessionStorage.getItem("key") ?? "";  // for this tab only
key.addEventListener("input", () => sessionStorage.setItem("key", key.value.trim()));

function element(name, text = "", attributes = {}) {
  const made = Object.assign(document.createElement(name), attributes);
  made.textContent = text;
  return made;
}

const filled = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);

function place(found) {
  const words_ = found.line && found.column ? words.place : found.line ? words.line : found.column ? words.column : "";
  return [found.sheet, filled(words_, found)].filter(Boolean).join(" ");
}

function parameters(mapping) {
  const asked = new URLSearchParams();
  const file = form.elements.file.files[0];
  asked.set("name", file.name);
  const chosen = form.elements.plan.value;
  asked.set("plan", chosen || form.elements.slug.value);
  if (!chosen)
    for (const name of ["municipality_code", "municipality"]) asked.set(name, form.elements[name].value);
  for (const name of ["fiscal_year", "encoding", "on_rename", "on_repeat", "numbering", "sheet"])
    if (form.elements[name].value) asked.set(name, form.elements[name].value);
  if (mapping) asked.set("mapping", JSON.stringify(mapping));
  return asked;
}

async function send(asked, dry) {
  const query = new URLSearchParams(asked);
  query.set("dry_run", String(dry));
  const answer = await fetch(`/imports?${query}`, {
    method: "POST",
    headers: {
      Authorization: `Bearer ${key.value.trim()}`,
      "Content-Type": "application/octet-stream",
      "Accept-Language": document.documentElement.lang,
    },
    body: form.elements.file.files[0],
  });
  return [answer.ok, await answer.json()];
}

// The columns as they were understood; another choice is tried at once.
function columnsOf(mapping) {
  const list = element("ol", "", { className: "columns-found" });
  for (const column of mapping) {
    const item = element("li");
    const id = `column-${column.column}`;
    const said = column.header || filled(words.column, column);
    item.append(element("label", said, { htmlFor: id }));
    const choice = element("select", "", { id });
    for (const [field, name] of Object.entries(columns))
      choice.append(element("option", name, { value: field, selected: field === column.field }));
    choice.addEventListener("change", () => {
      const told = mapping.map(({ header, ...each }) =>
        each.column === column.column ? { ...each, field: choice.value } : each);
      tryOut(told, id);
    });
    item.append(choice);
    if (column.fiscal_year) item.append(element("span", filled(words.year, { year: column.fiscal_year })));
    list.append(item);
  }
  return list;
}

function problems(errors) {
  const list = element("ol", "", { className: "problems" });
  for (const error of errors) {
    const item = element("li");
    const where = place(error) || error.parameter || "";
    if (where) item.append(element("b", where), " ");
    if (error.text) item.append(element("q", error.text), " ");
    item.append(error.detail);
    list.append(item);
  }
  return list;
}

function counts(report) {
  const table = element("table");
  const head = element("tr");
  const names = ["created", "updated", "unchanged"];
  head.append(element("td"), ...names.map((name) => element("th", words[name], { scope: "col" })));
  table.append(head);
  for (const noun of ["plan", "document", "section", "measure", "evaluation"]) {
    const row = element("tr");
    row.append(element("th", words[noun], { scope: "row" }));
    row.append(...names.map((name) => element("td", report[name][noun])));
    table.append(row);
  }
  return table;
}

function show(title, parts, focus) {
  const heading = element("h2", title, { tabIndex: -1 });
  result.replaceChildren(heading, ...parts.filter(Boolean));
  (document.getElementById(focus) ?? heading).focus();
}

function told(report) {
  const parts = [];
  if (report.title) parts.push(element("p", [report.title, report.subtitle].filter(Boolean).join(" ")));
  const warnings = report.warnings ?? [];
  if (warnings.length) {
    const list = element("ul", "", { className: "problems" });
    for (const warning of warnings)
      list.append(element("li", [place(warning), warning[document.documentElement.lang]].filter(Boolean).join(" ")));
    parts.push(element("h3", words.warnings), list);
  }
  for (const name of ["new", "missing", "renamed"])
    if (report.measures?.[name].length)
      parts.push(element("h3", words[name]), element("p", report.measures[name].join(", ")));
  return parts;
}

async function tryOut(mapping, focus) {
  understood = null;
  if (!form.reportValidity()) return;
  show(words.reading, []);
  const asked = parameters(mapping);
  try {
    const [good, answer] = await send(asked, true);
    const report = good ? answer : answer.report;
    const found = report?.mapping?.length ? [element("h3", words.columns), columnsOf(report.mapping)] : [];
    if (!good) {
      const errors = answer.errors ?? [{ detail: answer.detail }];
      show(words.refused, [problems(errors), ...found, ...(report ? told(report) : [])], focus);
      return;
    }
    understood = asked;
    const confirm = element("button", main.dataset.confirm, { type: "button" });
    confirm.addEventListener("click", write);
    show(words.understood, [...told(report), counts(report), ...found, confirm], focus);
  } catch {
    show(words.away, []);
  }
}

async function write() {
  const asked = understood;
  if (!asked) return;
  understood = null;  // once
  show(words.writing, []);
  try {
    const [good, answer] = await send(asked, false);
    if (!good) {
      show(words.refused, [problems(answer.errors ?? [{ detail: answer.detail }])]);
      return;
    }
    const link = element("a", words.open, { href: `/p/${encodeURIComponent(asked.get("plan"))}`, className: "button" });
    show(words.done, [...told({ ...answer, measures: undefined }), counts(answer), link]);
  } catch {
    show(words.away, []);
  }
}

function ask() {
  const made = form.elements.plan.value === "";
  const fields = main.querySelector(".made");
  fields.hidden = !made;
  for (const input of fields.querySelectorAll("input")) input.required = made;
}

form.elements.plan.addEventListener("change", ask);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  tryOut();
});
form.elements.file.addEventListener("change", () => { understood = null; });
for (const kind of ["dragover", "drop"])
  drop.addEventListener(kind, (event) => {
    event.preventDefault();
    if (kind === "drop" && event.dataTransfer.files.length) form.elements.file.files = event.dataTransfer.files;
  });
ask();
document.querySelector("#unscripted").hidden = true;
main.hidden = false;
