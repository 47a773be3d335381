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

/** Whether a model is shown: its name has every word of the search, and it is not switched off. */
function isShown(name, search, off) {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  return !off.has(name) && words.every((word) => name.toLowerCase().includes(word));
}

function sortTable(button) {
  const head = button.closest("th"), table = head.closest("table"), body = table.tBodies[0];
  const column = [...head.parentNode.children].indexOf(head);
  const descending = head.getAttribute("aria-sort") === "ascending";
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
  const shown = new Set();
  for (const item of page.querySelectorAll("[data-model]")) {
    const visible = isShown(item.dataset.model, search, off);
    if (item instanceof SVGElement) item.style.display = visible ? "" : "none";
    else item.hidden = !visible;
    if (visible) shown.add(item.dataset.model);
  }
  say(`${shown.size} models shown`);
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
if (typeof module !== "undefined") module.exports = { sortOrder, isShown };
