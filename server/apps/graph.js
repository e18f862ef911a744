// The flowchart of a process, read from the text that the server draws, and placed in layers from top to bottom.
//
// A level is { vertices: Map(id → vertex), edges }; a vertex is { id, title, kind, shape, boxes }, each box a level
// with a title: the body of a loop, or an arm of a fan.

const NODE_WIDTH = 200;
const NODE_HEIGHT = 46;
const DUMMY_WIDTH = 24;
const GAP_X = 28;
const GAP_Y = 46;
const LINE = 16;
const BOX_PADDING = 12;
const BOX_TITLE = 20;
const LOOP_WIDTH = 26;
const PULLS = 24;

const SHAPES = [
  ["{{", "decision"],
  ["[[", "agent"],
  ["([", "wait"],
  ["((", "end"],
  ["{", "branch"],
  ["[", "step"],
];
const ENTITIES = { "#amp;": "&", "#quot;": '"', "#lt;": "<", "#gt;": ">" };

function plain(text) {
  return text.replace(/#(?:amp|quot|lt|gt);/g, (entity) => ENTITIES[entity]);
}

// Reads a flowchart; null when the text is none.
function readFlowchart(text) {
  const lines = text.split("\n");
  if (lines[0]?.trim() !== "flowchart TD") return null;
  const top = newLevel("");
  const open = [top];
  let boxed = null;
  for (const line of lines.slice(1)) {
    const said = line.trim();
    const box = /^subgraph (\w+)\["([^"]*)"\]$/.exec(said);
    if (box) {
      const level = newLevel(plain(box[2]));
      boxed?.boxes.push(level);
      open.push(Object.assign(level, { owner: boxed }));
    } else if (said === "end" && open.length > 1) {
      boxed = open.pop().owner;
    } else {
      boxed = readLine(open.at(-1), said) ?? boxed;
    }
  }
  return top;
}

function newLevel(title) {
  return { title, vertices: new Map(), edges: [] };
}

// Reads a vertex or an edge into a level; returns the vertex if it was one.
function readLine(level, said) {
  const vertex = /^(\w+)([[({]{1,2})"?([^"]*?)"?[\])}]{1,2}$/.exec(said);
  if (vertex) {
    const [, id, opening, label] = vertex;
    const [title, kind = ""] = label.split("<br/>");
    const shape = SHAPES.find(([bracket]) => opening === bracket)?.[1] ?? "step";
    const made = { id, title: plain(title), kind, shape: kind === "" ? "end" : shape, boxes: [] };
    level.vertices.set(id, made);
    return made;
  }
  const edge = /^(\w+) -(?:- "([^"]*)" -)?->\s+(\w+)$/.exec(said);
  const dotted = /^(\w+) -\.(?: "([^"]*)" \.)?->\s+(\w+)$/.exec(said);
  const found = edge ?? dotted;
  if (found) level.edges.push({ from: found[1], to: found[3], label: plain(found[2] ?? ""), dotted: !edge });
  return null;
}

// The id of the vertex of a node: `path` is the names down to it, with the place of the body between two names.
function vertexId(path) {
  return path.reduce((above, name) => {
    const own = `${above}_${name.replaceAll("-", "_2d_").replace(/\W/g, "_")}`;
    return `${own.replace(/^_+|_+$/g, "")}_n`;
  }, "");
}

// The id of the vertex that a JSON pointer into the definition leads to; empty where it leads to none.
function vertexAt(pointer) {
  const parts = pointer.split("/nodes/").slice(1);
  const path = parts.flatMap((part, index) => {
    const [name, ...body] = part.split("/");
    return index < parts.length - 1 ? [name, `/${body.join("/")}`] : [name];
  });
  return vertexId(path);
}

// Gives every vertex x and y (its upper middle), every edge its points, and returns the level with width and height.
function place(level) {
  for (const vertex of level.vertices.values()) measure(vertex);
  const rows = layersOf(level);
  sortRows(rows);
  spread(rows);
  stack(rows);
  route(level);
  return fitted(level, rows);
}

function measure(vertex) {
  vertex.width = NODE_WIDTH;
  vertex.height = NODE_HEIGHT;
  vertex.said = 0;
  if (!vertex.boxes.length) return;
  vertex.boxes.forEach(place);
  const inner = vertex.boxes.reduce((sum, box) => sum + box.width + BOX_PADDING, BOX_PADDING);
  vertex.width = Math.max(NODE_WIDTH, inner);
  vertex.height = NODE_HEIGHT + BOX_TITLE + Math.max(...vertex.boxes.map((box) => box.height)) + BOX_PADDING * 1.5;
}

// Puts each vertex one row below the lowest that leads to it; ways back are left out, long ways get places between.
function layersOf(level) {
  const edges = level.edges.filter(({ from, to }) => level.vertices.has(from) && level.vertices.has(to));
  level.edges = edges;
  const order = discover(level);
  for (const vertex of level.vertices.values()) vertex.row = 0;
  for (const id of order) {
    for (const edge of edges) {
      if (edge.from !== id || edge.back) continue;
      const to = level.vertices.get(edge.to);
      to.row = Math.max(to.row, level.vertices.get(id).row + 1);
    }
  }
  const rows = [];
  const put = (item, row) => (rows[row] ??= []).push(Object.assign(item, { row, up: [], down: [] }));
  for (const vertex of level.vertices.values()) put(vertex, vertex.row);
  for (const edge of edges) edge.stops = edge.back ? [] : stopsOf(level, edge, put);
  for (const edge of edges) edge.line = edge.label && !edge.back ? level.vertices.get(edge.from).said++ : 0;
  return rows;
}

// The places on the way of an edge through the rows between, joined with the rows above and below.
function stopsOf(level, edge, put) {
  const from = level.vertices.get(edge.from);
  const to = level.vertices.get(edge.to);
  const stops = [];
  for (let row = from.row + 1; row < to.row; row++) {
    const stop = { width: DUMMY_WIDTH, height: 0, said: 0 };
    put(stop, row);
    stops.push(stop);
  }
  const way = [from, ...stops, to];
  way.slice(1).forEach((below, index) => {
    way[index].down.push(below);
    below.up.push(way[index]);
  });
  return stops;
}

// Returns the ids so that each stands before those it leads to, and marks the edges that lead back.
function discover(level) {
  const order = [];
  const state = new Map();
  const visit = (id) => {
    state.set(id, "open");
    for (const edge of level.edges.filter((one) => one.from === id)) {
      edge.back = state.get(edge.to) === "open";
      if (!state.has(edge.to)) visit(edge.to);
    }
    state.set(id, "done");
    order.unshift(id);
  };
  for (const id of level.vertices.keys()) if (!state.has(id)) visit(id);
  return order;
}

function sortRows(rows) {
  const mean = (items) => items.reduce((sum, item) => sum + item.order, 0) / items.length;
  const number = (row) => row.forEach((item, index) => (item.order = index));
  rows.forEach(number);
  for (let sweep = 0; sweep < 4; sweep++) {
    const side = sweep % 2 ? "down" : "up";
    for (const row of side === "up" ? rows : rows.toReversed()) {
      for (const item of row) item.weight = item[side].length ? mean(item[side]) : item.order;
      row.sort((one, other) => one.weight - other.weight);
      number(row);
    }
  }
}

// Sets x: rows are packed around the middle, then each item is pulled towards its neighbours as far as there is room.
function spread(rows) {
  for (const row of rows) {
    const total = row.reduce((sum, item) => sum + item.width + GAP_X, -GAP_X);
    row.reduce((left, item) => ((item.x = left + item.width / 2), left + item.width + GAP_X), -total / 2);
  }
  for (let pull = 0; pull < PULLS; pull++) {
    for (const row of pull % 2 ? rows.toReversed() : rows) pullRow(row);
  }
}

function pullRow(row) {
  const wanted = row.map((item) => {
    const near = [...item.up, ...item.down];
    return near.length ? near.reduce((sum, other) => sum + other.x, 0) / near.length : item.x;
  });
  const apart = (one, other) => (one.width + other.width) / 2 + GAP_X;
  const right = [...wanted];
  for (let i = 1; i < row.length; i++) right[i] = Math.max(right[i], right[i - 1] + apart(row[i - 1], row[i]));
  const left = [...wanted];
  for (let i = row.length - 2; i >= 0; i--) left[i] = Math.min(left[i], left[i + 1] - apart(row[i], row[i + 1]));
  row.forEach((item, i) => (item.x = (right[i] + left[i]) / 2));
}

// Sets y: under a row there is room for the words on the ways out of each vertex, one below the other.
function stack(rows) {
  let y = 0;
  for (const row of rows) {
    const tallest = Math.max(...row.map((item) => item.height));
    for (const item of row) Object.assign(item, { y, foot: y + tallest });
    y += tallest + GAP_Y + LINE * Math.max(0, ...row.map((item) => item.said - 1));
  }
}

function route(level) {
  const end = Math.max(...[...level.vertices.values()].map((vertex) => vertex.x + vertex.width / 2));
  let loops = 0;
  for (const edge of level.edges) {
    const from = level.vertices.get(edge.from);
    const to = level.vertices.get(edge.to);
    if (edge.back) {
      edge.side = end + LOOP_WIDTH * ++loops;
      edge.points = [
        [from.x + from.width / 2, from.y + NODE_HEIGHT / 2],
        [to.x + to.width / 2, to.y + NODE_HEIGHT / 2],
      ];
    } else {
      const stops = edge.stops.flatMap((stop) => [[stop.x, stop.y], [stop.x, stop.foot]]);
      edge.points = [[from.x, from.y + from.height], ...stops, [to.x, to.y]];
    }
  }
}

// Moves a level so that it begins at 0, 0, and says how large it is.
function fitted(level, rows) {
  const items = rows.flat();
  const left = Math.min(...items.map((item) => item.x - item.width / 2));
  for (const item of items) item.x -= left;
  for (const edge of level.edges) {
    edge.points = edge.points.map(([x, y]) => [x - left, y]);
    if (edge.back) edge.side -= left;
  }
  const loops = level.edges.filter((edge) => edge.back).map((edge) => edge.side);
  level.width = Math.max(...items.map((item) => item.x + item.width / 2), ...loops);
  level.height = Math.max(...items.map((item) => item.y + item.height));
  return level;
}
