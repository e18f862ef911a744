"""The MCP Apps extension (`io.modelcontextprotocol/ui`): pages that a client shows beside a tool's answer.

A tool names its page in `_meta`; the page is a `ui://` resource, one HTML file without anything from elsewhere. The
answer of the tool stays what it is: a client that shows no pages misses nothing.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import mcp_types as types
from mcp.server.extension import Extension

from server.mcp.house import Call
from server.mcp.provider import Provider

UI = "io.modelcontextprotocol/ui"
MIME = "text/html;profile=mcp-app"
FOLDER = Path(__file__).parents[1] / "apps"

RESOURCE_META: dict[str, Any] = {
    "ui": {"csp": {"connectDomains": [], "resourceDomains": [], "frameDomains": []}, "prefersBorder": True}
}
"""What a client is to allow a page: nothing beyond what stands in it."""


@dataclass(frozen=True)
class Page:
    """A page: the files of `server/apps` that make up its script, in their order."""

    uri: str
    name: str
    title: str
    about: str
    scripts: tuple[str, ...]

    @property
    def html(self) -> str:
        """The page as it is sent."""
        return _html(self.title, self.scripts)


RUN = Page(
    "ui://runs/view.html",
    "run-page",
    "Run",
    "One run, live: status, drawing, events, cost, and its open tasks to answer",
    ("elements", "host", "tasks", "graph", "drawing", "run"),
)
INBOX = Page(
    "ui://runs/inbox.html",
    "inbox-page",
    "Inbox",
    "What waits for a person, to be decided there",
    ("elements", "host", "tasks", "inbox"),
)
PROCESS = Page(
    "ui://processes/view.html",
    "process-page",
    "Process",
    "The graph of a process with what the verifier finds",
    ("elements", "host", "tasks", "graph", "drawing", "process"),
)
PAGES = {page.uri: page for page in (RUN, INBOX, PROCESS)}

PAGE_OF: Mapping[str, Page] = {
    "start_process": RUN,
    "start_agent": RUN,
    "get_run": RUN,
    "list_tasks": INBOX,
    "process_design.verify_process": PROCESS,
    "process_design.draw_process": PROCESS,
    "processes.describe_process": PROCESS,
}
"""The page beside the answer of a tool, by the tool's full name."""


def page_meta(tool: str) -> dict[str, Any] | None:
    """Return what a tool's definition says of its page; None for a tool without one."""
    page = PAGE_OF.get(tool)
    # The flat key is the extension's older form, which some clients still look for alone.
    return None if page is None else {"ui": {"resourceUri": page.uri}, "ui/resourceUri": page.uri}


@cache
def _html(title: str, scripts: tuple[str, ...]) -> str:
    script = "\n".join((FOLDER / f"{name}.js").read_text(encoding="utf-8") for name in scripts)
    style = (FOLDER / "page.css").read_text(encoding="utf-8")
    # The page's own policy, under that of the client: only these two run or dress, whatever enters the page later.
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    template = (FOLDER / "page.html").read_text(encoding="utf-8")
    return template.format(title=title, policy=policy, style=style, script=script)


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


class Apps(Extension):
    """The extension as the server declares it."""

    identifier = UI


class AppPages(Provider):
    """`ui://…`: the same pages for everybody, without data; what they show comes from calls that the client makes."""

    async def resources(self, call: Call) -> Sequence[types.Resource]:
        """Return the pages."""
        return [
            types.Resource(
                uri=page.uri,
                name=page.name,
                title=page.title,
                description=page.about,
                mime_type=MIME,
                size=len(page.html.encode()),
                _meta=RESOURCE_META,
            )
            for page in PAGES.values()
        ]

    async def read_resource(
        self, call: Call, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult | None:
        """Return a page."""
        page = PAGES.get(str(params.uri))
        if page is None:
            return None
        contents = types.TextResourceContents(uri=page.uri, mime_type=MIME, text=page.html, _meta=RESOURCE_META)
        return types.ReadResourceResult(contents=[contents])
