// The definition as text: as it is kept, or as JSON.

import { labelledBy, make, say } from "./designer_elements.js";
import { selectOf } from "./designer_form.js";

const FORMS = ["as it is kept", "JSON"];

export class TextPanel {
  constructor(text, { readOnly }) {
    Object.assign(this, { text, readOnly, form: FORMS[0] });
    text.addEventListener("checked", () => this.follow());
  }

  // Whether somebody is typing here: their text is not taken from under them.
  get inUse() {
    return this.control?.isConnected && document.activeElement === this.control;
  }

  panel() {
    const choose = selectOf(FORMS, this.form, (form) => {
      this.form = form;
      place.replaceChildren(this.area());
    });
    const place = make("div", this.area());
    return make(
      "div",
      make("h3", "Text"),
      make(
        "p",
        { class: "quiet" },
        "What the drawing changes is written into this text; everything else in it stays as it is, comments too.",
      ),
      labelledBy("shown", choose),
      place,
    );
  }

  said() {
    return this.form === "JSON" ? `${JSON.stringify(this.text.definition, null, 2)}\n` : this.text.text;
  }

  area() {
    const input = () => (this.form === "JSON" ? this.json() : this.text.type(this.control.value));
    this.control = make("textarea", {
      class: "code whole",
      rows: 30,
      spellcheck: "false",
      value: this.said(),
      input,
      readonly: this.readOnly,
      "aria-label": "Definition",
    });
    return this.control;
  }

  json() {
    try {
      const given = JSON.parse(this.control.value);
      if (given === null || typeof given !== "object" || Array.isArray(given))
        throw new SyntaxError("a definition is an object");
      this.control.setAttribute("aria-invalid", "false");
      this.text.replace(given);
      say("");
    } catch (problem) {
      this.control.setAttribute("aria-invalid", "true");
      say(`This is not JSON yet: ${problem.message}`, true);
    }
  }

  follow() {
    if (this.control?.isConnected && !this.inUse) this.control.value = this.said();
  }
}
