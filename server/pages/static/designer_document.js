// The definition being edited: its text, its data, what the server says of it, what is selected, and what can be undone.
//
// The text is what is kept. A change of the data goes to the server, which writes it into the text and leaves the rest
// of the text as it is; a change of the text comes back as data. The newest change wins; older answers are dropped.

import { put, at, steps } from "./designer_paths.js";

const PAUSE_MS = 300;
const KEPT = 200;

export class ProcessText extends EventTarget {
  constructor(api, opened) {
    super();
    this.api = api;
    this.past = [];
    this.future = [];
    this.selected = "";
    this.way = null;
    this.number = 0;
    this.pending = null;
    this.open(opened);
  }

  // Takes what the server has: a draft with its revision, or what was published.
  open(opened) {
    this.revision = opened.revision;
    this.kept = opened.revision === null ? null : opened.text;
    this.take(opened);
    this.tell("opened");
  }

  take({ text, definition, findings, worst_case, drawing }) {
    this.text = text;
    this.inText = true;
    this.broken = definition === null;
    if (definition !== null && typeof definition === "object") this.definition = definition;
    this.definition ??= {};
    this.findings = findings;
    this.worst = worst_case;
    if (drawing !== null || definition !== null) this.drawing = drawing;
  }

  tell(kind) {
    this.dispatchEvent(new Event(kind));
  }

  get unsaved() {
    return this.kept !== this.text || !this.inText;
  }

  // Whether somebody would lose something by leaving: what was only opened is no draft, and nothing is lost.
  get changed() {
    return this.unsaved && this.past.length > 0;
  }

  get errors() {
    return this.findings.filter((one) => one.severity === "error").length;
  }

  // Changes the data. `key` names the field that is typed into: what is typed there in a row is undone together.
  // `rebuild` says that forms have to show it anew.
  change(edit, { key = null, rebuild = true } = {}) {
    const next = structuredClone(this.definition);
    const given = edit(next);
    if (given === false) return false;
    if (key === null || key !== this.typed) this.remember();
    this.typed = key;
    this.definition = next;
    if (!this.has(this.selected)) this.selected = "";
    this.inText = false;
    this.tell("changed");
    if (rebuild) this.tell("rebuilt");
    this.check({ definition: next }, key === null ? 0 : PAUSE_MS);
    return given;
  }

  put(keys, value, options) {
    this.change((definition) => void put(definition, keys, value), options);
  }

  // Takes other data as a whole.
  replace(definition) {
    this.change((next) => {
      for (const key of Object.keys(next)) delete next[key];
      Object.assign(next, definition);
    });
  }

  // Takes a text as somebody typed it.
  type(text) {
    if (this.typed !== "text") this.remember();
    this.typed = "text";
    this.text = text;
    this.tell("changed");
    this.check({}, PAUSE_MS);
  }

  remember() {
    this.past = [...this.past.slice(-KEPT), this.snapshot()];
    this.future = [];
  }

  snapshot() {
    return { definition: this.definition, text: this.inText ? this.text : null, selected: this.selected };
  }

  undo() {
    this.travel(this.past, this.future);
  }

  redo() {
    this.travel(this.future, this.past);
  }

  travel(from, to) {
    const found = from.pop();
    if (!found) return;
    to.push(this.snapshot());
    this.typed = null;
    this.definition = found.definition;
    if (found.text !== null) this.text = found.text;
    this.inText = found.text !== null;
    this.selected = this.has(found.selected) ? found.selected : "";
    this.tell("changed");
    this.tell("rebuilt");
    this.check(found.text === null ? { definition: found.definition } : {}, 0);
  }

  has(path) {
    return path === "" || at(this.definition, steps(path)) !== undefined;
  }

  select(path, way = null) {
    if (!this.has(path)) return;
    this.selected = path;
    this.way = way;
    this.typed = null;
    this.tell("selected");
  }

  // Asks the server about the newest change, after a pause in typing; what comes first is forgotten.
  check(given, pause) {
    clearTimeout(this.timer);
    const number = ++this.number;
    this.pending = new Promise((done) => {
      this.timer = setTimeout(() => this.ask(number, given).then(done), pause);
    });
  }

  async ask(number, given) {
    try {
      const seen = await this.api.check({ text: this.text, ...given });
      if (number !== this.number) return;
      const typed = given.definition === undefined;
      // What was typed here meanwhile stays: the answer to that is on its way.
      this.take(typed ? seen : { ...seen, definition: this.definition });
      this.selected = this.has(this.selected) ? this.selected : "";
      this.tell("checked");
      if (typed) this.tell("rebuilt");
    } catch (problem) {
      if (number === this.number) this.dispatchEvent(new CustomEvent("problem", { detail: problem.message }));
    }
  }

  // Waits until the text says everything; false where it does not.
  async settled() {
    let waited = null;
    while (waited !== this.pending) {
      waited = this.pending;
      // A newer change ends the wait for an older one.
      await Promise.race([waited, new Promise((done) => this.addEventListener("changed", done, { once: true }))]);
    }
    return this.inText;
  }
}
