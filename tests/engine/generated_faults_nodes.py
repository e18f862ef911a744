"""Seeded defects of single nodes, of arms side by side, and of the input and the initial values."""

from random import Random

from tests.engine.generated_faults import (
    Fault,
    into,
    of_type,
    one,
    places,
    script,
)
from tests.engine.generated_values import KEYS, Node

FAULTS: list[Fault] = []
fault = into(FAULTS)


@fault("join_never")
def join_of_more_than_there_are(definition: Node, random: Random) -> bool:
    place = one([place for place in of_type(definition, "branch") if place.node.get("take") == "every"], random)
    if place is None:
        return False
    place.node["join"] = {"at_least": len(place.node["arms"]) + 1}
    return True


@fault("parallel_write")
def two_arms_write_one_key(definition: Node, random: Random) -> bool:
    place = one([place for place in of_type(definition, "branch") if place.node.get("take") == "every"], random)
    if place is None:
        return False
    key = random.choice(sorted(KEYS))
    for arm in random.sample(place.node["arms"], 2):
        body = arm["body"]
        body["nodes"]["seeded"] = script(writes=[key], next=[{"to": body["start"]}])
        body["start"] = "seeded"
    return True


@fault("duplicate_arm")
def arm_named_twice(definition: Node, random: Random) -> bool:
    place = one([place for place in of_type(definition, "branch") if len(place.node["arms"]) > 1], random)
    if place is None:
        return False
    place.node["arms"][1]["name"] = place.node["arms"][0]["name"]
    return True


@fault("undeclared_write")
def collected_into_an_undeclared_key(definition: Node, random: Random) -> bool:
    place = one([place for place in of_type(definition, "foreach") if place.node.get("writes")], random)
    if place is None:
        return False
    place.node["writes"] = []
    return True


@fault("collect_unknown")
def collected_what_nobody_makes(definition: Node, random: Random) -> bool:
    place = one([place for place in of_type(definition, "foreach") if "collect" in place.node], random)
    if place is None:
        return False
    place.node["collect"]["fields"] = ["nothing"]
    return True


@fault("wrong_type")
def items_that_are_no_list(definition: Node, random: Random) -> bool:
    place = one(of_type(definition, "foreach"), random)
    if place is None:
        return False
    place.node["items"] = {"+": [1, 2]}
    return True


@fault("no_deadline")
def deadline_removed(definition: Node, random: Random) -> bool:
    place = one(of_type(definition, "supervisor"), random)
    if place is None:
        return False
    del place.node["deadline"]
    return True


@fault("no_on_timeout")
def nothing_said_of_the_deadline(definition: Node, random: Random) -> bool:
    place = one([place for place in places(definition) if "deadline" in place.node], random)
    if place is None:
        return False
    del place.node["on_timeout"]
    return True


@fault("empty_seat")
def seat_emptied(definition: Node, random: Random) -> bool:
    place = one(of_type(definition, "supervisor"), random)
    if place is None:
        return False
    place.node["seat"] = {}
    return True


@fault("decision_refused")
def decision_written_into_a_text(definition: Node, random: Random) -> bool:
    place = one([place for place in of_type(definition, "supervisor") if place.node["writes"]], random)
    if place is None:
        return False
    place.node["writes"] = ["text_1"]
    return True


@fault("trigger_without_agent")
def choice_of_nobody(definition: Node, random: Random) -> bool:
    ways = [way for place in of_type(definition, "tool", "wait") for way in place.node.get("next", ())]
    way = one(ways, random)
    if way is None:
        return False
    way["trigger"] = "agent"
    return True


@fault("compensation_end")
def undone_by_an_end(definition: Node, random: Random) -> bool:
    tools = [place for place in of_type(definition, "tool") if not place.nested and place.node.get("next")]
    ends = [name for name, node in definition["nodes"].items() if node["type"] == "end"]
    place = one(tools, random)
    if place is None:
        return False
    place.node["compensate"] = random.choice(ends)
    return True


@fault("script_syntax")
def script_broken(definition: Node, random: Random) -> bool:
    place = one(of_type(definition, "script"), random)
    if place is None:
        return False
    place.node["code"] = "{'a': "
    return True


@fault("expression")
def operator_unknown(definition: Node, random: Random) -> bool:
    place = one([place for place in places(definition) if place.node.get("input")], random)
    if place is None:
        return False
    place.node["input"]["in0"] = {"less": [1, 2]}
    return True


@fault("input_misfit")
def input_of_another_type(definition: Node, random: Random) -> bool:
    key = random.choice(definition["input"]["required"])
    definition["input"]["properties"][key] = {"type": ["string", "boolean", "null", "object", "array", "number"]}
    return True


@fault("read_before_assigned", "unknown_name")
def input_no_longer_required(definition: Node, random: Random) -> bool:
    definition["context"]["schema"]["properties"]["sown"] = {"type": "number"}
    definition["input"]["properties"]["sown"] = {"type": "number"}
    definition["nodes"]["seeded"] = script(input={"a": {"var": "sown"}}, next=[{"to": definition["start"]}])
    definition["start"] = "seeded"
    return True


@fault("initial_invalid")
def initial_value_of_another_type(definition: Node, random: Random) -> bool:
    key = random.choice(sorted(definition["context"]["initial"]))
    definition["context"]["initial"][key] = None
    return True
