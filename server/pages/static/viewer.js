// Keeps the parts of a run's page as the server renders them: asks for them anew when something happened, and replaces
// what has changed. What somebody is filling in is left alone until they show it themselves.
const parts = document.getElementById("parts");
const notice = document.getElementById("notice");
const QUIET_MS = 300;
const RETRY_MS = 3000;

// What the server said of each part, so that what a person did to it does not count as a change.
const said = new Map([...parts.children].map((part) => [part.id, part.outerHTML]));

function busy(part) {
  const fields = [...part.querySelectorAll("input, textarea, select")];
  const changed = (field) =>
    field.type === "checkbox" ? field.checked !== field.defaultChecked
    : field.options ? [...field.options].some((option, at) => option.selected !== (option.defaultSelected || at === first(field)))
    : field.value !== field.defaultValue;
  return fields.some((field) => field.type !== "hidden" && changed(field)) || fields.includes(document.activeElement);
}

// The option that stands there when none is chosen.
function first(field) {
  return [...field.options].some((option) => option.defaultSelected) ? -1 : 0;
}

// A part is replaced whole; what was unfolded, scrolled and focused in it is so again.
function replace(old, fresh) {
  const folds = [...old.querySelectorAll("details[id]")].map(({ id, open }) => [id, open]);
  const canvas = old.querySelector("#canvas");
  const place = canvas && [canvas.scrollLeft, canvas.scrollTop];
  const focused = old.contains(document.activeElement) ? anchorOf(document.activeElement) : null;
  old.replaceWith(fresh);
  for (const [id, open] of folds) {
    const fold = fresh.querySelector(`#${CSS.escape(id)}`);
    if (fold) fold.open = open;
  }
  if (place) fresh.querySelector("#canvas")?.scrollTo(...place);
  if (focused) fresh.querySelector(focused)?.focus({ preventScroll: true });
}

function anchorOf(element) {
  const node = element.closest("[data-node]");
  if (node) return `[data-node="${CSS.escape(node.dataset.node)}"] > a`;
  if (element.id) return `#${CSS.escape(element.id)}`;
  const held = element.closest("[id]");
  const link = element.getAttribute("href");
  if (link) return `#${CSS.escape(held.id)} a[href="${CSS.escape(link)}"]`;
  return held ? `#${CSS.escape(held.id)} > ${element.localName}` : null;
}

function take(text) {
  const fresh = new DOMParser().parseFromString(`<div id="parts">${text}</div>`, "text/html").getElementById("parts");
  const coming = [...fresh.children];
  for (const part of [...parts.children]) {
    if (!coming.some((other) => other.id === part.id)) {
      said.delete(part.id);
      part.remove();
    }
  }
  coming.forEach((part, at) => {
    const html = part.outerHTML;
    const old = parts.querySelector(`:scope > #${CSS.escape(part.id)}`);
    if (old && said.get(part.id) === html) return;
    if (old && busy(old)) return offer(old, part, html);
    said.set(part.id, html);
    const made = document.adoptNode(part);
    if (old) replace(old, made);
    else parts.insertBefore(made, parts.children[at] ?? null);
  });
}

// Says that a part has changed under somebody's hands, and shows it when they ask.
function offer(old, part, html) {
  old.querySelector(":scope > .changed")?.remove();
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Show";
  const line = document.createElement("p");
  line.className = "changed";
  line.setAttribute("role", "status");
  line.append("This has changed meanwhile. ", button);
  button.addEventListener("click", () => {
    said.set(part.id, html);
    replace(old, document.adoptNode(part));
  });
  old.prepend(line);
}

let waiting = 0;
let asking = false;
let again = false;

async function refresh() {
  if (asking) {
    again = true;
    return;
  }
  asking = true;
  try {
    const answer = await fetch(parts.dataset.from, { headers: { accept: "text/html" } });
    if (!answer.ok) throw new Error(`${answer.status}`);
    take(await answer.text());
    notice.textContent = "";
  } catch {
    notice.textContent = "The server does not answer; this page shows what was.";
    setTimeout(soon, RETRY_MS);
  } finally {
    asking = false;
  }
  if (again) {
    again = false;
    soon();
  }
}

function soon() {
  clearTimeout(waiting);
  waiting = setTimeout(refresh, QUIET_MS);
}

// A link to a record unfolds it and everything around it.
function unfold() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  const own = target.querySelector(":scope > details");
  if (own) own.open = true;
  target.scrollIntoView({ block: "nearest" });
  target.querySelector("summary")?.focus({ preventScroll: true });
}

addEventListener("hashchange", unfold);
document.addEventListener("click", (event) => {
  // A second visit to the same place is no change of the address.
  const link = event.target.closest?.("a[href^='#']");
  if (link && (link.getAttribute("href") === location.hash)) unfold();
});
if (location.hash) unfold();

if (parts.dataset.from) document.addEventListener("upstairs:run", soon);
