// What can be done to a definition, as changes of plain data; each gets the definition and changes it in place.

import { at, graphOf, nameOf, nodeIn, steps } from "./designer_paths.js";

// What a node of each type begins as: what the type requires, empty; the verifier says what is missing.
const NEW = {
  interaction: { interaction: "", input: {}, writes: [] },
  agent: { instructions: "", skills: [], budget: { turns: 8 }, writes: [] },
  tool: { tool: "", input: {}, writes: [] },
  branch: { arms: [] },
  foreach: { items: { var: "" }, as: "item" },
  supervisor: {
    seat: { roles: [] },
    ask: { title: "" },
    decisions: ["approve", "reject"],
    deadline: "P2D",
    writes: [],
  },
  script: { code: "", input: {}, writes: [] },
  process: { process: "", input: {}, writes: [] },
  wait: { for: "PT1H" },
  end: { outcome: "done" },
};

export const TYPES = Object.keys(NEW);

const STEP_DOWN = 90;

function body() {
  return { start: "step", nodes: { step: { type: "wait", for: "PT1M" } } };
}

export function graphAt(definition, graph) {
  return at(definition, steps(graph));
}

function freeName(nodes, wanted) {
  if (!(wanted in nodes)) return wanted;
  let number = 2;
  while (`${wanted}_${number}` in nodes) number++;
  return `${wanted}_${number}`;
}

// Adds a node to a graph, below another one if that is given, and returns its path.
export function addNode(definition, graph, type, below = "") {
  const here = graph === "" ? definition : graphAt(definition, graph);
  here.nodes ??= {};
  const name = freeName(here.nodes, type === "end" ? "done" : type);
  const node = { type, ...structuredClone(NEW[type]) };
  if (type === "foreach") node.body = body();
  if (type === "branch") node.arms = [{ name: "first", body: body() }];
  const others = Object.values(here.nodes);
  const base = below ? at(definition, steps(below)) : null;
  if (others.length && others.every((one) => one.position)) {
    const lowest = Math.max(...others.map((one) => one.position.y));
    const { x, y } = base?.position ?? { x: others[0].position.x, y: lowest };
    node.position = { x, y: y + STEP_DOWN };
  }
  if (!here.start || !(here.start in here.nodes)) here.start = name;
  here.nodes[name] = node;
  return nodeIn(graph, name);
}

function eachWay(node, act) {
  for (const key of ["next", "on_error"]) {
    if (Array.isArray(node[key])) node[key] = node[key].filter((way) => act(way) !== false);
  }
  if (node.on_timeout && act(node.on_timeout) === false) delete node.on_timeout;
}

// Removes a node and every way that leads to it.
export function removeNode(definition, path) {
  const graph = graphAt(definition, graphOf(path));
  const name = nameOf(path);
  delete graph.nodes[name];
  for (const node of Object.values(graph.nodes)) {
    eachWay(node, (way) => way.to !== name);
    if (node.compensate === name) delete node.compensate;
  }
  if (graph.start === name) graph.start = Object.keys(graph.nodes)[0] ?? "";
}

// Renames a node in its place and everywhere its graph and the scenarios name it; returns its new path.
export function renameNode(definition, path, name) {
  const place = graphOf(path);
  const graph = graphAt(definition, place);
  const old = nameOf(path);
  if (name === old || name in graph.nodes) return path;
  graph.nodes = Object.fromEntries(Object.entries(graph.nodes).map(([key, node]) => [key === old ? name : key, node]));
  for (const node of Object.values(graph.nodes)) {
    eachWay(node, (way) => {
      if (way.to === old) way.to = name;
    });
    if (node.compensate === old) node.compensate = name;
  }
  if (graph.start === old) graph.start = name;
  for (const scenario of definition.scenarios ?? []) renameInScenario(scenario, old, name, place === "");
  return nodeIn(place, name);
}

function renameInScenario(scenario, old, name, outermost) {
  const renamed = (key) => (key === old ? name : key);
  if (scenario.fixtures && old in scenario.fixtures) {
    const entries = Object.entries(scenario.fixtures).map(([key, value]) => [renamed(key), value]);
    scenario.fixtures = Object.fromEntries(entries);
  }
  if (outermost && scenario.expect?.path) scenario.expect.path = scenario.expect.path.map(renamed);
  if (scenario.expect?.tasks) scenario.expect.tasks = scenario.expect.tasks.map(renamed);
}

// Leads a way from one node to another of the same graph; returns whether it can.
export function connect(definition, from, to) {
  if (graphOf(from) !== graphOf(to)) return false;
  const node = at(definition, steps(from));
  if (node.type === "end") return false;
  node.next = [...(node.next ?? []), { to: nameOf(to) }];
  return true;
}

// Removes the ways of a kind between two nodes.
export function disconnect(definition, { source, target, kind }) {
  const node = at(definition, steps(source));
  const name = nameOf(target);
  if (kind === "timeout") delete node.on_timeout;
  const key = kind === "error" ? "on_error" : "next";
  if (kind !== "timeout") node[key] = (node[key] ?? []).filter((way) => way.to !== name);
}

// Moves a node; the first move in a graph keeps all its nodes where they are drawn.
export function moveNode(definition, path, drawn, by) {
  const graph = graphAt(definition, graphOf(path));
  const placed = Object.values(graph.nodes).every((node) => node.position);
  if (!placed) {
    for (const one of drawn) {
      graph.nodes[one.name].position = { x: Math.round(one.x), y: Math.round(one.y) };
    }
  }
  const node = graph.nodes[nameOf(path)];
  const from = node.position ?? { x: 0, y: 0 };
  node.position = { x: Math.round(from.x + by.x), y: Math.round(from.y + by.y) };
}

// Gives the layout back to the server, in this graph and those inside it.
export function arrange(graph) {
  for (const node of Object.values(graph?.nodes ?? {})) {
    delete node.position;
    if (node.body) arrange(node.body);
    for (const arm of node.arms ?? []) arrange(arm.body);
  }
}
