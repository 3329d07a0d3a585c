"use strict";
// Sort a table by the column whose heading is chosen, and copy commands. Without a script the page is whole as well.
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
