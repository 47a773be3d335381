"use strict";

/** The order of rows sorted by their values: numbers by size, words by alphabet, empty ones last either way. */
function sortOrder(values, descending) {
  const empty = (value) => value === "";
  const compare = (a, b) => {
    const x = Number(a), y = Number(b);
    if (!Number.isNaN(x) && !Number.isNaN(y)) return x - y;
    return a < b ? -1 : a > b ? 1 : 0;
  };
  return values.map((_, i) => i).sort((i, j) => {
    if (empty(values[i]) || empty(values[j])) return empty(values[i]) - empty(values[j]) || i - j;
    return (descending ? -1 : 1) * compare(values[i], values[j]) || i - j;
  });
}

/** The names of a search: commas part them, but not those in quotes or in parentheses. */
function terms(search) {
  return [...search.matchAll(/"[^"]*"?|(?:\([^)]*\)?|[^,"(])+/g)].map((match) => match[0].trim()).filter(Boolean);
}

/** Which of all names one of a search's names means: in quotes exactly that one; with * what fits; else that one where
    it is there, and all that begin so where it is not. */
function meant(term, names) {
  const wanted = term.replaceAll('"', "").toLowerCase(), same = (name) => name.toLowerCase() === wanted;
  if (term.startsWith('"') || (names.some(same) && !wanted.includes("*"))) return names.filter(same);
  const parts = wanted.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&"));
  const pattern = new RegExp(`^${parts.join(".*")}${parts.length > 1 ? "$" : ""}`);
  return names.filter((name) => pattern.test(name.toLowerCase()));
}

/** The names that are shown: those that the search means, all where it is empty, but for those switched off. */
function shownNames(names, search, off) {
  const asked = terms(search);
  const found = new Set(asked.length ? asked.flatMap((term) => meant(term, names)) : names);
  return new Set([...found].filter((name) => !off.has(name)));
}

function sortTable(button) {
  const head = button.closest("th"), table = head.closest("table"), body = table.tBodies[0];
  const column = [...head.parentNode.children].indexOf(head);
  const sorted = head.getAttribute("aria-sort");
  const descending = sorted ? sorted === "ascending" : button.dataset.sort === "falling";
  for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const rows = [...body.rows];
  const values = rows.map((row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim());
  for (const i of sortOrder(values, descending)) body.append(rows[i]);
  say(`sorted by ${button.textContent.trim()}, ${descending ? "descending" : "ascending"}`);
}

function filterModels(page) {
  const search = page.getElementById("search").value;
  const off = new Set([...page.querySelectorAll("[data-toggle][aria-pressed='false']")].map((b) => b.dataset.toggle));
  const items = [...page.querySelectorAll("[data-model]")];
  const names = [...new Set(items.map((item) => item.dataset.model))];
  const shown = shownNames(names, search, off);
  for (const item of items) {
    const visible = shown.has(item.dataset.model);
    if (item instanceof SVGElement) item.style.display = visible ? "" : "none";
    else item.hidden = !visible;
  }
  say(`${shown.size} of ${names.length} models shown`);
}

function switchColumns(button) {
  const all = button.getAttribute("aria-pressed") === "false";
  button.setAttribute("aria-pressed", String(all));
  document.documentElement.classList.toggle("all-columns", all);
}

function switchScale(button) {
  const figure = button.closest("figure");
  const log = figure.dataset.scale !== "log";
  figure.dataset.scale = log ? "log" : "linear";
  for (const panel of figure.querySelectorAll("[data-panel]")) {
    panel.style.display = panel.dataset.panel === figure.dataset.scale ? "" : "none";
  }
  button.textContent = log ? "linear axis" : "logarithmic axis";
}

function say(text) {
  document.getElementById("said").textContent = text;
}

function start(page) {
  page.documentElement.classList.add("js");
  for (const button of page.querySelectorAll("[data-sort]")) button.addEventListener("click", () => sortTable(button));
  for (const button of page.querySelectorAll("[data-axis]")) button.addEventListener("click", () => switchScale(button));
  for (const button of page.querySelectorAll("[data-columns]")) button.addEventListener("click", () => switchColumns(button));
  page.getElementById("search").addEventListener("input", () => filterModels(page));
  for (const button of page.querySelectorAll("[data-toggle]")) {
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") === "false"));
      filterModels(page);
    });
  }
  for (const button of page.querySelectorAll("[data-every]")) {
    button.addEventListener("click", () => {
      for (const other of page.querySelectorAll("[data-toggle]")) other.setAttribute("aria-pressed", button.dataset.every);
      filterModels(page);
    });
  }
}

if (typeof document !== "undefined") start(document);
if (typeof module !== "undefined") module.exports = { sortOrder, shownNames };
