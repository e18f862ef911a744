"""The tools by which an agent steers its own run. Each checks what is wanted and returns the order for the workflow."""

from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from engine.errors import Invalid
from engine.json_schema import schema_problem
from engine.values import Value
from skills.services import ToolContext
from skills.tool import AnyTool, ToolReply, tool

Line = Annotated[str, Field(min_length=1, max_length=300)]


class Step(Value):
    """One step of a plan."""

    title: Line
    status: Literal["open", "doing", "done", "dropped"] = "open"


@tool(effect="control", honours_key=True)
async def update_plan(ctx: ToolContext, steps: Annotated[list[Step], Field(min_length=1, max_length=50)]) -> ToolReply:
    """Keep your plan where people see it and you find it again: all steps each time, with how far each is."""
    return _order("plan", steps=[step.model_dump(mode="json") for step in steps])


@tool(effect="control", honours_key=True)
async def ask_person(
    ctx: ToolContext,
    question: Annotated[str, Field(description="one question, with what it is for", min_length=1, max_length=2000)],
    choices: Annotated[
        list[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")]] | None,
        Field(description="short names to choose from; without them the answer is a text", max_length=10),
    ] = None,
    form: Annotated[
        dict[str, JsonValue] | None, Field(description="JSON Schema of an object, where more than a text is needed")
    ] = None,
) -> ToolReply:
    """Ask the person you work for what only they can know, and wait for the answer. Find out the rest yourself."""
    problem = schema_problem(form) if form is not None else None
    if problem is not None:
        raise Invalid(f"form is not the JSON Schema of an object: {problem}", field="form")
    title, _, rest = question.strip().partition("\n")
    long = len(title) > 200
    return _order(
        "ask",
        title=f"{title[:199]}…" if long else title,
        description=question if long else rest.strip(),
        choices=list(dict.fromkeys(choices or ())),
        form=form,
    )


def _order(do: str, **fields: Any) -> ToolReply:
    return ToolReply(text="", order={"do": do, **fields})


LOOP_TOOLS: tuple[AnyTool, ...] = (update_plan, ask_person)
