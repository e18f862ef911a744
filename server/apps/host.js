// The client around this page: JSON-RPC 2.0 by postMessage, as the MCP Apps extension has it (2026-01-26).

const PROTOCOL = "2026-01-26";
const ANSWER_MS = 60_000;
const GREETING_MS = 15_000;
const UNKNOWN_METHOD = -32601;

// What the host answers with an error, or does not answer in time.
class HostError extends Error {}

// What a tool answers with an error: the text says what happened and what to do.
class ToolError extends Error {}

// What a tool answers with more than one answer may hold.
class CutError extends Error {}

class Host {
  #asked = new Map();
  #last = 0;
  #hears;
  capabilities = {};
  context = {};

  // `hears`: what to do with `input` (arguments), `result` (of a tool call), `cancelled` (reason) and `teardown`.
  constructor(hears) {
    this.#hears = hears;
  }

  static get present() {
    return window.parent !== window;
  }

  // Greets the host and returns once it has answered; what it knows about the tool call comes after that.
  async connect(name, version) {
    window.addEventListener("message", (event) => {
      if (event.source === window.parent) this.#receive(event.data);
    });
    const greeting = {
      protocolVersion: PROTOCOL,
      appInfo: { name, version },
      appCapabilities: { availableDisplayModes: ["inline", "fullscreen"] },
    };
    const answer = await this.request("ui/initialize", greeting, GREETING_MS);
    this.capabilities = answer.hostCapabilities ?? {};
    this.#dress(answer.hostContext ?? {});
    this.notify("ui/notifications/initialized", {});
    this.#reportSize();
  }

  request(method, params, within = ANSWER_MS) {
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      const giveUp = () => {
        this.#asked.delete(id);
        reject(new HostError(`The client did not answer ${method} in ${within / 1000} seconds.`));
      };
      this.#asked.set(id, { resolve, reject, timer: setTimeout(giveUp, within) });
      this.#send({ jsonrpc: "2.0", id, method, params });
    });
  }

  notify(method, params) {
    this.#send({ jsonrpc: "2.0", method, params });
  }

  // Calls a tool of the server and returns its answer as data; text that is no JSON is returned as it is.
  async call(name, args) {
    return answerOf(await this.request("tools/call", { name, arguments: args }));
  }

  // Calls a tool of a skill: by its name, else as the short list has it, with the ticket of a lesson.
  async use(skill, tool, args) {
    try {
      return await this.call(`${skill}.${tool}`, args);
    } catch (problem) {
      if (!(problem instanceof HostError)) throw problem;
    }
    const lesson = await this.call(`learn_${skill}`, {});
    const ticket = /^ticket: (\S+)$/m.exec(String(lesson))?.[1] ?? "";
    return await this.call("use_tool", { ticket, tool, arguments: args });
  }

  // Tells the model what a person did here, where the client passes that on.
  async tell(text) {
    if (!this.capabilities.updateModelContext) return;
    await this.request("ui/update-model-context", { content: [{ type: "text", text }] }).catch(() => undefined);
  }

  get canCall() {
    return this.capabilities.serverTools !== undefined;
  }

  get canOpen() {
    return this.capabilities.openLinks !== undefined;
  }

  open(url) {
    return this.request("ui/open-link", { url });
  }

  moment(text) {
    const { locale, timeZone } = this.context;
    const shown = { dateStyle: "medium", timeStyle: "medium" };
    try {
      return new Date(text).toLocaleString(locale, { ...shown, timeZone });
    } catch {
      return new Date(text).toLocaleString(undefined, shown);
    }
  }

  #send(message) {
    // A page in a sandbox can't know the origin of what surrounds it.
    window.parent.postMessage(message, "*");
  }

  #receive(message) {
    if (message?.jsonrpc !== "2.0") return;
    if (typeof message.method !== "string") this.#settle(message);
    else if (message.id === undefined) this.#notified(message.method, message.params ?? {});
    else this.#serve(message);
  }

  #settle({ id, result, error }) {
    const asked = this.#asked.get(id);
    if (!asked) return;
    this.#asked.delete(id);
    clearTimeout(asked.timer);
    if (error) asked.reject(new HostError(String(error.message ?? "The client refused.")));
    else asked.resolve(result ?? {});
  }

  #notified(method, params) {
    if (method === "ui/notifications/tool-input") this.#hears.input(params.arguments ?? {});
    else if (method === "ui/notifications/tool-result") this.#hears.result(params);
    else if (method === "ui/notifications/tool-cancelled") this.#hears.cancelled(String(params.reason ?? ""));
    else if (method === "ui/notifications/host-context-changed") this.#dress(params);
  }

  #serve({ id, method }) {
    if (method === "ui/resource-teardown") this.#hears.teardown();
    const known = method === "ui/resource-teardown" || method === "ping";
    const error = { code: UNKNOWN_METHOD, message: `This page does not know ${method}.` };
    this.#send({ jsonrpc: "2.0", id, ...(known ? { result: {} } : { error }) });
  }

  #dress(context) {
    this.context = { ...this.context, ...context };
    const root = document.documentElement;
    const { theme, styles, safeAreaInsets, locale } = context;
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    if (typeof locale === "string") root.lang = locale;
    for (const [name, value] of Object.entries(styles?.variables ?? {})) {
      if (name.startsWith("--") && typeof value === "string") root.style.setProperty(name, value);
    }
    for (const side of safeAreaInsets ? ["top", "right", "bottom", "left"] : []) {
      document.body.style.setProperty(`padding-${side}`, `${Number(safeAreaInsets[side]) || 0}px`);
    }
  }

  #reportSize() {
    let told = 0;
    const tell = () => {
      const height = Math.ceil(document.body.getBoundingClientRect().height);
      if (height !== told) this.notify("ui/notifications/size-changed", { height });
      told = height;
    };
    new ResizeObserver(tell).observe(document.body);
    tell();
  }
}

// The answer in a tool's result, as data where it is data.
function answerOf(result) {
  const text = (result.content ?? []).map((block) => (block.type === "text" ? block.text : "")).join("\n");
  if (result.isError) throw new ToolError(text || "The tool failed and said nothing.");
  const data = result.structuredContent;
  const cut = (result.content ?? []).some((block) => block.type === "resource_link");
  if (cut || data?.cut) throw new CutError("The answer is too long for this page; Upstairs in the browser shows it.");
  if (data !== undefined && data !== null) return data;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

// Connects a page to its host, or says in it what it is.
async function start(about, host) {
  if (!Host.present) {
    show(make("h1", document.title), make("p", `${about} It is shown inside a chat client that knows MCP Apps; nothing is here by itself.`));
    return;
  }
  show(make("p", "Waiting for the client …", { role: "status" }));
  try {
    await host.connect(document.title, "1");
  } catch (problem) {
    show(make("p", problem.message, { class: "notice", role: "alert" }), make("p", about));
  }
}
