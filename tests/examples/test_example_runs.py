"""Two of the examples for real: documents, prompts, tools, scripts, agents, people, events; the model is scripted."""

import json
import re
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest
from pydantic import JsonValue

import examples
from content.records import Filters
from engine.errors import Denied
from engine.ports import RunFilter, TaskAnswer
from engine.process.messages import SendEvent
from engine.runs import Run, StartRun
from engine.transcript import ModelRequest
from engine.values import PLATFORM_ROLES, Principal
from providers.scripted import ScriptedReply, answer, calls, register_script
from server.data_folder import open_data_folder
from server.platform import Platform, open_platform
from server.settings import ModelSettings, Settings
from server.temporal_child import EmbeddedTemporal
from server.worker import workers
from tests.server.agent_house import AgentHouse, results

pytestmark = pytest.mark.anyio

EXAMPLES = Path(examples.__file__).parent
OTTO = Principal(tenant="local", subject="otto", roles=PLATFORM_ROLES)

PLAYBOOK = "# Playbook\n\n## Liability\n\nLiability is always capped at the value of the order.\n"
DRAFT = "# Supply agreement\n\n## 7 Liability\n\nThe supplier is not liable for anything.\n"
FAIR = "# Supply agreement\n\n## 7 Liability\n\nLiability is capped at twice the value of the order.\n"
SIGNED = "# Supply agreement\n\n## 7 Liability\n\nLiability is capped at the value of the order.\n"
NOTES = "# Harbour\n\n## Depth\n\nThe channel was dredged to eleven metres in March.\n"


def person(subject: str, *roles: str) -> Principal:
    return Principal(tenant="local", subject=subject, roles=frozenset(("viewer", *roles)))


LOU = person("lou", "legal", "signatory")
SID = person("sid", "signatory")
EDA = person("eda", "editor")


def said(request: ModelRequest, name: str) -> str:
    """Return what stands between BEGIN and END of a name in the request."""
    text = "\n".join(message.text for message in request.messages if message.role == "user")
    found = re.search(rf"^BEGIN {name}[^\n]*\n(.*?)\nEND {name}$", text, re.MULTILINE | re.DOTALL)
    assert found is not None, text
    return found.group(1)


async def model(request: ModelRequest) -> ScriptedReply:
    """Answer by what is asked for, from the request alone."""
    wanted = set((request.output_schema or {}).get("properties", {}))
    if wanted == {"clauses"}:
        (clause,) = re.findall(r"7 Liability\n\n([^\n]+)", said(request, "CONTRACT"))
        return answer({"clauses": [{"number": "7", "topic": "liability cap", "text": clause}]})
    if wanted == {"finding"}:
        return answer({"finding": finding(request)})
    if wanted == {"parts"}:
        return answer({"parts": [said(request, "QUESTION")]})
    if wanted == {"claims"}:
        return search(request)
    assert wanted == {"report"}
    return answer({"report": {"text": f"Eleven metres. {said(request, 'CLAIMS')}"}})


def finding(request: ModelRequest) -> JsonValue:
    if "BEGIN CLAIM\n" in "\n".join(message.text for message in request.messages):
        return {"stands": said(request, "QUOTE") in said(request, "PASSAGE"), "why": "the words are there"}
    rules = said(request, "PLAYBOOK")
    anchor = re.search(r"^\[([^\]]+)\]\n[^\[]*always capped", rules, re.MULTILINE)
    assert anchor is not None, rules
    clause = said(request, "CLAUSE")
    if clause == "Liability is capped at the value of the order.":
        return {"deviation": "none", "why": "", "rule": "", "anchor": "", "proposal": ""}
    return {
        "deviation": "major",
        "why": "the cap is another",
        "rule": "Liability is always capped at the value of the order.",
        "anchor": anchor.group(1),
        "proposal": "Liability is capped at the value of the order.",
    }


def search(request: ModelRequest) -> ScriptedReply:
    found = results(request)
    if not found:
        return calls(("search_content", {"query": "dredged channel depth"}))
    (best, *_) = json.loads(found[-1].text)["passages"]
    claims: list[JsonValue] = [
        {"says": "It is eleven metres deep.", "quote": "dredged to eleven metres", "anchor": best["anchor"]},
        {"says": "It is twelve metres deep.", "quote": "dredged to twelve metres", "anchor": best["anchor"]},
    ]
    return answer({"claims": claims})


@pytest.fixture(scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[AgentHouse]:
    root = tmp_path_factory.mktemp("house") / "data"
    register_script("examples", model)
    settings = Settings(
        data=root, skills=(str(EXAMPLES / "skills"),), models=ModelSettings(default="scripted/examples")
    )
    folder = open_data_folder(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UPSTAIRS_EXAMPLE_REGISTERS", str(root / "registers.db"))
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(EmbeddedTemporal(settings.temporal, folder))
            platform = await stack.enter_async_context(open_platform(settings, folder))
            await stack.enter_async_context(workers(platform))
            for path in (EXAMPLES / "interactions").glob("*.prompt"):
                await platform.interactions.publish_text(OTTO, path.stem, path.read_text())
            yield AgentHouse(platform)


async def take_in(house: AgentHouse, name: str, text: str) -> str:
    """Take a document in, and return its object id."""
    run = await house.platform.services.ingest(OTTO, name, text.encode(), "text/markdown")
    assert (await house.finished(run)).status == "completed"
    return str(run.input["object_id"])


async def start(house: AgentHouse, name: str, values: dict[str, JsonValue]) -> Run:
    platform: Platform = house.platform
    text = (EXAMPLES / "processes" / f"{name}.yaml").read_text()
    version = await platform.definitions.publish_text(OTTO, name, text)
    return await platform.control.start(
        OTTO, StartRun(kind="process", definition=name, version=str(version.number), input=values)
    )


async def decide(house: AgentHouse, run: Run, node: str, who: Principal, decision: str, **values: JsonValue) -> None:
    """Answer the one open task of a run, which is that of `node`."""
    (task,) = await house.asked(run)
    assert task.node == node
    answered = TaskAnswer(task_id=task.task_id, by=who, decision=decision, values=values)
    await house.platform.control.answer(who, task.task_id, answered)


async def send(house: AgentHouse, run: Run, name: str, nth: int, **payload: JsonValue) -> None:
    """Send an event once the run waits for its `nth`."""
    seen = 0
    with anyio.fail_after(90):
        while len(await house.events(run, "event.awaited")) < nth:
            seen = (await house.platform.runs.wait(OTTO, run.run_id, after=seen, timeout_s=10)).events
    event = SendEvent.model_validate({"name": name, "payload": payload, "match": {"contract": run.input["contract"]}})
    assert (await house.platform.control.send_event(OTTO, event)).consumed == (run.run_id,)


async def texts_of(house: AgentHouse, name: str) -> list[str]:
    """Return the texts of all versions of the object of a name, oldest first, once they are read."""
    platform: Any = house.platform
    for run in await platform.runs.list(OTTO, RunFilter(kind="intake")):
        await house.finished(run)
    (found,) = (await platform.content.list(OTTO, Filters(name=name))).objects
    numbers = range(1, found.version.number + 1)
    return [(await platform.content.read_text(OTTO, f"{found.object_id}@{n}")).text for n in numbers]


async def test_a_contract_is_negotiated_in_versions_of_one_document_and_signed_by_both_sides(house: AgentHouse) -> None:
    await take_in(house, "playbook.md", PLAYBOOK)
    contract = await take_in(house, "draft.md", DRAFT)
    run = await start(
        house, "contract_review", {"contract": contract, "counterparty": "Northwind Instruments", "value": 20000}
    )
    (task,) = await house.asked(run)
    assert "Struck out: The supplier is not liable for anything." in task.description
    await decide(house, run, "review", LOU, "propose", reason="our cap", redline="As Lou would have it.")
    await send(house, run, "contract.answered", 1, accepted=False, text=FAIR)
    await decide(house, run, "review", LOU, "propose", reason="the cap again")
    await send(house, run, "contract.answered", 2, accepted=True, text=SIGNED)
    with pytest.raises(Denied):
        await decide(house, run, "sign", LOU, "sign")
    await decide(house, run, "sign", SID, "sign")
    await send(house, run, "contract.signed", 3, signed_by="N. Wind")
    ended = await house.finished(run)
    assert isinstance(ended.result, dict), ended.error
    assert ended.result["outcome"] == "signed"
    first, second = await texts_of(house, "redlines Northwind Instruments.md")
    assert first.strip() == "As Lou would have it."
    assert "Struck out: Liability is capped at twice the value of the order." in second
    (text,) = await texts_of(house, "signed contract Northwind Instruments.md")
    assert "Liability is capped at the value of the order." in text


async def test_of_two_claims_only_the_one_whose_words_stand_in_the_passage_is_reported(house: AgentHouse) -> None:
    await take_in(house, "harbour.md", NOTES)
    run = await start(house, "research_with_citations", {"question": "How deep is the channel?"})
    (task,) = await house.asked(run)
    assert task.title == "1 claims about “How deep is the channel?” do not stand"
    await decide(house, run, "decide", person("rita", "researcher"), "go_on")
    await decide(house, run, "accept", EDA, "accept")
    ended = await house.finished(run)
    assert isinstance(ended.result, dict), ended.error
    assert ended.result["outcome"] == "accepted"
    report = json.dumps(ended.result["output"])
    assert "It is eleven metres deep." in report
    assert "twelve" not in report
