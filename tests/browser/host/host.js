// A chat client in small: the official client speaks to the server, the official bridge to the page in its sandbox.

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { AppBridge, PostMessageTransport, getToolUiResourceUri } from "@modelcontextprotocol/ext-apps/app-bridge";

const MIME = "text/html;profile=mcp-app";
const CAPABILITIES = { openLinks: {}, serverTools: {}, updateModelContext: { text: {} } };

// What the page did to its host, for tests to look at.
const seen = { calls: [], heights: [], links: [], told: [] };
window.seen = seen;
window.refused = new Set();

// Connects a client: `path` of the server, `mode` of the client's version negotiation, `user` of the server.
window.connect = async ({ path, mode, user }) => {
  const extensions = { "io.modelcontextprotocol/ui": { mimeTypes: [MIME] } };
  const options = { versionNegotiation: { mode }, capabilities: { extensions } };
  const client = new Client({ name: "host", version: "1" }, options);
  const headers = user ? { "Upstairs-User": user } : {};
  await client.connect(new StreamableHTTPClientTransport(new URL(path, location), { requestInit: { headers } }));
  window.client = client;
};

// Calls a tool and shows its page; `context` is what the page is told about this host.
window.open_page = async (name, args, context, capabilities = CAPABILITIES) => {
  const { tools } = await window.client.listTools();
  const tool = tools.find((one) => one.name === name);
  const uri = getToolUiResourceUri(tool);
  const { contents } = await window.client.readResource({ uri });
  const [page] = contents;
  if (page.mimeType !== MIME) throw new Error(`${uri} is ${page.mimeType}`);
  const bridge = new AppBridge(window.client, { name: "host", version: "1" }, capabilities, { hostContext: context });
  window.bridge = bridge;
  bridge.onopenlink = async ({ url }) => (seen.links.push(url), {});
  bridge.onupdatemodelcontext = async ({ content }) => (seen.told.push(...content.map((block) => block.text)), {});
  bridge.onsizechange = ({ height }) => {
    seen.heights.push(height);
    frame.style.height = `${height}px`;
  };
  const frame = inSandbox();
  const ready = new Promise((resolve) => (bridge.oninitialized = resolve));
  await bridge.connect(new PostMessageTransport(frame.contentWindow, frame.contentWindow));
  // The bridge hands every call on; a stricter host lets a page call what is listed alone.
  const listed = new Set(tools.map((one) => one.name));
  bridge.oncalltool = (call) => {
    seen.calls.push(call.name);
    if (window.refused.has(call.name)) throw new Error(`${call.name} is refused`);
    if (!listed.has(call.name)) throw new Error(`${call.name} is not listed`);
    return window.client.callTool(call);
  };
  frame.srcdoc = guarded(page.text, page._meta.ui.csp);
  await ready;
  await bridge.sendToolInput({ arguments: args });
  await bridge.sendToolResult(await window.client.callTool({ name, arguments: args }));
};

// An origin of its own, and of what a page could ask for, scripts alone: no forms, no windows, no downloads.
function inSandbox() {
  const frame = document.createElement("iframe");
  frame.setAttribute("sandbox", "allow-scripts");
  frame.name = "page";
  frame.style.width = "720px";
  document.body.replaceChildren(frame);
  return frame;
}

// The policy that the extension has a host make of what the resource asks for.
function guarded(html, { connectDomains = [], resourceDomains = [], frameDomains = [] }) {
  const from = (domains) => domains.join(" ") || "'none'";
  const own = ["'unsafe-inline'", ...resourceDomains].join(" ");
  const policy =
    `default-src 'none'; script-src ${own}; style-src ${own}; img-src data: ${resourceDomains.join(" ")}; ` +
    `connect-src ${from(connectDomains)}; frame-src ${from(frameDomains)}; base-uri 'self'`;
  return html.replace("<head>", `<head><meta http-equiv="Content-Security-Policy" content="${policy}">`);
}

document.title = "ready";
