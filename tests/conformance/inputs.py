"""The suite's tools that need input before they can answer: they ask by an `InputRequiredResult`, round after round."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import mcp_types as types

from server.mcp.house import Call

Reply = types.CallToolResult | types.InputRequiredResult
Handler = Callable[[Call, types.CallToolRequestParams], Awaitable[Reply]]
Requests = dict[str, types.ElicitRequest | types.CreateMessageRequest | types.ListRootsRequest]


def _form(message: str, properties: Mapping[str, Any]) -> types.ElicitRequest:
    schema = {"type": "object", "properties": dict(properties), "required": list(properties)}
    return types.ElicitRequest(params=types.ElicitRequestFormParams(message=message, requested_schema=schema))


def _sample(text: str, tokens: int) -> types.CreateMessageRequest:
    message = types.SamplingMessage(role="user", content=types.TextContent(text=text))
    return types.CreateMessageRequest(params=types.CreateMessageRequestParams(messages=[message], max_tokens=tokens))


def elicit(key: str, message: str, properties: Mapping[str, Any]) -> types.InputRequiredResult:
    """Ask the user for an object."""
    return types.InputRequiredResult(input_requests={key: _form(message, properties)})


def given(params: types.CallToolRequestParams | types.GetPromptRequestParams, key: str) -> dict[str, Any] | None:
    """What the client answered under a key, as data."""
    found = (params.input_responses or {}).get(key)
    return None if found is None else found.model_dump(mode="json", by_alias=True)


def _text(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=text)])


NAME = {"name": {"type": "string"}}


async def elicitation(call: Call, params: types.CallToolRequestParams) -> Reply:
    answer = given(params, "user_name")
    name = (answer or {}).get("content", {}) or {}
    if not isinstance(name.get("name"), str):
        return elicit("user_name", "What is your name?", NAME)
    return _text(f"Hello, {name['name']}!")


async def sampling(call: Call, params: types.CallToolRequestParams) -> Reply:
    answer = given(params, "capital_question")
    if answer is None:
        return types.InputRequiredResult(
            input_requests={"capital_question": _sample("What is the capital of France?", 100)}
        )
    return _text(str(answer.get("content")))


async def list_roots(call: Call, params: types.CallToolRequestParams) -> Reply:
    answer = given(params, "client_roots")
    if answer is None:
        return types.InputRequiredResult(input_requests={"client_roots": types.ListRootsRequest()})
    return _text(f"Roots: {answer.get('roots')}")


async def request_state(call: Call, params: types.CallToolRequestParams) -> Reply:
    if params.request_state != "asked" or given(params, "confirm") is None:
        asked = _form("Please confirm", {"ok": {"type": "boolean"}})
        return types.InputRequiredResult(input_requests={"confirm": asked}, request_state="asked")
    return _text("state-ok")


async def multiple_inputs(call: Call, params: types.CallToolRequestParams) -> Reply:
    requests: Requests = {
        "user_name": _form("What is your name?", NAME),
        "greeting": _sample("Generate a greeting", 50),
        "client_roots": types.ListRootsRequest(),
    }
    if any(given(params, key) is None for key in requests):
        return types.InputRequiredResult(input_requests=dict(requests), request_state="all")
    return _text("all there")


async def multi_round(call: Call, params: types.CallToolRequestParams) -> Reply:
    if params.request_state == "second" and given(params, "step2") is not None:
        return _text("done")
    if params.request_state == "first" and given(params, "step1") is not None:
        asked = {"step2": _form("Step 2: What is your favorite color?", {"color": {"type": "string"}})}
        return types.InputRequiredResult(input_requests=dict(asked), request_state="second")
    asked = {"step1": _form("Step 1: What is your name?", NAME)}
    return types.InputRequiredResult(input_requests=dict(asked), request_state="first")


async def capabilities(call: Call, params: types.CallToolRequestParams) -> Reply:
    able = call.session.client_capabilities
    requests: Requests = {}
    if able is not None and able.elicitation is not None:
        requests["name"] = _form("What is your name?", NAME)
    if able is not None and able.sampling is not None:
        requests["greeting"] = _sample("Generate a greeting", 50)
    if not requests or params.input_responses:
        return _text("nothing to ask")
    return types.InputRequiredResult(input_requests=dict(requests))


INPUT_TOOLS: dict[str, Handler] = {
    "test_input_required_result_elicitation": elicitation,
    "test_input_required_result_sampling": sampling,
    "test_input_required_result_list_roots": list_roots,
    "test_input_required_result_request_state": request_state,
    "test_input_required_result_multiple_inputs": multiple_inputs,
    "test_input_required_result_multi_round": multi_round,
    "test_input_required_result_tampered_state": request_state,
    "test_input_required_result_capabilities": capabilities,
}


def input_prompt(params: types.GetPromptRequestParams) -> types.GetPromptResult | types.InputRequiredResult:
    """The suite's prompt that asks before it is rendered."""
    answer = given(params, "user_context")
    if answer is None:
        return elicit("user_context", "What context should the prompt use?", {"context": {"type": "string"}})
    text = types.TextContent(text=f"Context: {(answer.get('content') or {}).get('context')}")
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=text)])
