"""The bounds of parsing and rendering, and the meter that holds a rendering to them."""

from dataclasses import dataclass

from engine.errors import Exhausted


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one template: characters of source, nesting, loop turns with partial calls, characters of output."""

    template: int = 262_144
    depth: int = 64
    iterations: int = 20_000
    output: int = 4_000_000


DEFAULT_LIMITS = Limits()


class Meter:
    """Counts what one rendering uses and raises `Exhausted` at the first bound that is passed."""

    __slots__ = ("_depth", "_iterations", "_limits", "_name", "_output")

    def __init__(self, limits: Limits, name: str) -> None:
        self._limits = limits
        self._name = name
        self._depth = -1  # the template itself is no nesting
        self._iterations = 0
        self._output = 0

    def descend(self) -> None:
        """Enter a block or a partial; `ascend` leaves it again."""
        self._depth += 1
        if self._depth > self._limits.depth:
            raise self._exhausted("depth", self._limits.depth, "blocks and partials are nested deeper than")

    def ascend(self) -> None:
        """Leave what the last `descend` entered."""
        self._depth -= 1

    def turn(self, count: int = 1) -> None:
        """Charge `count` turns of a loop or calls of a partial."""
        self._iterations += count
        if self._iterations > self._limits.iterations:
            raise self._exhausted("iterations", self._limits.iterations, "loops and partials take more turns than")

    def write(self, characters: int) -> None:
        """Charge `characters` of output."""
        self._output += characters
        if self._output > self._limits.output:
            raise self._exhausted("output", self._limits.output, "the output has more characters than")

    def _exhausted(self, bound: str, limit: int, what: str) -> Exhausted:
        message = f"Template {self._name}: {what} {limit:,}. Shorten the template or the data, or raise the bound."
        return Exhausted(message, template=self._name, bound=bound, limit=limit)
