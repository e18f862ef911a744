// Forms made from JSON Schema: every field of every type, with the control that fits it.
//
// A form has a `host`: get(keys) and put(keys, value, options) over the data, `defs` for references, `choices` that give
// the names a field may have, and `special` controls for some fields.

import { button, labelledBy, make, words } from "./designer_elements.js";

const LONG = 300;
const SHORT = 60;
const LINE = 36;
const HINTS = {
  timeout: "ISO 8601, as PT5M or P2D",
  deadline: "ISO 8601, as P2D",
  remind_every: "ISO 8601, as P1D",
  after: "ISO 8601, as P1D",
  for: "ISO 8601, as PT1H",
  elapsed: "ISO 8601, as PT5H",
  initial_interval: "ISO 8601, as PT1S",
  reads: "one key per line; empty: the whole context",
  writes: "keys of the context, one per line",
  decisions: "one per line",
  skills: "one per line",
  tools: "one per line",
  instructions: "Handlebars: {{key}} is a value of the context",
  outcome: "a name",
  match: "kinds of error, one per line; empty: every one",
};

// The schema behind references, and whether null is among its variants.
export function resolved(schema, defs) {
  let found = schema;
  while (found.$ref)
    found = {
      ...defs[found.$ref.split("/").at(-1)],
      ...(found.default === undefined ? {} : { default: found.default }),
    };
  const variants = (found.anyOf ?? []).filter((one) => one.type !== "null");
  return variants.length === 1
    ? { ...resolved(variants[0], defs), default: found.default }
    : { ...found, anyOf: variants.length ? variants : undefined };
}

// The fields of an object at `keys`, apart from those in `without`.
export function fieldsOf(host, schema, keys, without = []) {
  return Object.entries(schema.properties ?? {})
    .filter(([name, one]) => !without.includes(name) && one.const === undefined)
    .map(([name, one]) =>
      fieldOf(host, one, [...keys, name], { name, required: (schema.required ?? []).includes(name) }),
    );
}

export function fieldOf(host, given, keys, { name, required = false, label = words(name) }) {
  const schema = resolved(given, host.defs);
  const how = { name, required, label: schema.title && !host.defs ? schema.title : label, schema };
  const special = host.special?.(schema, keys, how);
  if (special !== undefined) return special;
  if (schema.anyOf) return variantsOf(host, schema, keys, how);
  if (schema.type === "object" && schema.properties) return groupOf(host, schema, keys, how);
  if (schema.type === "object") return mapOf(host, schema, keys, how);
  if (schema.type === "array") return listOf(host, schema, keys, how);
  return simpleOf(host, schema, keys, how);
}

function mark(control, keys, host) {
  control.dataset.field = keys.join("/");
  control.disabled = host.readOnly ?? false;
  return control;
}

function simpleOf(host, schema, keys, { name, required, label }) {
  const value = host.get(keys);
  const key = keys.join("/");
  const put = (given) => host.put(keys, given, { key, rebuild: false });
  const choices = host.choices?.(name, keys);
  const hint = schema.description ?? HINTS[name];
  if (schema.type === undefined && !schema.enum) return jsonOf(host, keys, label, hint);
  if (schema.enum || choices?.closed) {
    const known = schema.enum ?? choices.names;
    const control = selectOf(
      known,
      value ?? schema.default,
      (given) => host.put(keys, given, {}),
      !required && (schema.default ?? null) === null,
    );
    return labelledBy(label, mark(control, keys, host), hint);
  }
  if (schema.type === "boolean") {
    const input = (event) => put(event.target.checked === (schema.default ?? null) ? undefined : event.target.checked);
    const control = make("input", { type: "checkbox", checked: value ?? schema.default ?? false, input });
    return labelledBy(label, mark(control, keys, host), hint);
  }
  if (schema.type === "integer" || schema.type === "number") {
    const bounds = { min: schema.minimum, max: schema.maximum, step: schema.type === "integer" ? 1 : "any" };
    const input = (event) => put(event.target.value === "" ? undefined : event.target.valueAsNumber);
    const shown = { placeholder: schema.default ?? "", value: value ?? "", input, required };
    return labelledBy(label, mark(make("input", { type: "number", ...bounds, ...shown }), keys, host), hint);
  }
  const input = (event) => put(event.target.value === "" && !required ? undefined : event.target.value);
  const text = typeof value === "string" ? value : value === undefined ? "" : JSON.stringify(value);
  if ((schema.maxLength ?? 0) > LONG) {
    const rows = Math.min(14, Math.max(2, text.split("\n").length + 1));
    return labelledBy(
      label,
      mark(make("textarea", { rows, value: text, input, spellcheck: name === "code" ? "false" : null }), keys, host),
      hint,
    );
  }
  const control = mark(
    make("input", { type: "text", value: text, input, required, placeholder: schema.default || null }),
    keys,
    host,
  );
  return withNames(labelledBy(label, control, hint), control, choices);
}

function withNames(field, control, choices) {
  if (!choices) return field;
  const id = `${control.id}-names`;
  control.setAttribute("list", id);
  field.append(
    make(
      "datalist",
      { id },
      choices.names.map((one) => make("option", { value: one })),
    ),
  );
  return field;
}

export function selectOf(known, value, change, empty = false) {
  const missing = value !== undefined && value !== null && !known.includes(value) ? [value] : [];
  const options = [...(empty ? [""] : []), ...known, ...missing].map((one) =>
    make(
      "option",
      { value: String(one), selected: one === (value ?? "") },
      String(one),
      missing.includes(one) ? " (not there)" : "",
    ),
  );
  const chosen = (event) => {
    const index = event.target.selectedIndex - (empty ? 1 : 0);
    change(index < 0 ? undefined : [...known, ...missing][index]);
  };
  const made = make("select", { change: chosen }, options);
  if (!empty && (value === undefined || value === null)) made.selectedIndex = -1;
  return made;
}

// A value as JSON; it is taken as soon as it can be read.
export function jsonOf(host, keys, label, hint = "JSON") {
  const value = host.get(keys);
  const line = value === undefined ? "" : JSON.stringify(value);
  const text = line.length <= SHORT ? line : JSON.stringify(value, null, 1);
  const rows = Math.min(12, text.split("\n").length + (line.length > LINE && line.length <= SHORT ? 1 : 0));
  const input = (event) => {
    const control = event.target;
    try {
      const given = control.value.trim() === "" ? undefined : JSON.parse(control.value);
      control.setCustomValidity("");
      host.put(keys, given, { key: keys.join("/"), rebuild: false });
    } catch (problem) {
      control.setCustomValidity(`This is not JSON: ${problem.message}`);
    }
    control.setAttribute("aria-invalid", String(!control.validity.valid));
    control.title = control.validationMessage;
  };
  const control = make("textarea", { rows, class: "code", spellcheck: "false", value: text, input });
  return labelledBy(label, mark(control, keys, host), hint);
}

function groupOf(host, schema, keys, { required, label }) {
  const value = host.get(keys);
  const summary = make("summary", label);
  if (value === undefined && !required) {
    const begin = button(`Set ${label}`, () => host.put(keys, skeleton(schema, host.defs), {}), {
      disabled: host.readOnly,
    });
    return make("div", { class: "field" }, begin);
  }
  const drop = required
    ? null
    : button("Remove", () => host.put(keys, undefined, {}), { class: "small", disabled: host.readOnly });
  return make("details", { class: "group", open: true }, summary, fieldsOf(host, schema, keys), drop);
}

// What an object of a schema begins as: its required fields, empty.
export function skeleton(given, defs) {
  const schema = resolved(given, defs);
  if (schema.anyOf) return skeleton(schema.anyOf[0], defs);
  if (schema.enum) return schema.enum[0];
  if (schema.type === "object") {
    const needed = (schema.required ?? []).map((name) => [name, skeleton(schema.properties[name], defs)]);
    return Object.fromEntries(needed);
  }
  if (schema.type === "array") return schema.minItems ? [skeleton(schema.items, defs)] : [];
  if (schema.type === "boolean") return schema.default ?? false;
  if (schema.type === "integer" || schema.type === "number") return schema.minimum ?? 1;
  return schema.type === "string" ? "" : null;
}

function listOf(host, schema, keys, { name, required, label }) {
  const items = host.get(keys);
  const inside = resolved(schema.items ?? {}, host.defs);
  if (inside.type === "string") return linesOf(host, keys, label, items, { required, name });
  const list = Array.isArray(items) ? items : [];
  const put = (given) => host.put(keys, given.length || required ? given : undefined, {});
  const entries = list.map((_, index) => {
    const move = (by) => () => {
      const next = [...list];
      [next[index], next[index + by]] = [next[index + by], next[index]];
      put(next);
    };
    const tools = [
      button("↑", move(-1), {
        class: "small",
        "aria-label": `Move ${label} ${index + 1} up`,
        disabled: index === 0 || host.readOnly,
      }),
      button("↓", move(1), {
        class: "small",
        "aria-label": `Move ${label} ${index + 1} down`,
        disabled: index === list.length - 1 || host.readOnly,
      }),
      button("Remove", () => put(list.filter((_, other) => other !== index)), {
        class: "small",
        "aria-label": `Remove ${label} ${index + 1}`,
        disabled: host.readOnly,
      }),
    ];
    const fields = inside.properties
      ? fieldsOf(host, inside, [...keys, index])
      : [fieldOf(host, inside, [...keys, index], { name: String(index + 1), required: true })];
    return make(
      "fieldset",
      { "data-field": [...keys, index].join("/") },
      make("legend", `${label} ${index + 1}`),
      fields,
      make("div", { class: "row" }, tools),
    );
  });
  const add = button(`Add ${label}`, () => put([...list, skeleton(inside, host.defs)]), { disabled: host.readOnly });
  return make("div", { class: "field list" }, make("h4", label), entries, add);
}

// Texts one per line.
function linesOf(host, keys, label, items, { required, name }) {
  const list = Array.isArray(items) ? items : [];
  const choices = host.choices?.(name, keys);
  const input = (event) => {
    const lines = event.target.value
      .split("\n")
      .map((line) => line.trim())
      .filter(Boolean);
    host.put(keys, lines.length || required ? lines : undefined, { key: keys.join("/"), rebuild: false });
  };
  const control = make("textarea", { rows: Math.min(8, list.length + 1), value: list.join("\n"), input });
  const field = labelledBy(label, mark(control, keys, host), HINTS[name] ?? "one per line");
  const others = choices?.names.filter((one) => !list.includes(one)) ?? [];
  if (!others.length || host.readOnly) return field;
  const add = selectOf(others, undefined, (one) => one && host.put(keys, [...list, one], {}), true);
  add.setAttribute("aria-label", `Add to ${label}`);
  field.append(add);
  return field;
}

// Names with values: one row each.
function mapOf(host, schema, keys, { required, label }) {
  const inside =
    schema.additionalProperties && schema.additionalProperties !== true
      ? schema.additionalProperties
      : (Object.values(schema.patternProperties ?? {})[0] ?? {});
  const value = host.get(keys) ?? {};
  const put = (given) => host.put(keys, Object.keys(given).length || required ? given : undefined, {});
  const rows = Object.keys(value).map((name) => {
    const rename = (event) => {
      const wanted = event.target.value.trim();
      if (wanted && !(wanted in value))
        put(Object.fromEntries(Object.entries(value).map(([key, one]) => [key === name ? wanted : key, one])));
      else event.target.value = name;
    };
    const own = make("input", {
      type: "text",
      value: name,
      change: rename,
      "aria-label": `Name in ${label}`,
      disabled: host.readOnly,
    });
    const drop = button(
      "Remove",
      () => put(Object.fromEntries(Object.entries(value).filter(([key]) => key !== name))),
      { class: "small", "aria-label": `Remove ${name}`, disabled: host.readOnly },
    );
    const field = fieldOf(host, inside, [...keys, name], { name, required: true, label: "is" });
    return make("fieldset", { class: "entry" }, make("legend", name), make("div", { class: "row" }, own, drop), field);
  });
  const free = () => {
    let number = Object.keys(value).length + 1;
    while (`name_${number}` in value) number++;
    return `name_${number}`;
  };
  const first = inside.$ref || inside.anyOf || inside.type ? () => skeleton(inside, host.defs) : () => "";
  const add = button(`Add to ${label}`, () => put({ ...value, [free()]: first() ?? "" }), { disabled: host.readOnly });
  return make("div", { class: "field list" }, make("h4", label), rows, add);
}

// One of several shapes: the one the value has, and a choice of the others.
function variantsOf(host, schema, keys, how) {
  const value = host.get(keys) ?? schema.default;
  const shapes = schema.anyOf.map((one) => resolved(one, host.defs));
  const kind = Array.isArray(value) ? "array" : typeof value;
  const found = Math.max(
    0,
    shapes.findIndex((one) => one.type === kind),
  );
  const names = shapes.map((one) => (one.type === "array" ? "several" : one.title ? words(one.title) : one.type));
  const choose = selectOf(names, names[found], (name) =>
    host.put(keys, skeleton(shapes[names.indexOf(name)], host.defs), {}),
  );
  choose.setAttribute("aria-label", `Kind of ${how.label}`);
  const shape = fieldOf(host, { ...shapes[found], default: schema.default }, keys, { ...how, required: true });
  return make("div", { class: "field" }, mark(choose, [...keys, "kind"], host), shape);
}
