// Interactive figures in the reader's colour scheme and width, and sortable tables. Without this script the page shows
// static figures and tables in the order of the plan.
const MIN_WIDTH = 260, MAX_SCALE = 1.25; // of a panel: pixels; relative to the width in the specification
const readJson = (node) => JSON.parse(node.textContent);
const themes = readJson(document.getElementById("themes"));
const dark = matchMedia("(prefers-color-scheme: dark)");
const figures = [...document.querySelectorAll("figure")];

/** Set the number of panels per row and their width; axes and labels around a panel keep theirs. */
function fitPanels(spec, config, still, available) {
  const widths = spec.concat.map((panel) => panel.width), widest = Math.max(...widths);
  const around = (still.getAttribute("width") - widths.slice(0, spec.columns).reduce((a, b) => a + b)) / spec.columns;
  while (spec.columns > 1 && available / spec.columns - around < MIN_WIDTH) spec.columns -= 1;
  const scale = Math.min(MAX_SCALE, (available / spec.columns - around) / widest);
  for (const panel of spec.concat) {
    if (panel.height === panel.width) panel.height *= Math.min(1, scale);
    panel.width *= panel.height <= panel.width * scale || scale < 1 ? scale : 1;
  }
  config.legend.columns = Math.max(1, Math.floor(available / 190));
  if (available < 600) config.legend.layout.top.direction = "vertical";
}

async function draw(figure) {
  const [still, live, script] = [".still", ".live", ".spec"].map((name) => figure.querySelector(name));
  const spec = readJson(script), config = structuredClone(themes[dark.matches ? "dark" : "light"]);
  fitPanels(spec, config, still, figure.clientWidth);
  figure.view?.finalize();
  figure.view = await vegaEmbed(live, spec, { config, actions: false, renderer: "svg", ast: true });
  figure.classList.add("drawn");
}

let latestDraw = 0; // a newer call stops an older one
async function drawAll() {
  const id = ++latestDraw;
  for (const figure of figures) if (id === latestDraw) await draw(figure);
  if (id === latestDraw) document.body.dataset.drawn = dark.matches ? "dark" : "light";
}

const UNITS = { k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15, E: 1e18, s: 1, min: 60, h: 3600, d: 86400 };
/** Return the first number of a cell in its base unit, its text if it has none, null if it is empty. */
function parseCell(cell) {
  const text = cell.textContent.trim().replace(/^(?:\[|[<>]=? )/, "").replace("−", "-");
  const match = /^([+-]?[\d,]*\.?\d+(?:e[+-]?\d+)?)%?(?: ?([kMGTPE]|min|[shd]))?(?:B|\b|$)(?![\w.-])/.exec(text);
  if (!match) return text || null;
  const rest = /^ (\d+) (min|[sh])$/.exec(text.slice(match[0].length));
  return match[1].replaceAll(",", "") * (UNITS[match[2]] ?? 1) + (rest ? rest[1] * UNITS[rest[2]] : 0);
}

const rank = (key) => (key === null ? 2 : typeof key === "string" ? 1 : 0); // numbers, then texts, then empty cells
function sortTable(table, column, descending) {
  const rows = [...table.tBodies[0].rows].map((row) => [parseCell(row.cells[column]), row]);
  const sign = descending ? -1 : 1;
  rows.sort(([a], [b]) => rank(a) - rank(b) || sign * (rank(a) ? (a ?? "").localeCompare(b ?? "", "en") : a - b));
  table.tBodies[0].append(...rows.map(([, row]) => row));
}

for (const heading of document.querySelectorAll("table.sorts thead th")) {
  const button = document.createElement("button");
  button.append(...heading.childNodes);
  heading.append(button);
  button.onclick = () => {
    const descending = heading.ariaSort === "ascending";
    for (const other of heading.parentNode.cells) other.ariaSort = null;
    heading.ariaSort = descending ? "descending" : "ascending";
    sortTable(heading.closest("table"), heading.cellIndex, descending);
  };
}

let width = innerWidth, waiting;
dark.addEventListener("change", drawAll);
addEventListener("resize", () => {
  if (innerWidth === width) return;
  width = innerWidth;
  clearTimeout(waiting);
  waiting = setTimeout(drawAll, 200);
});
drawAll();
