"""The transcripts of the agent runs that this process works on, each event of them read from the store once.

A log only grows, so what was read stays right; another process that has worked on the run meanwhile has only added
to it. What is kept here may be forgotten at any time.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from engine.agent.log import LOGGED, PLAN, Assembly, Entry, assistant_key, entry
from engine.agent.prompts import NAMES
from engine.errors import Invalid
from engine.runs import Event, RunRef
from engine.transcript import Message, ToolCall, ToolResult, ToolSpec
from server.activities.agent_prompts import words_of
from server.store.runs import SqlRunStore

KEPT_ENTRIES = 20_000
"""How many entries are kept over all runs; the run looked at longest ago is forgotten first."""


@dataclass
class Transcript:
    """The log of one run as far as it was read, and what follows from it."""

    entries: list[Entry] = field(default_factory=lambda: [])
    by_key: dict[str, Entry] = field(default_factory=lambda: {})
    tools: tuple[ToolSpec, ...] | None = None
    renderer: int = 1
    prompts: JsonValue = None
    revealed: set[str] = field(default_factory=lambda: set())
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    assemblies: dict[str | None, Assembly] = field(default_factory=lambda: {})

    @property
    def seq(self) -> int:
        """The number of the last event that was read."""
        return self.entries[-1].event.seq if self.entries else 0

    def assembled(self, provider: str | None = None) -> tuple[Message, ...]:
        """Return the messages as `provider` is sent them; see `Assembly`."""
        return self.assemblies.setdefault(provider, Assembly(provider)).extended(self.entries)

    def planned(self) -> tuple[ToolSpec, ...]:
        """Return the tools of the run, as they were fixed at its start.

        Raises:
            Invalid: the run has no plan.
        """
        if self.tools is None:
            raise Invalid("this agent run has no plan in its log")
        return self.tools

    def words(self, note: str) -> str:
        """Return a note to the model: the words of the run's prompt of that name, else the note as it is."""
        return words_of(self.prompts, note) if note in NAMES else note

    def event(self, key: str) -> Event | None:
        """Return the event of that key, or None."""
        found = self.by_key.get(key)
        return found.event if found is not None else None

    def message(self, key: str) -> Message | None:
        """Return the message of that key, or None."""
        found = self.by_key.get(key)
        return found.message if found is not None else None

    def call(self, turn: int, call_id: str) -> ToolCall:
        """Return the call of a turn.

        Raises:
            KeyError: the log has no such call; it is written before any call is ordered.
        """
        message = self.message(assistant_key(turn))
        for call in message.tool_calls if message is not None else ():
            if call.id == call_id:
                return call
        raise KeyError(f"turn {turn} has no call {call_id}")

    def extend(self, events: Sequence[Event]) -> None:
        """Take in what stands behind the last event."""
        for event in events:
            one = entry(event)
            self.entries.append(one)
            self.by_key[event.key] = one
            if event.type == PLAN:
                listed = event.data["tools"]
                assert isinstance(listed, list)
                self.tools = tuple(ToolSpec.model_validate(spec) for spec in listed)
                renderer = event.data.get("renderer", 1)
                assert isinstance(renderer, int)
                self.renderer = renderer
                self.prompts = event.data.get("prompts")
            self.revealed.update(spec.name for result in _results(one) for spec in result.reveals)


def _results(one: Entry) -> Iterator[ToolResult]:
    if one.message is not None:
        yield from (part for part in one.message.parts if isinstance(part, ToolResult))


class Transcripts:
    """The transcripts of the runs at work here, read on from where they were left."""

    def __init__(self, runs: SqlRunStore) -> None:
        """Keep the store; nothing is read yet."""
        self._runs = runs
        self._known: OrderedDict[RunRef, Transcript] = OrderedDict()

    async def read(self, run: RunRef) -> Transcript:
        """Return the transcript of a run as its log stands now; the same object grows with each reading."""
        known = self._known.setdefault(run, Transcript())
        self._known.move_to_end(run)
        async with known.lock:
            known.extend(await self._runs.log(run, after=known.seq, types=LOGGED))
        self._forget()
        return known

    def _forget(self) -> None:
        kept = sum(len(one.entries) for one in self._known.values())
        while kept > KEPT_ENTRIES and len(self._known) > 1:
            _, oldest = self._known.popitem(last=False)
            kept -= len(oldest.entries)
