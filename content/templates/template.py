"""A parsed Handlebars template: rendering, the paths it reads, the check against a schema."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from content.templates.analysis import Finding, Reference, Walk, partial_names
from content.templates.helpers import checked_helpers
from content.templates.limits import DEFAULT_LIMITS, Limits
from content.templates.nodes import Program
from content.templates.parser import parse_program
from content.templates.pieces import Piece
from content.templates.render import Renderer


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """A template whose source is in order; `parse` makes one."""

    name: str
    source: str
    program: Program = field(repr=False)

    def render(
        self,
        data: Any,
        *,
        partials: "Mapping[str, str | Template] | None" = None,
        data_variables: Mapping[str, Any] | None = None,
        escape: bool = False,
        helpers: Mapping[str, Any] | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> str:
        """Return the text of the template on `data`, a JSON value.

        `data_variables` are the `@` variables, `escape` escapes `{{…}}` for HTML, `helpers` are functions from an
        `Invocation` to a JSON value or a `Fragment`. Raises `Invalid` for what cannot be rendered, with `template`,
        `line` and `column`, and `Exhausted` at a bound of `limits`.
        """
        pieces = self.pieces(
            data, partials=partials, data_variables=data_variables, escape=escape, helpers=helpers, limits=limits
        )
        return "".join(piece for piece in pieces if isinstance(piece, str))

    def pieces(
        self,
        data: Any,
        *,
        partials: "Mapping[str, str | Template] | None" = None,
        data_variables: Mapping[str, Any] | None = None,
        escape: bool = False,
        helpers: Mapping[str, Any] | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> list[Piece]:
        """Return what `render` returns, before it is joined: text, with the marks of prompt helpers between."""
        renderer = Renderer(self.name, _sources(partials), checked_helpers(helpers or {}), limits, escape=escape)
        return renderer.run(self.program, data, data_variables or {})

    def paths(
        self, *, partials: "Mapping[str, str | Template] | None" = None, helpers: Mapping[str, Any] | None = None
    ) -> frozenset[Reference]:
        """Return every path that the template and the `partials` it calls read, seen from the outermost context.

        Items of a list or entries of an object have the part `*`: `{{#each rows}}{{name}}{{/each}}` reads `rows` and
        `rows.*.name`. `@` variables have `data` set.
        """
        walk = Walk(self.name, _sources(partials), helpers or {}, schema=None, data_schema=None)
        walk.run(self.program)
        return frozenset(walk.references)

    def check(
        self,
        schema: Mapping[str, Any],
        *,
        partials: "Mapping[str, str | Template] | None" = None,
        data_schema: Mapping[str, Any] | None = None,
        helpers: Mapping[str, Any] | None = None,
    ) -> list[Finding]:
        """Return what cannot work on data of the JSON Schema `schema`, in the order of the source.

        Found are paths that the schema does not declare, at any depth and inside of blocks, loops and partials;
        loops over what is no list; helpers and partials that do not exist; `@index` and its kin outside of a loop.
        `data_schema` describes the `@` variables; without it any of them is taken to exist.
        """
        walk = Walk(self.name, _sources(partials), helpers or {}, schema=schema, data_schema=data_schema)
        walk.run(self.program)
        return walk.findings

    def partials(self) -> frozenset[str]:
        """Return the names of the partials that the template calls by a written name."""
        return frozenset(partial_names(self.program))


def parse(
    source: str,
    *,
    name: str = "template",
    limits: Limits = DEFAULT_LIMITS,
    origin: tuple[int, int] = (1, 1),
) -> Template:
    """Return the template of `source`; `name` stands in messages, `origin` is its line and column in a file.

    Raises `Invalid` with `template`, `line` and `column` for a mistake, `Exhausted` for a source that is too long or
    nested too deep.
    """
    return Template(name, source, parse_program(source, name, limits, origin=origin))


def _sources(partials: "Mapping[str, str | Template] | None") -> dict[str, str | Program]:
    sources = partials or {}
    return {name: source.program if isinstance(source, Template) else source for name, source in sources.items()}
