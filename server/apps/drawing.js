// A placed flowchart as SVG. States are said in words and signs, not by colour alone.

const SHOWN = 30;
const SIGNS = { done: "✓", failed: "✕", running: "▶", waiting: "…", error: "✕", warning: "!" };
const MARGIN = 6;
const LETTER = 5.6;
const WORDS = 18;

// Returns the drawing of a flowchart's text; null when the text is none or holds nothing.
function drawingOf(text, label) {
  const level = readFlowchart(text);
  if (!level || level.vertices.size === 0) return null;
  place(level);
  const [width, height] = [level.width + 2 * MARGIN, level.height + 2 * MARGIN];
  const view = { viewBox: `${-MARGIN} ${-MARGIN} ${width} ${height}`, width, height };
  const svg = draw("svg", { ...view, role: "img", "aria-label": label }, drawLevel(level));
  return make("div", { class: "drawing" }, svg);
}

function drawLevel(level) {
  return draw("g", level.edges.map(drawEdge), [...level.vertices.values()].map(drawVertex), level.edges.map(drawWay));
}

function drawVertex(vertex) {
  const left = vertex.x - NODE_WIDTH / 2;
  const [name, ...rest] = vertex.title.split(": ");
  const lines = [
    draw("text", short(name), { x: vertex.x, y: vertex.y + 19, "text-anchor": "middle", "font-weight": 600 }),
    draw("text", short(rest.join(": ") || vertex.kind), { x: vertex.x, y: vertex.y + 35, class: "kind", "text-anchor": "middle" }),
  ];
  const group = draw("g", { "data-vertex": vertex.id }, outline(vertex, left));
  if (vertex.kind === "") return group;
  const mark = draw("text", "", { x: left + NODE_WIDTH - 16, y: vertex.y + 17, class: "mark" });
  const title = draw("title", `${vertex.title} (${vertex.kind})`, { "data-title": `${vertex.title} (${vertex.kind})` });
  group.append(title, ...lines, mark);
  group.append(...drawBoxes(vertex));
  return group;
}

function outline(vertex, left) {
  const { x, y, shape, kind } = vertex;
  const box = { x: left, y, width: NODE_WIDTH, height: NODE_HEIGHT, class: "shape" };
  const middle = y + NODE_HEIGHT / 2;
  const right = left + NODE_WIDTH;
  if (kind === "") return draw("circle", { cx: x, cy: y + NODE_HEIGHT - 10, r: 8, class: "shape" });
  if (shape === "decision" || shape === "branch") {
    const cut = shape === "decision" ? 14 : 26;
    const corners = [[left, middle], [left + cut, y], [right - cut, y], [right, middle], [right - cut, y + NODE_HEIGHT], [left + cut, y + NODE_HEIGHT]];
    return draw("polygon", { points: corners.map((corner) => corner.join(",")).join(" "), class: "shape" });
  }
  const round = shape === "end" || shape === "wait" ? NODE_HEIGHT / 2 : 6;
  const rim = draw("rect", { ...box, rx: round });
  if (shape !== "agent") return rim;
  const inner = { x: left + 5, width: NODE_WIDTH - 10, class: "box" };
  return [rim, draw("rect", { ...box, ...inner, rx: 3 })];
}

function drawBoxes(vertex) {
  const total = vertex.boxes.reduce((sum, box) => sum + box.width + BOX_PADDING, -BOX_PADDING);
  const top = vertex.y + NODE_HEIGHT + BOX_PADDING + BOX_TITLE;
  let left = vertex.x - total / 2;
  return vertex.boxes.map((box) => {
    const frame = { x: left - BOX_PADDING / 2, y: top - BOX_TITLE, width: box.width + BOX_PADDING, height: box.height + BOX_TITLE + BOX_PADDING / 2, rx: 6, class: "box" };
    const title = draw("text", short(box.title), { x: left, y: top - 6, class: "way" });
    const inside = draw("g", { transform: `translate(${left} ${top})` }, drawLevel(box));
    left += box.width + BOX_PADDING;
    return draw("g", draw("rect", frame), title, inside);
  });
}

function drawEdge(edge) {
  const path = edge.back ? aroundTheSide(edge) : downwards(edge.points);
  const [x, y] = edge.points.at(-1);
  const head = edge.back ? [[x + 7, y - 4], [x + 7, y + 4]] : [[x - 4, y - 7], [x + 4, y - 7]];
  const corners = [[x, y], ...head].map((corner) => corner.join(",")).join(" ");
  return draw("g", draw("path", { d: path, class: edge.dotted ? "edge dotted" : "edge" }), draw("polygon", { points: corners, class: "head" }));
}

function downwards(points) {
  const [first, ...rest] = points;
  let [, above] = first;
  const curves = rest.map(([x, y], index) => {
    const [before] = points[index];
    const bend = (y - above) / 2;
    const curve = `C ${before} ${above + bend} ${x} ${y - bend} ${x} ${y}`;
    above = y;
    return curve;
  });
  return `M ${first.join(" ")} ${curves.join(" ")}`;
}

function aroundTheSide({ points: [[x1, y1], [x2, y2]], side }) {
  return `M ${x1} ${y1} C ${side} ${y1} ${side} ${y2} ${x2} ${y2}`;
}

// The words on a way, over a patch of the ground so that lines don't cross them.
function drawWay(edge) {
  if (!edge.label) return null;
  const [x, y] = edge.back ? [edge.side, (edge.points[0][1] + edge.points[1][1]) / 2] : wordsAt(edge);
  const said = short(edge.label);
  const width = said.length * LETTER + 6;
  return draw(
    "g",
    draw("title", edge.label),
    draw("rect", { x: x - width / 2, y: y - 8, width, height: 15, rx: 3, class: "back" }),
    draw("text", said, { x, y: y + 3, class: "way", "text-anchor": "middle" }),
  );
}

// A place on the first bend of a way, lower for each way that leaves the same vertex.
function wordsAt({ points: [[x1, y1], [x2, y2]], line }) {
  const y = y1 + WORDS + LINE * line;
  const part = Math.min(1, (y - y1) / (y2 - y1));
  return [x1 + (x2 - x1) * part * part * (3 - 2 * part), y];
}

function short(text) {
  return text.length <= SHOWN ? text : `${text.slice(0, SHOWN - 1)}…`;
}

// Marks the vertices of a drawing: `states` maps their ids to words; the others carry no mark.
function mark(drawing, states) {
  for (const group of drawing.querySelectorAll("[data-vertex]")) {
    const state = states.get(group.dataset.vertex);
    if (state === undefined) delete group.dataset.state;
    else group.dataset.state = state;
    const [title, sign] = [group.querySelector(":scope > title"), group.querySelector(":scope > .mark")];
    if (!title || !sign) continue;
    title.textContent = state === undefined ? title.dataset.title : `${title.dataset.title}: ${state}`;
    sign.textContent = SIGNS[state] ?? "";
  }
}
