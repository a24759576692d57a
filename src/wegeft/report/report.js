"use strict";
// Sorting of every table by a click on its heading, and filtering of rows and runs. Each tbody is a block of rows under
// a title and is sorted on its own, so that published rows never mix with ours.

function key(cell) {
  const text = cell.textContent.trim().replace(/,/g, "");
  const number = parseFloat(text.replace(/^[^\d+\-.]*/, ""));
  return Number.isNaN(number) ? text.toLowerCase() : number;
}

function compare(one, other) {
  // An open cell is neither small nor large: it goes last in both directions.
  if (typeof one === typeof other) return one < other ? -1 : one > other ? 1 : 0;
  return typeof one === "number" ? -1 : 1;
}

function sortBy(button) {
  const heading = button.closest("th");
  const column = heading.cellIndex;
  const descending = heading.getAttribute("aria-sort") === "ascending";
  for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
  for (const body of heading.closest("table").tBodies) {
    const rows = Array.from(body.rows).filter((row) => !row.classList.contains("block"));
    const open = rows.filter((row) => row.cells[column].textContent.trim() === "–");
    const known = rows.filter((row) => !open.includes(row));
    known.sort((a, b) => compare(key(a.cells[column]), key(b.cells[column])) * (descending ? -1 : 1));
    for (const row of known.concat(open)) body.appendChild(row);
  }
}

function filter() {
  const wanted = Array.from(document.querySelectorAll("[data-filter]")).filter((one) => one.value);
  const keeps = (item) => wanted.every((one) => one.dataset.filter === "text"
    ? item.textContent.toLowerCase().includes(one.value.toLowerCase())
    : item.dataset[one.dataset.filter] === one.value);
  for (const item of document.querySelectorAll("[data-item]")) item.hidden = !keeps(item);
  for (const body of document.querySelectorAll("table.results tbody")) {
    body.hidden = !body.querySelector("[data-item]:not([hidden])");
  }
  for (const section of document.querySelectorAll("section.results")) {
    section.hidden = wanted.length > 0 && !section.querySelector("[data-item]:not([hidden])");
  }
  const runs = document.querySelectorAll("details[data-item]");
  const shown = Array.from(runs).filter((run) => !run.hidden).length;
  document.getElementById("count").textContent = `${shown} of ${runs.length} runs shown`;
}

for (const button of document.querySelectorAll("thead button")) button.addEventListener("click", () => sortBy(button));
for (const control of document.querySelectorAll("[data-filter]")) control.addEventListener("input", filter);
document.getElementById("clear").addEventListener("click", () => {
  for (const control of document.querySelectorAll("[data-filter]")) control.value = "";
  filter();
});
// A link to a run opens it.
function openTarget() {
  const target = document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) target.open = true;
}
window.addEventListener("hashchange", openTarget);
openTarget();
filter();
document.documentElement.dataset.ready = "yes";
