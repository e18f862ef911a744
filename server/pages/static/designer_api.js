// The server's side of the designer: every call is JSON, and a refusal is an error with what the server said.

export class Refused extends Error {
  constructor(status, said) {
    super(said.error ?? `the server answered ${status}`);
    this.status = status;
    this.said = said;
  }
}

async function call(path, method = "GET", body = undefined) {
  const headers = body === undefined ? {} : { "content-type": "application/json" };
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: JSON.stringify(body), credentials: "same-origin" });
  } catch {
    throw new Refused(0, { error: "The server can't be reached; what you did is kept in this page. Try again." });
  }
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, said);
  return said;
}

export function apiOf(name) {
  const own = `/api/processes/${encodeURIComponent(name)}`;
  const query = (given) => `?${new URLSearchParams(given)}`;
  return {
    schema: () => call("/api/designer/schema"),
    check: (given) => call("/api/designer/check", "POST", given),
    evaluate: (rule, data) => call("/api/designer/evaluate", "POST", { rule, data }),
    simulate: (text, scenario) => call("/api/designer/simulate", "POST", { text, scenario }),
    versions: () => call(own),
    text: (at) => call(`${own}/text${at ? query({ at }) : ""}`),
    save: (text, revision) => call(`${own}/draft`, "PUT", { text, revision }),
    publish: (given) => call(`${own}/versions`, "POST", given),
    moveLabel: (label, version, comment) => call(`${own}/labels`, "POST", { label, version, comment }),
    difference: (before, after) => call(`${own}/difference${query({ before, after })}`),
    picture: (before, after) => `${own}/difference.svg${query({ before, after })}`,
    start: (given) => call(`${own}/runs`, "POST", given),
  };
}
