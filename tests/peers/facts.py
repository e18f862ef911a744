"""The facts of a request that must be the same whoever writes it, each as a sentence; what differs must be argued."""

import json
from collections import Counter

from engine.transcript import ModelRequest, Text
from tests.peers.reading import Said, declared, objects, read, reasoning
from tests.peers.transcripts import RAIN, speaker
from tests.providers.wires import Json, Wire

LEARNED = RAIN.name.replace(".", "__")


def facts(wire: Wire, other: Wire, request: ModelRequest, first: Json, body: Json) -> dict[str, str]:
    """Return the facts of `body`, which was written for `request`; `first` is the conversation's first body."""
    said = read(wire.name, body)
    turns = [message for message in request.messages if message.native]
    own = [turn for turn in turns if turn.native and turn.native.provider == speaker(wire)]
    foreign = reasoning(other.name, [turn for turn in turns if turn not in own])
    mine = reasoning(wire.name, own)
    learned = [one for one in said if one.kind == "call" and one.name == LEARNED]
    spaces = [one["namespace"] for one in objects(body) if "namespace" in one]
    marks = sum("cache_control" in one or "prompt_cache_breakpoint" in one for one in objects(body))
    return {
        "calls, and the answers of each before the next turn": _answered(said),
        "reasoning of its own turns": _kept(mine, [one.text for one in said if one.kind == "reasoning"]),
        "reasoning of the other provider": _leaked(foreign, body),
        "in place of a signature that never was": _stand_ins(said, mine, foreign),
        "phases": " ".join(one["phase"] for one in objects(body) if "phase" in one) or "none",
        "how a learned tool is shown": _shown(wire, said, first, body),
        "declared list after learning": "unchanged"
        if declared(wire.name, first) == declared(wire.name, body)
        else "one tool more",
        "how a learned tool is called": ", ".join(sorted({one.mark for one in learned})),
        "namespaces of those calls": " ".join(spaces) or "none",
        "how an answer says that its call failed": ", ".join(one.mark for one in said if one.mark and one.text),
        "cache breakpoints": str(marks),
        "words beyond the transcript": _own_words(said, request),
    }


def _answered(said: list[Said]) -> str:
    """Count the answers of each call that stand before the model speaks again."""
    lines: list[str] = []
    for place, call in enumerate(said):
        if call.kind != "call":
            continue
        answers = 0
        for later in said[place + 1 :]:
            if answers and later.role == "assistant":
                break
            answers += later.kind == "answer" and later.call_id == call.call_id
        lines.append(f"{call.name} {call.given}: {answers}")
    return "; ".join(lines)


def _kept(mine: list[str], present: list[str]) -> str:
    kept = [piece for piece in present if piece in mine]
    return "all of it, in order" if kept == mine else f"{len(kept)} of {len(mine)} pieces: {' '.join(kept)}"


def _leaked(foreign: list[str], body: Json) -> str:
    text = json.dumps(body)
    shown = [piece for piece in foreign if json.dumps(piece)[1:-1] in text]
    return f"shown: {' '.join(shown)}" if shown else "none"


def _stand_ins(said: list[Said], mine: list[str], foreign: list[str]) -> str:
    pieces = [one.text for one in said if one.kind == "reasoning"]
    return " ".join(piece for piece in pieces if piece not in mine and piece not in foreign) or "nothing"


def _shown(wire: Wire, said: list[Said], first: Json, body: Json) -> str:
    reveals = [one for one in said if one.kind == "reveal" and one.name == LEARNED]
    if reveals:
        return ", ".join(one.text for one in reveals)
    if wire.name == "gemini":
        callings = [one["toolConfig"]["functionCallingConfig"] for one in (first, body)]
        if callings[0].get("allowedFunctionNames") != callings[1].get("allowedFunctionNames"):
            return "by the names that may be called"
    return "by the lesson alone" if declared(wire.name, first) == declared(wire.name, body) else "in the declared list"


def _own_words(said: list[Said], request: ModelRequest) -> str:
    """Count by role the texts with something that the transcript doesn't say: frames, rules, announcements."""
    texts = [part.text for message in request.messages for part in message.parts if isinstance(part, Text)]
    added = Counter(one.role for one in said if one.kind == "text" and one.text not in texts)
    return ", ".join(f"{count} as {role}" for role, count in sorted(added.items())) or "none"
