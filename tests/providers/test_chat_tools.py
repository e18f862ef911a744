"""One constant `use_tool` carries every learned tool, and the loop sees the same calls as on any other wire."""

import json
from typing import Any

import pytest

from engine.transcript import Message, ModelRequest, Route, ToolCall, ToolResult, ToolSpec, system, user
from providers.base import Provider
from tests.providers import referee_chat
from tests.providers.conftest import Connect
from tests.providers.referee import Json, Referee, Turn

pytestmark = pytest.mark.anyio

TICKET = "money_work@0123456789abcdef"
LEARN = ToolSpec(name="learn_money_work", description="Learn to pay.", input_schema={"type": "object"})
PAY = ToolSpec(name="money_work.pay", description="Pay.", input_schema={"type": "object"}, deferred=True)
COUNT = PAY.model_copy(update={"name": "words.count"})
OTHER = PAY.model_copy(update={"name": "stock.count"})
TOOLS = (LEARN, PAY, COUNT, OTHER)


def result(call_id: str, *reveals: ToolSpec, ticket: str = TICKET) -> Message:
    text = f"# Skill\nticket: {ticket}\n\nPay people."
    return Message(
        role="tool", parts=(ToolResult(call_id=call_id, name="learn_money_work", text=text, reveals=reveals),)
    )


def learned(*reveals: ToolSpec) -> ModelRequest:
    asked = Message(role="assistant", parts=(ToolCall(id="call_0", name="learn_money_work"),))
    messages = (system("Be brief."), user("Pay Ada."), asked, result("call_0", *reveals))
    return ModelRequest(route=Route(provider="chat", model="m"), messages=messages, tools=TOOLS)


@pytest.fixture
def provider(connect: Connect, referee: Referee) -> Provider:
    return connect("chat", f"{referee.url}/v1")


async def call_of(provider: Provider, referee: Referee, request: ModelRequest, given: Any) -> ToolCall:
    """Return what the loop sees of a call of `use_tool`."""
    referee.will_say(Turn(referee_chat.call("call_1", "use_tool", given), "tool_calls"))
    (call,) = (await provider.generate(request)).message.tool_calls
    return call


@pytest.mark.parametrize("name", ["money_work.pay", "money_work__pay", "pay"])
async def test_a_learned_tool_is_called_by_its_own_name(provider: Provider, referee: Referee, name: str):
    given = {"ticket": TICKET, "tool": name, "arguments": {"amount": 3}}
    call = await call_of(provider, referee, learned(PAY), given)
    assert (call.id, call.name, call.arguments) == ("call_1", "money_work.pay", {"amount": 3})


async def test_the_ticket_tells_tools_of_the_same_name_apart(provider: Provider, referee: Referee):
    given = {"ticket": "stock@1", "tool": "count", "arguments": {}}
    assert (await call_of(provider, referee, learned(COUNT, OTHER), given)).name == "stock.count"


@pytest.mark.parametrize(
    "given",
    [
        {"ticket": TICKET, "tool": "count", "arguments": {}},
        {"ticket": "", "tool": "words.count", "arguments": {}},
        {"ticket": TICKET, "tool": "pay", "arguments": '{"amount": 3}'},
        {"tool": "nothing"},
        {},
    ],
    ids=["not learned", "not learned, in full", "arguments as text", "no such tool", "nothing at all"],
)
async def test_what_was_not_learned_stays_a_call_of_use_tool(provider: Provider, referee: Referee, given: Json):
    call = await call_of(provider, referee, learned(PAY), given)
    assert (call.name, call.arguments) == ("use_tool", given)


async def test_two_learned_tools_of_one_name_without_a_ticket_stay_unclear(provider: Provider, referee: Referee):
    given = {"ticket": "", "tool": "count", "arguments": {}}
    assert (await call_of(provider, referee, learned(COUNT, OTHER), given)).name == "use_tool"


async def test_the_declared_list_never_changes(provider: Provider, referee: Referee):
    before = learned()
    for request in (before, learned(PAY), learned(PAY, COUNT)):
        referee.will_say(Turn(referee_chat.say("ok"), "stop"))
        await provider.generate(request.model_copy(update={"messages": request.messages[:2]}))
        referee.past.clear()
    first, *others = [json.dumps(body["tools"]) for body in referee.bodies]
    assert [tool["function"]["name"] for tool in json.loads(first)] == ["learn_money_work", "use_tool"]
    assert others == [first, first]


async def test_the_prefix_keeps_its_bytes_through_learning_and_using(provider: Provider, referee: Referee):
    request = learned(PAY)
    request = request.model_copy(update={"messages": request.messages[:2]})
    used = {"ticket": TICKET, "tool": "pay", "arguments": {"amount": 3}}
    for said in (referee_chat.call("call_1", "learn_money_work", {}), referee_chat.call("call_2", "use_tool", used)):
        referee.will_say(Turn(said, "tool_calls"))
        reply = await provider.generate(request)
        (call,) = reply.message.tool_calls
        revealing = result(call.id, PAY)
        request = request.model_copy(update={"messages": (*request.messages, reply.message, revealing)})
    referee.will_say(Turn(referee_chat.say("Paid."), "stop"))
    await provider.generate(request)
    bodies = [json.dumps(body["messages"])[:-1] for body in referee.bodies]
    assert bodies[1].startswith(bodies[0])
    assert bodies[2].startswith(bodies[1])
    assert len({json.dumps(body["tools"]) for body in referee.bodies}) == 1
    own = referee.bodies[2]["messages"][4]["tool_calls"][0]
    assert own["function"] == {"name": "use_tool", "arguments": json.dumps(used)}


async def test_a_call_that_another_provider_made_is_written_with_its_ticket(provider: Provider, referee: Referee):
    request = learned(PAY)
    paid = Message(role="assistant", parts=(ToolCall(id="call_9", name="money_work.pay", arguments={"amount": 3}),))
    later = result("call_9", PAY, ticket="money_work@ffff")
    request = request.model_copy(update={"messages": (*request.messages, paid, later)})
    referee.will_say(Turn(referee_chat.say("Paid."), "stop"))
    await provider.generate(request)
    function = referee.bodies[0]["messages"][4]["tool_calls"][0]["function"]
    assert function["name"] == "use_tool"
    assert json.loads(function["arguments"]) == {
        "ticket": TICKET,
        "tool": "money_work.pay",
        "arguments": {"amount": 3},
    }


async def test_without_anything_to_learn_there_is_no_use_tool(provider: Provider, referee: Referee):
    referee.will_say(Turn(referee_chat.say("ok"), "stop"))
    await provider.generate(
        ModelRequest(route=Route(provider="chat", model="m"), messages=(user("Hi"),), tools=(LEARN,))
    )
    assert [tool["function"]["name"] for tool in referee.bodies[0]["tools"]] == ["learn_money_work"]


async def test_a_use_tool_of_the_callers_own_is_left_alone(provider: Provider, referee: Referee):
    own = LEARN.model_copy(update={"name": "use_tool", "description": "My own."})
    request = learned(PAY).model_copy(update={"tools": (*TOOLS, own)})
    given = {"ticket": TICKET, "tool": "pay", "arguments": {}}
    assert (await call_of(provider, referee, request, given)).name == "use_tool"
    declared = [tool["function"]["description"] for tool in referee.bodies[0]["tools"]]
    assert declared == ["Learn to pay.", "My own."]
