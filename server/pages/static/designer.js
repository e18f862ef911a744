// The designer of one process: the toolbar, the palette, the drawing, the panels beside it and the findings below.

import { apiOf } from "./designer_api.js";
import { Canvas } from "./designer_canvas.js";
import { ProcessText } from "./designer_document.js";
import { addNode, arrange, TYPES } from "./designer_edits.js";
import { area, button, counted, labelledBy, make, say } from "./designer_elements.js";
import { at, graphOf, nodeAt, steps } from "./designer_paths.js";
import { contextForm, hostOf, propertiesOf } from "./designer_properties.js";
import { Simulation } from "./designer_simulate.js";
import { TextPanel } from "./designer_text.js";
import { guardLeaving, Library } from "./designer_versions.js";

const PANELS = ["Properties", "Context", "Text", "Simulation", "Versions"];

class Designer {
  constructor(name, api, known, opened, library) {
    this.text = new ProcessText(api, opened);
    this.library = library;
    library.text = this.text;
    this.mayEdit = library.may.edit;
    this.host = hostOf(this.text, {
      ...known,
      readOnly: !this.mayEdit,
      attempt: (rule, data) => api.evaluate(rule, data),
    });
    this.canvas = new Canvas(area("canvas"), this.text, { mayEdit: this.mayEdit });
    this.simulation = new Simulation(this.text, api, this.host, this.canvas);
    this.typed = new TextPanel(this.text, { readOnly: !this.mayEdit });
    this.panel = "Properties";
    if (!this.mayEdit) area("designer").dataset.readonly = "yes";
  }

  show() {
    this.toolbar();
    this.palette();
    this.tabs();
    this.findings();
    const { text } = this;
    text.addEventListener("selected", () => this.toPanel("Properties"));
    text.addEventListener("rebuilt", () => this.refill());
    text.addEventListener("checked", () => this.findings());
    for (const kind of ["changed", "checked", "saved", "selected"]) text.addEventListener(kind, () => this.toolbar());
    text.addEventListener("problem", (event) => say(event.detail, true));
    document.addEventListener("keydown", (event) => this.key(event));
    guardLeaving(text);
    area("designer").removeAttribute("aria-busy");
  }

  toolbar() {
    const { text, library } = this;
    const held = document.activeElement?.closest("#toolbar") && document.activeElement.textContent;
    const save = button("Save", () => library.save(), { disabled: !this.mayEdit || !text.unsaved, title: "Ctrl+S" });
    const parts = [
      button("Undo", () => text.undo(), { disabled: !text.past.length, title: "Ctrl+Z" }),
      button("Redo", () => text.redo(), { disabled: !text.future.length, title: "Ctrl+Shift+Z" }),
      button("Arrange", () => text.change((definition) => arrange(definition)), {
        disabled: !this.mayEdit,
        title: "Lay the drawing out anew",
      }),
      save,
      button("Publish…", () => library.publish(), { disabled: !library.may.publish }),
      button("Start…", () => library.start(), { disabled: !library.may.start || !library.kept.newest }),
    ];
    const draft = text.revision ? `revision ${text.revision}` : "no draft yet";
    const said = text.changed ? `${draft}, with changes that are not saved` : draft;
    const state = this.mayEdit ? said : "You can read this, not change it.";
    area("toolbar").replaceChildren(...parts, make("span", { class: "quiet", id: "state" }, state));
    if (held) [...area("toolbar").children].find((one) => one.textContent === held && !one.disabled)?.focus();
  }

  palette() {
    const buttons = TYPES.map((type) =>
      button(type, () => this.add(type), { disabled: !this.mayEdit, "data-type": type }),
    );
    area("palette").replaceChildren(make("h2", "Add a node"), ...buttons, make("p", { class: "quiet", id: "target" }));
    this.aim();
    this.text.addEventListener("selected", () => this.aim());
  }

  // Says into which graph the next node goes: that of the selected node, or one inside it.
  aim() {
    const { selected } = this.text;
    const graphs = selected === "" ? [""] : [graphOf(selected), ...this.inside(selected)];
    const label = (graph) => graph || "the process";
    this.target = graphs[0];
    const place = area("target");
    if (graphs.length === 1) return void (place.textContent = `into ${label(this.target)}`);
    const change = (event) => (this.target = graphs[event.target.selectedIndex]);
    place.replaceChildren(
      labelledBy(
        "into",
        make(
          "select",
          { change },
          graphs.map((one) => make("option", label(one))),
        ),
      ),
    );
  }

  inside(path) {
    const node = at(this.text.definition, steps(path));
    const arms = (node.arms ?? []).map((_, index) => `${path}/arms/${index}/body`);
    return node.body ? [`${path}/body`, ...arms] : arms;
  }

  add(type) {
    const { selected } = this.text;
    const below = selected && graphOf(selected) === this.target ? selected : "";
    let path = "";
    this.text.change((definition) => void (path = addNode(definition, this.target, type, below)));
    this.text.select(path);
    this.text.addEventListener("checked", () => this.canvas.reveal(path), { once: true });
    say(`${path.split("/").at(-1)} is added.`);
  }

  tabs() {
    const list = make("div", { role: "tablist", "aria-label": "Panels" });
    this.tab = new Map();
    for (const name of PANELS) {
      const tab = make(
        "button",
        { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": "panel", click: () => this.toPanel(name) },
        name,
      );
      this.tab.set(name, tab);
      list.append(tab);
    }
    list.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!by) return;
      const next = PANELS[(PANELS.indexOf(this.panel) + by + PANELS.length) % PANELS.length];
      this.toPanel(next);
      this.tab.get(next).focus();
    });
    this.body = make("div", { role: "tabpanel", id: "panel" });
    area("side").replaceChildren(list, this.body);
    this.toPanel("Properties");
  }

  toPanel(name) {
    this.panel = name;
    for (const [other, tab] of this.tab) {
      tab.setAttribute("aria-selected", String(other === name));
      tab.tabIndex = other === name ? 0 : -1;
    }
    this.body.setAttribute("aria-labelledby", `tab-${name}`);
    this.fill();
    this.body.scrollTop = 0;
  }

  fill() {
    const { text, host } = this;
    const panels = {
      Properties: () => propertiesOf(host, text, (path) => text.select(path)),
      Context: () => contextForm(host),
      Text: () => this.typed.panel(),
      Simulation: () => this.simulation.panel(),
      Versions: () => this.library.panel(),
    };
    this.body.replaceChildren(panels[this.panel]());
    this.simulation.mark();
  }

  // Fills the panel anew and leaves place and focus where they were.
  refill() {
    if (this.panel === "Text" && this.typed.inUse) return;
    const held = this.body.contains(document.activeElement) ? document.activeElement.dataset.field : undefined;
    const [top, folded] = [
      this.body.scrollTop,
      [...this.body.querySelectorAll("details")].map((one) => [one.firstChild?.textContent, one.open]),
    ];
    this.fill();
    const details = [...this.body.querySelectorAll("details")];
    details.forEach((one, index) => {
      if (folded[index]?.[0] === one.firstChild?.textContent) one.open = folded[index][1];
    });
    this.body.scrollTop = top;
    if (held) this.body.querySelector(`[data-field="${CSS.escape(held)}"]`)?.focus();
  }

  findings() {
    const { text } = this;
    const rows = text.findings.map((one) => {
      const jump = () => {
        const path = nodeAt(one.path);
        text.select(text.has(path) ? path : "");
        this.canvas.reveal(path);
      };
      return make(
        "li",
        { class: one.severity },
        button(one.path || "/", jump, { class: "link" }),
        make("span", `${one.severity}: ${one.message}`),
      );
    });
    const warnings = rows.length - text.errors;
    const head = rows.length
      ? `${counted(text.errors, "error")}, ${counted(warnings, "warning")}`
      : "The verifier finds nothing to mend.";
    area("findings").replaceChildren(
      make("h2", { id: "verdict", class: text.errors ? "error" : "good", "aria-live": "polite" }, head),
      make("ul", rows),
    );
  }

  key(event) {
    if (!(event.ctrlKey || event.metaKey)) return;
    const key = event.key.toLowerCase();
    const inField = event.target.closest?.("input, textarea, dialog");
    if (key === "s" && this.mayEdit) this.library.save();
    else if (inField) return;
    else if (key === "z") event.shiftKey ? this.text.redo() : this.text.undo();
    else if (key === "y") this.text.redo();
    else return;
    event.preventDefault();
  }
}

async function open() {
  const name = area("designer").dataset.process;
  const api = apiOf(name);
  try {
    const library = new Library(null, api, name, null);
    const [known, opened] = await Promise.all([api.schema(), api.text(), library.load()]);
    const designer = new Designer(name, api, known, opened, library);
    designer.show();
  } catch (problem) {
    say(problem.message, true);
    area("designer").removeAttribute("aria-busy");
  }
}

await open();
