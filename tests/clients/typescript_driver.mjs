// The driver of the official TypeScript client. `CLIENTS` names the folder in which it is installed.

import { createRequire } from "node:module";
import { join } from "node:path";

import { serve } from "./lines.mjs";

const installed = createRequire(join(process.env.CLIENTS, "package.json"));
const { Client, ProtocolError, StreamableHTTPClientTransport } = installed("@modelcontextprotocol/client");
const { StdioClientTransport } = installed("@modelcontextprotocol/client/stdio");
const { version } = installed("./node_modules/@modelcontextprotocol/client/package.json");

const FRESH = { cacheMode: "refresh" };
const can = ["cancel", "complete", "elicitation", "progress", "watch"];
let client;
let subscription;
const heard = new Set();
let onHeard = () => {};
let says;

async function open({ era, command, url, headers }) {
  const mode = era === "legacy" ? "legacy" : "auto";
  const capabilities = { elicitation: { form: {} } };
  client = new Client({ name: "typescript", version }, { capabilities, versionNegotiation: { mode } });
  client.setRequestHandler("elicitation/create", async () => says ?? { action: "cancel" });
  client.setNotificationHandler("notifications/resources/updated", ({ params }) => {
    heard.add(params.uri);
    onHeard();
  });
  await client.connect(
    url
      ? new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } })
      : new StdioClientTransport({ command: command[0], args: command.slice(1), stderr: "inherit" }),
  );
  const server = client.getServerVersion();
  const protocol = client.getNegotiatedProtocolVersion();
  return { name: server.name, version: server.version, client: version, protocol, can };
}

async function callTool({ name, arguments: given, progress, cancel_after_s, person }) {
  says = person;
  let reported = 0;
  const controller = new AbortController();
  const timer = cancel_after_s && setTimeout(() => controller.abort("enough"), 1000 * cancel_after_s);
  try {
    const options = { signal: controller.signal, ...(progress && { onprogress: () => reported++ }) };
    return { ...(await client.callTool({ name, arguments: given }, options)), progress: reported };
  } catch (error) {
    if (controller.signal.aborted) return { cancelled: true };
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

async function watch({ uri }) {
  if (client.getProtocolEra() === "legacy") return client.subscribeResource({ uri });
  subscription = await client.listen({ resourceSubscriptions: [uri] });
  return { honoured: subscription.honoredFilter };
}

async function wait({ uri }) {
  while (!heard.has(uri)) await new Promise((done) => (onHeard = done));
  if (subscription) await subscription.close();
  else await client.unsubscribeResource({ uri });
}

await serve(
  {
    open,
    list_tools: () => client.listTools(undefined, FRESH),
    call_tool: callTool,
    list_resources: () => client.listResources(undefined, FRESH),
    list_templates: () => client.listResourceTemplates(undefined, FRESH),
    read_resource: (what) => client.readResource(what, FRESH),
    list_prompts: () => client.listPrompts(undefined, FRESH),
    get_prompt: (what) => client.getPrompt(what),
    complete: (what) => client.complete(what),
    watch,
    heard: wait,
    close: () => client?.close(),
  },
  (error) => {
    if (ProtocolError[Symbol.hasInstance](error)) return { code: error.code, message: error.message };
    throw error;
  },
);
