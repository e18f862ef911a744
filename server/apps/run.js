// One run: where it stands, what it waits for, what happened, what it cost; kept live through the host.

const ABOUT = "This page follows one run of Upstairs: its status, its open tasks, its events and its drawing.";
const WAIT_S = 15;
const TRIES = 5;
const PAUSE_MS = 2_000;
const OVER = ["completed", "failed", "cancelled"];
// Behind every event: what is asked for from there on is how the run stands, without events.
const BEYOND = 2 ** 31;

class RunPage {
  #id = "";
  #events = new Map();
  #drawing = null;
  #view = null;
  #after = 0;
  #ended = false;
  #notice = noticeLine();
  #again = make("button", "Try again", { type: "button", hidden: true, click: () => this.#follow() });
  #title = make("h1");
  #facts = make("header");
  #graph = make("section");
  #result = make("section");
  #log = make("ol");
  #tasks;

  constructor() {
    this.host = new Host({
      input: (args) => this.open(args.run_id),
      result: (result) => this.#delivered(result),
      cancelled: (reason) => this.#fail(`The call was cancelled. ${reason}`),
      teardown: () => (this.#ended = true),
    });
    this.#tasks = new TaskCards(this.host, () => this.#refresh());
  }

  // What the tool answered names the run: a start names it first, other calls know it already.
  #delivered(result) {
    try {
      this.open(answerOf(result).run_id);
    } catch (problem) {
      if (!(problem instanceof CutError)) this.#fail(problem.message);
    }
  }

  #fail(text) {
    if (this.#id === "") show(this.#notice);
    this.#notice.say(text);
  }

  open(id) {
    if (typeof id !== "string" || id === "" || this.#id !== "") return;
    this.#id = id;
    const events = make("details", { open: true }, make("summary", "Events"), this.#log);
    show(this.#title, this.#facts, this.#notice, this.#again, this.#tasks.element, this.#graph, this.#result, events);
    if (this.host.canCall) void this.#follow();
    else this.#fail(`The run ${id} goes on by itself; this client lets no page ask the server how it stands.`);
  }

  // Asks again and again, each time for what came after the last; the server holds the answer until something does.
  async #follow() {
    this.#again.hidden = true;
    for (let failed = 0; !this.#ended; ) {
      try {
        const view = await this.#ask(this.#view ? WAIT_S : 0);
        failed = 0;
        this.#notice.say("");
        this.#show(view);
        if (OVER.includes(view.status) && !view.more) return;
      } catch (problem) {
        if (problem instanceof CutError && this.#after !== BEYOND) {
          this.#after = BEYOND;
          this.#log.append(make("li", problem.message));
          continue;
        }
        this.#fail(problem.message);
        if (!(problem instanceof HostError) || ++failed >= TRIES) {
          this.#again.hidden = false;
          return;
        }
        await new Promise((resolve) => setTimeout(resolve, PAUSE_MS * failed));
      }
      await shown();
    }
  }

  #ask(wait_s) {
    return this.host.call("get_run", { run_id: this.#id, after: this.#after, wait_s });
  }

  async #refresh() {
    await this.#ask(0).then((view) => this.#show(view)).catch((problem) => this.#fail(problem.message));
  }

  #show(view) {
    this.#view = view;
    this.#after = Math.max(this.#after, view.next_after);
    for (const event of view.events) this.#append(event);
    this.#title.textContent = view.title || view.run_id;
    const version = view.version ? `@${view.version}` : "";
    this.#facts.replaceChildren(
      badge(view.status),
      make("span", `${view.kind} ${view.definition}${version}`),
      make("span", view.position ? `at ${view.position}` : "", { "data-fact": "position" }),
      make("span", view.waits_for ? `waits for ${view.waits_for}` : ""),
      make("span", `${view.usd.toFixed(4)} USD`, { class: "quiet", "data-fact": "cost" }),
      ...this.#link(view.url),
    );
    this.#tasks.update(view.open_tasks);
    this.#showResult(view);
    if (view.kind === "process") void this.#drawOnce(`${view.definition}${version}`).then(() => this.#mark());
  }

  #link(url) {
    if (!this.host.canOpen) return [];
    const open = () => this.host.open(url).catch((problem) => this.#fail(problem.message));
    return [make("button", "Open in the browser", { type: "button", click: open })];
  }

  #append(event) {
    if (this.#events.has(event.seq)) return;
    this.#events.set(event.seq, event);
    const node = event.data.node ? ` ${event.data.node}` : "";
    const line = make("summary", `${event.seq} ${event.type}${node} `, make("small", this.host.moment(event.at)));
    const item = make("li", make("details", line, make("pre", pretty(event.data))), { "data-seq": event.seq });
    const later = [...this.#log.children].find((other) => Number(other.dataset.seq) > event.seq);
    this.#log.insertBefore(item, later ?? null);
  }

  #showResult(view) {
    if (!OVER.includes(view.status) || this.#result.childElementCount) return;
    if (view.error) this.#result.append(make("h2", "Error"), make("p", view.error, { class: "notice" }));
    if (view.result !== null) this.#result.append(make("h2", "Result"), make("pre", pretty(view.result)));
  }

  // The drawing is a help: where it can't be had, the events say the same.
  #drawOnce(address) {
    this.#drawing ??= this.host
      .use("processes", "describe_process", { process: address })
      .then((found) => {
        const drawing = drawingOf(String(found.drawing ?? ""), `The process ${address} and how far this run is`);
        if (drawing) this.#graph.replaceChildren(drawing);
      })
      .catch(() => undefined);
    return this.#drawing;
  }

  #mark() {
    const states = new Map([["start_", "done"]]);
    for (const event of this.#events.values()) {
      const id = vertexOf(event);
      if (id) states.set(id, event.type === "node.failed" ? "failed" : "done");
    }
    const { status, position } = this.#view;
    if (position && !OVER.includes(status)) states.set(vertexId([position]), status === "waiting" ? "waiting" : "running");
    mark(this.#graph, states);
  }
}

// The vertex of the node that an event is about; of nodes inside others, the events of the outer ones are enough.
function vertexOf(event) {
  const { step, node } = event.data;
  const about = event.type === "node.finished" || event.type === "node.failed";
  return about && typeof step === "string" && !step.includes("/") ? vertexId([String(node)]) : "";
}

// Resolves once the page can be seen: a hidden one asks nothing.
function shown() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
}

await start(ABOUT, new RunPage().host);
