"""A foreach in a simulation: as many items as there are, in one history that costs nothing, and files by a fixture."""

import pytest

from engine.process.definition import Scenario, parse_definition
from engine.process.simulate.play import play
from tests.processes.test_foreach_batches import LOOK, PLAIN, many, numbered


def test_more_items_than_one_history_holds_are_played_in_their_order() -> None:
    scenario = Scenario.model_validate(
        {"name": "many", "input": {"items": numbered(300)}, "expect": {"outcome": "done"}}
    )
    played = play(parse_definition(many(LOOK, text=PLAIN)), scenario)
    assert played.problems == ()
    assert played.output == [{"item": item} for item in numbered(300)]


@pytest.mark.parametrize(
    ("fixtures", "problem"),
    [
        ({"each": {"result": [{"id": "a"}, {"id": "b"}]}}, ""),
        ({"each": {"result": "a,b"}}, "the result of the fixture for each must be the list of its items"),
        ({}, "the scenario has no fixture for each"),
    ],
)
def test_the_items_of_a_file_come_from_the_fixture_of_the_foreach(fixtures: dict[str, object], problem: str) -> None:
    scenario = Scenario.model_validate({"name": "file", "input": {"items": "items.jsonl"}, "fixtures": fixtures})
    played = play(parse_definition(many(LOOK, items="string", done="string", text=PLAIN)), scenario)
    assert "".join(played.problems).startswith(problem)
    if not problem:
        assert played.problems == ()
        assert str(played.output).startswith("run://")
        assert sorted(one.step for one in played.steps if one.node == "take") == [
            "1.each[a]/1.take",
            "1.each[b]/1.take",
        ]
