// Places in a definition: "nodes/each/body/nodes/pay" is a node, "nodes/each/body" the graph it is in, "" the outermost.

export function steps(path) {
  return path === "" ? [] : path.split("/");
}

// The value at a list of keys; undefined where there is none.
export function at(value, keys) {
  return keys.reduce((here, key) => (here === null || here === undefined ? undefined : here[key]), value);
}

// Puts a value at a list of keys, making what is on the way; undefined takes the key away.
export function put(value, keys, given) {
  let here = value;
  keys.slice(0, -1).forEach((key, index) => {
    if (here[key] === null || typeof here[key] !== "object") here[key] = typeof keys[index + 1] === "number" ? [] : {};
    here = here[key];
  });
  const last = keys.at(-1);
  if (given !== undefined) here[last] = given;
  else if (Array.isArray(here)) here.splice(last, 1);
  else delete here[last];
}

export function graphOf(path) {
  const parts = steps(path);
  return parts.slice(0, parts.lastIndexOf("nodes")).join("/");
}

export function nameOf(path) {
  return steps(path).at(-1);
}

export function nodeIn(graph, name) {
  return graph === "" ? `nodes/${name}` : `${graph}/nodes/${name}`;
}

// The path of the innermost node that a JSON pointer leads into; empty where it leads into none.
export function nodeAt(pointer) {
  const parts = pointer
    .split("/")
    .slice(1)
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
  let found = "";
  for (let here = 0; here < parts.length - 1; here++) {
    const above = parts.slice(0, here);
    const whole = above.every(
      (part, index) => ["body", "arms", "nodes"].includes(part) || above[index - 1] === "nodes" || /^\d+$/.test(part),
    );
    if (parts[here] === "nodes" && whole && above.at(-1) !== "nodes") found = parts.slice(0, here + 2).join("/");
  }
  return found;
}

// The path of the node of a simulated step: "4.fork/left/1.read" is `read` in the arm `left` of `fork`.
export function nodeOfStep(definition, step) {
  let path = "";
  for (const [, arm, name] of step.matchAll(/(?:^|\/)(?:([A-Za-z][\w-]*)\/)?\d+\.([A-Za-z][\w-]*)/g)) {
    const node = path && at(definition, steps(path));
    const index = node?.arms?.findIndex((one) => one.name === arm) ?? -1;
    const graph = !path ? "" : index >= 0 ? `${path}/arms/${index}/body` : `${path}/body`;
    path = nodeIn(graph, name);
    if (!at(definition, steps(path))) return "";
  }
  return path;
}
