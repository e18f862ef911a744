"""The scripted provider counts, streams and refuses like a wire."""

from collections.abc import Iterator

import pytest

from engine.errors import Invalid
from engine.transcript import CacheFacts, Message, ModelRequest, Route, ToolCall, ToolResult, ToolSpec, user
from providers.base import make_provider
from providers.errors import InvalidRequest, RateLimited
from providers.scripted import Line, Scripted, ScriptedReply, answer, calls, register_script

pytestmark = pytest.mark.anyio

SEARCH = ToolSpec(name="search", description="Search.", input_schema={"type": "object"})


def ask(*messages: Message, model: str = "s", **fields: object) -> ModelRequest:
    return ModelRequest.model_validate(
        {"route": Route(provider="scripted", model=model), "messages": messages, "tools": (SEARCH,), **fields}
    )


async def test_a_list_speaks_in_order_and_then_says_that_it_is_over():
    provider = Scripted(["one", RateLimited("slow.", provider="scripted", retry_after_s=2), "two"])
    assert (await provider.generate(ask(user("Hi")))).message.text == "one"
    with pytest.raises(RateLimited):
        await provider.generate(ask(user("Hi")))
    assert (await provider.generate(ask(user("Hi")))).message.text == "two"
    with pytest.raises(InvalidRequest, match="before call 4"):
        await provider.generate(ask(user("Hi")))
    assert len(provider.requests) == 4


async def test_a_generator_and_an_async_function_are_scripts():
    def lines() -> Iterator[Line]:
        yield "from a generator"

    async def think(request: ModelRequest) -> Line:
        return request.messages[-1].text.upper()

    assert (await Scripted(lines()).generate(ask(user("Hi")))).message.text == "from a generator"
    assert (await Scripted(think).generate(ask(user("loud")))).message.text == "LOUD"


async def test_a_registered_script_answers_its_route():
    register_script("shout", lambda request: request.messages[-1].text + "!")
    provider = make_provider("scripted")
    assert (await provider.generate(ask(user("Hey"), model="shout"))).message.text == "Hey!"
    assert (await provider.generate(ask(user("Hey"), model="echo"))).message.text == "Hey"
    with pytest.raises(Invalid, match="echo"):
        await provider.generate(ask(user("Hey"), model="nobody"))


async def test_calls_get_ids_and_the_loop_goes_on_with_their_results():
    provider = Scripted([calls(("search", {"q": "a"}), ("search", {"q": "b"}), text="Looking."), "found"])
    reply = await provider.generate(ask(user("Find.")))
    assert reply.finish.unified == "tool_calls"
    assert [call.id for call in reply.message.tool_calls] == ["call_1_1", "call_1_2"]
    results = [ToolResult(call_id=call.id, name=call.name, text="x") for call in reply.message.tool_calls]
    answered = ask(user("Find."), reply.message, Message(role="tool", parts=tuple(results)))
    assert (await provider.generate(answered)).message.text == "found"


async def test_what_the_conversation_began_with_is_a_cache_read():
    provider = Scripted(["four", "five"])
    first = ask(user("a" * 400), cache_key="run_1")
    one = await provider.generate(first)
    assert one.usage.cache_read == 0
    assert one.usage.output_total == 1
    two = await provider.generate(ask(*first.messages, one.message, user("more"), cache_key="run_1"))
    assert two.usage.cache_read == one.usage.input_total
    assert two.cache == CacheFacts(hit=True, read=one.usage.input_total)
    assert two.usage.input_total > one.usage.input_total
    assert two.usage.input_uncached == two.usage.input_total - two.usage.cache_read
    assert two.price.usd == 0
    assert two.spent.unpriced_turns == 0


async def test_another_conversation_reads_nothing_from_the_cache():
    provider = Scripted(["one", "two"])
    await provider.generate(ask(user("a" * 400), cache_key="run_1"))
    assert (await provider.generate(ask(user("a" * 400), cache_key="run_2"))).usage.cache_read == 0


async def test_a_miss_of_its_cache_has_a_named_cause():
    provider = Scripted(["one", "two", "three"])
    tool = ToolSpec(name="rain", description="", input_schema={})
    one = await provider.generate(ask(user("Hi"), cache_key="run_1"))
    two = await provider.generate(ask(user("Ho"), cache_key="run_1"))
    three = await provider.generate(ask(user("Ho"), tools=(SEARCH, tool), cache_key="run_1"))
    causes = [reply.cache.reason for reply in (one, two, three) if reply.cache is not None]
    assert causes == ["first_turn", "messages_changed", "tools_changed"]


async def test_its_own_turn_must_come_back_unchanged():
    provider = Scripted([ScriptedReply(text="mine", reasoning="thought"), "next"])
    reply = await provider.generate(ask(user("Hi")))
    native = reply.message.native
    assert native is not None
    altered = native.model_copy(update={"blocks": ({**native.blocks[0], "scripted": []},)})  # pyright: ignore[reportGeneralTypeIssues]
    with pytest.raises(InvalidRequest, match="changed"):
        await provider.generate(ask(user("Hi"), reply.message.model_copy(update={"native": altered}), user("And?")))
    stored = Message.model_validate_json(reply.message.model_dump_json())
    assert (await provider.generate(ask(user("Hi"), stored, user("And?")))).message.text == "next"


async def test_a_schema_gets_its_parsed_answer():
    schema = {"type": "object"}
    reply = await Scripted([answer({"n": 3})]).generate(ask(user("Count."), output_schema=schema))
    assert reply.output == {"n": 3}


async def test_a_call_in_a_cut_output_can_not_be_executed():
    cut = ScriptedReply(tool_calls=(ToolCall(id="c", name="search", arguments={"q": "a"}),), finish="length")
    reply = await Scripted([cut]).generate(ask(user("Hi")))
    assert reply.finish.unified == "length"
    assert reply.message.tool_calls[0].malformed == '{"q": "a"}'
