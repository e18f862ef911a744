"""Pictures of a process: one sketch of its graph, laid out once, as SVG and as Mermaid text."""

from engine.process.drawing.mermaid import mermaid
from engine.process.drawing.sketch import State, sketch_of
from engine.process.drawing.state import RunState, run_state
from engine.process.drawing.svg import svg

__all__ = ["RunState", "State", "mermaid", "run_state", "sketch_of", "svg"]
