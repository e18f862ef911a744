// Elements made of data: every text enters as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

function make(name, ...parts) {
  return filled(document.createElement(name), parts);
}

function draw(name, ...parts) {
  return filled(document.createElementNS(SVG, name), parts);
}

// Strings and elements are children, plain objects attributes; null and undefined are nothing.
function filled(element, parts) {
  for (const part of parts.flat()) {
    if (part === null || part === undefined) continue;
    if (part instanceof Node || typeof part !== "object") element.append(part instanceof Node ? part : String(part));
    else for (const [key, value] of Object.entries(part)) set(element, key, value);
  }
  return element;
}

function set(element, key, value) {
  if (value === false || value === null || value === undefined) return;
  if (typeof value === "function") element.addEventListener(key, value);
  else element.setAttribute(key, value === true ? "" : String(value));
}

function show(...parts) {
  const page = document.getElementById("page");
  page.replaceChildren(...parts);
  page.removeAttribute("aria-busy");
}

function badge(word) {
  return make("span", word, { class: `badge ${/^[a-z]+$/.test(word) ? word : ""}` });
}

function pretty(value) {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}

// A line that says what went wrong, empty and hidden until there is something to say.
function noticeLine() {
  const line = make("p", { class: "notice", role: "alert", hidden: true });
  line.say = (text) => {
    line.textContent = text;
    line.hidden = text === "";
  };
  return line;
}
