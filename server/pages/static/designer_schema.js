// The editor of a JSON Schema of an object: its properties as rows, nested ones inside, and the whole as JSON.

import { button, make } from "./designer_elements.js";
import { jsonOf, selectOf } from "./designer_form.js";

const TYPES = ["string", "number", "integer", "boolean", "object", "array"];
const OTHER = "other";
const DEEPEST = 4;

export function schemaEditor(host, keys, label) {
  const schema = host.get(keys);
  const raw = make("details", make("summary", "JSON Schema"), jsonOf(host, keys, `${label} as JSON Schema`));
  const drop =
    host.optional?.(keys) && schema !== undefined
      ? button(`Remove ${label}`, () => host.put(keys, undefined, {}), { class: "small", disabled: host.readOnly })
      : null;
  return make("div", { class: "field list schema" }, make("h4", label), rows(host, keys, label, 0), raw, drop);
}

function rows(host, keys, label, depth) {
  const schema = host.get(keys) ?? {};
  const properties = schema.properties ?? {};
  const required = schema.required ?? [];
  const put = (given, needed = required) => {
    const next = { ...schema, type: "object", properties: given };
    if (needed.length) next.required = needed;
    else delete next.required;
    host.put(keys, next, {});
  };
  const entries = Object.keys(properties).map((name) => {
    const rename = (event) => {
      const wanted = event.target.value.trim();
      if (!wanted || wanted in properties) return void (event.target.value = name);
      const next = Object.fromEntries(
        Object.entries(properties).map(([key, one]) => [key === name ? wanted : key, one]),
      );
      put(
        next,
        required.map((key) => (key === name ? wanted : key)),
      );
    };
    const remove = () =>
      put(
        Object.fromEntries(Object.entries(properties).filter(([key]) => key !== name)),
        required.filter((key) => key !== name),
      );
    const need = (event) =>
      put(properties, event.target.checked ? [...required, name] : required.filter((key) => key !== name));
    return row(host, keys, { name, depth, rename, remove, need, needed: required.includes(name) });
  });
  const free = () => {
    let number = Object.keys(properties).length + 1;
    while (`key_${number}` in properties) number++;
    return `key_${number}`;
  };
  const add = button("Add a key", () => put({ ...properties, [free()]: { type: "string" } }), {
    class: "small",
    "aria-label": `Add a key to ${label}`,
    disabled: host.readOnly,
  });
  return make("div", { class: "keys" }, entries, add);
}

function row(host, keys, { name, depth, rename, remove, need, needed }) {
  const place = [...keys, "properties", name];
  const schema = host.get(place) ?? {};
  const locked = host.readOnly ?? false;
  const type = TYPES.includes(schema.type) ? schema.type : OTHER;
  const field = place.join("/");
  const chosen = (next) => {
    if (next === OTHER) return;
    const kept = schema.description ? { description: schema.description } : {};
    const inside = next === "object" ? { properties: {} } : next === "array" ? { items: { type: "string" } } : {};
    host.put(place, { type: next, ...kept, ...inside }, {});
  };
  const kind = selectOf(type === OTHER ? [...TYPES, OTHER] : TYPES, type, chosen);
  kind.setAttribute("aria-label", `Type of ${name}`);
  kind.disabled = locked;
  kind.dataset.field = `${field}/type`;
  const about = (event) =>
    host.put([...place, "description"], event.target.value || undefined, {
      key: `${field}/description`,
      rebuild: false,
    });
  const parts = [
    make("input", {
      type: "text",
      value: name,
      change: rename,
      "aria-label": `Name of the key ${name}`,
      disabled: locked,
      "data-field": field,
    }),
    kind,
    make(
      "label",
      { class: "check" },
      make("input", {
        type: "checkbox",
        checked: needed,
        change: need,
        disabled: locked,
        "data-field": `${field}/required`,
      }),
      "required",
    ),
    button("−", remove, { class: "small", "aria-label": `Remove the key ${name}`, disabled: locked }),
  ];
  const said = make("input", {
    type: "text",
    class: "about",
    value: schema.description ?? "",
    placeholder: "what it means",
    input: about,
    "aria-label": `Meaning of ${name}`,
    disabled: locked,
    "data-field": `${field}/description`,
  });
  return make(
    "div",
    { class: "key" },
    make("div", { class: "clause" }, parts),
    said,
    inside(host, place, schema, name, depth),
  );
}

function inside(host, place, schema, name, depth) {
  if (schema.type === "object") {
    return depth < DEEPEST
      ? make("details", make("summary", `keys of ${name}`), rows(host, place, name, depth + 1))
      : jsonOf(host, place, name);
  }
  if (schema.type !== "array") return null;
  const items = schema.items ?? {};
  const type = TYPES.includes(items.type) ? items.type : OTHER;
  const chosen = (next) =>
    next !== OTHER &&
    host.put([...place, "items"], { type: next, ...(next === "object" ? { properties: {} } : {}) }, {});
  const kind = selectOf(type === OTHER ? [...TYPES, OTHER] : TYPES, type, chosen);
  kind.setAttribute("aria-label", `Type of the items of ${name}`);
  kind.disabled = host.readOnly ?? false;
  const nested =
    items.type === "object" && depth < DEEPEST
      ? make("details", make("summary", `keys of each of ${name}`), rows(host, [...place, "items"], name, depth + 1))
      : null;
  return make("div", { class: "items" }, make("span", { class: "quiet" }, "of "), kind, nested);
}
