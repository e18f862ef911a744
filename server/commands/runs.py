"""`run`, `watch`, `inbox`, `answer`, `replay`: starting, following, deciding, checking, with every client's tools."""

import json
from typing import Annotated, Any

import typer

from engine.errors import Invalid
from server.client import LocalClient, Refused, local_client
from server.commands.options import AsJson, AsUser, Config, Data, folder_of, show

RunId = Annotated[str, typer.Argument(help="as the start answered it")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (run, watch, inbox, answer, replay):
        app.command()(command)


def run(
    process: Annotated[str, typer.Argument(help="a process, as name, name@version or name@label")],
    input: Annotated[str, typer.Option("--input", help="the input as JSON")] = "{}",
    key: Annotated[str | None, typer.Option("--key", help="the same key again returns the same run")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="follow the run until it ends or waits for somebody")] = False,
    data: Data = None,
    config: Config = None,
    user: AsUser = None,
    as_json: AsJson = False,
) -> None:
    """Start a process."""
    arguments: dict[str, Any] = {"process": process, "input": _object(input, "--input")}
    if key is not None:
        arguments["idempotency_key"] = key
    with local_client(folder_of(data, config), config, user) as client:
        started = client.call("start_process", arguments)
        show(started, as_json, f"{started['run_id']} {started['status']}\n{started['url']}")
        if wait:
            follow(client, started["run_id"], as_json)


def watch(
    run_id: RunId, data: Data = None, config: Config = None, user: AsUser = None, as_json: AsJson = False
) -> None:
    """Follow a run until it ends or waits for somebody."""
    with local_client(folder_of(data, config), config, user) as client:
        follow(client, run_id, as_json)


def follow(client: LocalClient, run_id: str, as_json: bool) -> None:
    """Print a run's events as they come, until it ends or waits.

    Raises:
        Refused: it ended without being completed.
    """
    after = 0
    while True:
        view = client.call("get_run", {"run_id": run_id, "after": after, "wait_s": 20})
        for event in view["events"]:
            show(event, as_json, _line(event))
        after = view["next_after"]
        if view["more"]:
            continue
        if view["status"] in ("completed", "failed", "cancelled"):
            ended = {name: view.get(name) for name in ("status", "result", "error")}
            show(ended, as_json, f"{view['status']}: {json.dumps(view.get('result'), ensure_ascii=False)}")
            if view["status"] != "completed":
                raise Refused(f"{run_id} {view['status']}: {view.get('error')}; see {view['url']}")
            return
        if view["open_tasks"]:
            for task in view["open_tasks"]:
                show(task, as_json, _task_text(task))
            return


def inbox(data: Data = None, config: Config = None, user: AsUser = None, as_json: AsJson = False) -> None:
    """List what waits for a person."""
    with local_client(folder_of(data, config), config, user) as client:
        tasks = client.call("list_tasks", {})["tasks"]
    if not tasks and not as_json:
        print("nothing waits for you")
    for task in tasks:
        show(task, as_json, _task_text(task))


def answer(
    run_id: RunId,
    decision: Annotated[str | None, typer.Argument(help="one of the task's decisions")] = None,
    values: Annotated[str, typer.Option("--values", help="values of the form as JSON")] = "{}",
    comment: str = "",
    task: Annotated[str | None, typer.Option("--task", help="needed where several tasks are open")] = None,
    message: Annotated[str | None, typer.Option("--message", help="to a running agent, instead of an answer")] = None,
    data: Data = None,
    config: Config = None,
    user: AsUser = None,
    as_json: AsJson = False,
) -> None:
    """Answer what a run waits for."""
    given = {
        "run_id": run_id,
        "decision": decision,
        "values": _object(values, "--values"),
        "comment": comment,
        "task_id": task,
        "message": message,
    }
    arguments = {name: value for name, value in given.items() if value not in (None, "", {})}
    with local_client(folder_of(data, config), config, user) as client:
        answered = client.call("answer_run", arguments)
    show(answered, as_json, f"{answered['accepted']} ({answered['status']})")


def replay(
    run_id: RunId, data: Data = None, config: Config = None, user: AsUser = None, as_json: AsJson = False
) -> None:
    """Make every request of an agent's run again from its log; exit code 1 where one comes out otherwise."""
    with local_client(folder_of(data, config), config, user) as client:
        found = client.use("agents", "replay", {"run_id": run_id})
    counts = f"{found['turns']} turns, {found['compared']} of them compared by the digest of their request"
    different = found["difference"]
    if different is None:
        show(found, as_json, f"the same: {counts}")
        return
    sides = f"  sent {different['expected']}\n  now  {different['found']}"
    show(found, as_json, f"NOT the same: {different['what']}\n{sides}")
    raise typer.Exit(1)


def _object(text: str, option: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise Invalid(f"{option} is not JSON ({error}); quote it for the shell, as in '{{\"a\": 1}}'") from None
    if not isinstance(value, dict):
        raise Invalid(f"{option} must be a JSON object, not {text[:60]}")
    return value


def _line(event: dict[str, Any]) -> str:
    facts = {name: value for name, value in event["data"].items() if name not in ("native", "parts")}
    return f"{event['seq']:>5}  {event['type']:<16} {json.dumps(facts, ensure_ascii=False)[:160]}"


def _task_text(task: dict[str, Any]) -> str:
    who = ", ".join(f"{kind} {', '.join(names)}" for kind, names in task["seat"].items())
    decisions = " | ".join(task["decisions"])
    mine = "" if task["yours"] else " (not for you)"
    return f"{task['run_id']}  {task['title']}\n    {decisions}   for {who}{mine}"
