"""The Handlebars language: every form of tag, path and block, as Handlebars.js renders it."""

from typing import Any

import pytest

from content.templates import Fragment, Invocation, parse
from engine.errors import Invalid


def render(source: str, data: Any = None, **options: Any) -> str:
    return parse(source).render({} if data is None else data, **options)


EXPRESSIONS: list[tuple[str, Any, str]] = [
    ("{{a}} {{{a}}} {{&a}}", {"a": "<i>"}, "<i> <i> <i>"),
    ("{{a.b}} {{a/b}} {{a.[b c]}} {{[x y].z}}", {"a": {"b": 1, "b c": 2}, "x y": {"z": 3}}, "1 1 2 3"),
    ("{{l.0}} {{l.1.k}} {{l.2.0}} {{l.length}} {{l.9}}{{l.-1}}{{l.00}}", {"l": [1, {"k": 2}, [3]]}, "1 2 3 3 "),
    ("{{this.a}}{{./a}}{{this/a}}{{#with o}}{{../a}}{{/with}}", {"a": 1, "o": {"x": 0}}, "1111"),
    ("{{.}}", "text", "text"),
    ("{{missing}}|{{a.missing.deep}}|{{n}}", {"a": 1, "n": None}, "||"),
    (
        "{{t}} {{f}} {{i}} {{d}} {{w}} {{s}}",
        {"t": True, "f": False, "i": 0, "d": 1.5, "w": 2.0, "s": 1e-7},
        "true false 0 1.5 2 1e-7",
    ),
    ("{{big}} {{small}} {{neg}}", {"big": 1e21, "small": 0.00001, "neg": -0.0000012}, "1e+21 0.00001 -0.0000012"),
    ("{{l}} {{o}}", {"l": [1, None, "x"], "o": {"a": [1.0]}}, '1,,x {"a":[1]}'),
    ('{{"a b"}} {{12}} {{true}}', {"a b": 1, "12": 2, "true": 3}, "1 2 3"),
    ("{{[a\\]b]}}", {"a]b": "x"}, "x"),
    ("{{名前}} {{a-b}} {{$x}}", {"名前": "和", "a-b": 1, "$x": 2}, "和 1 2"),
    ("{{lookup o k}}{{lookup l 1}}{{lookup l 'length'}}", {"o": {"x": "X"}, "k": "x", "l": [1, 2]}, "X22"),
    ("{{#if (lookup o 'x')}}y{{/if}}", {"o": {"x": 1}}, "y"),
    ("{{lookup (lookup o 'x') \"y\"}}", {"o": {"x": {"y": "z"}}}, "z"),
    ("a{{log 'x' level='debug'}}b", {}, "ab"),
    ("{{! c }}{{!-- }} --}}x{{~! c ~}} y", {}, "xy"),
    ("\\{{a}} \\\\{{a}} \\{{b}} {{a}}", {"a": 1}, "{{a}} \\1 {{b}} 1"),
]


@pytest.mark.parametrize(("source", "data", "expected"), EXPRESSIONS)
def test_an_expression_renders_as_handlebars_renders_it(source: str, data: Any, expected: str) -> None:
    assert render(source, data) == expected


BLOCKS: list[tuple[str, Any, str]] = [
    ("{{#if a}}1{{else if b}}2{{else if c}}3{{else}}4{{/if}}", {"c": True}, "3"),
    ("{{#if a}}1{{else if b}}2{{^}}4{{/if}}", {}, "4"),
    ("{{#if z}}y{{else}}n{{/if}}{{#if z includeZero=true}}y{{/if}}", {"z": 0}, "ny"),
    ("{{#if l}}y{{else}}n{{/if}}{{#if o}}y{{/if}}{{#if s}}y{{/if}}", {"l": [], "o": {}, "s": ""}, "ny"),
    ("{{#unless a}}1{{else}}2{{/unless}}", {"a": []}, "1"),
    ("{{^a}}1{{else}}2{{/a}}{{^b}}3{{/b}}", {"a": 1}, "23"),
    (
        "{{#each l}}{{@index}}{{@key}}{{#if @first}}f{{/if}}{{#if @last}}l{{/if}}{{this}} {{/each}}",
        {"l": ["a", "b"]},
        "00fa 11lb ",
    ),
    ("{{#each o}}{{@key}}={{this}}{{#unless @last}},{{/unless}}{{/each}}", {"o": {"x": 1, "y": 2}}, "x=1,y=2"),
    (
        "{{#each l as |v i|}}{{#each v as |w|}}{{i}}{{w}}{{@../index}} {{/each}}{{/each}}",
        {"l": [[1], [2, 3]]},
        "010 121 131 ",
    ),
    ("{{#each none}}x{{else}}nothing{{/each}}{{#each s}}x{{else}}text{{/each}}", {"s": "abc"}, "nothingtext"),
    ("{{#each l}}{{../n}}{{#if this}}{{../n}}{{@root.n}}{{/if}}{{/each}}", {"l": [1], "n": "N"}, "NNN"),
    (
        "{{#with o as |p|}}{{x}}{{p.x}}{{../y}}{{else}}no{{/with}}{{#with e}}x{{else}}no{{/with}}",
        {"o": {"x": 1}, "y": 2, "e": None},
        "112no",
    ),
    (
        "{{#o}}{{x}}{{/o}}{{#l}}{{.}}{{@index}}{{/l}}{{#t}}t{{/t}}{{#f}}f{{/f}}{{#n}}n{{/n}}",
        {"o": {"x": 1}, "l": ["a", "b"], "t": True, "f": False, "n": None},
        "1a0b1t",
    ),
    ("{{#each l as |if|}}{{if}}{{/each}}", {"l": ["x"]}, "x"),
    ("{{{{raw}}}} {{a}} {{{{b}}}}x{{{{/b}}}} {{{{/raw}}}}", {"a": 1}, " {{a}} {{{{b}}}}x{{{{/b}}}} "),
    ("{{{{other}}}}{{a}}{{{{/other}}}}", {"other": False}, ""),
]


@pytest.mark.parametrize(("source", "data", "expected"), BLOCKS)
def test_a_block_renders_as_handlebars_renders_it(source: str, data: Any, expected: str) -> None:
    assert render(source, data) == expected


WHITESPACE: list[tuple[str, Any, str]] = [
    ("a  {{~b~}}  c", {"b": 1}, "a1c"),
    ("a\n  {{#if t~}}\n  b\n  {{~else~}} c {{~/if}}\nd", {"t": 1}, "a\nb\nd"),
    ("a\n  {{#if t}}  \n b\n  {{else}}\n c\n  {{/if}}  \nd", {"t": 1}, "a\n b\nd"),
    ("{{#if t}}\nb\n{{else if u}}\nc\n  {{/if}}\nd", {"u": 1}, "c\nd"),
    ("{{#each l}}\r\n- {{this}}\r\n{{/each}}\r\n", {"l": [1, 2]}, "- 1\r\n- 2\r\n"),
    ("a {{#if t}}\nb\n{{/if}} c", {"t": 1}, "a \nb\n c"),
    ("  {{! c }}\n{{a}}\n\n{{! d }}\n", {"a": 1}, "1\n\n"),
    ("{{#if t}}{{/if}}\nx", {"t": 1}, "\nx"),
    ("{{~{a}~}} x", {"a": 1}, "1x"),
    ("\u00a0\ufeff{{~a~}}\u2003x", {"a": 1}, "1x"),
]


@pytest.mark.parametrize(("source", "data", "expected"), WHITESPACE)
def test_white_space_follows_tildes_and_lines_of_their_own(source: str, data: Any, expected: str) -> None:
    assert render(source, data) == expected


PARTIALS: list[tuple[str, dict[str, str], str]] = [
    ("{{> p}}", {"p": "{{x}}"}, "1"),
    ("{{> p o}}{{> p o x=3}}{{> p x=4}}", {"p": "{{x}}{{y}} "}, "2 3 4Y "),
    ("{{> a/b}}{{> 'a b'}}{{> [c d]}}", {"a/b": "1", "a b": "2", "c d": "3"}, "123"),
    ("{{> (lookup . 'which')}}", {"chosen": "!"}, "!"),
    ("{{#> missing}}fallback {{x}}{{/missing}}", {}, "fallback 1"),
    ("{{#> p}}body {{x}}{{/p}}", {"p": "<{{> @partial-block}}>"}, "<body 1>"),
    ("{{#> p}}b{{/p}}{{> p}}", {"p": "{{#if @partial-block}}[{{> @partial-block}}]{{else}}none{{/if}}"}, "[b]none"),
    ("{{#> p}}1{{#> p}}2{{/p}}{{/p}}", {"p": "({{> @partial-block}})"}, "(1(2))"),
    ("{{#*inline 'i'}}<{{x}}{{../x}}>{{/inline}}{{> i}}{{> i o}}", {}, "<1><21>"),
    ("{{#> p}}{{#*inline 'i'}}mine{{/inline}}{{/p}}{{> p}}", {"p": "{{#> i}}default {{/i}}"}, "minedefault "),
    ("{{#each l as |v|}}{{> p}}{{/each}}", {"p": "[{{v}}{{this}}{{@index}}]"}, "[a0][b1]"),
    ("{{#each l as |v|}}{{#> p}}{{v}}{{/p}}{{/each}}", {"p": "[{{> @partial-block}}]"}, "[a][b]"),
    ("a\n  {{> p}}\nb", {"p": "1\n\n{{x}}\n2"}, "a\n  1\n  \n  1\n  2b"),
    ("  {{> p}}\n", {"p": "1\n{{> q}}\n", "q": "2\n"}, "  1\n  2\n"),
    ("{{> tree t}}", {"tree": "{{n}}({{#each c}}{{> tree}}{{/each}})"}, "1(2()3())"),
]


@pytest.mark.parametrize(("source", "partials", "expected"), PARTIALS)
def test_a_partial_renders_as_handlebars_renders_it(source: str, partials: dict[str, str], expected: str) -> None:
    data = {
        "x": 1,
        "y": "Y",
        "o": {"x": 2},
        "l": ["a", "b"],
        "which": "chosen",
        "t": {"n": 1, "c": [{"n": 2}, {"n": 3}]},
    }
    assert render(source, data, partials=partials) == expected


def test_parsed_templates_serve_as_partials() -> None:
    assert render("{{> p}}", {"x": 1}, partials={"p": parse("{{x}}!", name="p")}) == "1!"


def test_data_variables_are_reached_with_an_at_sign_and_root_cannot_be_replaced() -> None:
    variables = {"state": {"n": 3}, "root": {"x": "forged"}}
    assert render("{{@state.n}} {{@root.x}} {{@none.x}}", {"x": 1}, data_variables=variables) == "3 1 "


def test_html_is_escaped_where_asked_and_only_in_double_braces() -> None:
    data = {"a": '<a href="x">&\'`=</a>', "l": ["<"]}
    escaped = "&lt;a href&#x3D;&quot;x&quot;&gt;&amp;&#x27;&#x60;&#x3D;&lt;/a&gt;"
    assert render("{{a}}", data, escape=True) == escaped
    assert render("{{{a}}}{{&a}}", data, escape=True) == data["a"] * 2
    assert render("<{{l}}>{{lookup l 0}}", data, escape=True) == "<&lt;>&lt;"


def test_a_helper_gets_arguments_context_and_both_bodies() -> None:
    def twice(call: Invocation) -> Any:
        if call.hash.get("off"):
            return call.otherwise()
        inner = call.body({"n": call.args[0]}, data={"mark": "!"}, params=[call.context["name"]])
        return Fragment(inner.pieces * 2)

    def upper(call: Invocation) -> str:
        return str(call.one()).upper()

    helpers = {"twice": twice, "upper": upper}
    source = "{{#twice 7 off=o as |who|}}{{n}}{{@mark}}{{who}} {{else}}else{{/twice}}{{upper (upper name)}}"
    assert render(source, {"name": "<n>"}, helpers=helpers, escape=True) == "7!&lt;n&gt; 7!&lt;n&gt; &lt;N&gt;"
    assert render(source, {"name": "n", "o": True}, helpers=helpers) == "elseN"
    with pytest.raises(Invalid, match="belong to the language"):
        render("", helpers={"if": twice})


class Secretive:
    """Stands for any Python object that could be passed by mistake."""

    secret = "leaked"

    def __str__(self) -> str:
        return "leaked"


@pytest.mark.parametrize(
    "source",
    [
        "{{o.secret}}",
        "{{o.__class__}}",
        "{{lookup o 'secret'}}",
        "{{s.upper}}",
        "{{s.__len__}}",
        "{{s.0}}",
        "{{d.items}}",
        "{{d.__class__.__mro__}}",
        "{{l.append}}",
        "{{l.__len__}}",
        "{{constructor}}",
        "{{__proto__}}",
    ],
)
def test_no_attribute_of_a_python_object_is_ever_read(source: str) -> None:
    assert render(source, {"o": Secretive(), "s": "text", "d": {}, "l": []}) == ""


def test_a_value_that_is_no_json_is_refused_with_its_place() -> None:
    with pytest.raises(Invalid, match=r"^t:1:3: .*Secretive.*only JSON") as caught:
        parse("a {{o}}", name="t").render({"o": Secretive()})
    assert caught.value.details["column"] == 3


MISTAKES: list[tuple[str, int, int, str]] = [
    ("a\n {{#if x}}b", 2, 2, "never closed"),
    ("a\n{{/if}}", 2, 1, "no block is open"),
    ("{{#if a}}\n{{/each}}", 2, 1, "`if`, opened at t:1:1"),
    ("{{#if a}}{{else}}{{else}}{{/if}}", 1, 18, "after the last"),
    ("{{else}}", 1, 1, "outside of a block"),
    ("x {{a", 1, 3, "never closed"),
    ("{{a b=1 c}}", 1, 9, "stand first"),
    ("{{a}}}", 1, 4, "closes with `}}`, not with `}}}`"),
    ("{{{a}}", 1, 5, "closes with `}}}`"),
    ("{{a.b/../c}}", 1, 7, "beginning of a path"),
    ("{{}}", 1, 1, "expected a name"),
    ("{{#each l as |}}{{/each}}", 1, 1, "names and a closing"),
    ('{{ "abc }}', 1, 4, "never closed"),
    ("{{!-- abc }}", 1, 1, "--}}"),
    ("{{{{a}}}} x", 1, 1, "raw block"),
    ("{{* x}}", 1, 1, "decorators"),
    ("{{#*other x}}{{/other}}", 1, 1, "inline"),
    ("{{> p a b}}", 1, 1, "one context"),
    ("{{a ^}}", 1, 5, "cannot stand here"),
    ("{{^a}}{{else if b}}{{/a}}", 1, 7, "plain"),
    ("{{#a b)}}{{/a}}", 1, 7, "expected"),
    ("\r\n\r{{(}}", 3, 3, "expected"),
]


@pytest.mark.parametrize(("source", "line", "column", "message"), MISTAKES)
def test_a_mistake_is_named_with_line_and_column(source: str, line: int, column: int, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse(source, name="t")
    problem = caught.value
    assert message in problem.message
    assert (problem.details["template"], problem.details["line"], problem.details["column"]) == ("t", line, column)
    assert problem.message.startswith(f"t:{line}:{column}: ")


FAILURES: list[tuple[str, str]] = [
    ("\n{{nope 1}}", "there is no helper `nope`"),
    ("\n{{#nope x=1}}{{/nope}}", "there is no helper `nope`"),
    ("\n{{> nope}}", "there is no partial `nope`"),
    ("\n{{> (lookup . 'n')}}", "must be text"),
    ("\n{{if a}}", "is a block"),
    ("\n{{#if}}{{/if}}", "exactly one argument"),
    ("\n{{#each a b}}{{/each}}", "exactly one argument"),
    ("\n{{lookup a}}", "exactly two arguments"),
]


@pytest.mark.parametrize(("source", "message"), FAILURES)
def test_what_cannot_be_rendered_is_named_with_its_line(source: str, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        render(source, {"a": 1})
    assert message in caught.value.message
    assert caught.value.details["line"] == 2


def test_a_mistake_in_a_partial_is_placed_in_the_partial() -> None:
    with pytest.raises(Invalid, match=r"^p:2:1: "):
        render("{{> p}}", partials={"p": "x\n{{#if a}}"})


def test_the_parts_of_a_template_are_listed() -> None:
    template = parse("{{> a}}{{#if x}}{{#> b}}{{> c}}{{/b}}{{/if}}{{#*inline 'd'}}{{> e}}{{/inline}}{{> d}}{{> (f)}}")
    assert template.partials() == {"a", "b", "c", "e"}
