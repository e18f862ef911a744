// A process: its drawing, and what the verifier finds about it.

const ABOUT = "This page draws a process of Upstairs and shows what the verifier finds about it.";

class ProcessPage {
  #args = {};
  #verdict = null;
  #drawing = null;
  #notice = noticeLine();
  #title = make("h1", "Process");
  #facts = make("header");
  #graph = make("section");
  #findings = make("section");

  constructor() {
    this.host = new Host({
      input: (args) => (this.#args = args),
      result: (result) => this.#delivered(result),
      cancelled: (reason) => this.#notice.say(`The call was cancelled. ${reason}`),
      teardown: () => undefined,
    });
  }

  // The call was one of three: to describe, to draw or to verify. What it did not answer is asked for.
  async #delivered(result) {
    show(this.#title, this.#facts, this.#notice, this.#graph, this.#findings);
    const { text, process } = this.#args;
    try {
      const found = answerOf(result);
      if (found.drawing !== undefined) return this.#describe(found);
      if (process !== undefined) this.#title.textContent = process;
      if (typeof found === "string") {
        this.#draw(found);
        const written = text ?? (await this.#design("get_definition", { process })).text;
        this.#judge(await this.#design("verify_process", { text: written }));
      } else if (found.findings !== undefined) {
        this.#judge(found);
        if (this.#readable(found)) this.#draw(await this.#design("draw_process", { text }));
      } else {
        this.#notice.say("This answer holds no process.");
      }
    } catch (problem) {
      this.#notice.say(problem.message);
    }
  }

  async #design(tool, args) {
    if (!this.host.canCall) throw new HostError("This client lets no page ask the server for the rest.");
    return await this.host.use("process_design", tool, args);
  }

  // A text that is no definition at all can't be drawn.
  #readable(verdict) {
    return this.#args.text !== undefined && !verdict.findings.some((finding) => finding.code === "format");
  }

  #describe(found) {
    this.#title.textContent = found.title || found.process;
    this.#facts.append(make("span", `${found.process}@${found.version}`), make("span", found.about, { class: "quiet" }));
    this.#draw(found.drawing);
    const rows = found.nodes.map((node) => {
      const said = [node.type, node.title, node.seat ? `decided by ${seated(node.seat)}` : "", node.about];
      return make("li", make("strong", node.node), ` ${said.filter(Boolean).join(" · ")}`);
    });
    this.#findings.replaceChildren(make("h2", "Nodes"), make("ul", rows));
  }

  #draw(text) {
    this.#drawing = drawingOf(text, `The process ${this.#title.textContent}`);
    if (this.#drawing) this.#graph.replaceChildren(this.#drawing);
    this.#mark();
  }

  #judge(verdict) {
    this.#verdict = verdict;
    this.#facts.replaceChildren(
      make("span", verdict.publishable ? "can be published" : "can't be published yet", {
        class: `badge ${verdict.publishable ? "completed" : "failed"}`,
      }),
      make("span", verdict.worst_case, { class: "quiet" }),
    );
    const rows = verdict.findings.map(({ severity, code, path, message }) =>
      make("li", make("strong", severity, { class: severity }), ` ${message} `, make("small", `${path} ${code}`)),
    );
    const list = rows.length ? make("ul", rows) : make("p", "The verifier finds nothing.");
    this.#findings.replaceChildren(make("h2", "Findings"), list);
    this.#mark();
  }

  #mark() {
    if (!this.#drawing || !this.#verdict) return;
    const states = new Map();
    for (const { severity, path } of this.#verdict.findings) {
      const id = vertexAt(path);
      if (states.get(id) !== "error") states.set(id, severity);
    }
    mark(this.#drawing, states);
  }
}

await start(ABOUT, new ProcessPage().host);
