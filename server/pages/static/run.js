// Keeps the page of one run live: appends durable events by number, shows the message under way beside them.
const log = document.getElementById("events");
const live = document.getElementById("live");

function node(name, text) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  return made;
}

function append(event) {
  const item = node("li");
  const details = node("details");
  const line = node("summary");
  const time = node("time", event.at.slice(0, 19).replace("T", " "));
  time.dateTime = event.at;
  line.append(node("b", String(event.seq)), " ", node("code", event.type), " ", time);
  details.append(line, node("pre", JSON.stringify(event.data, null, 2)));
  item.append(details);
  log.append(item);
}

function badge(word) {
  const made = node("span", word);
  made.className = `badge ${word}`;
  document.getElementById("status")?.replaceChildren(made);
}

// What the server renders of the run is another module's to renew.
function tell() {
  document.dispatchEvent(new CustomEvent("upstairs:run"));
}

// A delta belongs to a turn and an attempt at it; a new attempt starts the text again.
let shown = "";
let text = "";

// What was streamed before this place (turn, attempt, offset) is settled by an event of the log.
let settled = [0, 0, 0];

function settles(event) {
  const data = event.data;
  if (event.type === "turn.finished") settled = [data.turn + 1, 0, 0];
  else if (event.type === "turn.restarted") settled = [data.turn, data.attempt, data.offset ?? 0];
  else return;
  settle();
}

function isSettled(piece) {
  const place = [piece.turn, piece.attempt, piece.offset];
  const differs = place.findIndex((number, at) => number !== settled[at]);
  return differs >= 0 && place[differs] < settled[differs];
}

function delta(piece) {
  if (isSettled(piece)) return;
  // The turn is told again from its start, or a part of it is lost: what is shown of it goes.
  if (piece.type === "turn.retold" || piece.type === "turn.gap") settle();
  if (piece.type !== "text.delta") return;
  const place = `${piece.turn}/${piece.attempt}`;
  if (place !== shown) text = "";
  shown = place;
  text += typeof piece.data.text === "string" ? piece.data.text : "";
  live.textContent = text;
  live.hidden = text === "";
}

function settle() {
  text = "";
  shown = "";
  live.hidden = true;
}

if (log && log.dataset.stream) {
  const stream = new EventSource(log.dataset.stream);
  stream.onmessage = (message) => {
    const event = JSON.parse(message.data);
    append(event);
    if (event.type === "run.status") badge(event.data.status);
    settles(event);
    tell();
  };
  stream.addEventListener("delta", (message) => delta(JSON.parse(message.data)));
  stream.addEventListener("end", () => {
    stream.close();
    tell();
  });
}
