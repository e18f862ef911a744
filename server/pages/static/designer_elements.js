// Elements made of data: every text enters as text, never as markup. No style is ever inline, as the page forbids it.

const SVG = "http://www.w3.org/2000/svg";

export function make(name, ...parts) {
  return filled(document.createElement(name), parts);
}

export function draw(name, ...parts) {
  return filled(document.createElementNS(SVG, name), parts);
}

// Strings, numbers and elements are children, plain objects attributes and listeners; null and false are nothing.
function filled(element, parts) {
  for (const part of parts.flat(Infinity)) {
    if (part === null || part === undefined || part === false) continue;
    if (part instanceof Node) element.append(part);
    else if (typeof part !== "object") element.append(String(part));
    else for (const [key, value] of Object.entries(part)) set(element, key, value);
  }
  return element;
}

function set(element, key, value) {
  if (value === false || value === null || value === undefined) return;
  if (typeof value === "function") element.addEventListener(key, value);
  else if (key === "value" || key === "checked" || key === "selected") element[key] = value;
  else element.setAttribute(key, value === true ? "" : String(value));
}

export function button(label, click, ...more) {
  return make("button", { type: "button", click }, label, ...more);
}

let labelled = 0;

// A control with its label, and what there is to know about it.
export function labelledBy(label, control, hint) {
  const id = `field-${++labelled}`;
  control.id = id;
  const about = hint ? make("small", { id: `${id}-hint` }, hint) : null;
  if (about) control.setAttribute("aria-describedby", about.id);
  return make("div", { class: "field" }, make("label", { for: id }, label), control, about);
}

export function words(name) {
  return name.replaceAll("_", " ");
}

export function counted(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

export function area(id) {
  return document.getElementById(id);
}

// Says something to everybody: `bad` is told at once, the rest when there is a pause.
export function say(text, bad = false) {
  const line = area("notice");
  line.className = bad ? "bad" : "";
  line.setAttribute("role", bad ? "alert" : "status");
  line.textContent = text;
}

// Opens the dialog with a title, content and buttons; each button gets a way to close it.
export function dialog(title, content, buttons) {
  const box = area("dialog");
  const close = () => box.close();
  box.setAttribute("aria-label", title);
  const row = buttons.map(([label, act]) => button(label, () => act(close)));
  box.replaceChildren(
    make("div", make("h2", title), content, make("p", { class: "row" }, row, button("Close", close))),
  );
  if (!box.open) box.showModal();
  return close;
}
