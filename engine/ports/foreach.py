"""The activities of a large `foreach`: its items laid out in batches, a batch opened and closed, what it collected."""

from pydantic import JsonValue

from engine.ports.base import Activity
from engine.ports.processes import ProcessSnapshot
from engine.process.messages import Proposal
from engine.runs import Change, Recorded, RunRef, derived_id
from engine.values import Budget, Principal, Value

MAX_ITEMS = 100_000
"""How many items one foreach takes."""

MAX_INLINE = 200
"""How many items are worked on in the history of the run itself; more go into batches."""

BATCH_ITEMS = 500
BATCH_BYTES = 128 * 1024
"""How many items a batch holds, and how many bytes of them as JSON; one item that is larger is a batch of its own."""

MAX_ITEM_BYTES = 256 * 1024
MAX_FILE_BYTES = 64 * 1024 * 1024
"""How large one item may be, and a file of items or of what was collected."""


class ForeachPlace(Value):
    """Where a foreach stands: its node in the graph `at` of the definition, the step, and what its items see.

    `values` is everything visible there, `caught` whether a node above lives with failures, `key` and `item` the
    expression that names an item and the name under which its body sees it.
    """

    node: str
    at: str
    step: str
    item: str
    key: JsonValue = None
    values: dict[str, JsonValue] = {}
    caught: bool = False
    collects: bool = False
    proposals: tuple[Proposal, ...] = ()


class ForeachProgress(Value):
    """How far a foreach in batches is: how many of its `items` are over, how many of those failed, how many it is at.

    `items` is 0 where that is not known.
    """

    step: str
    node: str
    items: int = 0
    over: int = 0
    failed: int = 0
    running: int = 0

    def in_words(self) -> str:
        """Return it for people: "120 of 300, 2 failed, 4 running"."""
        said = [f"{self.over} of {self.items}" if self.items else f"{self.over}"]
        said += [f"{count} {name}" for count, name in ((self.failed, "failed"), (self.running, "running")) if count]
        return ", ".join(said)


class ForeachOrder(Value):
    """Asks for items to be laid out: a list of them, or the name of a file with one in each line.

    `items` names an artifact (`run://<run>/artifacts/<path>`, or a path of the run itself) or an object (`obj_…`).
    """

    run: RunRef
    principal: Principal
    snapshot: ProcessSnapshot
    definition: str
    budget: Budget
    place: ForeachPlace
    items: JsonValue


class ForeachLaid(Value):
    """How many items there are, and how many in each batch; `items` are there where they are too few for any.

    `problem` is the kind of a failure and its words, where the items can't be worked on.
    """

    count: int = 0
    sizes: tuple[int, ...] = ()
    items: list[JsonValue] | None = None
    problem: tuple[str, str] | None = None


class BatchOrder(Value):
    """Asks for batch `number` (from 1) of a foreach of `parent` to be opened as the run `run`.

    `slots` is how many of its items it works on at once, as far as that is known when it begins. With `undone` the run
    undoes that batch: it has its definition, and no items.
    """

    parent: RunRef
    run: RunRef
    principal: Principal
    step: str
    node: str
    number: int
    slots: int = 0
    undone: RunRef | None = None


class BatchOpened(Value):
    """What a batch works on: its items, of which the first has the number `first` in the whole list."""

    snapshot: ProcessSnapshot
    place: ForeachPlace
    budget: Budget
    first: int = 0
    items: list[JsonValue] = []


class Collected(Value):
    """What a batch keeps of some of its items, by their numbers; `part` tells apart what it keeps at several times."""

    run: RunRef
    part: int
    lines: tuple[tuple[int, JsonValue], ...]


class BatchClose(Value):
    """The last of what a batch has collected, and the change that ends its run."""

    collected: Collected | None
    change: Change


class GatherOrder(Value):
    """Asks for what the batches of a foreach have collected, or for `lines` that no batch has, in one file or list."""

    run: RunRef
    step: str
    node: str
    batches: int = 0
    lines: list[JsonValue] | None = None
    as_file: bool


class Gathered(Value):
    """The URI of the file or the list, in the order of the items; neither where it has more than its `limit` bytes."""

    size: int
    uri: str | None = None
    items: list[JsonValue] | None = None
    limit: int


def same_key(node: str, key: str, first: int, second: int) -> str:
    """Return what is said of two items with one key."""
    return f"items {first} and {second} of {node} have the same key {key!r}; a key is for one item, so make it unique"


def batch_ref(run: RunRef, step: str, number: int) -> RunRef:
    """Return the run of a batch: the same for every repeat."""
    return RunRef(tenant=run.tenant, run_id=derived_id("run", run.workflow_id, step, "batch", str(number)))


def undoing_ref(run: RunRef, batch: str) -> RunRef:
    """Return the run that undoes a batch of `run`, or one of its parts: the same for every repeat."""
    return RunRef(tenant=run.tenant, run_id=derived_id("run", run.workflow_id, batch, "undo"))


lay_out = Activity("lay_out", ForeachOrder, ForeachLaid)
open_batch = Activity("open_batch", BatchOrder, BatchOpened)
keep_collected = Activity("keep_collected", Collected, Recorded)
close_batch = Activity("close_batch", BatchClose, Recorded)
gather_collected = Activity("gather_collected", GatherOrder, Gathered)
