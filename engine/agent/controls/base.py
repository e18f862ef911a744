"""What a control is: `(conduct, turn, call, order) -> answer`, carried out inside the workflow."""

from collections.abc import Awaitable, Callable
from typing import Any

from engine.agent.conduct import Conduct
from engine.ports import CallRef, GivenAnswer

Control = Callable[[Conduct, int, CallRef, dict[str, Any]], Awaitable[GivenAnswer]]

CONTROLS: dict[str, Control] = {}
"""By the name under `do` in the order; each module of this package enters its own."""
