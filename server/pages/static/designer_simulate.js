// Scenarios: written in forms, played by the server with the real engine, and walked through step by step in the drawing.

import { button, labelledBy, make, say } from "./designer_elements.js";
import { fieldsOf, jsonOf, selectOf } from "./designer_form.js";
import { sample } from "./designer_logic.js";
import { nodeAt, nodeOfStep } from "./designer_paths.js";

const KINDS = ["nodes", "transitions", "guards"];

export class Simulation {
  constructor(text, api, host, canvas) {
    Object.assign(this, { text, api, host, canvas, report: null, chosen: 0, played: null, step: 0 });
  }

  panel() {
    this.place = make("div");
    this.show();
    return this.place;
  }

  show() {
    if (!this.place) return;
    const scenarios = this.text.definition.scenarios ?? [];
    this.chosen = Math.min(this.chosen, Math.max(0, scenarios.length - 1));
    const add = button("Add a scenario", () => this.add(scenarios), { disabled: this.host.readOnly });
    const intro = make(
      "p",
      { class: "quiet" },
      "A scenario says what each node gives; the real engine plays it without models, people or waiting.",
    );
    if (!scenarios.length) return void this.place.replaceChildren(make("h3", "Simulation"), intro, add);
    const names = scenarios.map((one, index) => `${index + 1}. ${one.name}`);
    const choose = selectOf(names, names[this.chosen], (name) => {
      this.chosen = names.indexOf(name);
      this.show();
    });
    const run = make(
      "p",
      { class: "row" },
      button("Play it", () => this.play(scenarios[this.chosen].name)),
      button("Play all", () => this.play()),
      add,
    );
    const parts = [intro, labelledBy("scenario", choose), run, this.result(), this.form()];
    this.place.replaceChildren(make("div", make("h3", "Simulation"), parts));
  }

  add(scenarios) {
    const names = new Set(scenarios.map((one) => one.name));
    let number = scenarios.length + 1;
    while (names.has(`scenario ${number}`)) number++;
    const fresh = { name: `scenario ${number}`, input: sample(this.text.definition.input), fixtures: {}, expect: {} };
    this.chosen = scenarios.length;
    this.text.put(["scenarios"], [...scenarios, fresh], {});
  }

  form() {
    const keys = ["scenarios", this.chosen];
    const model = this.host.defs.Scenario;
    const { input, ...rest } = model.properties;
    const remove = () =>
      this.text.change((definition) => {
        definition.scenarios.splice(this.chosen, 1);
        if (!definition.scenarios.length) delete definition.scenarios;
      });
    return make(
      "details",
      { open: true },
      make("summary", "What the scenario says"),
      fieldsOf(this.host, { ...model, properties: rest }, keys),
      jsonOf(this.host, [...keys, "input"], "input"),
      button("Remove the scenario", remove, { class: "small", disabled: this.host.readOnly }),
    );
  }

  async play(name) {
    if (!(await this.text.settled())) return;
    try {
      this.report = await this.api.simulate(this.text.text, name);
      this.played = this.report.played[0];
      this.step = 0;
      const failed = this.report.played.filter((one) => !one.passed).length;
      say(
        failed
          ? `${failed} of ${this.report.played.length} scenarios are not as expected.`
          : "Every scenario is as expected.",
        failed > 0,
      );
    } catch (problem) {
      this.report = null;
      say(problem.message, true);
    }
    this.show();
    this.mark();
  }

  result() {
    if (!this.report) return null;
    const { played: all, coverage } = this.report;
    const rows = all.map((one) =>
      button(`${one.passed ? "✓" : "✗"} ${one.scenario}`, () => this.look(one), {
        class: "small",
        "aria-pressed": String(one === this.played),
      }),
    );
    const missing = KINDS.flatMap((kind) => coverage[kind].missing);
    const covered = KINDS.map((kind) => `${kind} ${coverage[kind].percent} %`).join(", ");
    const links = missing.map((path) =>
      make(
        "li",
        button(path, () => this.jump(path), { class: "link" }),
      ),
    );
    return make(
      "section",
      { class: "played", "aria-label": "Result of the simulation" },
      all.length > 1 ? make("p", { class: "row" }, rows) : null,
      this.walk(),
      make("p", { id: "coverage" }, `Covered: ${covered}.`),
      links.length ? make("details", make("summary", `${links.length} not covered`), make("ul", links)) : null,
    );
  }

  look(played) {
    this.played = played;
    this.step = 0;
    this.show();
    this.mark();
  }

  jump(pointer) {
    this.text.select(nodeAt(pointer));
    this.canvas.reveal(nodeAt(pointer));
  }

  // One step of the played scenario with buttons to the one before and the one after.
  walk() {
    const { played, step } = this;
    const count = played.steps.length;
    const end = played.outcome ? `ended with ${played.outcome}` : (played.error ?? played.status);
    const head = make("p", make("strong", played.passed ? "✓ as expected" : "✗ not as expected"), ` · ${end}`);
    const problems = played.problems.map((one) => make("li", { class: "error" }, one));
    if (!count) return make("div", head, make("ul", { class: "found" }, problems));
    const seen = played.steps[step];
    const go = (to) => {
      this.step = to;
      this.show();
      this.mark();
      this.place.querySelector(`[data-go="${to > step ? "next" : "back"}"]`)?.focus();
    };
    const bar = make(
      "p",
      { class: "row" },
      button("‹ Back", () => go(step - 1), { disabled: step === 0, "data-go": "back" }),
      make("span", { id: "step" }, `step ${step + 1} of ${count}`),
      button("Next ›", () => go(step + 1), { disabled: step === count - 1, "data-go": "next" }),
    );
    return make("div", head, make("ul", { class: "found" }, problems), bar, stepOf(seen));
  }

  // Marks in the drawing what was gone through up to this step; without one, nothing.
  mark() {
    const marks = new Map();
    if (this.report && this.played && this.place?.isConnected) {
      for (const path of this.report.coverage.nodes.missing) marks.set(nodeAt(path), "missing");
      this.played.steps
        .slice(0, this.step + 1)
        .forEach((one, index) =>
          marks.set(nodeOfStep(this.text.definition, one.step), index === this.step ? "now" : "seen"),
        );
    }
    this.canvas.mark(marks);
  }
}

function stepOf(seen) {
  const guards = [...seen.arms, ...seen.guards].map((one) =>
    make(
      "li",
      `${one.holds ? "✓" : "✗"} ${one.to ?? `arm ${one.arm}`}`,
      make("pre", JSON.stringify(one.trace, null, 1)),
    ),
  );
  const patch = seen.patch.map((one) =>
    make(
      "li",
      make("code", `${one.op} ${one.path}`),
      one.value === undefined ? null : make("pre", JSON.stringify(one.value, null, 1)),
    ),
  );
  return make(
    "div",
    { class: "step" },
    make("h4", `${seen.node} (${seen.type})`, seen.to ? ` → ${seen.to}` : ""),
    make("p", { class: "quiet" }, `after ${Math.round(seen.seconds)} s`),
    seen.error ? make("p", { class: "error" }, seen.error) : null,
    guards.length ? make("div", make("h5", "Guards and the values they saw"), make("ul", guards)) : null,
    patch.length ? make("div", make("h5", "Changes of the context"), make("ul", patch)) : null,
  );
}
