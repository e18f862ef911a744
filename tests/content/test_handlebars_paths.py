"""What a template reads, and the check of every such path against a JSON Schema."""

from typing import Any

import pytest

from content.templates import Invocation, parse

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "urgent": {"type": "boolean"},
        "customer": {"$ref": "#/$defs/customer"},
        "rows": {"type": ["array", "null"], "items": {"$ref": "#/$defs/row"}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "anything": {},
        "either": {"anyOf": [{"$ref": "#/$defs/row"}, {"$ref": "#/$defs/customer"}]},
        "tree": {"$ref": "#/$defs/tree"},
        "role": {"type": "string"},
    },
    "additionalProperties": False,
    "$defs": {
        "customer": {"type": "object", "properties": {"id": {"type": "integer"}, "city": {"type": "string"}}},
        "row": {"type": "object", "properties": {"id": {"type": "integer"}, "price": {"type": "number"}}},
        "tree": {
            "type": "object",
            "properties": {"label": {"type": "string"}, "kids": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
        },
    },
}

GOOD = [
    "{{name}} {{this.name}} {{customer.city}} {{rows.0.price}} {{rows.length}}",
    "{{#each rows}}{{id}} {{../name}} {{@index}} {{@root.customer.id}}{{/each}}",
    "{{#each rows as |row n|}}{{row.price}}{{n}}{{/each}}",
    "{{#with customer}}{{id}}{{../name}}{{/with}}{{#customer}}{{id}}{{/customer}}{{#rows}}{{price}}{{/rows}}",
    "{{#urgent}}{{name}}{{/urgent}}{{^urgent}}{{name}}{{/urgent}}",
    "{{labels.x}}{{#each labels}}{{@key}}{{this}}{{/each}}{{lookup labels name}}",
    "{{anything.at.all}}{{#each anything}}{{x}}{{/each}}{{either.city}}{{either.price}}",
    "{{#with (lookup rows 0)}}{{price}}{{/with}}{{#if rows}}{{name}}{{else if customer.city}}{{name}}{{/if}}",
    "{{> p customer x=name}}{{> tree tree}}{{#> layout}}{{name}}{{/layout}}{{#*inline 'i'}}{{id}}{{/inline}}"
    "{{#with customer}}{{> i}}{{/with}}{{@user.mail}}",
]
PARTIALS = {
    "p": "{{id}}{{x}}",
    "tree": "{{label}}{{#each kids}}{{> tree}}{{/each}}",
    "layout": "<{{> @partial-block}}>{{#> @partial-block}}{{/@partial-block}}",
}

BAD = [
    ("{{nam}}", "unknown_path", "nam"),
    ("a\n {{customer.town}}", "unknown_path", "customer.town"),
    ("{{name.first}}", "unknown_path", "name.first"),
    ("{{#each rows}}{{prise}}{{/each}}", "unknown_path", "rows.*.prise"),
    ("{{#each rows}}{{#if ../nam}}{{/if}}{{/each}}", "unknown_path", "nam"),
    ("{{#each rows as |row|}}{{row.nope}}{{/each}}", "unknown_path", "rows.*.nope"),
    ("{{#customer}}{{name}}{{/customer}}", "unknown_path", "customer.name"),
    ("{{#urgent}}{{id}}{{/urgent}}", "unknown_path", "id"),
    ("{{either.label}}", "unknown_path", "either.label"),
    ("{{> p customer}}", "unknown_path", "customer.x"),
    ("{{> tree tree.kids.0.labl}}", "unknown_path", "tree.kids.0.labl"),
    ("{{#if (lookup customer.nope 'x')}}{{/if}}", "unknown_path", "customer.nope"),
    ("{{@root.nope}}", "unknown_path", "nope"),
    ("{{../name}}", "unknown_path", "../name"),
    ("{{#each name}}{{/each}}", "not_a_list", "name"),
    ("{{@index}}", "outside_of_loop", "@index"),
    ("{{#each rows}}{{@../index}}{{/each}}", "outside_of_loop", "@../index"),
    ("{{shout name}}", "unknown_helper", ""),
    ("{{> nowhere}}", "unknown_partial", ""),
]


@pytest.mark.parametrize("source", GOOD)
def test_paths_that_the_schema_declares_are_found_good(source: str) -> None:
    assert parse(source).check(SCHEMA, partials=PARTIALS) == []


@pytest.mark.parametrize(("source", "code", "path"), BAD)
def test_paths_that_cannot_exist_are_found(source: str, code: str, path: str) -> None:
    findings = parse(source, name="t").check(SCHEMA, partials=PARTIALS)
    assert [(finding.code, finding.path) for finding in findings] == [(code, path)]
    assert findings[0].as_json()["message"] == findings[0].message


def test_a_finding_tells_line_and_column_also_in_partials() -> None:
    findings = parse("{{> p}}\n  {{nam}}", name="t").check(SCHEMA, partials={"p": "\n\n{{nope}}"})
    assert [str(finding.span) for finding in findings] == ["t:2:5", "p:3:3"]


def test_a_parameter_hidden_by_a_helper_is_found() -> None:
    helpers = {"role": lambda call: ""}  # pyright: ignore[reportUnknownLambdaType]
    findings = parse("{{role}}{{this.role}}").check(SCHEMA, helpers=helpers)
    assert [(finding.code, finding.path) for finding in findings] == [("shadowed", "role")]


def test_data_variables_are_checked_where_their_schema_is_given() -> None:
    declared = {"type": "object", "properties": {"user": {"type": "object", "properties": {"id": {"type": "string"}}}}}
    findings = parse("{{@user.id}}{{@user.nope}}").check(SCHEMA, data_schema=declared)
    assert [finding.path for finding in findings] == ["@user.nope"]


def test_the_read_set_is_seen_from_the_outermost_context() -> None:
    source = (
        "{{name}}{{#each rows}}{{id}}{{../urgent}}{{@root.role}}{{@index}}{{/each}}{{#with customer as |c|}}{{c.city}}"
        "{{/with}}{{lookup labels name}}{{> p labels y=name}}{{@state.n}}"
    )
    references = parse(source).paths(partials={"p": "{{x}}{{y}}"})
    assert {reference.path for reference in references if not reference.data} == {
        ("name",), ("rows",), ("rows", "*", "id"), ("urgent",), ("role",), ("customer",), ("customer", "city"),
        ("labels",), ("labels", "x"),
    }  # fmt: skip
    assert {reference.path for reference in references if reference.data} == {("state", "n")}
    places = {str(reference.span) for reference in references if reference.path == ("name",)}
    assert places == {f"template:1:{source.index('name') + 1}", f"template:1:{source.index('labels name') + 8}",
                      f"template:1:{source.index('y=name') + 3}", "p:1:8"}  # fmt: skip


def test_the_body_of_a_helper_of_the_caller_is_walked_too() -> None:
    def box(call: Invocation) -> Any:
        return call.body()

    findings = parse("{{#box name as |x|}}{{x.y}}{{nope}}{{/box}}").check(SCHEMA, helpers={"box": box})
    assert [finding.path for finding in findings] == ["nope"]
