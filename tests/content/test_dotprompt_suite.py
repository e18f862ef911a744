"""The specification of Dotprompt: every case that is at hand must hold."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from content.templates import PromptFile, dump_prompt, parse_prompt

SUITE = Path(os.environ.get("SUITES", Path(__file__).parents[3] / "shared" / "suites")) / "dotprompt"

pytestmark = pytest.mark.skipif(
    not SUITE.is_dir(), reason="the Dotprompt suite is not here; set SUITES to the folder that has it"
)


def cases() -> list[Any]:
    return [
        pytest.param(group, case, id=f"{path.stem}-{group['name']}-{case.get('desc', number)}")
        for path in sorted(SUITE.glob("*.yaml"))
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))
        for number, case in enumerate(group["tests"])
    ]


def present(prompt: PromptFile) -> dict[str, Any]:
    sections = {
        "input": {"default": prompt.input_default, "schema": prompt.input_schema},
        "output": {"format": prompt.output_format, "schema": prompt.output_schema},
    }
    return {
        "model": prompt.model,
        "config": prompt.config,
        "ext": prompt.ext,
        "raw": prompt.raw,
        **{key: {name: value for name, value in part.items() if value} for key, part in sections.items()},
    }


@pytest.mark.parametrize(("group", "case"), cases())
def test_the_case_of_the_specification_holds(group: dict[str, Any], case: dict[str, Any]) -> None:
    schemas = {**group.get("schemas", {}), **group.get("resolverSchemas", {})}
    partials = {**group.get("partials", {}), **group.get("resolverPartials", {})}
    data = {**group.get("data", {}), **case.get("data", {})}
    written = parse_prompt(group["template"], schemas=schemas)
    assert dump_prompt(written) == group["template"]
    prompt = written.changed(raw={**written.raw, **case.get("options", {})}, schemas=schemas)
    rendered = prompt.render(
        data.get("input"), history=data.get("messages"), context=data.get("context"), partials=partials
    )
    found = {**present(prompt), "messages": list(rendered.messages)}
    expected = {key: value for key, value in case["expect"].items() if key in found}
    assert {key: found[key] for key in expected} == expected
