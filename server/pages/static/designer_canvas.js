// The drawing as something to work on: nodes to select, move and connect, by mouse and by keyboard.

import { button, counted, draw, make, say } from "./designer_elements.js";
import { connect, disconnect, moveNode, removeNode } from "./designer_edits.js";
import { graphOf, nameOf, nodeAt } from "./designer_paths.js";

const MARGIN = 28;
const BOX_TOP = 24;
const CLICK = 4;
const LETTERS = 30;
const ZOOMS = [0.4, 0.5, 0.65, 0.8, 1, 1.25, 1.6];
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const STEP = 10;

export class Canvas {
  constructor(place, text, { mayEdit }) {
    this.text = text;
    this.mayEdit = mayEdit;
    this.zoom = ZOOMS.indexOf(1);
    this.marks = new Map();
    this.from = null;
    this.scroller = make("div", { class: "scroller" });
    this.size = make("span", { class: "quiet" });
    const zooms = [
      button("−", () => this.zoomBy(-1), { "aria-label": "Smaller" }),
      this.size,
      button("+", () => this.zoomBy(1), { "aria-label": "Larger" }),
    ];
    place.replaceChildren(this.scroller, make("div", { class: "zoom" }, zooms));
    text.addEventListener("checked", () => this.show());
    text.addEventListener("opened", () => this.show());
    text.addEventListener("selected", () => this.markSelected());
    text.addEventListener("changed", () => place.setAttribute("aria-busy", "true"));
    for (const kind of ["checked", "problem"]) text.addEventListener(kind, () => place.removeAttribute("aria-busy"));
    this.show();
  }

  zoomBy(step) {
    this.zoom = Math.min(ZOOMS.length - 1, Math.max(0, this.zoom + step));
    this.show();
  }

  // Marks nodes by path with a state of a simulation: "now", "seen" or "missing".
  mark(marks) {
    this.marks = marks;
    for (const group of this.scroller.querySelectorAll(".node")) {
      const state = marks.get(group.dataset.path);
      if (state) group.dataset.state = state;
      else delete group.dataset.state;
    }
  }

  show() {
    // What is held by a pointer is not drawn anew under it.
    if (this.held) return;
    const drawing = this.text.drawing;
    this.size.textContent = `${Math.round(ZOOMS[this.zoom] * 100)} %`;
    if (!drawing) {
      this.scroller.replaceChildren(make("p", { class: "quiet" }, "There is nothing to draw yet. Add a node."));
      return;
    }
    const focused = document.activeElement?.closest?.(".node, .way")?.dataset.key;
    this.drawn = new Map();
    this.worst = this.worstOf(this.text.findings);
    const [width, height] = [drawing.width + 2 * MARGIN, drawing.height + 2 * MARGIN];
    const scale = ZOOMS[this.zoom];
    const size = { viewBox: `0 0 ${width} ${height}`, width: width * scale, height: height * scale };
    this.svg = draw(
      "svg",
      size,
      { role: "group", "aria-label": "Nodes and ways" },
      head(),
      this.graph(drawing, MARGIN, MARGIN),
    );
    this.scroller.replaceChildren(this.svg);
    this.markSelected();
    this.mark(this.marks);
    if (focused) this.scroller.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  // The worst finding and the number of findings of each node, by its path.
  worstOf(findings) {
    const found = new Map();
    for (const one of findings) {
      const path = nodeAt(one.path);
      const before = found.get(path) ?? { error: 0, warning: 0 };
      found.set(path, { ...before, [one.severity]: before[one.severity] + 1 });
    }
    return found;
  }

  graph(drawing, x, y) {
    for (const node of drawing.nodes) this.drawn.set(node.path, { node, all: drawing.nodes });
    const lines = drawing.lines.map((line) => this.line(line));
    const nodes = drawing.nodes.map((node) => this.node(node, node.path === drawing.start));
    return draw("g", { transform: `translate(${x} ${y})` }, lines, nodes);
  }

  node(node, starts) {
    const found = this.worst.get(node.path);
    const said = found
      ? [found.error && counted(found.error, "error"), found.warning && counted(found.warning, "warning")]
      : [];
    const label = [node.title || node.name, node.type, starts && "start", ...said].filter(Boolean).join(", ");
    const middle = node.width / 2;
    const group = draw(
      "g",
      { class: "node", transform: `translate(${node.x} ${node.y})`, tabindex: 0, role: "button", "aria-label": label },
      { "data-path": node.path, "data-key": node.path, "data-type": node.type, "aria-pressed": "false" },
      draw("title", label),
      outline(node),
      draw("text", { x: middle, y: 19, "text-anchor": "middle" }, short(node.title || node.name)),
      draw(
        "text",
        { x: middle, y: 34, "text-anchor": "middle", class: "quiet" },
        short(node.title ? `${node.name} · ${node.type}` : node.type),
      ),
      starts && draw("path", { class: "start", d: "M-14 17 l8 5 l-8 5 z" }),
      found && sign(node, found),
      node.boxes.map((box) => this.box(box)),
      this.mayEdit && node.type !== "end" && this.handle(node),
    );
    group.addEventListener("pointerdown", (event) => this.grab(event, node, group));
    group.addEventListener("keydown", (event) => this.key(event, node));
    return group;
  }

  box(box) {
    const frame = { class: "box", x: box.x, y: box.y, width: box.width, height: box.height, rx: 6 };
    const inside = this.graph(box.inside, box.x + (box.width - box.inside.width) / 2, box.y + BOX_TOP);
    return draw(
      "g",
      draw("rect", frame),
      draw("text", { class: "quiet", x: box.x + 8, y: box.y + 16 }, short(box.title)),
      inside,
    );
  }

  handle(node) {
    const spot = { class: "handle", cx: node.width / 2, cy: node.height, r: 6 };
    const made = draw("circle", spot, draw("title", "Drag to the node it leads to"));
    made.addEventListener("pointerdown", (event) => this.pull(event, node));
    return made;
  }

  line(line) {
    const way = { source: line.source, target: line.target, kind: line.kind };
    const key = `${line.kind} ${line.source} ${line.target}`;
    const points = line.points.map((point) => point.join(",")).join(" ");
    const said = line.labels.map((label, index) =>
      draw(
        "text",
        { class: "quiet halo", x: line.label[0], y: line.label[1] + 13 * index, "text-anchor": "middle" },
        short(label),
        draw("title", label),
      ),
    );
    const words = line.labels.length ? `: ${line.labels.join("; ")}` : "";
    const label = `${line.kind} from ${nameOf(line.source)} to ${nameOf(line.target)}${words}`;
    const shown = { class: line.kind === "way" ? "line" : "line dotted", points, "marker-end": "url(#head)" };
    const group = draw(
      "g",
      { class: "way", tabindex: 0, role: "button", "aria-label": label, "data-key": key },
      draw("polyline", { class: "grip", points }),
      draw("polyline", shown),
      said,
    );
    const choose = () => this.text.select(way.source, way);
    group.addEventListener("click", choose);
    group.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") choose();
      else if (this.mayEdit && (event.key === "Delete" || event.key === "Backspace")) this.cut(way);
      else return;
      event.preventDefault();
    });
    return group;
  }

  cut(way) {
    this.text.change((definition) => disconnect(definition, way));
    say(`The way from ${nameOf(way.source)} to ${nameOf(way.target)} is removed.`);
  }

  markSelected() {
    const { selected, way } = this.text;
    for (const group of this.scroller.querySelectorAll(".node")) {
      const chosen = group.dataset.path === selected;
      group.classList.toggle("selected", chosen);
      group.setAttribute("aria-pressed", String(chosen));
    }
    const key = way && `${way.kind} ${way.source} ${way.target}`;
    for (const group of this.scroller.querySelectorAll(".way"))
      group.classList.toggle("selected", group.dataset.key === key);
  }

  // Brings a node into view and gives it the focus.
  reveal(path) {
    const group = this.scroller.querySelector(`.node[data-path="${CSS.escape(path)}"]`);
    group?.scrollIntoView({ block: "nearest", inline: "nearest" });
    group?.focus({ preventScroll: true });
  }

  key(event, node) {
    if (event.target !== event.currentTarget) return;
    const { key } = event;
    if (key === "Enter" || key === " ") this.choose(node.path);
    else if (key === "Escape" && this.from) this.leave("No way was added.");
    else if (!this.mayEdit) return;
    else if (key === "Delete" || key === "Backspace") this.remove(node.path);
    else if (key === "c" && !event.ctrlKey && !event.metaKey && node.type !== "end") this.lead(node.path);
    else if (key in KEYS && event.altKey) this.nudge(node, KEYS[key]);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  choose(path) {
    if (!this.from) return this.text.select(path);
    const from = this.from;
    this.from = null;
    this.join(from, path);
  }

  lead(path) {
    this.from = path;
    say(`Where does ${nameOf(path)} lead? Go to a node and press Enter; Escape stops.`);
  }

  leave(said) {
    this.from = null;
    say(said);
  }

  join(from, to) {
    if (this.text.change((definition) => connect(definition, from, to))) {
      this.text.select(from, { source: from, target: to, kind: "way" });
      say(`${nameOf(from)} leads to ${nameOf(to)} now.`);
    } else {
      say(`${nameOf(from)} can't lead to ${nameOf(to)}: a way stays within one graph.`, true);
    }
  }

  remove(path) {
    const graph = graphOf(path);
    if (this.drawn.get(path)?.all.length === 1 && graph !== "")
      return say("A graph has at least one node; remove what it is in.", true);
    this.text.select("");
    this.text.change((definition) => removeNode(definition, path));
    say(`${nameOf(path)} is removed; Undo brings it back.`);
  }

  nudge(node, [x, y]) {
    const drawn = this.drawn.get(node.path).all;
    this.text.change((definition) => moveNode(definition, node.path, drawn, { x: x * STEP, y: y * STEP }), {
      key: `move ${node.path}`,
    });
  }

  grab(event, node, group) {
    if (event.button !== 0 || event.target.closest(".handle")) return;
    event.stopPropagation();
    const start = this.spot(event);
    let by = { x: 0, y: 0 };
    const move = (moved) => {
      const here = this.spot(moved);
      by = { x: here.x - start.x, y: here.y - start.y };
      if (this.mayEdit && Math.hypot(by.x, by.y) > CLICK)
        group.setAttribute("transform", `translate(${node.x + by.x} ${node.y + by.y})`);
    };
    this.follow(group, event, move, () => {
      if (!this.mayEdit || Math.hypot(by.x, by.y) <= CLICK) return this.choose(node.path);
      const drawn = this.drawn.get(node.path).all;
      this.text.select(node.path);
      this.text.change((definition) => moveNode(definition, node.path, drawn, by));
    });
  }

  pull(event, node) {
    if (event.button !== 0) return;
    event.stopPropagation();
    const start = this.spot(event);
    const rope = draw("line", { class: "rope", x1: start.x, y1: start.y, x2: start.x, y2: start.y });
    this.svg.append(rope);
    const move = (moved) => {
      const here = this.spot(moved);
      rope.setAttribute("x2", here.x);
      rope.setAttribute("y2", here.y);
    };
    this.follow(this.svg, event, move, (last) => {
      rope.remove();
      const under = document.elementFromPoint(last.clientX, last.clientY)?.closest(".node");
      if (under) this.join(node.path, under.dataset.path);
    });
  }

  // Follows the pointer until it is let go; a pointer that is taken away changes nothing.
  follow(element, event, move, done) {
    element.setPointerCapture?.(event.pointerId);
    this.held = true;
    const stop = (last) => {
      this.held = false;
      element.removeEventListener("pointermove", move);
      element.removeEventListener("pointerup", stop);
      element.removeEventListener("pointercancel", stop);
      if (last.type === "pointerup") done(last);
      this.show();
    };
    element.addEventListener("pointermove", move);
    element.addEventListener("pointerup", stop);
    element.addEventListener("pointercancel", stop);
  }

  spot(event) {
    return new DOMPoint(event.clientX, event.clientY).matrixTransform(this.svg.getScreenCTM().inverse());
  }
}

function head() {
  const arrow = draw("path", { class: "head", d: "M0 0 8 4 0 8z" });
  const marker = { id: "head", viewBox: "0 0 8 8", refX: 8, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" };
  return draw("defs", draw("marker", marker, arrow));
}

function outline({ type, width, height, boxes }) {
  if (type === "supervisor") {
    const middle = height / 2;
    const corners = [
      [12, 0],
      [width - 12, 0],
      [width, middle],
      [width - 12, height],
      [12, height],
      [0, middle],
    ];
    return draw("polygon", { class: "shape", points: corners.map((corner) => corner.join(",")).join(" ") });
  }
  const rx = (type === "end" || type === "wait") && !boxes.length ? height / 2 : 8;
  const rim = draw("rect", { class: "shape", width, height, rx });
  if (type !== "agent") return rim;
  return [rim, draw("rect", { class: "shape inner", x: 4, y: 4, width: width - 8, height: height - 8, rx: 5 })];
}

function sign({ width }, { error, warning }) {
  const kind = error ? "error" : "warning";
  return draw(
    "g",
    { class: `sign ${kind}`, transform: `translate(${width - 6} 2)` },
    draw("circle", { r: 9 }),
    draw("text", { y: 4, "text-anchor": "middle" }, error || warning),
  );
}

function short(text) {
  return text.length <= LETTERS + 4 ? text : `${text.slice(0, LETTERS + 3)}…`;
}
