"""Results of tools as the protocol carries them: text for models, data for programs, problems as tool errors."""

import mcp_types as types

from engine.errors import Problem
from skills.running import problem_text
from skills.tool import ToolReply

STARTED = "upstairs/run"
"""The key under which the `_meta` of a tool's result names the run that the call started."""


def success(reply: ToolReply, *, has_schema: bool, started: str | None = None) -> types.CallToolResult:
    """Return an answer: text for models, the same as data where there is data, a link where the text was cut.

    A client that was shown an output schema expects data, of a cut answer too. `started`: the run that was started.
    """
    content: list[types.ContentBlock] = [types.TextContent(text=reply.text)]
    structured = reply.value
    if reply.rest is not None:
        content.append(types.ResourceLink(uri=reply.rest, name="the whole answer", mime_type="text/plain"))
        structured = {"cut": {"text": reply.text, "rest": reply.rest}} if has_schema else None
    meta = None if started is None else {STARTED: started}
    return types.CallToolResult(content=content, structured_content=structured, _meta=meta)


def failure(problem: Problem) -> types.CallToolResult:
    """Return a problem as a tool error: what happened, with which field, and what to do, the lesson included."""
    return types.CallToolResult(content=[types.TextContent(text=problem_text(problem))], is_error=True)
