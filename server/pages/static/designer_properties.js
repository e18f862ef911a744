// The forms of a node, of the whole process and of its context, made from the schema of definitions.

import { renameNode } from "./designer_edits.js";
import { button, labelledBy, make } from "./designer_elements.js";
import { fieldOf, fieldsOf, jsonOf, selectOf } from "./designer_form.js";
import { expressionEditor, guardEditor } from "./designer_logic.js";
import { at, graphOf, nameOf, nodeAt, steps } from "./designer_paths.js";
import { schemaEditor } from "./designer_schema.js";

const FIRST = ["title"];
const WAYS = ["next", "on_error", "on_timeout"];
const MORE = ["about", "reads", "timeout", "retry", "compensate", "max_visits", "position"];
const EXPRESSIONS = ["items", "key", "until", "output"];
const MAPPED = ["input", "match", "returns"];
const REFERENCES = {
  interaction: "interaction",
  tool: "tool",
  process: "process",
  tools: "tool",
  exclude_tools: "tool",
  skills: "skill",
};

// A host of forms over the document; see designer_form.js.
export function hostOf(text, { schema, names, readOnly, attempt }) {
  const host = {
    defs: schema.$defs,
    readOnly,
    get: (keys) => at(text.definition, keys),
    put: (keys, value, options) => text.put(keys, value, options),
    choices: (name, keys) => choicesOf(text, names, name, keys),
    optional: (keys) => keys.at(-1) === "form",
  };
  host.special = (found, keys, how) => specialOf(host, text, attempt, found, keys, how);
  return host;
}

function graphKeys(keys) {
  const index = keys.lastIndexOf("nodes");
  return index < 0 ? [] : keys.slice(0, index);
}

function choicesOf(text, names, name, keys) {
  if (name === "to" || name === "compensate") {
    const here = at(text.definition, graphKeys(keys)) ?? {};
    return { closed: true, names: Object.keys(here.nodes ?? {}) };
  }
  if (name === "reads" || name === "writes")
    return { names: Object.keys(text.definition.context?.schema?.properties ?? {}) };
  if (name in REFERENCES && keys.includes("nodes")) return { names: names[REFERENCES[name]] ?? [] };
  return undefined;
}

function specialOf(host, text, attempt, schema, keys, { name, label }) {
  const context = contextOf(text, keys);
  if (schema.title === "Body") return make("p", { class: "quiet" }, `${label}: its nodes are in the drawing.`);
  if (name === "when") return guardEditor(host, keys, { label: "when", schema: context, attempt });
  if (EXPRESSIONS.includes(name) && schema.type === undefined && keys.includes("nodes"))
    return expressionEditor(host, keys, { label, schema: context });
  if (keys.includes("nodes") && MAPPED.includes(keys.at(-2)) && schema.type === undefined)
    return expressionEditor(host, keys, { label, schema: context });
  if (name === "form" || (name === "input" && keys.length === 1) || (name === "schema" && keys[0] === "context"))
    return schemaEditor(host, keys, label);
  if (name === "initial" && keys[0] === "context") return jsonOf(host, keys, "initial values", "JSON object");
  return undefined;
}

// The schema of what an expression at `keys` can read: the context, and the item inside a loop.
function contextOf(text, keys) {
  const schema = text.definition.context?.schema ?? {};
  const local = {};
  keys.forEach((key, index) => {
    const loop = key === "body" ? at(text.definition, keys.slice(0, index)) : null;
    if (loop?.as) local[loop.as] = {};
  });
  return { ...schema, properties: { ...schema.properties, ...local } };
}

function findingsOf(text, path) {
  const mine = text.findings.filter((one) => nodeAt(one.path) === path);
  return make(
    "ul",
    { class: "found" },
    mine.map((one) => make("li", { class: one.severity }, one.message)),
  );
}

// The form of what is selected.
export function propertiesOf(host, text, select) {
  if (text.selected === "") return processForm(host, text);
  const keys = steps(text.selected);
  const node = at(text.definition, keys);
  const model = modelOf(host.defs, node.type);
  const own = Object.keys(model.properties).filter(
    (name) => ![...FIRST, ...WAYS, ...MORE, "type", "writes"].includes(name),
  );
  const part = (names) =>
    fieldsOf(
      host,
      {
        ...model,
        properties: Object.fromEntries(
          names.filter((name) => name in model.properties).map((name) => [name, model.properties[name]]),
        ),
      },
      keys,
    );
  const ways = part(WAYS);
  markWay(ways, text);
  return make(
    "div",
    make("h3", `${node.title || nameOf(text.selected)}`),
    make(
      "p",
      { class: "row" },
      button("The whole process", () => select(""), { class: "small" }),
      startButton(host, text),
    ),
    findingsOf(text, text.selected),
    nameField(host, text),
    make("p", { class: "quiet" }, `${node.type}: ${(model.description ?? "").split("\n")[0].replaceAll("`", "")}`),
    part([...FIRST, ...own, "writes"]),
    node.type === "end" ? null : make("details", { open: true, class: "ways" }, make("summary", "Ways on"), ways),
    make("details", make("summary", "More"), part(MORE)),
  );
}

function modelOf(defs, type) {
  const found = Object.values(defs).find((one) => one.properties?.type?.const === type);
  return found ?? { properties: { title: { type: "string" } } };
}

function markWay(ways, text) {
  if (!text.way) return;
  const key = text.way.kind === "error" ? "on_error" : "next";
  const list = at(text.definition, [...steps(text.way.source), key]) ?? [];
  const index = list.findIndex((way) => way.to === nameOf(text.way.target));
  const wanted = `${text.way.source}/${key}/${index}`;
  for (const field of ways) field.querySelector(`[data-field="${CSS.escape(wanted)}"]`)?.classList.add("chosen");
}

function nameField(host, text) {
  const change = (event) => {
    const wanted = event.target.value.trim();
    if (!/^[A-Za-z][A-Za-z0-9_-]{0,63}$/.test(wanted)) {
      event.target.setCustomValidity("A letter, then up to 63 letters, digits, _ or -");
      return void event.target.reportValidity();
    }
    event.target.setCustomValidity("");
    const before = text.selected;
    let after = before;
    text.change((definition) => void (after = renameNode(definition, before, wanted)));
    if (after === before) event.target.value = nameOf(before);
    else text.select(after);
  };
  const control = make("input", {
    type: "text",
    value: nameOf(text.selected),
    change,
    disabled: host.readOnly,
    "data-field": "name",
  });
  return labelledBy("name", control, "its name in the definition; whatever leads here follows");
}

function startButton(host, text) {
  const graph = [...steps(graphOf(text.selected)), "start"];
  if (at(text.definition, graph) === nameOf(text.selected)) return make("span", { class: "badge" }, "start");
  return button("Start here", () => text.put(graph, nameOf(text.selected), {}), {
    class: "small",
    disabled: host.readOnly,
  });
}

function processForm(host, text) {
  const schema = { properties: { title: { type: "string" }, about: { type: "string", maxLength: 10000 } } };
  const more = Object.fromEntries(["defaults", "supervision"].map((name) => [name, PROCESS[name]]));
  const begin = selectOf(Object.keys(text.definition.nodes ?? {}), text.definition.start, (name) =>
    text.put(["start"], name, {}),
  );
  begin.disabled = host.readOnly ?? false;
  return make(
    "div",
    make("h3", "The process"),
    findingsOf(text, ""),
    make("p", { class: "quiet" }, "Select a node in the drawing to see its fields."),
    fieldsOf(host, schema, []),
    labelledBy("starts at", begin),
    fieldsOf(host, { properties: more }, []),
    make("p", { class: "quiet" }, inWords(text.worst)),
  );
}

const PROCESS = { defaults: { $ref: "#/$defs/Defaults" }, supervision: { $ref: "#/$defs/Supervision" } };

// The worst case as the verifier has it.
export function inWords(worst) {
  if (!worst) return "";
  const { model_calls: calls, usd, seconds, unbounded } = worst;
  const most = [
    calls === null ? "any number of model calls" : `${calls} model calls`,
    usd === null ? "any amount of money" : `${usd} USD`,
    seconds === null ? "any time" : `${Math.round(seconds)} s`,
  ];
  const blamed = unbounded.map((one) => ` ${one.path}: ${one.reason}.`);
  return `At worst ${most.join(", ")}.${blamed.join("")}`;
}

export function contextForm(host) {
  return make(
    "div",
    make("h3", "Input and context"),
    make(
      "p",
      { class: "quiet" },
      "A start brings the input; its values are laid over the context, which nodes read and write.",
    ),
    fieldOf(host, { type: "object", title: "Input" }, ["input"], { name: "input", label: "input" }),
    fieldOf(host, { type: "object" }, ["context", "schema"], { name: "schema", label: "context" }),
    fieldOf(host, { type: "object" }, ["context", "initial"], { name: "initial" }),
  );
}
