// A dry run of POST /imports made visible, then the import itself. Texts of files are shown as text, never as HTML.
const main = document.querySelector("#importing");
const [words, kinds, dated] = ["words", "kinds", "dated"].map((name) => JSON.parse(main.dataset[name]));
const columns = Object.fromEntries(JSON.parse(main.dataset.columns));  // in the order in which they are offered
const language = document.documentElement.lang;
const form = main.querySelector("form");
const { file, key, plan } = form.elements;
const outcome = main.querySelector("#outcome");
const result = main.querySelector("#result");
const drop = main.querySelector(".drop");
let corrected = {};  // columns that were told here, by their number
let understood = null;  // what was tried last and can be written: its parameters, and the state it was tried in
let turn = 0;  // of several tries the last one is shown
let tables = [];  // what was shown last of this file

const isNew = () => plan.value === "+";  // which no slug is

function element(name, content = [], attributes = {}) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  made.append(...[content].flat());
  return made;
}

function button(text, act, kind = "answer") {
  const made = element("button", text, { type: "button", class: kind });
  made.addEventListener("click", act);
  return made;
}

const filled = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);

// ---- what is asked

function parameters() {
  const asked = new URLSearchParams({ name: file.files[0].name, plan: isNew() ? form.elements.slug.value : plan.value });
  const names = ["fiscal_year", "encoding", "on_rename", "on_renumber", "on_repeat", "numbering", "sheet"];
  for (const name of isNew() ? [...names, "municipality_code", "municipality", "title"] : names)
    if (form.elements[name].value) asked.set(name, form.elements[name].value);
  if (Object.keys(corrected).length) asked.set("mapping", JSON.stringify(corrected));
  return asked;
}

async function send(asked, how) {
  try {
    const answer = await fetch(`/imports?${asked}&${new URLSearchParams(how)}`, {
      method: "POST",
      headers: {
        Authorization: `Bearer ${key.value.trim()}`,
        "Content-Type": "application/octet-stream",
        "Accept-Language": language,
      },
      body: file.files[0],
    });
    return [answer.ok, await answer.json()];
  } catch {
    // A browser reads no file that was saved anew after it was chosen.
    const readable = await file.files[0].slice(0, 1).arrayBuffer().then(() => true, () => false);
    return [false, readable ? { detail: words.away, lost: true } : { detail: words.stale }];
  }
}

// ---- what was found, and how to answer it

// Errors and warnings alike; each knows which of the tables it stands in.
function findingsOf(good, answer, report) {
  const errors = good ? [] : answer.errors ?? [{ detail: answer.detail }];
  const warnings = (report?.warnings ?? []).map((each) => ({ ...each, detail: each[language], note: true }));
  const table = report?.table ?? [];
  return [...errors, ...warnings].map((each, n) => {
    const at = table.findIndex(({ sheet, lines }) =>
      (each.sheet ? each.sheet === sheet : table.length === 1) && lines.some(({ line }) => line === each.line));
    return { ...each, at, id: `finding-${n + 1}`, name: each.note ? words.note : `${words.error} ${n + 1}` };
  });
}

function place({ sheet, line, column }) {
  const said = line && column ? words.place : line ? words.line : column ? words.column : "";
  return [sheet, filled(said, { line, column })].filter(Boolean).join(" ");
}

const FIELDS = Object.keys(columns).join("|");
const ANSWERS = new RegExp(
  '\\{"(?<of>\\d+)": (?<whole>\\{"field": [^{}]+\\})\\}|' +
  "(?<name>fiscal_year|encoding|on_rename|on_renumber|on_repeat|numbering|(?<=with )sheet|sheet(?= で))(?:=(?<value>\\w+))?" +
  `|(?<mapping>mapping)|(?:\\{"(?<number>\\d+)": )?"(?<field>${FIELDS})"\\}?` +
  `|\\b(?<one>${FIELDS})(?= / )|(?<= / |mapping で |column to )(?<other>${FIELDS})\\b`,
  "g",
);

// What a message names that can be told here becomes a control that tells it, or leads to where it is told.
function live({ detail, at, column }) {
  const parts = [];
  let end = 0;
  for (const found of detail.matchAll(ANSWERS)) {
    const made = control(found.groups, at, column);
    if (!made) continue;
    parts.push(detail.slice(end, found.index), made);
    end = found.index + found[0].length;
  }
  return [...parts, detail.slice(end)];
}

function control({ of, whole, name, value, mapping, number, field, one, other }, at, column) {
  if (whole) return answer(of, JSON.parse(whole));
  if (mapping) return button(words.head, () => goTo(selectOf(at, column) ?? result.querySelector("select")));
  if (name && value) return setting(form.elements[name], value);
  if (name) return button(labelOf(name), () => goTo(form.elements[name]));
  const [told, meant] = [number ?? column, field ?? one ?? other];
  return told && button(columns[meant], () => correct(told, { field: meant }));
}

function answer(number, told) {
  const said = [columns[told.field], told.fiscal_year && yearLabel(told.fiscal_year), told.name];
  return button(said.filter(Boolean).join(" "), () => correct(number, told));
}

function setting(field, value) {
  const option = [...field.options ?? []].find((each) => each.value === value);
  return option && button(`${labelOf(field.name)}: ${option.text}`, () => {
    field.value = value;
    goTo(field);
    tryOut();
  });
}

const labelOf = (name) => form.elements[name].labels[0].textContent.split(/[（,]/)[0];
const selectOf = (at, column) => document.getElementById(`column-${Math.max(at, 0)}-${column}`);

function goTo(field) {
  field?.closest("details")?.setAttribute("open", "");
  field?.focus();
}

function correct(number, told, focus) {
  corrected[number] = told;
  tryOut(focus);
}

function findingList(findings, kind) {
  return element(kind, findings.map((each) => {
    const asked = form.elements[each.parameter];
    const where = place(each) || (asked ? "" : each.parameter ?? "");
    const item = element("li", each.note ? [] : element("b", each.name));
    if (asked) item.append(" ", button(labelOf(each.parameter), () => goTo(asked)));
    if (where) item.append(" ", each.at < 0 ? element("b", where) : element("a", where, { href: `#${cellOf(each)}` }));
    if (each.text) item.append(" ", element("q", each.text));
    item.append(" ", ...live(each));
    return item;
  }), { class: "problems" });
}

// ---- the table

const cellOf = ({ at, line, column }) => `line-${at}-${line}${column ? `-${column}` : ""}`;
const era = new Intl.DateTimeFormat("ja-JP-u-ca-japanese", { era: "long", year: "numeric" });
const yearLabel = (year) => (language === "ja" ? `${era.format(new Date(year, 11))}度` : `${year}`);

function headOf(column, number, at) {
  const where = filled(words.column, { column: number });
  if (!column) return element("th", where, { scope: "col" });
  const choice = element("select", [], { id: `column-${at}-${number}` });
  if (column.field === null) choice.append(element("option", words.open, { value: "" }));
  for (const [field, name] of Object.entries(columns)) choice.append(element("option", name, { value: field }));
  choice.value = column.field ?? corrected[number]?.field ?? "";
  const open = column.field === null && column.header !== "";
  const year = element("input", [], {
    id: `year-${at}-${number}`, "aria-label": filled(words.year, { column: number }),
    placeholder: words.year_here, value: column.fiscal_year ? yearLabel(column.fiscal_year) : "",
  });
  year.hidden = !(column.fiscal_year || open);
  for (const input of [choice, year])
    input.addEventListener("change", () => {
      const its = year.value && dated.includes(choice.value) ? { fiscal_year: year.value } : {};
      if (choice.value) correct(number, { field: choice.value, ...its }, input.id);
    });
  const label = element("label", [element("span", where, { class: "place" }), ` ${column.header}`], { for: choice.id });
  return element("th", [label, choice, year], { scope: "col", class: open ? "open" : "" });
}

function rowsOf(line, at, width, findings, fresh) {
  const here = findings.filter((each) => each.at === at && each.line === line.line);
  const head = element("th", `${line.line}`, { scope: "row", lang: language });
  if (line.kind === "measure" && fresh.has(line.code)) head.append(element("span", words.fresh, { class: "count" }));
  const code = element("span", line.code ?? "", { class: "code" });
  if (line.kind) head.append(element("b", [kinds[line.kind], " ", code]));
  if (here.length) head.rowSpan = 2;
  const row = element("tr", head, { id: `line-${at}-${line.line}`, class: line.kind ?? "", tabindex: -1 });
  const alone = line.cells.length === 1 && line.kind !== "measure";
  for (let number = 1; number <= (alone ? 1 : width); number += 1) {
    const flags = here.filter((each) => each.column === number);
    const cell = element("td", flags.map((each) => element("a", each.name, { href: `#${each.id}`, class: "flag" })));
    if (alone) cell.colSpan = width;
    cell.append(alone ? element("span", line.cells) : line.cells[number - 1] ?? "");
    if (flags.length) {
      cell.id = cellOf(flags[0]);
      cell.tabIndex = -1;
      cell.className = flags.every((each) => each.note) ? "noted" : "wrong";
      cell.setAttribute("aria-describedby", flags.map((each) => each.id).join(" "));
    }
    row.append(cell);
  }
  if (!here.length) return [row];
  const said = element("ul", here.map((each) => element("li", [
    element("b", each.name), " ", each.column ? `${filled(words.column, each)}: ` : "", ...live(each),
  ], { id: each.id, tabindex: -1, class: each.note ? "noted" : "" })), { lang: language });
  return [row, element("tr", element("td", said, { colspan: width }), { class: "said" })];
}

function gap(from, to, width) {
  const said = element("td", filled(words.gap, { from, to }), { colspan: width + 1, lang: language });
  return element("tr", said, { class: "gap" });
}

function tableOf(sheet, at, findings, fresh) {
  const width = Math.max(sheet.columns.length, ...sheet.lines.map(({ cells }) => cells.length));
  const numbers = Array.from({ length: width }, (_, place) => place + 1);
  const heads = numbers.map((number) => headOf(sheet.columns[number - 1], number, at));
  const body = element("tbody", [], { lang: "ja" });
  let last = 0;
  for (const line of sheet.lines) {
    if (sheet.left_out && last && line.line > last + 1) body.append(gap(last + 1, line.line - 1, width));
    body.append(...rowsOf(line, at, width, findings, fresh));
    last = line.line;
  }
  const name = [words.table, sheet.sheet].filter(Boolean).join(" ");
  const more = sheet.left_out ? filled(words.left_out, { count: sheet.left_out }) : "";
  const caption = sheet.sheet || more ? element("caption", `${name} ${more}`) : "";
  const head = element("thead", element("tr", [element("th", words.lines, { scope: "col" }), ...heads]));
  const table = element("table", [caption, head, body]);
  return element("div", table, { class: "sheet", role: "region", tabindex: 0, "aria-label": name });
}

function tablesOf(sheets, findings, fresh) {
  const heads = sheets.flatMap((sheet) => sheet.columns);
  const unread = heads.every(({ field }) => field === null);
  const how = heads.length ? [element("p", unread ? words.columns_unread : words.columns_how)] : [];
  const title = sheets.length ? [element("h3", words.columns)] : [];
  return [...title, ...how, ...sheets.map((sheet, at) => tableOf(sheet, at, findings, fresh))];
}

// ---- what would come of it

function counts(report) {
  const names = ["created", "updated", "unchanged"];
  const rows = ["plan", "document", "section", "measure", "evaluation"].map((noun) => element("tr", [
    element("th", words[noun], { scope: "row" }),
    ...names.map((name) => element("td", `${report[name][noun]}`, { class: report[name][noun] ? "" : "zero" })),
  ]));
  const head = element("tr", [element("td"), ...names.map((name) => element("th", words[name], { scope: "col" }))]);
  return element("table", [element("thead", head), element("tbody", rows)], { class: "counts" });
}

function folded(title, count, content) {
  const summary = element("summary", [title, " ", element("span", `${count}`, { class: "count" })]);
  const made = element("details", [summary, content]);
  made.open = count <= 12;
  return made;
}

// Errors that have no place in a table are never folded away.
function listed(errors) {
  const [placed, others] = [errors.filter(({ at }) => at >= 0), errors.filter(({ at }) => at < 0)];
  return [
    ...(others.length ? [findingList(others, "ol")] : []),
    ...(placed.length ? [folded(words.errors, placed.length, findingList(placed, "ol"))] : []),
  ];
}

// A measure leads to its line, where that is shown.
function measure(code, table) {
  for (const [at, { columns: its, lines }] of table.entries()) {
    const line = lines.find((each) => each.kind === "measure" && each.code === code);
    const title = its.find(({ field }) => field === "title");
    const said = `${code} ${line?.cells[title?.column - 1] ?? ""}`;
    if (line) return element("a", said, { href: `#line-${at}-${line.line}`, lang: "ja" });
  }
  return code;
}

function measuresOf({ measures, table }, slug) {
  return ["new", "missing", "renamed"].filter((name) => measures[name].length).map((name) => {
    const page = (code) => element("a", code, { href: `/p/${slug}/measures/${encodeURIComponent(code)}` });
    const items = measures[name].map((code) => element("li", name === "missing" ? page(code) : measure(code, table)));
    return folded(words[name], items.length, element("ul", items, { class: "codes" }));
  });
}

// ---- trying and writing

function show(title, parts, focus) {
  const scrolled = [...result.querySelectorAll(".sheet")].map((each) => [each.scrollLeft, each.scrollTop]);
  const heading = element("h2", title, { tabindex: -1 });
  outcome.replaceChildren(heading);
  result.replaceChildren(...parts);
  result.ariaBusy = "false";
  if (focus)
    for (const [place, each] of result.querySelectorAll(".sheet").entries())
      [each.scrollLeft, each.scrollTop] = scrolled[place] ?? [0, 0];
  (document.getElementById(focus) ?? heading).focus();
}

function wait(title) {
  outcome.replaceChildren(element("h2", title));
  result.ariaBusy = "true";
  turn += 1;
  return turn;
}

function refused(answer, findings) {
  const count = findings.filter((each) => !each.note).length;
  return answer.errors ? filled(words.refused, { count }) : words.failed;
}

// With the reason, where it is not the reader who asked for it.
async function tryOut(focus, because) {
  understood = null;
  if (!form.reportValidity()) return;
  const asked = parameters();
  const into = isNew() ? `${asked.get("municipality")} ${asked.get("plan")}` : plan.selectedOptions[0].text;
  const mine = wait(words.reading);
  const [good, answer] = await send(asked, { dry_run: true, preview: 200 });
  if (mine !== turn) return;
  const report = good ? answer : answer.report;
  const findings = findingsOf(good, answer, report);
  const [errors, notes] = [findings.filter((each) => !each.note), findings.filter((each) => each.note)];
  const fresh = new Set(good ? report.measures.new : []);
  const parts = because ? [element("p", because, { class: "note" })] : [];
  const title = [report?.title, report?.subtitle].filter(Boolean).join(" ");
  if (title) parts.push(element("p", title, { lang: "ja" }));
  parts.push(...listed(errors));
  if (good) parts.push(counts(report), ...measuresOf(report, asked.get("plan")));
  if (notes.length) parts.push(folded(words.warnings, notes.length, findingList(notes, "ul")));
  if (report) tables = tablesOf(report.table, findings, fresh);
  parts.push(...tables);
  if (good && `${asked}` !== `${parameters()}`) parts.push(element("p", words.again));  // changed while it was read
  else if (good) {
    understood = { asked, revision: report.revision };
    parts.push(element("p", [words.into, " ", element("b", into, { lang: "ja" })], { class: "into" }));
    parts.push(button(main.dataset.confirm, write, "confirm"));
  }
  show(good ? words.understood : refused(answer, findings), parts, focus);
}

async function write() {
  if (!understood) return;
  const { asked, revision } = understood;
  understood = null;  // once
  wait(words.writing);
  const [good, answer] = await send(asked, { dry_run: false, revision });
  if (good) {
    const link = element("a", words.open_plan, { href: `/p/${asked.get("plan")}`, class: "button" });
    show(words.done, [counts(answer), link]);
  } else if (answer.status === 412) {
    await tryOut(null, words.moved);
  } else if (answer.lost) {
    // The service may have written it before it could say so.
    show(words.unsure, [element("p", `${answer.detail} ${words.look}`)]);
  } else {
    const findings = findingsOf(good, answer);
    show(refused(answer, findings), [findingList(findings, "ol")]);
  }
}

// ---- the form

key.value = sessionStorage.getItem("key") ?? "";  // for this tab only
key.addEventListener("input", () => sessionStorage.setItem("key", key.value.trim()));

function ask() {
  const fields = main.querySelector(".made");
  fields.hidden = !isNew();
  for (const input of fields.querySelectorAll("input:not(#title)")) input.required = !fields.hidden;
}

plan.addEventListener("change", ask);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  tryOut();
});
form.addEventListener("change", ({ target }) => {
  if (target === key) return;
  understood = null;
  result.querySelector(".confirm")?.replaceWith(element("p", words.again));
});
file.addEventListener("change", () => {
  corrected = {};
  tables = [];
  turn += 1;
  outcome.replaceChildren();
  result.replaceChildren();
});
for (const kind of ["dragover", "drop"])
  drop.addEventListener(kind, (event) => {
    event.preventDefault();
    if (kind === "dragover" || !event.dataTransfer.files.length) return;
    file.files = event.dataTransfer.files;
    file.dispatchEvent(new Event("change", { bubbles: true }));
  });
ask();
document.querySelector("#unscripted").hidden = true;
main.hidden = false;
