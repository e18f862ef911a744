// What is kept: saving a draft, publishing it, labels, the difference of two versions, and a start.

import { Refused } from "./designer_api.js";
import { area, button, dialog, labelledBy, make, say } from "./designer_elements.js";
import { fieldsOf, jsonOf, selectOf } from "./designer_form.js";
import { at, put } from "./designer_paths.js";

export class Library {
  constructor(text, api, name, may) {
    Object.assign(this, { text, api, name, may, compared: null });
  }

  async load() {
    this.kept = await this.api.versions();
    this.may = this.kept.may;
  }

  // Saves the draft; whoever saved since is named, and nothing of theirs is lost.
  async save() {
    if (!(await this.text.settled())) return false;
    const { text } = this.text;
    try {
      const saved = await this.api.save(text, this.text.revision);
      this.saved(saved, text);
      say(`Saved as revision ${saved.revision}.`);
      await this.load();
      this.show();
      return true;
    } catch (problem) {
      if (problem instanceof Refused && problem.status === 409) this.conflict(problem.said);
      else say(problem.message, true);
      return false;
    }
  }

  saved({ revision }, text) {
    this.text.revision = revision;
    this.text.kept = text;
    this.text.tell("saved");
  }

  conflict(theirs) {
    const when = new Date(theirs.updated_at).toLocaleString();
    const mine = this.text.revision ? `revision ${this.text.revision}` : "before the first";
    const said = `The draft was changed by ${theirs.author} since: revision ${theirs.revision} of ${when}. Yours comes from ${mine}.`;
    const shown = make("textarea", {
      class: "code",
      rows: 14,
      readonly: true,
      value: theirs.text,
      "aria-label": "Their text",
    });
    const take = (close) => {
      this.text.revision = theirs.revision;
      this.text.kept = theirs.text;
      this.text.typed = null;
      this.text.type(theirs.text);
      close();
      say(`This is revision ${theirs.revision} of ${theirs.author}; Undo brings yours back.`);
    };
    const keep = async (close) => {
      this.text.revision = theirs.revision;
      close();
      await this.save();
    };
    dialog(
      "Somebody else saved this draft",
      [make("p", said), shown],
      [
        ["Take theirs", take],
        ["Save mine over it", keep],
      ],
    );
    say(said, true);
  }

  publish() {
    const notes = make("textarea", { rows: 4, maxlength: 2000, required: true });
    const despite = make("textarea", { rows: 2, maxlength: 2000 });
    const refusal = make("p", { class: "error", role: "alert" });
    const go = async (close) => {
      if (!notes.reportValidity()) return;
      try {
        if (this.text.unsaved && !(await this.save())) return;
        const version = await this.api.publish({
          revision: this.text.revision,
          comment: notes.value,
          despite: despite.value,
        });
        close();
        await this.load();
        this.show();
        say(`Published as version ${version.number}.`);
        this.text.tell("saved");
      } catch (problem) {
        refusal.textContent = problem.message;
      }
    };
    const errors = this.text.errors
      ? make("p", { class: "error" }, `The verifier found ${this.text.errors} errors; publishing will be refused.`)
      : null;
    const hint = "only needed where scenarios fail; it is kept with the version";
    const fields = [labelledBy("What changed, and why", notes), labelledBy("Why though scenarios fail", despite, hint)];
    dialog("Publish", [errors, ...fields, refusal], [["Publish", go]]);
  }

  async start() {
    const { labels, newest } = this.kept;
    const choices = [
      "as a start by its name finds it",
      ...Object.keys(labels),
      ...Array.from({ length: newest }, (_, index) => String(newest - index)),
    ];
    let where = "";
    const place = make("div");
    const given = { input: {} };
    const show = async () => {
      try {
        const found = await this.api.text(where || (labels.production ? "production" : String(newest)));
        place.replaceChildren(...inputForm(found.definition.input ?? {}, given));
      } catch (problem) {
        place.replaceChildren(make("p", { class: "error" }, problem.message));
      }
    };
    const choose = selectOf(choices, choices[0], (one) => {
      where = one === choices[0] ? "" : one;
      return show();
    });
    const key = crypto.getRandomValues(new Uint32Array(4)).join("-");
    const refusal = make("p", { class: "error", role: "alert" });
    const go = async () => {
      try {
        const run = await this.api.start({ at: where, input: given.input, key });
        location.assign(run.url);
      } catch (problem) {
        refusal.textContent = problem.message;
      }
    };
    dialog("Start a run", [labelledBy("version", choose), place, refusal], [["Start", go]]);
    await show();
  }

  panel() {
    this.place = make("div");
    this.show();
    return this.place;
  }

  show() {
    if (!this.place) return;
    const { versions, labels, moves } = this.kept;
    if (!versions.length) {
      this.place.replaceChildren(make("h3", "Versions"), make("p", { class: "quiet" }, "Nothing is published yet."));
      return;
    }
    const rows = versions.toReversed().map((one) => {
      const here = Object.entries(labels)
        .filter(([, number]) => number === one.number)
        .map(([label]) => make("span", { class: "badge" }, label));
      const open = button("Open", () => this.open(one.number), {
        class: "small",
        "aria-label": `Open version ${one.number}`,
      });
      const move = this.may.publish
        ? button("Label…", () => this.label(one.number), {
            class: "small",
            "aria-label": `Move a label to version ${one.number}`,
          })
        : null;
      const about = `${new Date(one.published_at).toLocaleString()} by ${one.publisher}`;
      return make(
        "li",
        make("div", { class: "row" }, make("strong", `version ${one.number}`), here, open, move),
        make("p", { class: "quiet" }, about),
        make("p", one.comment),
      );
    });
    const history = moves
      .toReversed()
      .map((one) =>
        make(
          "li",
          `${one.label}: ${one.from_number ?? "nothing"} → ${one.to_number} by ${one.by}${one.comment ? `: ${one.comment}` : ""}`,
        ),
      );
    this.place.replaceChildren(
      make("h3", "Versions"),
      make("ul", { class: "versions" }, rows),
      this.comparison(),
      history.length ? make("details", make("summary", "Labels moved"), make("ul", history)) : "",
    );
  }

  async open(number) {
    try {
      const found = await this.api.text(number);
      this.text.typed = null;
      this.text.type(found.text);
      say(`This is the text of version ${number}; Undo brings yours back.`);
    } catch (problem) {
      say(problem.message, true);
    }
  }

  label(number) {
    const name = make("input", {
      type: "text",
      value: "production",
      required: true,
      pattern: "[a-z][a-z0-9_\\-]*",
      list: "labels",
    });
    const known = make(
      "datalist",
      { id: "labels" },
      ["production", "staging", ...Object.keys(this.kept.labels)].map((one) => make("option", { value: one })),
    );
    const notes = make("textarea", { rows: 2, maxlength: 2000 });
    const go = async (close) => {
      if (!name.reportValidity()) return;
      try {
        const moved = await this.api.moveLabel(name.value, number, notes.value);
        await this.load();
        this.show();
        say(moved.moved ? `${name.value} is version ${number} now.` : `${name.value} was version ${number} already.`);
      } catch (problem) {
        say(problem.message, true);
      }
      close();
    };
    dialog(
      `Move a label to version ${number}`,
      [labelledBy("label", name, "production is what the bare name means"), known, labelledBy("why", notes)],
      [["Move", go]],
    );
  }

  comparison() {
    const choices = [
      ...this.kept.versions.map((one) => String(one.number)),
      ...(this.kept.draft_revision ? ["draft"] : []),
    ];
    this.before = choices.includes(this.before) ? this.before : (choices.at(-2) ?? choices[0]);
    this.after = choices.includes(this.after) ? this.after : choices.at(-1);
    const before = selectOf(choices, this.before, (one) => (this.before = one));
    const after = selectOf(choices, this.after, (one) => (this.after = one));
    const compare = async () => {
      try {
        this.compared = await this.api.difference(this.before, this.after);
        this.compared.picture = this.api.picture(this.before, this.after);
      } catch (problem) {
        this.compared = null;
        say(problem.message, true);
      }
      this.show();
    };
    return make(
      "section",
      { "aria-label": "Difference of two versions" },
      make("h4", "Difference"),
      make("div", { class: "row" }, labelledBy("from", before), labelledBy("to", after), button("Compare", compare)),
      this.compared ? shownDifference(this.compared) : null,
    );
  }
}

function shownDifference({ changes, lines, picture }) {
  const marked = lines.split("\n").map((line) => {
    const kind = line.startsWith("+") ? "added" : line.startsWith("-") ? "removed" : null;
    return make("span", { class: kind }, `${line}\n`);
  });
  return make(
    "div",
    make("pre", { id: "changes" }, changes),
    make(
      "details",
      { open: true },
      make("summary", "As a picture"),
      make("img", { src: picture, alt: `Both versions in one drawing. ${changes}`, class: "difference" }),
    ),
    make("details", make("summary", "Line by line"), make("pre", { class: "lines" }, marked)),
  );
}

// A form for what a start must bring; what a form can't hold is written as JSON.
function inputForm(schema, given) {
  const host = {
    get: (keys) => at(given, keys),
    put: (keys, value, options) => {
      put(given, keys, value);
      if (options.rebuild !== false) redraw();
    },
  };
  const box = make("div");
  const redraw = () => {
    const fields = schema.properties ? fieldsOf(host, schema, ["input"]) : [jsonOf(host, ["input"], "input")];
    box.replaceChildren(...fields);
  };
  redraw();
  return [box];
}

// Whether somebody is about to leave what is not saved.
export function guardLeaving(text) {
  window.addEventListener("beforeunload", (event) => {
    if (text.changed && !area("designer").dataset.readonly) event.preventDefault();
  });
}
