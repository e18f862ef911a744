"""The order of an agent's tools: phases, one after another, each with the tools that may be called in it.

A phase begins with the first call of one of its tools, as soon as the phase before has had its calls; there is no way
back. Only calls that were answered without an error count towards `min_calls`. An agent is done when every phase has
had its calls.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import Field

from engine.values import Value


class Phase(Value):
    """One step of a tool policy: only these tools, for so many calls, before the next phase begins."""

    tools: tuple[str, ...] = Field(min_length=1)
    min_calls: int = Field(default=1, ge=0)
    max_calls: int | None = Field(default=None, ge=1)


Phases = tuple[Phase, ...]


class Progress(Value):
    """The phase an agent is in, counted from 0, and how many calls it has had."""

    phase: int = 0
    calls: int = 0


@dataclass(frozen=True, slots=True)
class Admitted:
    """A call of a turn: the phase it belongs to, or why it may not be made."""

    phase: int = 0
    refusal: str | None = None


def tools_of(phases: Phases) -> tuple[str, ...]:
    """Return the tools of all phases, each once, in their order."""
    return tuple(dict.fromkeys(tool for phase in phases for tool in phase.tools))


def admit(phases: Phases, progress: Progress, tools: Iterable[str]) -> list[Admitted]:
    """Return for each call of one turn whether it may be made.

    They are made side by side: none counts as done for the next one, and each takes up a call of its phase.
    """
    at, done, taken = progress.phase, progress.calls, progress.calls
    found: list[Admitted] = []
    for tool in tools:
        here, had, used = at, done, taken
        while not _open(phases[here], tool, used) and had >= phases[here].min_calls and here + 1 < len(phases):
            here, had, used = here + 1, 0, 0
        if _open(phases[here], tool, used):
            at, done, taken = here, had, used + 1
            found.append(Admitted(phase=here))
        else:
            found.append(Admitted(refusal=_refusal(phases, at, here, had, tool)))
    return found


def _open(phase: Phase, tool: str, used: int) -> bool:
    return tool in phase.tools and (phase.max_calls is None or used < phase.max_calls)


def _refusal(phases: Phases, at: int, here: int, had: int, tool: str) -> str:
    """Return why a tool can't be called by an agent in phase `at` that can't come further than `here`."""
    phase = phases[here]
    if tool in phase.tools:
        return f"not run: {tool} has had the {phase.max_calls} calls that phase {here + 1} of {len(phases)} allows"
    if tool in tools_of(phases[here + 1 :]):
        return (
            f"not run: {tool} is for later. Phase {here + 1} of {len(phases)} comes first: {_named(phase)}, of which "
            f"{had} of {phase.min_calls} calls have been answered without an error"
        )
    return f"not run: {tool} can't be called any more; what may come now: {', '.join(tools_of(phases[at : here + 1]))}"


def after(progress: Progress, done: Sequence[int]) -> Progress:
    """Return where an agent stands after calls in these phases were answered without an error."""
    phase = max((progress.phase, *done))
    before = progress.calls if phase == progress.phase else 0
    return Progress(phase=phase, calls=before + sum(one == phase for one in done))


def lacking(phases: Phases, progress: Progress) -> str | None:
    """Return which calls are still to be made before an agent may be done, or None."""
    for number, phase in enumerate(phases[progress.phase :], start=progress.phase):
        had = progress.calls if number == progress.phase else 0
        if had < phase.min_calls:
            return f"{_named(phase)}: {had} of {phase.min_calls} calls were made without an error"
    return None


def in_words(phases: Phases) -> str:
    """Return the phases as an agent is told of them."""
    lines = [f"{number}. {_named(phase)}, {_count(phase)}" for number, phase in enumerate(phases, start=1)]
    return "Call your tools in this order; a call out of its turn is refused:\n" + "\n".join(lines)


def _named(phase: Phase) -> str:
    return " or ".join(phase.tools)


def _count(phase: Phase) -> str:
    least = f"at least {phase.min_calls}" if phase.min_calls else "if you need it"
    return f"{least}, at most {phase.max_calls}" if phase.max_calls is not None else least
