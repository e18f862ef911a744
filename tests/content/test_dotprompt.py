"""Prompt files: front matter, schemas, rendering to messages, the stable prefix, the round trip."""

from typing import Any

import pytest

from content.templates import Rendered, dump_prompt, parse_prompt, prompt_from_mapping
from engine.errors import Exhausted, Invalid

FILE = """\
# A licence may stand here.

---
name: greet
description: says hello
model: small
config:
  temperature: 0.5   # comments stay
input:
  schema:
    name: string, whom to greet
    style?(enum): [plain, grand]
    rows?(array):
      label: string
  default: {style: plain}
output:
  format: json
  schema: {greeting: string}
tools: [clock]
team.owner: ann
metadata: {reviewed: true}
x-upstairs:
  route: fast
  fallbacks: [medium, large]
  cache: long
  storage: redacted
  retry_invalid: 2
  tags: [demo]
  offered_as: [tool, prompt]
---

{{role "system"}}
You greet people.
{{role "user"}}
Greet {{name}} in {{style}} style.
{{#each rows}}- {{label}}
{{/each}}
"""


def prompt_of(template: str, schema: Any = None, **head: Any) -> Any:
    mapping = {**head, **({"input": {"schema": schema}} if schema else {}), "template": template}
    return prompt_from_mapping(mapping)


def texts(rendered: Rendered) -> list[tuple[str, str]]:
    return [
        (message["role"], "".join(part.get("text", "") for part in message["content"])) for message in rendered.messages
    ]


def test_a_file_tells_all_its_parts() -> None:
    prompt = parse_prompt(FILE)
    assert (prompt.name, prompt.description, prompt.model) == ("greet", "says hello", "small")
    assert prompt.config == {"temperature": 0.5}
    assert prompt.tools == ("clock",)
    assert prompt.ext == {"team": {"owner": "ann"}}
    assert prompt.metadata == {"reviewed": True}
    assert prompt.input_default == {"style": "plain"}
    assert prompt.input_schema is not None
    assert prompt.input_schema["required"] == ["name"]
    assert prompt.output_format == "json"
    assert prompt.output_schema == {
        "type": "object",
        "properties": {"greeting": {"type": "string"}},
        "required": ["greeting"],
        "additionalProperties": False,
    }
    assert prompt.extension.model_dump() == {
        "route": "fast",
        "fallbacks": ("medium", "large"),
        "cache": "long",
        "storage": "redacted",
        "retry_invalid": 2,
        "tags": ("demo",),
        "offered_as": ("tool", "prompt"),
    }
    assert prompt.check() == []


def test_parameters_are_laid_over_defaults_and_rendered_to_messages() -> None:
    rendered = parse_prompt(FILE).render({"name": "Bo", "rows": [{"label": "x"}]})
    assert texts(rendered) == [
        ("system", "\nYou greet people.\n"),
        ("user", "\nGreet Bo in plain style.\n- x\n"),
    ]
    assert texts(parse_prompt(FILE).render({"name": "Bo", "style": "grand"}))[1][1] == "\nGreet Bo in grand style.\n"


def test_a_missing_parameter_is_named() -> None:
    with pytest.raises(Invalid, match="Prompt greet needs the parameter `name`") as caught:
        parse_prompt(FILE).render({})
    assert caught.value.details["missing"] == ["name"]


@pytest.mark.parametrize(
    ("parameters", "path", "message"),
    [
        ({"name": 3}, "/name", "is not of type 'string'"),
        ({"name": "x", "style": "odd"}, "/style", "is not one of"),
        ({"name": "x", "more": 1}, "", "unknown: `more`; known are: name, style, rows"),
        ({"name": "x", "rows": [{"label": "a"}, {}]}, "/rows/1", "missing: label"),
    ],
)
def test_parameters_are_checked_against_the_schema(parameters: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_prompt(FILE).render(parameters)
    violation = caught.value.details["violations"][0]
    assert violation["path"] == path
    assert message in violation["message"]
    assert message in caught.value.message


def test_parameters_must_be_json() -> None:
    with pytest.raises(Invalid, match="object is not a JSON type"):
        prompt_of("{{x}}").render({"x": object()})
    with pytest.raises(Invalid, match="every key must be text"):
        prompt_of("{{x}}").render({"x": {1: 2}})
    circle: dict[str, Any] = {}
    circle["x"] = circle
    with pytest.raises(Exhausted):
        prompt_of("{{x}}").render(circle)


def test_patterns_run_in_linear_time_and_others_are_refused_when_read() -> None:
    schema = {"type": "object", "properties": {"x": {"type": "string", "pattern": "^(a+)+$"}}}
    with pytest.raises(Invalid, match="does not match"):
        prompt_of("{{x}}", schema).render({"x": "a" * 50_000 + "!"})
    assert prompt_of("{{x}}", schema).render({"x": "a" * 50_000}).digest
    named = {"type": "object", "patternProperties": {"^(a+)+$": {"type": "integer"}}, "additionalProperties": False}
    assert texts(prompt_of("{{aa}}", named).render({"aa": 5})) == [("user", "5")]
    for parameters in ({"a" * 5_000 + "!": 1}, {"aa": "x"}):
        with pytest.raises(Invalid):
            prompt_of("{{aa}}", named).render(parameters)
    for pattern in ("(?=a)b", "(a)\\1", "(((a{1000}){1000}){1000})", "x" * 1_001, "("):
        with pytest.raises(Invalid, match=r"input\.schema/properties/x: The pattern"):
            prompt_of("{{x}}", {"type": "object", "properties": {"x": {"type": "string", "pattern": pattern}}})


def test_references_stay_inside_of_the_schema_and_are_counted() -> None:
    def schema(reference: str) -> dict[str, Any]:
        return {"type": "object", "properties": {"x": {"$ref": reference}}, "$defs": {"n": {"type": "integer"}}}

    assert texts(prompt_of("{{x}}", schema("#/$defs/n")).render({"x": 5})) == [("user", "5")]
    with pytest.raises(Invalid, match="is not of type"):
        prompt_of("{{x}}", schema("#/$defs/n")).render({"x": "5"})
    for reference in ("http://127.0.0.1:1/schema", "file:///etc/passwd", "other.json", "#anchor"):
        with pytest.raises(Invalid, match="leaves the schema"):
            prompt_of("{{x}}", schema(reference))
    with pytest.raises(Invalid, match="names nothing"):
        prompt_of("{{x}}", schema("#/$defs/nope"))
    doubling = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)}
    bomb = {"type": "object", "properties": {"x": {"$ref": "#/$defs/d0"}}, "$defs": {**doubling, "d40": {}}}
    with pytest.raises(Exhausted, match="20,000 references"):
        prompt_of("{{x}}", bomb).render({"x": 1})
    with pytest.raises(Exhausted):
        prompt_of("{{x}}", {"type": "object", "$ref": "#"}).render({"x": 1})


def test_json_schema_as_written_is_checked_and_used() -> None:
    schema = {
        "type": "object",
        "properties": {"x": {"type": "array", "items": {"type": "number"}, "uniqueItems": True}},
        "required": ["x"],
    }
    assert prompt_of("{{x}}", schema).input_schema == schema
    with pytest.raises(Invalid, match="must differ"):
        prompt_of("{{x}}", schema).render({"x": [1, 2, 1.0]})
    with pytest.raises(Invalid, match=r"input\.schema.*not JSON Schema"):
        prompt_of("{{x}}", {"type": "object", "properties": {"x": {"type": "strin"}}})
    with pytest.raises(Invalid, match=r"output\.schema"):
        prompt_of("x", output={"schema": {"a": "strin"}})


def test_an_unknown_path_in_the_template_is_found_with_the_line_of_the_file() -> None:
    findings = parse_prompt(FILE.replace("{{label}}", "{{lable}}")).check()
    assert [(finding.code, finding.path) for finding in findings] == [("unknown_path", "rows.*.lable")]
    assert findings[0].as_json()["line"] == FILE[: FILE.index("{{label}}")].count("\n") + 1
    paths = {reference.path for reference in parse_prompt(FILE).paths()}
    assert paths == {("name",), ("style",), ("rows",), ("rows", "*", "label")}


def test_a_mistake_in_the_template_is_named_with_the_line_of_the_file() -> None:
    with pytest.raises(Invalid, match=r"^greet:5:2: "):
        parse_prompt("---\nname: greet\n---\n\n {{#if x}}\n")
    with pytest.raises(Invalid, match=r"^given:2:1: "):
        parse_prompt("\n{{#if x}}\n", name="given")


def test_history_stands_where_it_is_marked_or_before_the_last_user_message() -> None:
    past = [
        {"role": "user", "content": [{"text": "old"}], "metadata": {"at": 1}},
        {"role": "model", "content": [{"text": "older"}]},
    ]
    marked = prompt_of('{{role "system"}}S{{history}}{{role "user"}}Q').render({}, history=past)
    assert list(marked.messages) == [
        {"role": "system", "content": [{"text": "S"}]},
        {"role": "user", "content": [{"text": "old"}], "metadata": {"at": 1, "purpose": "history"}},
        {"role": "model", "content": [{"text": "older"}], "metadata": {"purpose": "history"}},
        {"role": "user", "content": [{"text": "Q"}]},
    ]
    after = prompt_of("{{history}} goes on").render({}, history=past)
    assert texts(after)[-1] == ("model", " goes on")
    unmarked = prompt_of('{{role "system"}}S{{role "user"}}Q').render({}, history=past)
    assert [text for _, text in texts(unmarked)] == ["S", "old", "older", "Q"]
    assert unmarked.messages[1] == past[0]
    at_end = prompt_of('{{role "system"}}S').render({}, history=past)
    assert [text for _, text in texts(at_end)] == ["S", "old", "older"]
    assert list(prompt_of("").render({}, history=past).messages) == past
    assert texts(prompt_of("{{history}}Q").render({})) == [("model", "Q")]
    for wrong in ({"role": "user"}, {"content": []}, {"role": "user", "content": "x"}):
        with pytest.raises(Invalid, match="Message 1 of the history"):
            prompt_of("x").render({}, history=[wrong])


def test_media_sections_and_role_metadata_become_parts() -> None:
    template = (
        '{{role "user" purpose="preamble" n=1}}See {{media url=pic contentType="image/png"}} and {{media url=other}}'
        '{{section "examples"}} done'
    )
    rendered = prompt_of(template).render({"pic": "data:image/png;base64,AA", "other": "https://x/y z"})
    assert list(rendered.messages) == [
        {
            "role": "user",
            "content": [
                {"text": "See "},
                {"media": {"url": "data:image/png;base64,AA", "contentType": "image/png"}},
                {"text": " and "},
                {"media": {"url": "https://x/y z"}},
                {"metadata": {"purpose": "examples", "pending": True}},
                {"text": " done"},
            ],
            "metadata": {"purpose": "preamble", "n": "1"},
        }
    ]


def test_the_helpers_of_prompts() -> None:
    template = (
        "{{json o}}{{json l indent=2}}{{json s}}{{json missing}}{{#ifEquals n 5}}five{{else}}other{{/ifEquals}}"
        "{{#ifEquals n '5'}}text{{/ifEquals}}{{#unlessEquals b true}}not{{else}}yes{{/unlessEquals}}"
        "{{#ifEquals n b}}one is true{{/ifEquals}}{{#ifEquals none missing}}same{{/ifEquals}}"
    )
    data = {"o": {"ü": [1.0, None, True]}, "l": [{}], "s": 'a"b\n', "n": 5, "b": True, "none": None}
    expected = '{"ü":[1,null,true]}[\n  {}\n]"a\\"b\\n"nullfiveyes'
    assert texts(prompt_of(template).render(data)) == [("user", expected)]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{role}}", "takes the name of a role"),
        ('{{role "Sys tem"}}', "takes the name of a role"),
        ("{{media}}", "takes `url=`"),
        ("{{media url=''}}", "takes `url=`"),
        ("{{media url='x' contentType=5}}", "contentType"),
        ("{{section ''}}", "name of a section"),
        ("{{history 1}}", "no arguments"),
        ("{{json 1 indent=true}}", "indent"),
        ("{{lookup (role 'user') 1}}", "yields no value"),
        ("{{> (role 'user')}}", "yields no value"),
        ("{{shout 1}}", "no helper `shout`"),
    ],
)
def test_a_wrong_call_of_a_helper_is_named_with_its_place(template: str, message: str) -> None:
    with pytest.raises(Invalid, match=r"^template:1:\d+: ") as caught:
        prompt_of(template).render({})
    assert message in caught.value.message


STABLE: list[tuple[str, int, int]] = [
    ('{{role "system"}}Rules.{{role "user"}}Ask {{q}}', 1, 10),
    ('{{role "system"}}Rules.{{role "user"}}Fixed', 2, 11),
    ('{{role "system"}}Rules {{q}}{{role "user"}}Fixed', 0, 6),
    ('{{#if q}}{{role "system"}}A{{/if}}{{role "user"}}B', 0, 0),
    ('{{role "system"}}{{> shot a="1"}}{{> shot a="2"}}{{role "user"}}{{q}}', 1, 6),
    ('{{role "system"}}{{> shot a=q}}', 0, 0),
    ('{{role "system"}}S{{json 5}}{{lookup "a" "b"}}{{#with "w"}}x{{/with}}{{role "user"}}{{@state.n}}', 1, 3),
    ('{{role "system"}}S{{history}}{{role "user"}}Q', 1, 1),
    ('{{role "system"}}S{{> (lookup this "p")}}', 0, 1),
    ('{{role "system"}}S{{#each l}}x{{/each}}', 0, 1),
]


@pytest.mark.parametrize(("template", "messages", "characters"), STABLE)
def test_the_stable_prefix_ends_where_anything_passed_is_read(template: str, messages: int, characters: int) -> None:
    prompt = prompt_of(template)
    rendered = [
        prompt.render(parameters, partials={"shot": "[{{a}}]", "one": "1", "two": "22"})
        for parameters in ({"q": "x", "p": "one", "l": []}, {"q": "", "p": "two", "l": [1, 2]})
    ]
    for each in rendered:
        assert (each.stable_prefix, each.stable_characters) == (messages, characters)
    assert rendered[0].messages[:messages] == rendered[1].messages[:messages]
    joined = ["".join(text for _, text in texts(each)) for each in rendered]
    assert joined[0][:characters] == joined[1][:characters]


def test_a_history_ends_the_stable_prefix() -> None:
    rendered = prompt_of('{{role "system"}}S{{role "user"}}Q').render({}, history=[])
    assert (rendered.stable_prefix, rendered.stable_characters) == (1, 1)


def test_the_digest_names_the_messages() -> None:
    prompt = prompt_of("{{x}}")
    assert prompt.render({"x": "a"}).digest == prompt.render({"x": "a", "y": 1}).digest
    assert prompt.render({"x": "a"}).digest != prompt.render({"x": "b"}).digest
    assert len(prompt.render({"x": "\ud800"}).digest) == 64
    assert parse_prompt(FILE).digest != parse_prompt(FILE + " ").digest


ROUND_TRIPS = [
    FILE,
    FILE.replace("\n", "\r\n"),
    "\ufeff" + FILE,
    "no front matter, {{x}}\n\n",
    "",
    "---\n---\n",
    "---\n---\n\n  body  \n\n",
    "---\nname: x\n---",
    "--- \nname:   x\n---\t\n\n\nbody\n---\nmore",
    "---\nnever closed: yes\n",
    "text first\n---\na: 1\n---\n",
    "---\r\nname: 'x'\r\n---\r\nbody\r\n",
]


@pytest.mark.parametrize("text", ROUND_TRIPS)
def test_a_file_comes_back_byte_for_byte(text: str) -> None:
    assert dump_prompt(parse_prompt(text)) == text


def test_changing_one_part_keeps_the_other_to_the_letter() -> None:
    prompt = parse_prompt(FILE)
    other = prompt.changed(template="Hello {{name}}")
    head = FILE[: FILE.index('\n{{role "system"}}')]
    assert dump_prompt(other) == head + "Hello {{name}}\n"
    renamed = prompt.changed(raw={**prompt.raw, "name": "other"})
    assert dump_prompt(renamed).endswith(FILE[len(head) :])
    assert parse_prompt(dump_prompt(renamed)) == renamed
    assert renamed.name == "other"
    with pytest.raises(Invalid):
        prompt.changed(raw={"model": 3})


@pytest.mark.parametrize(
    "value",
    ["yes", "no", "on", "2026-01-01", "1e3", "0o17", "1_000", "~", "null", "", " x", "a: b", "# c", "é\n\n", "\ttab",
     "line\nline", "\n lead", "trail \n", "---", "12:30:00", "=", "<<", "x\u2028y", "x\x85y", "\ufeff", "\U0001f600",
     "a\rb\n", "\ud800", "a\n---\nb",
     1e20, 1.5, 0.1, -3, True, None, [], {}, [[1], {"a": []}], "x" * 500],
)  # fmt: skip
def test_a_mapping_is_written_as_yaml_that_reads_back_the_same(value: Any) -> None:
    prompt = prompt_from_mapping({"metadata": {"v": value, "yes": value}, "template": "body"})
    again = parse_prompt(dump_prompt(prompt))
    assert again == prompt
    assert prompt_from_mapping(again.as_mapping()) == prompt


def test_a_template_that_looks_like_front_matter_stays_a_template() -> None:
    prompt = prompt_from_mapping({"template": "---\na: 1\n---\nbody"})
    assert parse_prompt(dump_prompt(prompt)).template == "---\na: 1\n---\nbody"


def test_front_matter_is_yaml_1_2() -> None:
    values = "a: yes, b: 2026-01-01, c: 012, d: 0o17, e: 0x1F, f: 1e3, g: .5, h: on, i: 1_0, 7: x, j: "
    assert parse_prompt(f"---\nmetadata: {{{values}}}\n---\n").metadata == {
        "a": "yes", "b": "2026-01-01", "c": 12, "d": 15, "e": 31, "f": 1000.0, "g": 0.5, "h": "on", "i": "1_0",
        "7": "x", "j": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("a: &x [1]\nb: *x", "line 1 of the front matter: anchors and aliases"),
        ("b: *x", "anchors and aliases"),
        ("a: 1\na: 2", "line 2 of the front matter: the key `a` stands here twice"),
        ("a: !!python/object/apply:os.system [id]", "line 1"),
        ("a: [", "front matter"),
        ("[a]: 1", "key must be text"),
        ("- a", "must be a mapping"),
        ("a: .nan", "no place in JSON"),
        ("a: .inf", "no place in JSON"),
        ("a: 1e999", "no place in JSON"),
        ("a: " + "9" * 5_000, "no place in JSON"),
        ("a: " + "[" * 40 + "]" * 40, "deeper than 32"),
        ("a: \x00", "cannot be read"),
        ("name: 3", "`name` must be text"),
        ("config: [1]", "`config` must be a mapping"),
        ("input: x", "`input` must be a mapping"),
        ("input: {default: x}", "`default` must be a mapping"),
        ("tools: x", "`tools` must be a list"),
        ("input: {schema: {a: integer}, default: {a: x}}", r"input\.default: /a"),
        ("x-upstairs: {rout: x}", r"`x-upstairs\.rout`.*Known keys are: route"),
        ("x-upstairs: {storage: most}", r"x-upstairs\.storage"),
        ("x-upstairs: {retry_invalid: 6}", r"x-upstairs\.retry_invalid"),
        ("x-upstairs: [a]", "x-upstairs"),
    ],
)
def test_front_matter_that_breaks_the_contract_is_refused(head: str, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        parse_prompt(f"---\n{head}\n---\nbody")


def test_front_matter_and_file_are_bounded() -> None:
    with pytest.raises(Exhausted, match="front matter"):
        parse_prompt("---\na: " + "x" * 70_000 + "\n---\n")
    with pytest.raises(Exhausted, match="front matter"):
        prompt_from_mapping({"metadata": {"a": "x" * 70_000}, "template": "x"})
    with pytest.raises(Exhausted, match="file"):
        parse_prompt("x" * 400_000)
    with pytest.raises(Exhausted, match="turns"):
        prompt_of("{{#each @root.l}}" * 12 + "{{/each}}" * 12).render({"l": list(range(10))})


def test_named_schemas_are_used_in_picoschema() -> None:
    schemas = {"Person": {"type": "object", "properties": {"mail": {"type": "string"}}, "required": ["mail"]}}
    prompt = parse_prompt("---\ninput: {schema: {who: Person}}\n---\n{{who.mail}}", schemas=schemas)
    assert texts(prompt.render({"who": {"mail": "a@b"}})) == [("user", "a@b")]
    with pytest.raises(Invalid, match="missing: mail"):
        prompt.render({"who": {}})
    with pytest.raises(Invalid, match="`Person` is neither a type"):
        parse_prompt("---\ninput: {schema: {who: Person}}\n---\n")


def test_the_prompt_itself_is_at_hand_as_metadata() -> None:
    prompt = prompt_of("{{@metadata.prompt.model}}{{#each @metadata.messages}}{{role}}{{/each}}", model="m")
    with pytest.raises(Invalid, match=r"this\.role"):
        prompt.render({}, history=[{"role": "user", "content": []}])
    safe = prompt_of("{{@metadata.prompt.model}}{{#each @metadata.messages}}{{this.role}}{{/each}}", model="m")
    rendered = safe.render({}, history=[{"role": "user", "content": []}])
    assert texts(rendered)[-1] == ("user", "muser")
