"""The tool that benchmarks call: it notes the moment of its call and answers with a text of a given size."""

from typing import Annotated

from pydantic import Field

from benchmarks.figures import mark
from skills.services import ToolContext
from skills.tool import tool


@tool()
async def look(
    ctx: ToolContext,
    number: Annotated[int, Field(description="what makes one answer differ from the next")],
    size: Annotated[int, Field(description="length of the answer in characters")] = 20,
) -> str:
    """Answer with a text of `size` characters."""
    mark()
    return f"{number:>{size}}"
