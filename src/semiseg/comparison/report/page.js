// Sorting, the choice of the metric, light and dark. The page reads without any of it.
(() => {
  const root = document.documentElement;

  const theme = document.getElementById("theme");
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });

  const panels = [...document.querySelectorAll("[data-metric]")];
  const choices = [...document.querySelectorAll("button[data-choose]")];
  const choose = (metric) => {
    for (const panel of panels) panel.hidden = panel.dataset.metric !== metric;
    for (const b of choices) b.setAttribute("aria-pressed", String(b.dataset.choose === metric));
  };
  for (const b of choices) {
    b.addEventListener("click", () => {
      const before = b.getBoundingClientRect().top;
      choose(b.dataset.choose);
      scrollBy({ top: b.getBoundingClientRect().top - before, behavior: "instant" });
    });
  }
  for (const bar of document.querySelectorAll(".switch")) bar.hidden = false;
  if (choices.length) choose(choices[0].dataset.choose);

  const valueOf = (row, column) => {
    const cell = row.cells[column];
    const key = cell.dataset.key ?? cell.textContent.trim();
    return key === "" ? null : cell.dataset.key !== undefined && !isNaN(key) ? Number(key) : key;
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));

  const sort = (table, column, descending) => {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [valueOf(row, column), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null); // missing values stay last
      return descending ? compare(b, a) : compare(a, b);
    });
    body.append(...rows.map(([, row]) => row));
    [...table.tHead.rows[0].cells].forEach((head, i) => {
      if (i === column) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const now = head.getAttribute("aria-sort");
        const first = head.dataset.first ?? "ascending";
        const next = now === null ? first : now === "ascending" ? "descending" : "ascending";
        sort(table, column, next === "descending");
      });
    });
  }
})();
