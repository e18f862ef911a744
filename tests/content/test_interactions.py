"""Interactions: prompts parsed before they are kept, checked before publication; every call recorded once."""

import anyio
import pytest

from content.database import Database
from content.executions import ExecutionDraft, ExecutionFilters, redacted
from content.interactions import Interactions
from engine.errors import Conflict, Invalid, NotFound
from engine.transcript import Finish, Media, Price, Text, Usage
from tests.content.support import create_tables, person

pytestmark = pytest.mark.anyio

ANN = person("ann", "author")
PAT = person("pat", "publisher")
OPS = person("ops", "operator")
VIC = person("vic")
EVE = person("eve", "administrator", tenant="other")

PROMPT = """---
model: openai/large
input:
  schema:
    topic: string
    tone?: string
output:
  schema:
    summary: string
x-upstairs:
  route: anthropic/sonnet
  fallbacks: [openai/small]
  storage: redacted
---
{{role "system"}}
You summarise.
{{role "user"}}
About {{topic}}: {{media url="blob:abc" contentType="image/png"}}
"""


@pytest.fixture
async def interactions(database: Database) -> Interactions:
    await create_tables(database)
    return Interactions(database)


async def _published(interactions: Interactions, name: str = "summarise", text: str = PROMPT) -> None:
    await interactions.put_draft(ANN, name, text)
    await interactions.publish(PAT, name)


def _draft(key: str = "run/1", **fields: object) -> ExecutionDraft:
    return ExecutionDraft.model_validate(
        {
            "key": key,
            "interaction": "summarise",
            "version": 1,
            "digest": "d" * 64,
            "rendered_digest": "r" * 64,
            "provider": "anthropic",
            "model": "sonnet",
            "finish": Finish(unified="done", raw="end_turn"),
            **fields,
        }
    )


async def test_a_draft_that_cannot_be_parsed_is_not_kept(interactions: Interactions) -> None:
    for text in ("{{#if x}}never closed", "---\ninput: 3\n---\nhello", "---\nx-upstairs: {rout: a/b}\n---\nhello"):
        with pytest.raises(Invalid):
            await interactions.put_draft(ANN, "broken", text)
    with pytest.raises(NotFound):
        await interactions.get_draft(ANN, "broken")


async def test_a_template_that_reads_what_its_schema_has_not_is_not_published(interactions: Interactions) -> None:
    await interactions.put_draft(ANN, "summarise", PROMPT.replace("{{topic}}", "{{topik}}"))
    with pytest.raises(Invalid, match="topik") as caught:
        await interactions.publish(PAT, "summarise")
    assert caught.value.details["findings"][0]["code"] == "unknown_path"
    assert not await interactions.list_versions(VIC, "summarise")


async def test_rendering_gives_the_messages_with_everything_a_call_needs(interactions: Interactions) -> None:
    await _published(interactions)
    rendered = await interactions.render(VIC, "summarise", {"topic": "cats"})
    assert [message["role"] for message in rendered.messages] == ["system", "user"]
    assert (rendered.version, rendered.stable_messages) == (1, 1)
    assert (rendered.route, rendered.route_origin) == ("anthropic/sonnet", "interaction")
    assert (rendered.fallbacks, rendered.storage) == (("openai/small",), "redacted")
    assert rendered.output_schema is not None
    system, user = rendered.transcript()
    assert (system.role, system.breakpoint, user.role, user.breakpoint) == ("system", True, "user", False)
    assert "cats" in user.text
    assert [part for part in user.parts if isinstance(part, Media)] == [Media(ref="blob:abc", mime="image/png")]
    assert isinstance(system.parts[0], Text)


async def test_the_digest_of_what_was_rendered_follows_the_parameters(interactions: Interactions) -> None:
    await _published(interactions)
    cats = await interactions.render(VIC, "summarise", {"topic": "cats"})
    again = await interactions.render(VIC, "summarise@1", {"topic": "cats"})
    dogs = await interactions.render(VIC, "summarise", {"topic": "dogs"})
    assert cats == again
    assert cats.rendered_digest != dogs.rendered_digest
    assert cats.digest == dogs.digest == (await interactions.resolve(VIC, "summarise")).digest


async def test_a_missing_parameter_is_an_error_and_not_an_empty_text(interactions: Interactions) -> None:
    await _published(interactions)
    with pytest.raises(Invalid) as caught:
        await interactions.render(VIC, "summarise", {})
    assert caught.value.details["missing"] == ["topic"]


async def test_a_draft_is_rendered_under_its_own_address_and_a_label_under_its_version(
    interactions: Interactions,
) -> None:
    await _published(interactions)
    await interactions.put_draft(ANN, "summarise", PROMPT.replace("About", "On"), revision=1)
    assert (await interactions.render(VIC, "summarise", {"topic": "x"})).version == 1
    drafted = await interactions.render(ANN, "summarise@draft", {"topic": "x"})
    assert (drafted.version, drafted.transcript()[1].text.strip().startswith("On")) == (0, True)
    assert (await interactions.resolve(ANN, "summarise@draft")).address == "summarise@draft"


async def test_without_a_route_the_platform_chooses(interactions: Interactions) -> None:
    await _published(interactions, "plain", "Hello")
    rendered = await interactions.render(VIC, "plain")
    assert (rendered.route, rendered.route_origin) == (None, "default")


async def test_a_call_is_recorded_once_however_often_it_is_repeated(interactions: Interactions) -> None:
    usage = Usage(input_total=10, output_total=3)
    price = Price(usd=0.01, source="table")
    first = await interactions.record_execution(VIC, _draft(usage=usage, price=price, latency_ms=12.5, run_id="run_1"))
    second = await interactions.record_execution(VIC, _draft(usage=Usage(input_total=99)))
    assert first == second
    page = await interactions.executions(VIC)
    assert page.executions == (first,)
    assert (first.usage.input_total, first.price.usd, first.latency_ms) == (10, 0.01, 12.5)


async def test_repeats_made_at_once_are_one_record(interactions: Interactions) -> None:
    ids: set[str] = set()

    async def record() -> None:
        ids.add((await interactions.record_execution(VIC, _draft())).execution_id)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(record)
    assert len(ids) == 1


async def test_a_key_used_for_another_call_is_refused(interactions: Interactions) -> None:
    await interactions.record_execution(VIC, _draft())
    for other in ({"rendered_digest": "x"}, {"interaction": "translate"}):
        with pytest.raises(Conflict, match="run/1"):
            await interactions.record_execution(VIC, _draft(**other))


async def test_the_key_of_another_caller_is_not_in_the_way(interactions: Interactions) -> None:
    mine = await interactions.record_execution(VIC, _draft())
    others = await interactions.record_execution(ANN, _draft(rendered_digest="other"))
    foreign = await interactions.record_execution(EVE, _draft(rendered_digest="foreign"))
    assert len({mine.execution_id, others.execution_id, foreign.execution_id}) == 3


async def test_what_is_kept_of_parameters_and_output_follows_the_storage_level(interactions: Interactions) -> None:
    secret = {"parameters": {"name": "Zoë", "ages": [3], "on": True}, "output": {"text": "secret"}}
    kept = await interactions.record_execution(VIC, _draft("a", storage="all", **secret))
    shape = await interactions.record_execution(VIC, _draft("b", storage="redacted", **secret))
    gone = await interactions.record_execution(VIC, _draft("c", storage="none", **secret))
    assert kept.parameters == secret["parameters"]
    assert shape.parameters == {"name": "[3 characters]", "ages": ["[number]"], "on": True}
    assert shape.output == {"text": "[6 characters]"}
    assert (gone.parameters, gone.output) == ({}, None)
    stored = [record.model_dump_json() for record in (await interactions.executions(VIC)).executions]
    assert sum("Zoë" in text for text in stored) == 1
    assert redacted(None) is None


async def test_records_are_filtered_and_paged_newest_first(interactions: Interactions) -> None:
    for number in range(5):
        await interactions.record_execution(
            VIC, _draft(f"k{number}", version=number % 2 + 1, run_id=f"run_{number}", valid=number != 3)
        )
    first = await interactions.executions(VIC, limit=2)
    rest = await interactions.executions(VIC, after=first.after)
    assert [record.key for record in (*first.executions, *rest.executions)] == ["k4", "k3", "k2", "k1", "k0"]
    assert rest.after is None

    async def keys(**wanted: object) -> list[str]:
        found = await interactions.executions(VIC, ExecutionFilters.model_validate(wanted))
        return [record.key for record in found.executions]

    assert await keys(version=2) == ["k3", "k1"]
    assert await keys(run_id="run_2") == ["k2"]
    assert await keys(valid=False) == ["k3"]
    assert await keys(finish="done", model="sonnet", provider="openai") == []
    newest = first.executions[0].at
    assert await keys(since=newest, interaction="summarise") == ["k4"]
    assert len(await keys(until=newest)) == 4


async def test_callers_see_their_own_records_and_operators_all_of_the_tenant(interactions: Interactions) -> None:
    mine = await interactions.record_execution(VIC, _draft())
    assert (await interactions.executions(ANN)).executions == ()
    with pytest.raises(NotFound):
        await interactions.get_execution(ANN, mine.execution_id)
    assert (await interactions.executions(OPS)).executions == (mine,)
    assert await interactions.get_execution(OPS, mine.execution_id) == mine
    assert (await interactions.executions(EVE)).executions == ()
    with pytest.raises(NotFound):
        await interactions.get_execution(EVE, mine.execution_id)
