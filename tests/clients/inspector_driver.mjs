// The driver of the Inspector's command lines: `mcpdo`, whose sessions a daemon holds, and the one-shot `--cli`.
//
// Both are run by their own entry functions, which take the words of a command line, in this one process: to start
// Node anew for each of the commands would take most of the time of the tests. `CLIENTS` names where they are installed.

import { AsyncLocalStorage } from "node:async_hooks";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

import { serve } from "./lines.mjs";

const home = join(process.env.CLIENTS, "node_modules", "@modelcontextprotocol", "inspector");
const entry = async (...path) => import(pathToFileURL(join(home, "clients", ...path)).href);
process.env.MCP_INSPECTOR_DAEMON_DIR = join(process.env.HOME, "d");
process.env.MCP_INSPECTOR_SECRET_STORE = "file";

const { version } = JSON.parse(readFileSync(join(home, "package.json")));
const MAIN = "main";
const starting = /^start_/;
let target;
let modern;
let parked = 0;
let following;
let daemon;

// However this process ends, the daemon that it has started ends too.
process.on("exit", () => daemon && process.kill(daemon));

// A command is interrupted by the signal of the keyboard, which must not end this process with it.
process.on("SIGINT", () => {});

// What a command prints is the command's own, even where two of them run at once.
const printing = new AsyncLocalStorage();
for (const stream of [process.stdout, process.stderr]) {
  const write = stream.write.bind(stream);
  stream.write = (chunk, encoding, done) => {
    const seen = printing.getStore();
    if (!seen) return write(chunk, encoding, done);
    seen[stream === process.stdout ? "out" : "err"] += chunk;
    seen.told?.();
    (typeof encoding === "function" ? encoding : done)?.();
    return true;
  };
}

/** Runs a command line; what it prints and the error it ends with are added to `seen`. */
async function run(main, words, seen = {}) {
  Object.assign(seen, { out: "", err: "" });
  process.exitCode = undefined;
  await printing.run(seen, () => main(["node", "inspector", ...words]).catch((error) => (seen.error = error)));
  seen.code = seen.error?.exitCode ?? process.exitCode ?? 0;
  process.exitCode = undefined;
  return seen;
}

/** Runs a command of mcpdo on a connection and returns the JSON that it prints. */
async function mcpdo(connection, ...words) {
  const { runMcp } = await entry("mcpdo", "build", "mcp-bin.js");
  const { out, error } = await run(runMcp, ["--format", "json", "--connection", connection, ...words]);
  if (out.trim()) return JSON.parse(out);
  if (error) throw error;
  return {};
}

const connect = (name) => mcpdo(name, "connect", ...target);

async function open({ era, command, url, headers }) {
  modern = era !== "legacy";
  const flags = ["--era", modern ? "modern" : "legacy"];
  for (const [name, value] of Object.entries(headers ?? {})) flags.push("--header", `${name}: ${value}`);
  target = url ? [...flags, "--server-url", url] : [...flags, "--", ...command];
  await connect(MAIN);
  daemon = (await mcpdo(MAIN, "daemon", "status")).pid;
  const { serverInfo, protocolVersion } = await mcpdo(MAIN, "connections/show", MAIN);
  const can = ["complete", "elicitation", "watch", ...(modern ? ["tasks"] : [])];
  return { name: serverInfo.name, version: serverInfo.version, client: version, protocol: protocolVersion, can };
}

async function callTool({ name, arguments: given, person }) {
  const words = ["tools/call", name, JSON.stringify(given)];
  if (!modern || !starting.test(name)) {
    const { elicitationPending: asked, ...answer } = await mcpdo(MAIN, ...words);
    return asked ? respond(asked.elicitationId, person) : answer;
  }
  // A run that is started is a task to the Inspector of the current era: the call waits, on a connection of its own.
  const own = `parked-${++parked}`;
  await connect(own);
  const answer = await mcpdo(own, ...words);
  return answer.elicitationPending ? { asked: answer.elicitationPending.elicitationId } : answer;
}

function respond(asked, { action, content }) {
  return mcpdo(MAIN, "elicitation/respond", asked, action === "accept" ? JSON.stringify(content) : `--${action}`);
}

async function watch({ uri }) {
  const { runMcp } = await entry("mcpdo", "build", "mcp-bin.js");
  const words = ["--format", "json", "--connection", MAIN, "resources/subscribe", uri];
  following = {};
  following.ended = run(runMcp, words, following);
  await printed(`"type": "subscribed"`);
}

async function printed(text) {
  while (!following.out.includes(text)) {
    if (following.error) throw following.error;
    await new Promise((told) => (following.told = told));
  }
}

async function heard({ uri }) {
  await printed(`"type": "resources/updated",\n  "uri": "${uri}"`);
  process.emit("SIGINT");
  await following.ended;
}

async function close() {
  await mcpdo(MAIN, "daemon", "stop");
  daemon = undefined;
}

/** Runs the one-shot command line of the Inspector. */
async function cli({ words }) {
  const { runCli } = await entry("cli", "build", "index.js");
  const { out, err, code, error } = await run(runCli, words);
  return { out, err: error ? `${err}${error.message}` : err, code };
}

await serve(
  {
    open,
    cli,
    close,
    watch,
    heard,
    call_tool: callTool,
    list_tools: () => mcpdo(MAIN, "tools/list"),
    list_resources: () => mcpdo(MAIN, "resources/list"),
    list_templates: () => mcpdo(MAIN, "resources/templates/list"),
    read_resource: ({ uri }) => mcpdo(MAIN, "resources/read", uri),
    list_prompts: () => mcpdo(MAIN, "prompts/list"),
    get_prompt: ({ name, arguments: given }) => {
      const pairs = Object.entries(given).map((pair) => pair.join("="));
      return mcpdo(MAIN, "prompts/get", name, ...(pairs.length ? ["--prompt-args", ...pairs] : []));
    },
    complete: async ({ ref, argument }) => ({
      completion: await mcpdo(
        ...[MAIN, "prompts/complete", "--complete-ref-type", ref.type, "--complete-ref", ref.name ?? ref.uri],
        ...["--complete-arg-name", argument.name, "--complete-arg-value", argument.value],
      ),
    }),
    respond: ({ asked, content }) => respond(asked, { action: "accept", content }),
  },
  (error) => ({ code: error.envelope?.code ?? "unknown", message: error.message }),
);
