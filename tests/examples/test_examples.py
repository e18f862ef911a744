"""Every process and every pattern of the examples: what it names exists, it verifies, and its scenarios cover it."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest
from pydantic import JsonValue

import examples
from content.templates.prompt import parse_prompt
from content.templates.template import parse
from engine.process.definition import ProcessDefinition, parse_definition
from engine.process.simulate import play_all
from engine.process.verify import KnownNames, verify
from engine.values import PLATFORM_ROLES, Principal
from skills.catalogue import Catalogue
from skills.core import CORE_TOOLS
from skills.toolbox import Toolbox

EXAMPLES = Path(examples.__file__).parent
DOCS = EXAMPLES.parent / "docs"
PROCESSES = sorted((EXAMPLES / "processes").glob("*.yaml"))
PATTERNS = sorted((EXAMPLES / "patterns").glob("*.yaml"))
PROMPTS = sorted((EXAMPLES / "interactions").glob("*.prompt"))
OTTO = Principal(tenant="local", subject="otto", roles=PLATFORM_ROLES)


def read(path: Path) -> ProcessDefinition:
    return parse_definition(path.read_text())


@cache
def known() -> KnownNames:
    """Return what the example processes may name: prompts, skills and tools of the examples, and the house's own."""
    toolbox = Toolbox(Catalogue.load([EXAMPLES / "skills"]), CORE_TOOLS)
    return KnownNames(
        interactions=frozenset(path.stem for path in PROMPTS),
        tools=frozenset(spec.name for spec in toolbox.flat(OTTO)),
        skills=frozenset(skill.key for skill in toolbox.catalogue.visible(OTTO)),
        processes=frozenset(path.stem for path in (*PROCESSES, *PATTERNS)),
    )


def rendered(template: str, data: Mapping[str, JsonValue]) -> str:
    return parse(template, name="text").render(dict(data))


@pytest.mark.parametrize("path", [*PROCESSES, *PATTERNS], ids=lambda path: path.stem)
def test_an_example_verifies_and_its_scenarios_pass_and_cover_all_of_it(path: Path) -> None:
    definition = read(path)
    assert definition.process == path.stem
    assert verify(definition, known()) == []
    report = play_all(definition, render=rendered)
    assert [(one.scenario, one.problems) for one in report.played if one.problems] == []
    assert report.played
    assert report.coverage.whole, report.coverage


@pytest.mark.parametrize("path", PATTERNS, ids=lambda path: path.stem)
def test_each_scenario_of_a_pattern_says_which_way_it_goes(path: Path) -> None:
    assert [scenario.name for scenario in read(path).scenarios if scenario.expect.path is None] == []


@pytest.mark.parametrize("path", PROMPTS, ids=lambda path: path.stem)
def test_each_interaction_of_the_examples_is_a_prompt_that_some_process_uses(path: Path) -> None:
    prompt = parse_prompt(path.read_text())
    assert (prompt.name, prompt.output_format) == (path.stem, "json")
    assert prompt.check() == []
    assert prompt.input_schema
    assert prompt.output_schema
    assert any(f"interaction: {path.stem}\n" in process.read_text() for process in PROCESSES)


def test_the_table_of_patterns_has_all_43_and_every_definition_in_its_folder() -> None:
    rows = re.findall(r"^\| (\d+) \| [^|]+ \| (yes|partly|no) \| (.*) \|$", (DOCS / "patterns.md").read_text(), re.M)
    assert [int(number) for number, _, _ in rows] == list(range(1, 44))
    linked = {path for _, _, text in rows for path in re.findall(r"\]\(\.\./examples/patterns/([^)]+)\)", text)}
    assert linked == {path.name for path in PATTERNS}
    shown = [number for number, said, text in rows if said == "yes" and "](" not in text]
    assert shown == []
