"use strict";
// Sort a table by the column whose heading is chosen, reach what is wide, and copy commands. Without a script the page is
// whole as well.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const rises = head.getAttribute("aria-sort") !== "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", rises ? "ascending" : "descending");
      const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
      const number = (text) => Number(text.replace(/,/g, ""));
      const numeric = head.classList.contains("n");
      const value = (row) => (key(row) === "" || key(row) === "–" ? -Infinity : number(key(row)));
      const order = (a, b) => (numeric ? value(a) - value(b) || 0 : key(a).localeCompare(key(b), undefined, { numeric: true }));
      body.append(...rows.slice().sort((a, b) => (rises ? order(a, b) : order(b, a))));
    });
  });
}
// What is wider than the window is reached by the keyboard, which then moves it sideways.
const reach = () => {
  for (const part of document.querySelectorAll(".wide, figure, pre, .command code")) {
    const moves = part.scrollWidth > part.clientWidth;
    const attributes = { tabindex: "0", ...(part.matches(".wide") && { role: "group", "aria-label": part.querySelector("caption")?.textContent ?? "Table" }) };
    for (const [name, value] of Object.entries(attributes)) moves ? part.setAttribute(name, value) : part.removeAttribute(name);
  }
};
reach();
addEventListener("resize", reach);
if (navigator.clipboard) {
  for (const command of document.querySelectorAll(".command")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "copy";
    button.setAttribute("aria-live", "polite");
    button.addEventListener("click", () =>
      navigator.clipboard.writeText(command.querySelector("code").textContent).then(
        () => { button.textContent = "copied"; },
        () => { button.textContent = "select it by hand"; },
      ),
    );
    command.append(button);
  }
}
