"""`test-process`, `diff-process`, `import-process`: definitions as files, without a server, models or people."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

import typer
from pydantic import JsonValue

from content.templates import parse
from engine.errors import Conflict, Invalid
from engine.process.definition import parse_definition
from engine.process.difference import difference_svg, difference_text
from engine.process.imports import Imported, import_vertesia
from engine.process.simulate import Played, Report, play_all
from server.commands.options import AsJson, show


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(name="test-process")(play_scenarios)
    app.command(name="diff-process")(diff_process)
    app.command(name="import-process")(import_process)


def play_scenarios(
    file: Annotated[Path, typer.Argument(help="a definition in YAML or JSON", exists=True, dir_okay=False)],
    steps: Annotated[bool, typer.Option("--steps", help="show every step with the values its guards saw")] = False,
    as_json: AsJson = False,
) -> None:
    """Play the scenarios of a process and say what they cover; exit code 1 where one is not as expected."""
    report = play_all(parse_definition(file.read_text(encoding="utf-8")), render=_rendered)
    show(report.model_dump(mode="json"), as_json, _told(report, steps=steps))
    if not report.passed:
        raise typer.Exit(1)


def _rendered(template: str, data: Mapping[str, JsonValue]) -> str:
    return parse(template, name="text").render(dict(data))


def _told(report: Report, *, steps: bool) -> str:
    lines = [line for played in report.played for line in _scenario(played, steps=steps)]
    if not report.played:
        lines.append("the definition has no scenarios")
    for name in ("nodes", "transitions", "guards"):
        covered = getattr(report.coverage, name)
        missing = f"; missing: {', '.join(covered.missing)}" if covered.missing else ""
        lines.append(f"{name}: {covered.percent:g} % of {covered.total}{missing}")
    return "\n".join(lines)


def _scenario(played: Played, *, steps: bool) -> list[str]:
    end = played.outcome or played.error or played.status
    lines = [f"{'passed' if played.passed else 'FAILED'}  {played.scenario}: {' → '.join(played.path)} ({end})"]
    lines += [f"        {problem}" for problem in played.problems]
    return lines + ([step.text for step in played.steps] if steps else [])


def diff_process(
    before: Annotated[Path, typer.Argument(help="the older definition", exists=True, dir_okay=False)],
    after: Annotated[Path, typer.Argument(help="the newer one", exists=True, dir_okay=False)],
    svg: Annotated[Path | None, typer.Option("--svg", help="a file for a picture with marks")] = None,
) -> None:
    """Show what differs between two definitions, and what runs under way may not fit."""
    old, new = (parse_definition(file.read_text(encoding="utf-8")) for file in (before, after))
    print(difference_text(old, new))
    if svg is not None:
        svg.write_text(difference_svg(old, new), encoding="utf-8")


def import_process(
    file: Annotated[Path, typer.Argument(help="a definition of Vertesia in JSON or YAML", exists=True, dir_okay=False)],
    out: Annotated[Path | None, typer.Option("--out", help="a folder for what comes of it; unset: printed")] = None,
    deadline: Annotated[str, typer.Option("--deadline", help="of questions to people; there they have none")] = "P30D",
    name: Annotated[list[str] | None, typer.Option("--name", help="theirs=ours, of a tool, prompt or process")] = None,
    as_json: AsJson = False,
) -> None:
    """Take a definition over and say what became of each part; exit code 1 where the verifier finds an error."""
    names = dict(_renamed(one) for one in name or ())
    imported = import_vertesia(file.read_bytes(), deadline=deadline, names=names)
    every = imported.family
    if out is not None:
        _write(every, out)
    if as_json:
        show(imported.model_dump(mode="json"), as_json, "")
    elif out is not None:
        print("\n".join(_report(one) for one in every))
    else:
        print("---\n".join(one.text for one in every), end="")
        print("\n".join(_report(one) for one in every), file=sys.stderr)
    if not imported.verifies:
        raise typer.Exit(1)


def _renamed(text: str) -> tuple[str, str]:
    theirs, sign, ours = text.partition("=")
    if not (theirs and sign and ours):
        raise Invalid(f"--name is theirs=ours, not {text!r}", value=text)
    return theirs, ours


def _write(every: Iterable[Imported], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    paths = {folder / f"{one.process}.yaml": one.text for one in every}
    for path in paths:
        if path.exists():
            raise Conflict(f"{path} is there already; name another folder or move it away", path=str(path))
    for path, text in paths.items():
        path.write_text(text, encoding="utf-8")


def _report(imported: Imported) -> str:
    lines = [f"{imported.process}:"]
    lines += [f"  {note.kind.replace('_', ' '):<12}  {note.source or '/'}: {note.message}" for note in imported.notes]
    for kind, wanted in imported.needs.model_dump().items():
        if wanted:
            lines.append(f"  needs {kind}: {', '.join(wanted)}")
    lines += [f"  {finding.severity}  {finding.path or '/'}: {finding.message}" for finding in imported.findings]
    lines.append("  it verifies" if imported.verifies else "  it has errors; mend them before it is published")
    return "\n".join(lines)
