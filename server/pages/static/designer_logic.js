// Expressions: a variable, a text, a number; guards as clauses that read like a sentence; JSON Logic for the rest.

import { button, labelledBy, make } from "./designer_elements.js";
import { jsonOf, selectOf } from "./designer_form.js";

const COMPARE = {
  "==": "is",
  "!=": "is not",
  "<": "is below",
  "<=": "is at most",
  ">": "is above",
  ">=": "is at least",
  in: "is one of",
};
const NEGATIVE = { "!": "does not hold", "!!": "holds" };
const SIGNS = [...Object.keys(COMPARE), ...Object.keys(NEGATIVE)];
const SPOKEN = { ...COMPARE, ...NEGATIVE };

// A guard as { join: "and" | "or", clauses: [{ path, sign, value }] }; null where it says more than that.
export function readGuard(rule) {
  const [join, parts] = only(rule, ["and", "or"]) ?? ["and", [rule]];
  if (!Array.isArray(parts)) return null;
  const clauses = parts.map(readClause);
  return clauses.includes(null) || !clauses.length ? null : { join, clauses };
}

function only(rule, names) {
  if (rule === null || typeof rule !== "object" || Array.isArray(rule)) return null;
  const [name, ...more] = Object.keys(rule);
  return more.length === 0 && names.includes(name) ? [name, rule[name]] : null;
}

function variable(rule) {
  const found = only(rule, ["var"]);
  return found && typeof found[1] === "string" ? found[1] : null;
}

// What a clause is about: a path, or how many there are of it, as `length(lines)`.
function operand(rule) {
  const counted = only(rule, ["length"]);
  if (!counted) return variable(rule);
  const path = variable(Array.isArray(counted[1]) && counted[1].length === 1 ? counted[1][0] : counted[1]);
  return path === null ? null : `length(${path})`;
}

function written(path) {
  const counted = /^length\((.*)\)$/.exec(path);
  return counted ? { length: [{ var: counted[1] }] } : { var: path };
}

function plain(value) {
  return value === null || typeof value !== "object" || (Array.isArray(value) && value.every(plain));
}

function readClause(rule) {
  const bare = variable(rule);
  if (bare !== null) return { path: bare, sign: "!!", bare: true };
  const found = only(rule, SIGNS);
  if (!found) return null;
  const [sign, given] = found;
  if (sign in NEGATIVE) {
    const path = operand(Array.isArray(given) ? given[0] : given);
    return path === null || (Array.isArray(given) && given.length !== 1) ? null : { path, sign };
  }
  if (!Array.isArray(given) || given.length !== 2) return null;
  const path = operand(given[0]);
  return path === null || !plain(given[1]) || (sign === "in") !== Array.isArray(given[1])
    ? null
    : { path, sign, value: given[1] };
}

export function writeGuard({ join, clauses }) {
  const rules = clauses.map(({ path, sign, value, bare }) => {
    const read = written(path);
    if (sign === "!!" && bare) return read;
    return sign in NEGATIVE ? { [sign]: [read] } : { [sign]: [read, value] };
  });
  return rules.length === 1 ? rules[0] : { [join]: rules };
}

// Every path of a JSON Schema, as `invoice.total`.
export function pathsOf(schema, above = "", depth = 0) {
  return Object.entries(schema?.properties ?? {}).flatMap(([name, one]) => {
    const path = above + name;
    return depth < 3 ? [path, ...pathsOf(one, `${path}.`, depth + 1)] : [path];
  });
}

export function typeAt(schema, path) {
  return path.split(".").reduce((here, name) => here?.properties?.[name], schema)?.type;
}

// What somebody typed, as the type of what it is compared with; without one, as JSON where it is JSON.
export function typed(text, type) {
  if (type === "string") return text;
  try {
    const value = JSON.parse(text);
    return plain(value) ? value : text;
  } catch {
    return text;
  }
}

function shown(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

// The editor of a guard at `keys`; `paths` are those of the context, `attempt` evaluates a rule on the server.
export function guardEditor(host, keys, { label, schema, attempt }) {
  const rule = host.get(keys);
  const box = make("div", { class: "guard", role: "group", "aria-label": label }, make("h4", label));
  const guard = rule === undefined || rule === null ? null : readGuard(rule);
  if (rule === undefined || rule === null) {
    const first = pathsOf(schema)[0] ?? "";
    const begin = button("Add a guard", () => host.put(keys, { "==": [{ var: first }, ""] }, {}), {
      disabled: host.readOnly,
    });
    box.append(make("p", { class: "quiet" }, "always, as nothing else is said"), begin);
    return box;
  }
  if (guard) box.append(...clausesOf(host, keys, guard, schema));
  else box.append(make("p", { class: "quiet" }, "This guard says more than clauses can; it is shown as JSON Logic."));
  const raw = make(
    "details",
    { open: !guard },
    make("summary", "JSON Logic"),
    jsonOf(host, keys, `${label} as JSON Logic`),
  );
  const drop = button("Remove the guard", () => host.put(keys, undefined, {}), {
    class: "small",
    disabled: host.readOnly,
  });
  box.append(raw, ...(attempt && !host.readOnly ? [trial(host, keys, schema, attempt)] : []), drop);
  return box;
}

function clausesOf(host, keys, guard, schema) {
  const put = (next, typing) =>
    host.put(keys, writeGuard(next), typing ? { key: `${keys.join("/")} ${typing}`, rebuild: false } : {});
  const listId = `paths-${keys.join("-")}`;
  const rows = guard.clauses.map((clause, index) => {
    const change = (given, typing) => {
      // What was typed into the other controls meanwhile is in the data, not in what this row was made from.
      const now = readGuard(host.get(keys)) ?? guard;
      put(
        { ...now, clauses: now.clauses.map((one, other) => (other === index ? { ...one, ...given } : one)) },
        typing && `${typing} ${index}`,
      );
    };
    const number = index + 1;
    const path = make("input", {
      type: "text",
      list: listId,
      value: clause.path,
      "aria-label": `Path of clause ${number}`,
      disabled: host.readOnly,
      "data-field": `${keys.join("/")}/path/${index}`,
      input: (event) => change({ path: event.target.value }, "path"),
    });
    const sign = selectOf(
      SIGNS.map((one) => SPOKEN[one]),
      SPOKEN[clause.sign],
      (said) =>
        change(
          signed(
            clause,
            SIGNS.find((one) => SPOKEN[one] === said),
          ),
        ),
    );
    sign.setAttribute("aria-label", `Comparison of clause ${number}`);
    sign.dataset.field = `${keys.join("/")}/sign/${index}`;
    sign.disabled = host.readOnly ?? false;
    const value =
      clause.sign in NEGATIVE
        ? null
        : make("input", {
            type: "text",
            value: shown(clause.value),
            "aria-label": `Value of clause ${number}`,
            disabled: host.readOnly,
            "data-field": `${keys.join("/")}/value/${index}`,
            input: (event) => {
              const type = typeAt(schema, (readGuard(host.get(keys)) ?? guard).clauses[index].path);
              const text = event.target.value;
              change({ value: clause.sign === "in" ? listed(text) : typed(text, type) }, "value");
            },
          });
    const drop =
      guard.clauses.length > 1
        ? button("−", () => put({ ...guard, clauses: guard.clauses.filter((_, other) => other !== index) }), {
            class: "small",
            "aria-label": `Remove clause ${number}`,
            disabled: host.readOnly,
          })
        : null;
    return make("div", { class: "clause" }, path, sign, value, drop);
  });
  const join = selectOf(
    ["all of these", "any of these"],
    guard.join === "and" ? "all of these" : "any of these",
    (said) => put({ ...guard, join: said === "all of these" ? "and" : "or" }),
  );
  join.setAttribute("aria-label", "All or any of the clauses");
  join.disabled = host.readOnly ?? false;
  const more = button(
    "Add a clause",
    () => put({ ...guard, clauses: [...guard.clauses, { path: guard.clauses[0].path, sign: "==", value: "" }] }),
    { class: "small", disabled: host.readOnly },
  );
  const list = make(
    "datalist",
    { id: listId },
    pathsOf(schema).map((one) => make("option", { value: one })),
  );
  return [...(guard.clauses.length > 1 ? [join] : []), ...rows, more, list];
}

function signed(clause, sign) {
  const value = clause.value ?? "";
  if (sign === "in") return { sign, value: Array.isArray(value) ? value : [value] };
  return { sign, value: Array.isArray(value) ? (value[0] ?? "") : value, bare: false };
}

function listed(text) {
  const value = typed(text);
  return Array.isArray(value) ? value : text.split(",").map((one) => typed(one.trim()));
}

// A field to try a guard over a context; the server evaluates it as a run would.
function trial(host, keys, schema, attempt) {
  const data = make("textarea", {
    class: "code",
    rows: 3,
    spellcheck: "false",
    value: JSON.stringify(sample(schema), null, 1),
  });
  const said = make("output", { "aria-live": "polite" });
  const run = async () => {
    try {
      said.replaceChildren(told(await attempt(host.get(keys), JSON.parse(data.value))));
    } catch (problem) {
      said.textContent = problem.message;
    }
  };
  return make(
    "details",
    make("summary", "Try it"),
    labelledBy("with this context", data),
    button("Evaluate", run),
    said,
  );
}

function told(result) {
  const head = result.error
    ? `fails: ${result.error.message ?? result.error.type}`
    : `gives ${JSON.stringify(result.value)}`;
  const lines = (clauses) =>
    clauses.map((one) =>
      make(
        "li",
        `${JSON.stringify(one.clause)} → ${JSON.stringify(one.value ?? one.error)}`,
        one.clauses?.length ? make("ul", lines(one.clauses)) : null,
      ),
    );
  return make("div", make("strong", head), make("ul", lines(result.clauses)));
}

export function sample(schema, depth = 0) {
  if (schema?.enum) return schema.enum[0];
  if (schema?.type === "number" || schema?.type === "integer") return 0;
  if (schema?.type === "boolean") return false;
  if (schema?.type === "array") return [];
  if (schema?.type === "string") return "";
  const parts = depth < 4 ? Object.entries(schema?.properties ?? {}) : [];
  return Object.fromEntries(parts.map(([name, one]) => [name, sample(one, depth + 1)]));
}

const KINDS = ["variable", "text", "number", "JSON Logic"];

function kindOf(value) {
  if (variable(value) !== null) return "variable";
  if (typeof value === "string") return "text";
  return typeof value === "number" ? "number" : "JSON Logic";
}

// The editor of any expression: what it is, and its value.
export function expressionEditor(host, keys, { label, schema }) {
  const value = host.get(keys);
  const kind = value === undefined || value === null ? "" : kindOf(value);
  const first = { variable: { var: pathsOf(schema)[0] ?? "" }, text: "", number: 0, "JSON Logic": { cat: [] } };
  const choose = selectOf(
    KINDS,
    kind || undefined,
    (next) => host.put(keys, next === undefined ? undefined : first[next], {}),
    true,
  );
  choose.setAttribute("aria-label", `Kind of ${label}`);
  choose.disabled = host.readOnly ?? false;
  choose.dataset.field = `${keys.join("/")}/kind`;
  const field = make("div", { class: "expression", role: "group", "aria-label": label }, choose);
  if (kind === "JSON Logic") field.append(jsonOf(host, keys, label));
  else if (kind) {
    const listId = `expression-${keys.join("-")}`;
    const put = (text) => (kind === "variable" ? { var: text } : kind === "number" ? Number(text) : text);
    const text = kind === "variable" ? variable(value) : String(value);
    const input = (event) => host.put(keys, put(event.target.value), { key: keys.join("/"), rebuild: false });
    const control = make("input", {
      type: kind === "number" ? "number" : "text",
      step: "any",
      value: text,
      input,
      list: kind === "variable" ? listId : null,
      "aria-label": `Value of ${label}`,
      disabled: host.readOnly,
      "data-field": keys.join("/"),
    });
    field.append(
      control,
      make(
        "datalist",
        { id: listId },
        pathsOf(schema).map((one) => make("option", { value: one })),
      ),
    );
  }
  return make("div", { class: "field" }, label === "is" ? null : make("h4", label), field);
}
