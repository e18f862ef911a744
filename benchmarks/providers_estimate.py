"""How far the token estimate is from what is reported, before anything was learned and after ten turns.

What is reported is counted here with real vocabularies over the text of this project, framed as chat templates frame
it; the estimator sees nothing but the reports. Beside it: four characters to a token.
"""

import json
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.providers_loop import Json
from engine.runs import Event
from engine.transcript import Message, ModelReply, ModelRequest, Route, ToolCall, ToolResult, ToolSpec, Usage, user
from providers.tokens import TokenEstimator

ROOT = Path(__file__).parents[1]
VOCABULARIES = ("o200k_base", "cl100k_base")
TURNS, LEARNED = 20, 10
PIECE = 1_500
GOAL = 0.05

with warnings.catch_warnings():
    # It opens its vocabularies in a way that Python would rather see replaced.
    warnings.simplefilter("ignore", DeprecationWarning)
    _encoding: Callable[[str], Any] = import_module("bpe_openai").get_encoding
    ENCODINGS = {name: _encoding(name) for name in VOCABULARIES}


def texts() -> dict[str, str]:
    """Return what tools answer with, by kind; `mixed` takes from all in turn."""
    schemas = json.dumps([model.model_json_schema() for model in (ModelRequest, ModelReply, Event)], indent=1)
    prose = "".join((ROOT / "docs" / name).read_text() for name in ("clients.md", "faults.md", "models.md"))
    code = "".join(path.read_text() for path in sorted((ROOT / "engine").glob("*.py")))
    kinds = {"prose": prose, "code": code, "JSON": schemas}
    pieces = [text[start : start + PIECE] for start in range(0, 9 * PIECE, PIECE) for text in kinds.values()]
    return {**kinds, "mixed": "".join(pieces)}


TOOL = ToolSpec(
    name="read_part",
    description="Read one part of a document, by its number.",
    input_schema={"type": "object", "properties": {"number": {"type": "integer"}}, "required": ["number"]},
)


def _turn(number: int, text: str) -> tuple[Message, Message]:
    call = ToolCall(id=f"call_{number}", name=TOOL.name, arguments={"number": number})
    length = PIECE * (1 + number % 3) // 2
    result = ToolResult(call_id=call.id, name=TOOL.name, text=text[number * PIECE : number * PIECE + length])
    return Message(role="assistant", parts=(call,)), Message(role="tool", parts=(result,))


def _framed(request: ModelRequest) -> str:
    """Return the request as the text that a chat template makes of it."""
    lines = [json.dumps({"name": tool.name, "parameters": tool.input_schema}) for tool in request.tools]
    for message in request.messages:
        lines.append(f"<|start|>{message.role}")
        for part in message.parts:
            if isinstance(part, ToolCall):
                lines.append(json.dumps({"name": part.name, "arguments": part.arguments}))
            else:
                lines.append(getattr(part, "text", ""))
        lines.append("<|end|>")
    return "\n".join(lines)


def measure_estimates() -> list[Json]:
    """Return a row for each kind of text and vocabulary: the error at the first turn, and the worst of the later."""
    return [_row(kind, text, name) for kind, text in texts().items() for name in VOCABULARIES]


def _row(kind: str, text: str, vocabulary: str) -> Json:
    estimator = TokenEstimator()
    route = Route(provider="openai", model="any-model")
    request = ModelRequest(route=route, messages=(user("Read all parts."),), tools=(TOOL,), cache_key="run_1")
    errors: list[float] = []
    plain: list[float] = []
    for number in range(TURNS):
        request = request.model_copy(update={"messages": (*request.messages, *_turn(number, text))})
        framed = _framed(request)
        tokens = len(ENCODINGS[vocabulary].encode(framed))
        errors.append(estimator.estimate(request) / tokens - 1)
        plain.append(len(framed) / 4 / tokens - 1)
        estimator.learn(request, Usage(input_total=tokens, input_uncached=tokens))
    worst, worst_plain = max(errors[LEARNED:], key=abs), max(plain[LEARNED:], key=abs)
    return {
        "text": kind,
        "vocabulary": vocabulary,
        "first turn": f"{errors[0]:+.1%}",
        f"worst of turns {LEARNED + 1} to {TURNS}": f"{worst:+.1%}",
        "characters by four": f"{worst_plain:+.1%}",
        "goal": f"≤ {GOAL:.0%}: {'met' if abs(worst) <= GOAL else 'missed'}",
    }
