"""Seeded defects of the flow: ways that are gone or go nowhere, reads of what nobody wrote, guards with a gap."""

from random import Random

from tests.engine.generated_faults import (
    Fault,
    edges,
    guards_of,
    inserted,
    into,
    of_type,
    one,
    places,
    plain,
    script,
    ways_of,
)
from tests.engine.generated_values import KEYS, Node

FAULTS: list[Fault] = []
fault = into(FAULTS)


@fault("no_way_on")
def way_removed(definition: Node, random: Random) -> bool:
    place = one([place for place in plain(definition) if not place.nested], random)
    if place is None:
        return False
    del place.node["next"]
    return True


@fault("unknown_target")
def target_renamed(definition: Node, random: Random) -> bool:
    edge = one([edge for place in places(definition) for edge in edges(place.node)], random)
    edge["to"] = "nowhere"
    return True


@fault("unknown_start")
def start_renamed(definition: Node, random: Random) -> bool:
    graphs = [definition, *(arm["body"] for place in of_type(definition, "branch") for arm in place.node["arms"])]
    random.choice(graphs)["start"] = "nowhere"
    return True


@fault("unreachable")
def only_way_led_past(definition: Node, random: Random) -> bool:
    found: list[tuple[Node, str]] = []
    for place in places(definition):
        for way in edges(place.node):
            ways = [edge for node in place.graph["nodes"].values() for edge in edges(node) if edge["to"] == way["to"]]
            beyond = edges(place.graph["nodes"][way["to"]])
            past = [edge["to"] for edge in beyond if edge["to"] != way["to"]]
            if len(ways) == 1 and past and way["to"] != place.graph["start"]:
                found.append((way, past[0]))
    drawn = one(found, random)
    if drawn is None:
        return False
    way, past = drawn
    way["to"] = past
    return True


@fault("unreachable")
def node_that_nothing_leads_to(definition: Node, random: Random) -> bool:
    definition["nodes"]["seeded"] = script(next=[{"to": definition["start"]}])
    return True


@fault("no_end")
def circle_without_a_way_out(definition: Node, random: Random) -> bool:
    circle = {"type": "wait", "for": "PT1H", "next": [{"to": "circle"}]}
    return inserted(definition, random, {"seeded": script(next=[{"to": "circle"}]), "circle": circle})


@fault("unbounded_loop")
def loop_without_a_count(definition: Node, random: Random) -> bool:
    again = {"to": "seeded", "when": {"exists": random.choice(sorted(KEYS))}}
    return inserted(definition, random, {"seeded": script(next=[again, {"to": "THERE"}])})


@fault("read_before_assigned")
def write_missing_on_one_way(definition: Node, random: Random) -> bool:
    definition["context"]["schema"]["properties"]["sown"] = {"type": "number"}
    ways = [{"to": "left", "when": {"exists": random.choice(sorted(KEYS))}}, {"to": "right"}]
    arms: dict[str, Node] = {
        "left": script(writes=["sown"], next=[{"to": "reads"}]),
        "right": script(next=[{"to": "reads"}]),
    }
    reads = {"type": "tool", "tool": "erp.do", "input": {"a": {"+": [{"var": "sown"}, 1]}}, "next": [{"to": "THERE"}]}
    return inserted(definition, random, {"seeded": script(next=ways), **arms, "reads": reads})


@fault("read_before_assigned")
def write_that_fails_before(definition: Node, random: Random) -> bool:
    definition["context"]["schema"]["properties"]["sown"] = {"type": "number"}
    there = [{"to": "reads"}]
    writes = {"type": "tool", "tool": "erp.do", "writes": ["sown"], "next": there, "on_error": [{"to": "reads"}]}
    reads = script(input={"a": {"var": "sown"}}, next=[{"to": "THERE"}])
    return inserted(definition, random, {"seeded": writes, "reads": reads})


@fault("read_before_assigned")
def write_of_an_arm_that_may_not_be_taken(definition: Node, random: Random) -> bool:
    definition["context"]["schema"]["properties"]["sown"] = {"type": "number"}
    body = {"start": "sows", "nodes": {"sows": script(writes=["sown"])}}
    other = {"start": "rests", "nodes": {"rests": script()}}
    arms = [{"name": "l", "when": {"exists": random.choice(sorted(KEYS))}, "body": body}, {"name": "r", "body": other}]
    branch = {"type": "branch", "take": "every", "arms": arms, "next": [{"to": "reads"}]}
    reads = script(input={"a": {"var": "sown"}}, next=[{"to": "THERE"}])
    return inserted(definition, random, {"seeded": branch, "reads": reads})


@fault("unknown_name")
def name_misspelt(definition: Node, random: Random) -> bool:
    place = one([place for place in places(definition) if place.node.get("input")], random)
    if place is None:
        return False
    place.node["input"]["in0"] = {"var": "nubmer_1"}
    return True


@fault("unknown_name")
def name_misspelt_in_a_template(definition: Node, random: Random) -> bool:
    place = one(of_type(definition, "agent"), random)
    if place is None:
        return False
    place.node["instructions"] = "See to {{nubmer_1}}."
    return True


@fault("unknown_write")
def write_misspelt(definition: Node, random: Random) -> bool:
    place = one([place for place in places(definition) if place.node.get("writes")], random)
    if place is None:
        return False
    place.node["writes"] = [*place.node["writes"][:-1], "nubmer_1"]
    return True


@fault("guard_type")
def type_of_a_compared_key_changed(definition: Node, random: Random) -> bool:
    keys = [rule["<"][0]["var"] for rule in guards_of(definition) if "<" in rule and "var" in rule["<"][0]]
    key = one([key for key in keys if key in KEYS], random)
    if key is None:
        return False
    definition["context"]["schema"]["properties"][key] = {"type": "string"}
    return True


@fault("guard_type")
def constant_of_another_type(definition: Node, random: Random) -> bool:
    rule = one([rule for rule in guards_of(definition) if "<" in rule and "var" in rule["<"][0]], random)
    if rule is None:
        return False
    rule["<"][1] = "ten"
    return True


@fault("not_total")
def guard_narrowed(definition: Node, random: Random) -> bool:
    way = one([ways[-1] for ways in ways_of(definition) if ">=" in (ways[-1].get("when") or ())], random)
    if way is None:
        return False
    way["when"] = {">": way["when"][">="]}
    return True


@fault("not_total", "no_default")
def last_way_barred(definition: Node, random: Random) -> bool:
    ways = one(ways_of(definition), random)
    if ways is None:
        return False
    ways[-1]["when"] = {"and": [ways[-1].get("when", True), False]}
    return True


@fault("not_total")
def decision_without_a_way(definition: Node, random: Random) -> bool:
    chosen = [place for place in of_type(definition, "supervisor") if place.node["next"][0].get("trigger") == "agent"]
    place = one(chosen, random)
    if place is None:
        return False
    place.node["decisions"] = [*place.node["decisions"], "postpone"]
    return True


@fault("never_taken")
def guard_repeated(definition: Node, random: Random) -> bool:
    ways = one(
        [ways for ways in ways_of(definition) if "<" in ways[0]["when"] and "var" in ways[0]["when"]["<"][0]], random
    )
    if ways is None:
        return False
    ways.insert(1, {**ways[0], **({"name": "seeded"} if "name" in ways[0] else {})})
    return True


@fault("default_not_last")
def default_moved_up(definition: Node, random: Random) -> bool:
    ways = one([ways for ways in ways_of(definition) if "when" not in ways[-1]], random)
    if ways is None:
        return False
    ways.insert(0, ways.pop())
    return True


@fault("never_equal")
def value_that_cannot_be(definition: Node, random: Random) -> bool:
    rules = [rule for rule in guards_of(definition) if str(rule.get("==", [{}])[0]).startswith("{'var': 'risk")]
    rule = one(rules, random)
    if rule is None:
        return False
    rule["=="][1] = "hihg"
    return True


@fault("optional_read")
def field_no_longer_required(definition: Node, random: Random) -> bool:
    paths = [rule["<"][0]["var"] for rule in guards_of(definition) if "<" in rule and "var" in rule["<"][0]]
    path = one([path for path in paths if path.endswith(".total")], random)
    if path is None:
        return False
    key = path.partition(".")[0]
    properties = definition["context"]["schema"]["properties"]
    properties[key] = {**properties[key], "required": ["urgent"]}
    return True
