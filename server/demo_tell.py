"""How the demonstration speaks: lines for people, or JSON lines for programs; and how other clients connect."""

import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from server.data_folder import DataFolder

WIDTH = 130
QUOTES = 3
QUOTE_CHARS = 110

HEADLINES = {
    "text": "{name}: {total} characters",
    "invoice": "{number} of {supplier}, {date}, order {purchase_order}: {total:,.2f} {currency}",
    "assessment": "{recommendation}",
    "gathered": "{summary}",
    "approval": "{decision} by {by}: {reason}",
    "payment": "{payment_id}: {amount:,.2f} {currency} for {invoice}",
}


class Teller:
    """Tells what happens; with `as_json` one JSON object a line, `{"event": ..., ...}`."""

    def __init__(self, *, as_json: bool) -> None:
        """Choose the form."""
        self._as_json = as_json
        self._console = Console(highlight=False, soft_wrap=True)
        if not self._console.is_terminal:
            self._console = Console(highlight=False, soft_wrap=True, width=WIDTH)

    def say(self, event: str, text: str, **data: Any) -> None:
        """Tell one thing: `text` to people, `data` to programs."""
        if self._as_json:
            print(json.dumps({"event": event, **data}, ensure_ascii=False, default=str), flush=True)
        else:
            self._console.print(text, markup=False)

    def heading(self, text: str) -> None:
        """Begin a part of the story; programs don't hear it."""
        if not self._as_json:
            self._console.print(f"\n{text}", style="bold", markup=False)

    def busy(self, text: str) -> AbstractContextManager[Any]:
        """Show that something takes a moment, where standard output is a terminal."""
        if self._as_json or not self._console.is_terminal:
            return nullcontext()
        return self._console.status(text)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show a compact table; programs have its data in an event."""
        if self._as_json:
            return
        shown = Table(*columns, box=None, pad_edge=False, header_style="dim")
        for row in rows:
            shown.add_row(*(Text(cell) for cell in row))
        self._console.print(shown)


def headline(written: Mapping[str, Any]) -> str:
    """Return what a step came to, in one line."""
    for key, value in written.items():
        if key in HEADLINES and isinstance(value, dict):
            return HEADLINES[key].format_map(value)
        if isinstance(value, dict) and isinstance(value.get("passages"), list):
            return f"{len(value['passages'])} passages"
        if isinstance(value, list):
            return f"{len(value)} items"
    return ""


def citations(value: Any) -> Iterator[tuple[str, str]]:
    """Yield the quotes inside a value with the anchors or sources they stand at, each once."""
    seen: set[tuple[str, str]] = set()
    for quote, source in _quotes(value):
        if quote and source and (quote, source) not in seen:
            seen.add((quote, source))
            yield quote, source


def _quotes(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, list):
        for item in value:
            yield from _quotes(item)
    elif isinstance(value, dict):
        quote = value.get("quote", value.get("text"))
        source = value.get("anchor", value.get("source"))
        if isinstance(quote, str) and isinstance(source, str):
            yield quote, source
        for inner in value.values():
            yield from _quotes(inner)


def step_line(step: str, kind: str, title: str, summary: str, found: Sequence[tuple[str, str]]) -> str:
    """Return a step of a process with its first citations, each on a line of its own.

    An item of a foreach is named by its key and has one citation; the foreach itself repeats none of them.
    """
    _, bracket, item = step.rpartition("[")
    shown = 0 if kind == "foreach" else 1 if bracket else QUOTES
    indent = "    " if bracket else "  "
    wanted = item.partition("]")[0] if bracket else ""
    name = f"{title}, {wanted}" if wanted else title
    lines = [f"\n{indent}    “{_short(quote, wanted)}”  [{source}]" for quote, source in found[:shown]]
    more = f"\n{indent}    and {len(found) - shown} more" if 0 < shown < len(found) else ""
    return f"{indent}✓ {name}{': ' + summary if summary else ''}{''.join(lines)}{more}"


def _short(text: str, wanted: str) -> str:
    """Return the line of a quote that has what is wanted, else its beginning."""
    having = [line for line in text.splitlines() if wanted and wanted in line]
    line = " ".join((having[0] if having else text).split())
    return line if len(line) <= QUOTE_CHARS else line[: QUOTE_CHARS - 1] + "…"


def connection_help(folder: DataFolder, config: Path) -> str:
    """Return how Claude Desktop, Claude Code, Cursor and VS Code connect to the server of the folder."""
    command = executable()
    arguments = ["stdio", "--data", str(folder.root), "--config", str(config)]
    entry = {"command": command[0], "args": [*command[1:], *arguments]}
    line = " ".join(_quoted(word) for word in (*command, *arguments))
    servers = json.dumps({"mcpServers": {"upstairs": entry}}, indent=2)
    code = json.dumps({"name": "upstairs", "type": "stdio", **entry})
    return (
        "Connect a chat client of your own to this server:\n\n"
        f"Claude Code:     claude mcp add upstairs -- {line}\n"
        f"VS Code:         code --add-mcp {_quoted(code)}\n"
        "Claude Desktop:  Settings → Developer → Edit Config, then restart it:\n"
        f"{servers}\n"
        "Cursor:          the same JSON in ~/.cursor/mcp.json\n\n"
        "Then ask, for example: “Which runs of invoice_approval are there, and what did the last one rest on?”\n"
        'Add "--as", "fay" to the arguments to be fay of finance, who may decide.'
    )


def executable() -> list[str]:
    """Return the command that runs `upstairs`, by its absolute path."""
    beside = Path(sys.executable).with_name("upstairs")
    if beside.is_file():
        return [str(beside)]
    found = shutil.which("upstairs")
    return [found] if found else [sys.executable, "-m", "server.cli"]


def _quoted(word: str) -> str:
    plain = word and all(letter.isalnum() or letter in "-_./:=@" for letter in word)
    return word if plain else "'" + word.replace("'", "'\\''") + "'"
