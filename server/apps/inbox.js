// The inbox: what waits for a person, each with its form and its decisions.

const ABOUT = "This page shows what waits for a person in Upstairs, and takes the answers.";
const LOOK_MS = 10_000;

class InboxPage {
  #asked = {};
  #opened = false;
  #timer;
  #notice = noticeLine();
  #none = make("p", "Nothing waits for you.", { role: "status", hidden: true });
  #tasks;

  constructor() {
    this.host = new Host({
      input: (args) => (this.#asked = args),
      result: (result) => this.#delivered(result),
      cancelled: (reason) => this.#fail(`The call was cancelled. ${reason}`),
      teardown: () => clearInterval(this.#timer),
    });
    this.#tasks = new TaskCards(this.host, () => this.#look());
  }

  #delivered(result) {
    this.#open();
    try {
      this.#show(answerOf(result));
    } catch (problem) {
      this.#fail(problem.message);
    }
  }

  #open() {
    if (this.#opened) return;
    this.#opened = true;
    show(make("h1", "Inbox"), this.#notice, this.#none, this.#tasks.element);
    if (this.host.canCall) this.#timer = setInterval(() => document.hidden || this.#look(), LOOK_MS);
  }

  async #look() {
    await this.host.call("list_tasks", this.#asked).then((found) => this.#show(found)).catch((problem) => this.#fail(problem.message));
  }

  #show({ tasks }) {
    this.#notice.say("");
    this.#tasks.update(tasks);
    this.#none.hidden = this.#tasks.size > 0;
  }

  #fail(text) {
    this.#open();
    this.#notice.say(text);
  }
}

await start(ABOUT, new InboxPage().host);
