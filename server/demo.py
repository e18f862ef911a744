"""The main job, end to end: documents in, an approval that survives kill -9, a decision, a payment, its proof.

The demonstration is a client like any other: it starts the server as a separate process and speaks MCP to it over
`upstairs stdio`. Only the upload of files and their publication go over HTTP, since chat clients don't send files.
"""

import asyncio
import json
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import examples
from engine.errors import Invalid, Problem, Unavailable
from engine.process.definition import parse_definition
from examples.documents.make import make_documents
from server.commands.work import upload
from server.data_folder import DataFolder, open_data_folder
from server.demo_chat import OVER, Chat, Refused, connect
from server.demo_server import SCRIPTED, DemoServer, real_route
from server.demo_tell import Teller, citations, connection_help, headline, step_line
from server.settings_sources import Loaded

EXAMPLES = Path(examples.__file__).parent
PROCESS = EXAMPLES / "processes" / "invoice_approval.yaml"
PROMPTS = ("extract_invoice", "check_invoice")
INVOICE = "invoice-scan.pdf"

STEP_S = 180.0
"""How long a run may stand still before the demonstration gives up and says where to look."""

CHILD_S = 30.0
INTERRUPTED = 130
"""The exit code after Ctrl-C or SIGTERM in the middle of it."""

POLL_S = 0.1

View = dict[str, Any]


async def run_demo(loaded: Loaded, *, stay: bool, as_json: bool) -> int:
    """Run the demonstration on the data folder of the settings and return the exit code.

    Without a data folder of its own choice it takes one beside the default, so that it never touches a real one.

    Raises:
        Problem: something did not happen; the message says what, and what to look at.
    """
    root = loaded.settings.data
    if loaded.origins["data"].kind == "default":
        root = root.with_name(f"{root.name}-demo")
    teller = Teller(as_json=as_json)
    task = asyncio.current_task()
    assert task is not None
    # Stopped like this, the server and its Temporal are stopped too.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await Demo(loaded, root, teller).run(stay=stay)
    except Problem as problem:
        teller.say("failed", "", message=problem.message)
        raise
    except asyncio.CancelledError:
        return INTERRUPTED
    return 0


class Demo:
    """One demonstration; `after` are the cursors into the events of the runs that it follows."""

    def __init__(self, loaded: Loaded, root: Path, teller: Teller) -> None:
        """Open the data folder."""
        self.folder = open_data_folder(root)
        self.documents = self.folder.root / "demo"
        self.clients_log = self.folder.logs / "clients.log"
        self.server = DemoServer(loaded, self.folder, EXAMPLES)
        self.teller = teller
        self.route = real_route(loaded.settings)
        self.titles = _titles(PROCESS.read_text(encoding="utf-8"))
        self.after: dict[str, int] = {}
        self.told: set[str] = set()
        self.run_id = ""
        self.agent_id: str | None = None
        self.url = ""

    async def run(self, *, stay: bool) -> None:
        """Tell the whole story."""
        began = time.monotonic()
        self._announce()
        self.server.write_settings()
        await self._start_server()
        try:
            async with connect(self.folder.root, self.clients_log) as chat:
                document = await self._take_in(chat)
                await self._publish(chat)
                await self._begin(chat, document)
                await self._until_the_agent_works(chat)
                await self._kill()
            async with connect(self.folder.root, self.clients_log) as chat:
                await self._go_on(chat)
                await self._decide(chat)
                await self._end(chat)
            self.teller.say("done", f"\nDone in {time.monotonic() - began:.0f} s.", seconds=time.monotonic() - began)
            if stay:
                await self._stay()
        finally:
            await self.server.stop()

    def _announce(self) -> None:
        real = self.route is not None
        text = (
            f"Model: {self.route}, a real one; its calls cost money."
            if real
            else "Model: scripted, since neither ANTHROPIC_API_KEY nor OPENAI_API_KEY is set: examples/models.py\n"
            "       computes every answer from what it is sent, and costs nothing."
        )
        self.teller.say("model", text, real=real, route=self.route or SCRIPTED)
        self.teller.say("folder", f"Data:  {self.folder.root}", path=str(self.folder.root))

    async def _start_server(self) -> None:
        with self.teller.busy("starting the server and its Temporal"):
            seconds = await self.server.start()
        port = self.folder.read_server().port
        text = f"Server: process {self.server.pid} on http://127.0.0.1:{port}, ready after {seconds:.1f} s"
        self.teller.say("server", text, pid=self.server.pid, port=port, seconds=seconds)

    # --- before the run -----------------------------------------------------------------------------------

    async def _take_in(self, chat: Chat) -> str:
        """Make the documents, upload them, wait until they can be searched, and return the invoice's object id."""
        self.teller.heading("Documents")
        paths = await asyncio.to_thread(make_documents, self.documents)
        started = [await self._upload(path) for path in paths]
        for path, intake in zip(paths, started, strict=True):
            with self.teller.busy(f"reading {path.name}"):
                view = await chat.ended(intake["run_id"], STEP_S, f"the intake of {path.name}")
            report = view["result"] or {}
            if view["status"] != "completed" or report.get("state") not in ("ready", "needs_review"):
                raise Unavailable(f"{path.name} was not taken in: {view['error'] or report}; see {view['url']}")
            text = f"  {path.name}: {report['pages']} pages, {report['passages']} passages, {report['state']}"
            self.teller.say("document", text, name=path.name, object_id=intake["object_id"], **report)
        return next(one["object_id"] for path, one in zip(paths, started, strict=True) if path.name == INVOICE)

    async def _upload(self, path: Path) -> dict[str, Any]:
        where = f"/api/content?name={quote(path.name)}"
        return await asyncio.to_thread(_put, self.folder, where, path)

    async def _publish(self, chat: Chat) -> None:
        """Verify the process over MCP as an author would, and publish it with its prompts."""
        self.teller.heading("Prompts and process")
        for name in PROMPTS:
            await self._publish_file("interactions", EXAMPLES / "interactions" / f"{name}.prompt")
        text = PROCESS.read_text(encoding="utf-8")
        verdict = await chat.use("process_design", "verify_process", text=text)
        if not verdict["publishable"]:
            raise Invalid(f"{PROCESS.name} does not verify: {json.dumps(verdict['findings'][:3])}")
        self.teller.say(
            "verified",
            f"  {PROCESS.name}: {len(verdict['findings'])} findings; {verdict['worst_case']}",
            findings=verdict["findings"],
            worst_case=verdict["worst_case"],
        )
        await self._publish_file("processes", PROCESS)

    async def _publish_file(self, kind: str, path: Path) -> None:
        found = await asyncio.to_thread(_put, self.folder, f"/api/{kind}/{path.stem}?comment=the+example", path)
        self.teller.say("published", f"  {found['name']}@{found['version']}", kind=kind, **found)

    async def _begin(self, chat: Chat, document: str) -> None:
        self.teller.heading("A chat client starts the approval")
        tools = await chat.tools()
        self.teller.say("tools", f"  it sees {len(tools)} tools: {', '.join(tools)}", tools=tools)
        ticket = await chat.learn("processes")
        self.teller.say("learned", f"  learn_processes → ticket {ticket}", ticket=ticket)
        listed = (await chat.use("processes", "list_processes"))["processes"]
        known = ", ".join(f"{one['process']} ({one['title']})" for one in listed)
        self.teller.say("processes", f"  list_processes → {known}", processes=[one["process"] for one in listed])
        # The scripted model answers in no time: held back until the kill, it is killed in the middle of a turn.
        self.server.hold.touch()
        started = await chat.call("start_process", process=PROCESS.stem, input={"document": document})
        self.run_id, self.url = started["run_id"], started["url"]
        self.teller.say("started", f"  start_process → {self.run_id}", **started)

    # --- following ----------------------------------------------------------------------------------------

    async def _until_the_agent_works(self, chat: Chat) -> None:
        """Follow the run into its agent, up to the first call the agent makes with what it has learned."""
        async for view in chat.views(self.run_id, 0, STEP_S, "the process"):
            await self._tell_steps(chat, view)
            if view["open_tasks"]:
                return
            if any(event["data"].get("to") == "gather" for event in view["events"]):
                break
            if view["status"] in OVER:
                raise Unavailable(f"the run ended as {view['status']} ({view['error'] or view['result']}); {self.url}")
        self.agent_id = await self._agent(chat)
        async for view in chat.views(self.agent_id, 0, STEP_S, "the agent"):
            self._tell_turns(view)
            called = [event["data"].get("tool", "") for event in view["events"] if event["type"] == "tool.finished"]
            if any(not tool.startswith("learn_") for tool in called) or view["status"] in OVER:
                return

    async def _agent(self, chat: Chat) -> str:
        until = time.monotonic() + CHILD_S
        while time.monotonic() < until:
            found = (await chat.call("list_runs", parent_id=self.run_id, kind="agent"))["runs"]
            if found:
                return str(found[0]["run_id"])
            await asyncio.sleep(POLL_S)
        raise Unavailable(f"the agent of the process did not start within {CHILD_S:.0f} s; see {self.url}")

    async def _tell_steps(self, chat: Chat, view: View) -> None:
        """Tell the steps of the process that are new, with what each rests on, from the audit."""
        self.after[view["run_id"]] = view["next_after"]
        ended = [event["data"] for event in view["events"] if event["type"] in ("node.finished", "node.failed")]
        fresh = [data for data in ended if data["step"] not in self.told]
        if not fresh:
            return
        records = {record["data"].get("step"): record for record in await chat.audit(self.run_id)}
        for data in fresh:
            step = data["step"]
            self.told.add(step)
            patch = records[step]["data"].get("patch", []) if step in records else []
            written = {entry["path"].rpartition("/")[2]: entry["value"] for entry in patch}
            summary, found = headline(written), list(citations(written))
            title = str(self.titles.get(data["node"], data["node"]))
            cited = [{"quote": words, "anchor": anchor} for words, anchor in found]
            facts = {"step": step, "node": data["node"], "to": data["to"], "headline": summary, "citations": cited}
            if "error" in data:
                facts["error"] = data["error"]
                summary = f"failed: {data['error']['message']}"
            self.teller.say("step", step_line(step, data["type"], title, summary, found), **facts)

    def _tell_turns(self, view: View) -> None:
        """Tell the turns of the agent that are new."""
        self.after[view["run_id"]] = view["next_after"]
        for event in view["events"]:
            message = event["data"]
            if event["type"] != "message" or message.get("role") != "assistant":
                continue
            said = " ".join(part["text"] for part in message["parts"] if part["type"] == "text")
            calls = [part["name"] for part in message["parts"] if part["type"] == "tool_call"]
            text = f"    agent: {said if calls else 'answers'}{' → ' + ', '.join(calls) if calls else ''}"
            self.teller.say("turn", text, seq=event["seq"], calls=calls)

    # --- the crash ----------------------------------------------------------------------------------------

    async def _kill(self) -> None:
        self.teller.heading("kill -9, while the run is under way")
        server, temporal = await self.server.kill()
        self.server.hold.unlink(missing_ok=True)
        text = f"  SIGKILL to the server (process {server}) and to its Temporal (process {temporal}): both are gone"
        self.teller.say("killed", text, server=server, temporal=temporal, signal="SIGKILL")
        await self._start_server()

    async def _go_on(self, chat: Chat) -> None:
        """Show that the run stands where it stood, and follow it to the person it waits for."""
        view = await chat.call("get_run", run_id=self.run_id, after=self.after[self.run_id])
        events = self.after[self.run_id]
        text = f"  the run is {view['status']} at {view['position']}; its {events} events are there, and it goes on"
        self.teller.say("resumed", text, status=view["status"], position=view["position"], events=events)
        if self.agent_id is not None:
            after = self.after[self.agent_id]
            async for view in chat.views(self.agent_id, after, STEP_S, "the agent"):
                self._tell_turns(view)
        # From one event back: where the last thing that happened is the question itself, nothing else will.
        async for view in chat.views(self.run_id, self.after[self.run_id] - 1, STEP_S, "the process"):
            await self._tell_steps(chat, view)
            if view["open_tasks"]:
                return
            if view["status"] in OVER:
                raise Unavailable(f"the run ended as {view['status']} without asking anybody; see {self.url}")

    # --- the decision -------------------------------------------------------------------------------------

    async def _decide(self, chat: Chat) -> None:
        self.teller.heading("Finance decides")
        answer: Mapping[str, Any] = {"values": {"reason": "The purchaser confirmed the weekend price in writing."}}
        await self._refused(chat, "you", decision="approve", **answer)
        async with connect(self.folder.root, self.clients_log, "fay") as fay:
            tasks = (await fay.call("list_tasks"))["tasks"]
            task = next(task for task in tasks if task["run_id"] == self.run_id)
            asked = "\n".join(f"    {line}" for line in f"{task['title']}\n{task['description']}".splitlines() if line)
            self.teller.say("asked", f"  fay's inbox:\n{asked}", task_id=task["task_id"], title=task["title"])
            named = {"run_id": self.run_id, "task_id": task["task_id"]}
            accepted = await fay.call("answer_run", **named, decision="approve", **answer)
            self.teller.say("decided", f"  fay: {accepted['accepted']}", by="fay", **accepted)
        async with connect(self.folder.root, self.clients_log, "gil") as gil:
            reason = {"values": {"reason": "The contract says 640.00."}}
            await self._refused(gil, "gil", task_id=task["task_id"], decision="reject", **reason)

    async def _refused(self, chat: Chat, who: str, **answer: Any) -> None:
        """Give an answer that must not count, and show why it doesn't."""
        try:
            await chat.call("answer_run", run_id=self.run_id, **answer)
        except Refused as refused:
            why = refused.message.splitlines()[0]
            self.teller.say("refused", f"  {who}: {answer['decision']} → refused: {why}", who=who, why=why)
            return
        raise Unavailable(f"the answer of {who} was accepted and should not have been; see {self.url}")

    # --- the proof ----------------------------------------------------------------------------------------

    async def _end(self, chat: Chat) -> None:
        view: View = {}
        async for view in chat.views(self.run_id, self.after[self.run_id], STEP_S, "the process"):
            await self._tell_steps(chat, view)
        result = view["result"] or {}
        self.teller.say(
            "ended",
            f"  the run is {view['status']}: {result.get('outcome')}",
            status=view["status"],
            outcome=result.get("outcome"),
            output=result.get("output"),
        )
        if result.get("outcome") != "paid":
            raise Unavailable(
                f"the run ended as {view['status']} ({view['error'] or result}), not paid; see {self.url}"
            )
        self.teller.heading("What is left")
        self._tell_payments()
        await self._tell_audit(chat)
        let_in = f"`upstairs open --data {self.folder.root}` prints a link that lets a browser in"
        self.teller.say("url", f"  the run's page: {self.url} ({let_in})", url=self.url)

    def _tell_payments(self) -> None:
        lines = self.server.ledger.read_text(encoding="utf-8").splitlines()
        mine = [entry for entry in map(json.loads, lines) if entry["key"].startswith(f"{self.run_id}/")]
        told = ", ".join(f"{entry['payment_id']} {entry['amount']:,.2f} {entry['currency']}" for entry in mine)
        self.teller.say("payments", f"  ledger: {len(mine)} payment of this run: {told}", payments=mine)
        if len(mine) != 1:
            raise Unavailable(
                f"the ledger has {len(mine)} payments of the run instead of one; see {self.server.ledger}"
            )

    async def _tell_audit(self, chat: Chat) -> None:
        page = await chat.use("processes", "export_audit", run_id=self.run_id, limit=1)
        records = await chat.audit(self.run_id)
        rows = [_audit_row(record) for record in records]
        verdict = "whole" if page["valid"] else f"broken: {page['reason']}"
        text = f"  audit: {page['total']} records, the chain is {verdict}; head {page['head'][:16]}"
        told = [{"seq": record["seq"], "action": record["action"], "node": record["node"]} for record in records]
        self.teller.say("audit", text, valid=page["valid"], total=page["total"], head=page["head"], records=told)
        self.teller.table(("    #", "time", "actor", "action", "node", ""), rows)
        if not page["valid"]:
            raise Unavailable(f"the audit chain of {self.run_id} does not verify: {page['reason']}")

    async def _stay(self) -> None:
        """Say how to connect, and stay up until Ctrl-C."""
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        self.teller.heading("The server stays up")
        help_text = connection_help(self.folder, self.server.config)
        self.teller.say("connect", help_text, help=help_text)
        self.teller.say("staying", "\nCtrl-C stops the server; runs go on when it is started again.")
        ended, stopped = asyncio.ensure_future(self.server.wait()), asyncio.ensure_future(stop.wait())
        await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not stop.is_set():
            raise Unavailable(f"the server ended by itself; see {self.server.log}")


def _put(folder: DataFolder, where: str, path: Path) -> dict[str, Any]:
    return upload(folder, where, path.read_bytes())


def _titles(text: str) -> dict[str, str]:
    """Return the titles of the nodes of a definition, nested ones included."""
    found: dict[str, str] = {}
    pending: list[Any] = [parse_definition(text)]
    while pending:
        body = pending.pop()
        for name, node in body.nodes.items():
            found[name] = node.title or name
            pending += [nested.body for nested in node.bodies()]
    return found


def _audit_row(record: Mapping[str, Any]) -> Sequence[str]:
    data = record["data"]
    called = data.get("interaction") or {}
    model = f"{called['provider']}/{called['model']}" if called else ""
    notes = (data.get("decision"), f"→ {data['to']}" if data.get("to") else "", model, data.get("tool"))
    at = str(record["at"])[11:19]
    return (
        f"    {record['seq']}",
        at,
        record["actor"],
        record["action"],
        record["node"],
        ", ".join(str(note) for note in notes if note),
    )
