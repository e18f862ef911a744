"""Making the transcript of an agent smaller: when a turn needs it, in which way, and the new beginning in the log.

Three ways, in this order: the provider's own compaction, where every candidate of the route speaks the one wire that
has it; long results give way to a line that says where they lie; a model sums up what was. What always stays: system,
task and its attachments, lessons with their tools and tickets, what people said, the agent's plan, the last turns.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Literal

from pydantic import JsonValue

from engine.agent.log import CHECKPOINT, TASK_KEY, Entry, checkpoint_key, finished_key
from engine.agent.prompts import CHECKPOINT as PROMPT
from engine.agent.window import lessons, masked, retold, split, told, turns_of, unbound
from engine.errors import Exhausted, Unavailable
from engine.ports import AgentTask, CheckpointMade, CheckpointOrder, TurnOrder, make_checkpoint
from engine.runs import AuditDraft, Change, EventDraft
from engine.transcript import Media, Message, ModelReply, ModelRequest, Route, Text, ToolResult, system, user
from engine.values import Spent, utc_now
from providers.cache import lifetime_s
from providers.errors import ContextFull, InvalidRequest
from providers.facts import facts_of
from providers.profiles import Profile
from providers.wire import COMPACTING
from server.activities.agent_calls import AgentWork, unless_over
from server.activities.agent_spending import less, within
from server.activities.guard import implements
from server.activities.transcripts import Transcript

MAX_OUTPUT_TOKENS = 8_192
RESERVE = 4_096
"""Tokens left free below the window for what an estimate misses."""

FULL_AT = 0.8
KEPT_TURNS = 3
PROTECTED = 40_000
"""As many tokens of the newest results are never masked, where the window is large enough."""

MAX_SUMMARY_TOKENS = 4_096
LITTLE = 10
"""Where less than one part in so many could be saved, no model is asked to sum up."""

SPOKEN = ("said/", "fork/message")
"""How the keys of what people have said begin."""


@dataclass(frozen=True)
class Bounds:
    """How large a request of a route may become, in tokens; `full` and `window` are None where nobody knows."""

    window: int | None
    output: int
    full: int | None


def bounds_of(route: Route) -> Bounds:
    """Return the bounds of the first candidate: the others are asked only where theirs fit."""
    facts = facts_of(route.provider, route.model)
    guess = None if route.provider == "scripted" else Profile(provider=route.provider, model=route.model).context_window
    known = [one for one in (facts.context_tokens or guess, route.limits.max_context) if one is not None]
    most = min(MAX_OUTPUT_TOKENS, facts.max_output_tokens or MAX_OUTPUT_TOKENS)
    if not known:
        return Bounds(window=None, output=most, full=None)
    window = min(known)
    output, reserve = min(most, window // 4), min(RESERVE, window // 8)
    return Bounds(window=window, output=output, full=min(int(FULL_AT * window), window - output - reserve))


def turn_request(order: TurnOrder | CheckpointOrder, task: AgentTask, log: Transcript) -> ModelRequest:
    """Return the request of the next turn as the log stands."""
    makers = {one.provider for one in order.route.candidates}
    return ModelRequest(
        route=order.route,
        messages=log.assembled(order.route.provider if len(makers) == 1 else ""),
        tools=log.planned(),
        output_schema=task.output_schema,
        max_output_tokens=bounds_of(order.route).output,
        cache_key=order.run.run_id,
        renderer=log.renderer,
    )


def needed(work: AgentWork, order: TurnOrder, request: ModelRequest, log: Transcript) -> Literal["", "full", "expired"]:
    """Tell whether the transcript is to be made smaller before the turn, and why."""
    full = bounds_of(order.route).full
    if order.fresh or full is None:
        return ""
    size = work.models.estimate(request)
    if size >= full:
        return "full"
    before = log.event(finished_key(order.turn - 1))
    kept_s = lifetime_s(order.route)
    if before is None or kept_s is None or size < full // 2:
        return ""
    return "expired" if (utc_now() - before.at).total_seconds() > kept_s else ""


def checkpoint_activities(work: AgentWork) -> list[Callable[[Any], Awaitable[Any]]]:
    """Return the activities over the house's parts."""

    @implements(make_checkpoint)
    async def make(order: CheckpointOrder) -> CheckpointMade:
        return await _make(work, order)

    return [make]


async def _make(work: AgentWork, order: CheckpointOrder) -> CheckpointMade:
    """Make a checkpoint once; a repeat after it was recorded gives the recorded one."""
    log = await work.transcripts.read(order.run)
    key = checkpoint_key(order.number)
    recorded = log.event(key)
    if recorded is not None:
        return CheckpointMade.model_validate({name: recorded.data[name] for name in CheckpointMade.model_fields})
    task = AgentTask.model_validate((await work.runs.load(order.run)).input)
    # What is said from here on stands behind the checkpoint, whenever that is recorded.
    making = _Making(work, order, turn_request(order, task, log), tuple(log.entries), log.seq, log.words(PROMPT))
    made, messages = await unless_over(work, order.run, making.make())
    told_of: dict[str, JsonValue] = {
        "number": order.number,
        "turn": order.turn,
        "reason": order.reason,
        **made.model_dump(mode="json"),
    }
    data: dict[str, JsonValue] = {
        **told_of,
        "seen": making.seen,
        "messages": [one.model_dump(mode="json") for one in messages],
    }
    change = Change(
        run=order.run,
        key=key,
        spent=made.spent,
        events=(EventDraft(key=key, type=CHECKPOINT, data=data),),
        audit=(AuditDraft(key=key, actor="engine", action="run.checkpoint.made", data=told_of),),
    )
    await work.runs.apply(change)
    return made


@dataclass
class _Making:
    """One checkpoint under way, from the log up to event `seen`; `prompt` asks for a summary, `spent` grows with each
    call of a model."""

    work: AgentWork
    order: CheckpointOrder
    request: ModelRequest
    entries: tuple[Entry, ...]
    seen: int
    prompt: str
    spent: Spent = field(default_factory=Spent)

    def __post_init__(self) -> None:
        messages = self.request.messages
        task = next((one.message for one in self.entries if one.event.key == TASK_KEY and one.message), None)
        self._bounds = bounds_of(self.order.route)
        self._system = list(takewhile(lambda one: one.role == "system", messages))
        self._task = [task] if task is not None else []
        self._before = self._size(messages)
        fixed = self._size([*self._system, *self._task, *lessons(messages)])
        self._most = min(self._bounds.full or self._before, max(self._before, fixed))
        self._room = self._most - fixed
        self._goal = fixed + self._room // 2
        if self._bounds.full is not None and fixed >= self._bounds.full:
            raise Exhausted(
                f"task, attachments, lessons and tools alone take about {fixed} tokens, and {self._bounds.full} fit "
                "into the window beside an answer; give less to one agent, or use a model with a larger window",
                tokens=fixed,
                fits=self._bounds.full,
            )

    async def make(self) -> tuple[CheckpointMade, Sequence[Message]]:
        """Return how it was made, and the messages to begin with."""
        native = await self._native() if self.order.models else None
        if native is not None and self._size(native) <= self._most:
            return self._made("native", native)
        short = masked(unbound(self.request.messages), min(PROTECTED, self._room // 4), self._tokens, self._where)
        if self._room < self._before // LITTLE or self._size(short) <= self._goal:
            return self._made("masked", short)
        summary = await self._sum_up() if self.order.models else None
        return self._made("summary" if summary else "masked", self._window(summary))

    def _made(
        self, kind: Literal["native", "masked", "summary"], messages: Sequence[Message]
    ) -> tuple[CheckpointMade, Sequence[Message]]:
        after = self._size(messages)
        if self._bounds.full is not None and after >= self._bounds.full:
            raise Exhausted(
                f"the transcript could not be made smaller than about {after} tokens, and {self._bounds.full} fit into "
                "the window beside an answer; use a model with a larger window",
                tokens=after,
                fits=self._bounds.full,
            )
        return CheckpointMade(kind=kind, before=self._before, after=after, spent=self.spent), messages

    def _size(self, messages: Iterable[Message]) -> int:
        return self.work.models.estimate(self.request.model_copy(update={"messages": tuple(messages)}))

    def _tokens(self, text: str) -> int:
        return self.work.models.estimate(ModelRequest(route=self.order.route, messages=(user(text),)))

    def _where(self, result: ToolResult) -> str:
        """Say where a result stands in the record of the run."""
        for one in reversed(self.entries):
            if one.message is not None and one.message.role == "tool" and result in one.message.parts:
                return f"It is event {one.event.seq} of run {self.order.run.run_id}"
        return "Call the tool again if you need it"

    async def _native(self) -> list[Message] | None:
        """Let the provider do it in its own way; None where it has none, or this model hasn't."""
        makers = {one.provider for one in self.order.route.candidates}
        head, tail = split(self.request.messages, KEPT_TURNS)
        if len(makers) > 1 or not makers <= COMPACTING or not turns_of(head):
            return None
        request = self.request.model_copy(update={"messages": tuple(head), "output_schema": None, "compact": True})
        try:
            reply = await self._call(request)
        except (InvalidRequest, ContextFull, Exhausted):
            return None
        native = reply.message.native
        if reply.finish.unified != "compacted" or native is None:
            return None
        kept = masked(unbound(tail), min(PROTECTED, self._room // 4), self._tokens, self._where)
        # What a provider leaves as it was needn't be said twice.
        holds_task = any(isinstance(block, dict) and block.get("role") == "user" for block in native.blocks)
        return [
            *self._system,
            reply.message,
            *([] if holds_task else self._task),
            *lessons(head, kept),
            *self._again(None, kept),
            *kept,
        ]

    def _window(self, summary: str | None) -> list[Message]:
        """Return the beginning with a summary of what does not stay; None: the budget has no room for one."""
        head, tail = self._parted()
        left_out = summary or "(No summary was made: the budget of this run leaves no room for it.)"
        return [*self._system, *self._task, *lessons(head, tail), *self._again(left_out, tail), *tail]

    def _parted(self) -> tuple[list[Message], list[Message]]:
        """Return what is summed up, and the last turns as they stay: as many as leave half of the room free."""
        messages = unbound(self.request.messages)
        head, tail = messages, list[Message]()
        for turns in range(KEPT_TURNS, 0, -1):
            head, tail = split(messages, turns)
            tail = masked(tail, self._room // 4, self._tokens, self._where)
            if self._tokens(told(tail)) <= self._room // 2:
                break
        pinned = (*self._system, *self._task)
        return [one for one in head if one not in pinned], tail

    def _again(self, summary: str | None, beside: Sequence[Message]) -> list[Message]:
        """Return what is told again, apart from what stays where it was said, in a list of one or none."""
        spoken = [one.message for one in self.entries if one.message and one.event.key.startswith(SPOKEN)]
        gone = [message for message in spoken if message not in beside]
        said = [_own_words(message) for message in gone]
        attached = [part for message in gone for part in message.parts if isinstance(part, Media)]
        again = retold(summary, [text for text in said if text], self.order.plan, attached)
        return [again] if again else []

    async def _sum_up(self) -> str | None:
        """Return what a model has summed up; None where the budget ends before all of it is."""
        head, _ = self._parted()
        summary = ""
        try:
            for piece in self._pieces(told(head)):
                summary = await self._summary(summary, piece)
        except Exhausted:
            return None
        return summary

    def _pieces(self, text: str) -> Iterator[str]:
        """Cut a text so that each piece fits into one request, with the summary of what came before it."""
        most = max(1_000, (self._bounds.full or self._before) // 2)
        chars = max(1_000, len(text) * most // max(1, self._tokens(text)))
        for at in range(0, max(1, len(text)), chars):
            yield text[at : at + chars]

    async def _summary(self, before: str, piece: str) -> str:
        task = self._task[0].text if self._task else ""
        parts = [Text(text=f"The task of the agent:\n{task[:8_000]}")]
        if before:
            parts += [Text(text="\n\nYour checkpoint of what came before:\n"), Text(text=before, data=True)]
        parts += [Text(text="\n\nThe record to take in:\n"), Text(text=piece, data=True)]
        request = ModelRequest(
            route=self.order.route,
            messages=(system(self.prompt), Message(role="user", parts=tuple(parts))),
            max_output_tokens=min(MAX_SUMMARY_TOKENS, self._bounds.output),
            cache_key=f"{self.order.run.run_id}/checkpoint",
            renderer=self.request.renderer,
        )
        reply = await self._call(request)
        text = reply.message.text.strip()
        if reply.finish.unified not in ("done", "length") or not text:
            raise Unavailable(f"the model gave no summary: it ended with {reply.finish.unified}")
        return text

    async def _call(self, request: ModelRequest) -> ModelReply:
        """Call the model and count what it takes; it is no turn of the agent.

        Raises:
            Exhausted: the budget has no room for the call.
        """
        request = within(self.work.models, request, less(self.order.left, self.spent))
        answering = self.work.models.answering(self.order.run.tenant)
        reply = await answering.generate(request)
        taken = reply.spent.plus(answering.routings[-1].spent)
        self.spent = self.spent.plus(taken.model_copy(update={"turns": 0}))
        return reply


def _own_words(message: Message) -> str:
    """Return what a person said without the documents that came with it: those are information."""
    return "".join(part.text for part in message.parts if isinstance(part, Text) and not part.data)
