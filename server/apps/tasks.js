// Tasks as cards: a form made of the task's own schema, a button per decision, and what became of the answer.

const LONG_TEXT = 200;

class TaskCards {
  #cards = new Map();
  #host;
  #changed;
  element = make("section");

  // `changed` is called after an answer was taken or refused, to look at the run again.
  constructor(host, changed) {
    this.#host = host;
    this.#changed = changed;
  }

  get size() {
    return this.#cards.size;
  }

  // Shows the open tasks; a card under way keeps what was typed, one whose task has gone says so.
  update(tasks) {
    const open = new Set(tasks.map((task) => task.task_id));
    for (const task of tasks) {
      if (this.#cards.has(task.task_id)) continue;
      const card = new TaskCard(task, this.#host, this.#changed);
      this.#cards.set(task.task_id, card);
      this.element.append(card.element);
    }
    for (const [id, card] of this.#cards) if (!open.has(id)) card.gone();
  }
}

class TaskCard {
  #task;
  #host;
  #changed;
  #fields;
  #form;
  #sending = false;
  #over = false;
  #notice = noticeLine();
  #comment = make("textarea", { rows: 2, "aria-label": "Comment" });

  constructor(task, host, changed) {
    this.#task = task;
    this.#host = host;
    this.#changed = changed;
    this.#fields = fieldsOf(task.form ?? {});
    this.#form = make("form", this.#controls());
    const until = task.deadline ? ` · until ${host.moment(task.deadline)}` : "";
    this.element = make(
      "article",
      { class: "card", "data-task": task.task_id },
      make("h3", task.title),
      make("p", `${task.kind} · ${task.run_id}${until}`, { class: "quiet" }),
      task.description ? make("p", task.description, { class: "said" }) : null,
      Object.keys(task.context ?? {}).length
        ? make("details", make("summary", "What it is about"), make("pre", pretty(task.context)))
        : null,
      this.#form,
      this.#notice,
    );
  }

  // The task is no longer open: answered by somebody, too late, or its run was ended.
  gone() {
    // What is under way gets its own answer, which says more.
    if (this.#over || this.#sending) return;
    this.#settle("No longer open: it was decided elsewhere, its time ran out, or its run was ended.", "notice");
  }

  #controls() {
    const { yours, seat, decisions } = this.#task;
    if (!yours) return make("p", `Waits for ${seated(seat)}.`, { class: "quiet" });
    const names = decisions.length ? decisions : [null];
    // Not of type submit: in a sandbox without forms, a form is never sent.
    const buttons = names.map((name) =>
      make("button", name ?? "Answer", { type: "button", "data-decision": name, click: () => this.#answer(name) }),
    );
    return [...this.#fields.map((field) => field.element), make("label", "Comment", this.#comment), make("p", buttons)];
  }

  async #answer(decision) {
    if (this.#sending || this.#over || !this.#form.reportValidity()) return;
    this.#notice.say("");
    const { run_id, task_id } = this.#task;
    try {
      const values = Object.fromEntries(this.#fields.map((field) => field.read()).filter((pair) => pair !== null));
      this.#busy(true);
      const comment = this.#comment.value;
      const answered = await this.#host.call("answer_run", {
        run_id,
        task_id,
        values,
        comment,
        ...(decision === null ? {} : { decision }),
      });
      this.#settle(`Answered: ${answered.accepted}`, "settled");
      const what = decision === null ? "was answered" : `was decided as ${JSON.stringify(decision)}`;
      void this.#host.tell(`On the page of Upstairs, the person's task ${task_id} of the run ${run_id} ${what}.`);
    } catch (problem) {
      this.#notice.say(problem.message);
    } finally {
      this.#busy(false);
    }
    this.#changed();
  }

  #busy(sending) {
    this.#sending = sending;
    for (const button of this.#form.querySelectorAll("button")) button.disabled = sending;
  }

  #settle(text, kind) {
    this.#over = true;
    // What a refused answer was told stays beside it.
    this.#form.replaceChildren(make("p", text, { class: kind, role: "status" }));
  }
}

function seated(seat) {
  const parts = [];
  if (seat.users?.length) parts.push(seat.users.join(", "));
  if (seat.roles?.length) parts.push(`the role ${seat.roles.join(" or ")}`);
  if (seat.groups?.length) parts.push(`the group ${seat.groups.join(" or ")}`);
  return parts.join(", or ") || "somebody else";
}

// The fields of a form: an element to show, and `read`, which gives [name, value], or null for one left empty.
function fieldsOf(form) {
  const required = new Set(form.required ?? []);
  return Object.entries(form.properties ?? {}).map(([name, node]) => field(name, node, required.has(name)));
}

function field(name, node, required) {
  const [control, read, hint] = controlOf(node, required);
  const label = node.title ?? name;
  control.setAttribute("data-field", name);
  const hints = [node.description, hint].filter(Boolean).map((text) => make("small", text));
  const value = () => {
    try {
      return read();
    } catch {
      throw new Error(`${label}: what stands there is no JSON; correct it and answer again.`);
    }
  };
  return {
    element: make("label", label, control, hints),
    read() {
      const found = value();
      return found === undefined ? null : [name, found];
    },
  };
}

// Returns a control, how to read it (undefined: left empty), and a hint.
function controlOf(node, required) {
  const given = node.default;
  if (Array.isArray(node.enum)) return choice(node.enum, given, required);
  const kind = singleType(node);
  if (kind === "boolean") {
    const box = make("input", { type: "checkbox", checked: given === true });
    return [box, () => box.checked];
  }
  if (kind === "number" || kind === "integer") {
    const step = kind === "integer" ? "1" : "any";
    const bounds = { min: node.minimum, max: node.maximum };
    const input = make("input", { type: "number", step, required, value: given, ...bounds });
    return [input, () => (input.value === "" ? undefined : Number(input.value))];
  }
  const long = kind !== "string" || !(node.maxLength <= LONG_TEXT);
  const input = make(long ? "textarea" : "input", { required, maxlength: node.maxLength, rows: long ? 3 : null });
  if (given !== undefined) input.value = kind === "string" ? given : pretty(given);
  const read = () => (kind === "string" ? input.value : JSON.parse(input.value));
  return [input, () => (input.value === "" ? undefined : read()), kind === "string" ? null : "as JSON"];
}

function choice(values, given, required) {
  const options = values.map((value, index) => make("option", pretty(value), { value: index, selected: value === given }));
  const select = make("select", { required }, make("option", "", { value: "" }), options);
  return [select, () => (select.value === "" ? undefined : values[Number(select.value)])];
}

// The one type of a schema beside null, if it has one.
function singleType(node) {
  const types = (Array.isArray(node.type) ? node.type : [node.type]).filter((type) => type !== "null");
  return types.length === 1 ? types[0] : undefined;
}
