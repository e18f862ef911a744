"""`test-process`, `diff`: a definition as a file is checked and played without a server, models or people."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from pydantic import JsonValue

from content.templates import parse
from engine.process.definition import parse_definition
from engine.process.difference import difference_svg, difference_text
from engine.process.simulate import Played, Report, play_all
from server.commands.options import AsJson, show


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(name="test-process")(play_scenarios)
    app.command(name="diff-process")(diff_process)


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
