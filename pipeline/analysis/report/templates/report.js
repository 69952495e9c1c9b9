// What the page does beyond its text: figures that answer to the pointer, in the reader's colours and width; tables
// that sort. Without it the still figures and the tables in the plan's order are there.
const LEAST = 260, MOST = 1.25; // pixels of a panel's width at least; times the specification's width at most
const read = (node) => JSON.parse(node.textContent);
const themes = read(document.getElementById("themes"));
const dark = matchMedia("(prefers-color-scheme: dark)");
const figures = [...document.querySelectorAll("figure")];

/** Set how many panels stand beside each other and how wide they are; what stands around a panel keeps its width. */
function fit(spec, config, still, room) {
  const widths = spec.concat.map((panel) => panel.width), widest = Math.max(...widths);
  const around = (still.getAttribute("width") - widths.slice(0, spec.columns).reduce((a, b) => a + b)) / spec.columns;
  while (spec.columns > 1 && room / spec.columns - around < LEAST) spec.columns -= 1;
  const scale = Math.min(MOST, (room / spec.columns - around) / widest);
  for (const panel of spec.concat) {
    if (panel.height === panel.width) panel.height *= Math.min(1, scale);
    panel.width *= panel.height <= panel.width * scale || scale < 1 ? scale : 1;
  }
  config.legend.columns = Math.max(1, Math.floor(room / 190));
  if (room < 600) config.legend.layout.top.direction = "vertical";
}

async function draw(figure) {
  const [still, live, held] = [".still", ".live", ".spec"].map((name) => figure.querySelector(name));
  const spec = read(held), config = structuredClone(themes[dark.matches ? "dark" : "light"]);
  fit(spec, config, still, figure.clientWidth);
  figure.view?.finalize();
  figure.view = await vegaEmbed(live, spec, { config, actions: false, renderer: "svg", ast: true });
  figure.classList.add("drawn");
}

let asked = 0;
async function drawAll() {
  const mine = ++asked;
  for (const figure of figures) if (mine === asked) await draw(figure);
  if (mine === asked) document.body.dataset.drawn = dark.matches ? "dark" : "light";
}

const UNITS = { k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15, E: 1e18, s: 1, min: 60, h: 3600, d: 86400 };
/** Return the number that a cell begins with or bounds, in its unit; a text without one as it is; null for a hole. */
function value(cell) {
  const text = cell.textContent.trim().replace(/^(?:\[|[<>]=? )/, "").replace("−", "-");
  const found = /^([+-]?[\d,]*\.?\d+(?:e[+-]?\d+)?)%?(?: ?([kMGTPE]|min|[shd]))?(?:B|\b|$)(?![\w.-])/.exec(text);
  if (!found) return text || null;
  const rest = /^ (\d+) (min|[sh])$/.exec(text.slice(found[0].length));
  return found[1].replaceAll(",", "") * (UNITS[found[2]] ?? 1) + (rest ? rest[1] * UNITS[rest[2]] : 0);
}

const rank = (key) => (key === null ? 2 : typeof key === "string" ? 1 : 0); // numbers, then words, holes last
function sort(table, column, falling) {
  const rows = [...table.tBodies[0].rows].map((row) => [value(row.cells[column]), row]);
  const turn = falling ? -1 : 1;
  rows.sort(([a], [b]) => rank(a) - rank(b) || turn * (rank(a) ? (a ?? "").localeCompare(b ?? "", "en") : a - b));
  table.tBodies[0].append(...rows.map(([, row]) => row));
}

for (const heading of document.querySelectorAll("table.sorts thead th")) {
  const button = document.createElement("button");
  button.append(...heading.childNodes);
  heading.append(button);
  button.onclick = () => {
    const falling = heading.ariaSort === "ascending";
    for (const other of heading.parentNode.cells) other.ariaSort = null;
    heading.ariaSort = falling ? "descending" : "ascending";
    sort(heading.closest("table"), heading.cellIndex, falling);
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
