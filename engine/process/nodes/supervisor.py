"""`supervisor`: the seat of a person, or of an agent in a person's place."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from engine.process.durations import Duration, parse_duration
from engine.process.findings import Finding, error, warning
from engine.process.nodes.base import NodeBase, Part, Seat, Template, listed
from engine.values import Value

Decision = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")]


class Ask(Value):
    """What the person reads, and the JSON Schema of the form they fill in."""

    title: Template = Field(min_length=1)
    description: Template = ""
    form: dict[str, Any] | None = None


class Escalation(Value):
    """Who is asked as well once so much time has passed."""

    after: Duration
    to: Seat


class SupervisorNode(NodeBase, frozen=True):
    """A wait for a decision; the values of the form, validated, become writes.

    `quorum` is the number of people who must decide alike; `four_eyes` bars whoever started or proposed it;
    `delegation` lets the person in the seat give it to another.
    """

    type: Literal["supervisor"]
    seat: Seat
    ask: Ask
    decisions: tuple[Decision, ...] = Field(min_length=1)
    quorum: int = Field(default=1, ge=1, le=100)
    deadline: Duration | None = None
    remind_every: Duration | None = None
    escalate: tuple[Escalation, ...] = ()
    four_eyes: bool = False
    delegation: bool = True

    def templates(self) -> Iterator[Part]:
        """Yield what the person reads, and an agent's instructions."""
        yield Part("/ask/title", self.ask.title)
        yield Part("/ask/description", self.ask.description)
        if self.seat.agent is not None:
            yield Part("/seat/agent/instructions", self.seat.agent.instructions)

    def names(self) -> Iterator[tuple[str, Part]]:
        """Yield skills and tools of an agent in the seat."""
        seats = [("/seat", self.seat), *((f"/escalate/{i}/to", step.to) for i, step in enumerate(self.escalate))]
        for path, seat in seats:
            if seat.agent is not None:
                for part in listed(f"{path}/agent/skills", seat.agent.skills):
                    yield "skill", part
                for part in listed(f"{path}/agent/tools", seat.agent.tools):
                    yield "tool", part

    def decisions_of(self) -> tuple[str, ...]:
        """Return the decisions."""
        return self.decisions

    def waits(self) -> bool:
        """A person is asked."""
        return True

    def check(self, at: str) -> Iterator[Finding]:
        """Check that somebody can answer and that an unanswered question ends."""
        if self.seat.is_empty():
            yield error("empty_seat", f"{at}/seat", "nobody can sit here; name users, roles, groups or an agent")
        if self.deadline is None:
            yield error(
                "no_deadline", at, "a question without a deadline may wait for ever; add deadline and on_timeout"
            )
        elif self.on_timeout is None:
            yield error("no_on_timeout", at, "nothing says what happens at the deadline; add on_timeout")
        if len(set(self.decisions)) != len(self.decisions):
            yield error("duplicate_decision", f"{at}/decisions", "a decision is listed twice; list each once")
        people_only = bool(self.seat.users) and not (self.seat.roles or self.seat.groups or self.seat.agent)
        if people_only and self.quorum > len(set(self.seat.users)):
            yield error(
                "quorum_never", f"{at}/quorum", f"{self.quorum} must decide but the seat has {len(self.seat.users)}"
            )
        yield from self._check_escalation(at)

    def _check_escalation(self, at: str) -> Iterator[Finding]:
        for index, step in enumerate(self.escalate):
            where = f"{at}/escalate/{index}"
            if step.to.is_empty():
                yield error("empty_seat", f"{where}/to", "nobody can sit here; name users, roles, groups or an agent")
            if self.deadline is not None and parse_duration(step.after) >= parse_duration(self.deadline):
                yield warning(
                    "escalation_never", where, f"it comes after the deadline of {self.deadline}; make it earlier"
                )
