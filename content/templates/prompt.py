"""The `.prompt` file of Dotprompt: front matter, a template, and what they render to for a model.

Roles, history, media and sections are marks in the rendered pieces, never text: whatever a parameter holds, it stays
text. Our own settings lie in the front matter under `x-upstairs`.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from content.templates import frontmatter
from content.templates.analysis import Finding, Reference
from content.templates.helpers import PROMPT_HELPERS
from content.templates.limits import DEFAULT_LIMITS, Limits
from content.templates.messages import Message, assemble
from content.templates.picoschema import to_json_schema
from content.templates.scanner import SPACE
from content.templates.schemas import Violation, check_json, check_schema, violations
from content.templates.template import Template, parse
from engine.errors import Exhausted, Invalid

EXTENSION_KEY = "x-upstairs"

_TEXTS = ("name", "variant", "version", "description", "model")
_RESERVED = frozenset({*_TEXTS, "config", "input", "output", "tools", "toolDefs", "ext", "raw", "metadata"})


class Extension(BaseModel):
    """What `x-upstairs` holds; every key is optional.

    `route` names a model route and `fallbacks` the models tried after it, in order; `cache` says how long the stable
    prefix is kept by the provider; `storage` what of the parameters a run keeps; `retry_invalid` how often an answer
    that breaks the output schema is sent back; `offered_as` where the prompt shows up by itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    route: str | None = Field(default=None, min_length=1, max_length=200)
    fallbacks: tuple[str, ...] = Field(default=(), max_length=20)
    cache: Literal["off", "short", "long"] = "short"
    storage: Literal["all", "redacted", "none"] = "all"
    retry_invalid: int = Field(default=1, ge=0, le=5)
    tags: tuple[str, ...] = Field(default=(), max_length=50)
    offered_as: tuple[Literal["tool", "prompt", "skill"], ...] = ()


@dataclass(frozen=True, slots=True)
class Rendered:
    """The messages that a model gets: `{role, content: [{text} | {media} | {metadata}], metadata?}`.

    `stable_prefix` counts the leading messages, and `stable_characters` the leading characters of text, that are the
    same for all parameters; `digest` is the SHA-256 of the messages.
    """

    messages: tuple[Message, ...]
    stable_prefix: int
    stable_characters: int
    digest: str


@dataclass(frozen=True)
class PromptFile:
    """A `.prompt` file whose front matter, schemas and template are in order.

    `raw` is the front matter as written, `ext` its dotted keys by namespace, `extension` the value of `x-upstairs`.
    Two are equal when front matter and template are. `changed` makes an edited one.
    """

    raw: dict[str, Any]
    template: str
    name: str | None = field(compare=False)
    variant: str | None = field(compare=False, repr=False)
    description: str | None = field(compare=False, repr=False)
    model: str | None = field(compare=False, repr=False)
    config: dict[str, Any] = field(compare=False, repr=False)
    tools: tuple[Any, ...] = field(compare=False, repr=False)
    input_schema: dict[str, Any] | None = field(compare=False, repr=False)
    input_default: dict[str, Any] = field(compare=False, repr=False)
    output_schema: dict[str, Any] | None = field(compare=False, repr=False)
    output_format: str | None = field(compare=False, repr=False)
    extension: Extension = field(compare=False, repr=False)
    ext: dict[str, dict[str, Any]] = field(compare=False, repr=False)
    metadata: dict[str, Any] = field(compare=False, repr=False)
    parsed: Template = field(compare=False, repr=False)
    document: frontmatter.Document = field(compare=False, repr=False)

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the file's text."""
        return hashlib.sha256(dump_prompt(self).encode("utf-8", "surrogatepass")).hexdigest()

    def changed(
        self,
        *,
        raw: Mapping[str, Any] | None = None,
        template: str | None = None,
        schemas: Mapping[str, Any] | None = None,
    ) -> "PromptFile":
        """Return this prompt with another front matter or template; the other part keeps its text to the letter."""
        head = self.raw if raw is None else frontmatter.checked(raw, _label(self.name))
        return _build(head, self.template if template is None else template, self.document, self.name, schemas)

    def render(
        self,
        parameters: Mapping[str, Any] | None = None,
        *,
        history: Sequence[Message] | None = None,
        context: Mapping[str, Any] | None = None,
        partials: Mapping[str, str | Template] | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> Rendered:
        """Return the messages for `parameters`, laid over the defaults.

        `history` are the messages so far; `context` are the `@` variables, such as `{"state": {…}, "user": {…}}`.
        Raises `Invalid` with `missing` and `violations` for parameters that break the input schema, `Invalid` with a
        place for what the template cannot do, `Exhausted` at a bound.
        """
        values = {**self.input_default, **(parameters or {})}
        self._check_parameters(values)
        past = None if history is None else [_checked_message(message, index) for index, message in enumerate(history)]
        known: dict[str, Any] = {"name": self.name, "model": self.model, "config": self.config, "ext": self.ext}
        variables = {"metadata": {"prompt": known, "messages": past or []}, **(context or {})}
        check_json(variables, "The context")
        pieces = self.parsed.pieces(
            values, partials=partials, data_variables=variables, helpers=PROMPT_HELPERS, limits=limits
        )
        result = assemble(pieces, past)
        text = json.dumps(result.messages, sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(text.encode()).hexdigest()
        return Rendered(tuple(result.messages), result.stable_messages, result.stable_characters, digest)

    def check(
        self,
        *,
        partials: Mapping[str, str | Template] | None = None,
        context_schema: Mapping[str, Any] | None = None,
    ) -> list[Finding]:
        """Return what cannot work: above all paths that the input schema does not have; without one, any path is."""
        return self.parsed.check(
            self.input_schema or {}, partials=partials, data_schema=context_schema, helpers=PROMPT_HELPERS
        )

    def paths(self, *, partials: Mapping[str, str | Template] | None = None) -> frozenset[Reference]:
        """Return the paths that the template reads, with their places in the file."""
        return self.parsed.paths(partials=partials, helpers=PROMPT_HELPERS)

    def as_mapping(self) -> dict[str, Any]:
        """Return the prompt as one mapping: the front matter and `template`; `prompt_from_mapping` reads it."""
        return {**self.raw, "template": self.template}

    def _check_parameters(self, values: Mapping[str, Any]) -> None:
        label = f"Prompt {self.name}" if self.name else "This prompt"
        check_json(values, f"{label}: the parameters")
        found = violations(self.input_schema, values) if self.input_schema is not None else []
        if not found:
            return
        missing = [name for each in found if not each.path for name in each.missing]
        listed = [{"path": each.path, "message": each.message} for each in found]
        details: dict[str, Any] = {"missing": missing, "violations": listed}
        if missing:
            names = ", ".join(f"`{name}`" for name in missing)
            raise Invalid(f"{label} needs the parameter {names}, which is not given and has no default.", **details)
        raise Invalid(f"{label}: {_told(found)}", **details)


def parse_prompt(text: str, *, name: str | None = None, schemas: Mapping[str, Any] | None = None) -> PromptFile:
    """Return the prompt in `text`, the content of a `.prompt` file.

    `name` counts where the front matter has none, `schemas` are JSON Schemas that Picoschema may name. Raises
    `Invalid` or `Exhausted`, naming the key of the front matter or the line of the file.
    """
    if len(text) > DEFAULT_LIMITS.template + 65_536:
        message = f"The prompt file has {len(text):,} characters, which is too long. Move parts into partials."
        raise Exhausted(message, bound="template", limit=DEFAULT_LIMITS.template)
    document = frontmatter.split(text)
    raw = {} if document.yaml is None else frontmatter.load(document.yaml, _label(name))
    body = document.body if document.yaml is None else document.body.strip(SPACE)
    return _build(raw, body, document, name, schemas)


def prompt_from_mapping(
    mapping: Mapping[str, Any], *, name: str | None = None, schemas: Mapping[str, Any] | None = None
) -> PromptFile:
    """Return the prompt in `mapping`: the keys of the front matter, and the template under `template`."""
    raw = frontmatter.checked({key: value for key, value in mapping.items() if key != "template"}, _label(name))
    template = mapping.get("template")
    if not isinstance(template, str):
        raise Invalid(f"{_label(name)}: `template` must be text.", key="template")
    if raw:
        template = template.strip(SPACE)
    return _build(raw, template, frontmatter.Document("", None, ""), name, schemas)


def dump_prompt(prompt: PromptFile) -> str:
    """Return the text of the file; what was parsed and not changed comes back byte for byte."""
    document = prompt.document
    unchanged = {} if document.yaml is None else frontmatter.load(document.yaml, _label(prompt.name))
    if unchanged == prompt.raw:
        head = document.head
    else:
        head = f"---\n{frontmatter.dump(prompt.raw)}---\n" if prompt.raw else ""
    kept = document.body.strip(SPACE) if head else document.body
    body = document.body if kept == prompt.template else prompt.template + ("\n" if head else "")
    if not head and frontmatter.split(body).yaml is not None:
        head = "---\n---\n"
    return head + body


def _build(
    raw: dict[str, Any],
    template: str,
    document: frontmatter.Document,
    name: str | None,
    schemas: Mapping[str, Any] | None,
) -> PromptFile:
    label = _label(name)
    texts = {key: _typed(raw, key, str, label) for key in _TEXTS}
    given = _typed(raw, "input", dict, label) or {}
    wanted = _typed(raw, "output", dict, label) or {}
    input_schema = _schema(given, "input", schemas, label)
    default = _typed(given, "default", dict, f"{label}: input") or {}
    _check_default(input_schema, default, label)
    tools = raw.get("tools") or []
    if not isinstance(tools, list):
        raise Invalid(f"{label}: `tools` must be a list.", key="tools")
    title = texts["name"] or name
    lead = document.body[: max(document.body.find(template), 0)]
    return PromptFile(
        raw=raw,
        template=template,
        name=title,
        variant=texts["variant"],
        description=texts["description"],
        model=texts["model"],
        config=_typed(raw, "config", dict, label) or {},
        tools=tuple(tools),
        input_schema=input_schema,
        input_default=default,
        output_schema=_schema(wanted, "output", schemas, label),
        output_format=_typed(wanted, "format", str, f"{label}: output"),
        extension=_extension(raw.get(EXTENSION_KEY), label),
        ext=_namespaces(raw),
        metadata=_typed(raw, "metadata", dict, label) or {},
        parsed=parse(template, name=title or "template", origin=frontmatter.end(document.head + lead)),
        document=document,
    )


def _label(name: str | None) -> str:
    return f"Prompt {name}" if name else "The prompt"


def _typed(mapping: Mapping[str, Any], key: str, kind: type, place: str) -> Any:
    value = mapping.get(key)
    if value is not None and not isinstance(value, kind):
        wanted = "text" if kind is str else "a mapping"
        raise Invalid(f"{place}: `{key}` must be {wanted}, not {type(value).__name__}.", key=key)
    return value


def _schema(
    section: Mapping[str, Any], key: str, schemas: Mapping[str, Any] | None, label: str
) -> dict[str, Any] | None:
    place = f"{label}: {key}.schema"
    schema = to_json_schema(section.get("schema"), schemas=schemas, place=place)
    if schema is not None:
        check_schema(schema, place)
    return schema


def _check_default(schema: dict[str, Any] | None, default: dict[str, Any], label: str) -> None:
    """Refuse defaults that break the schema; what they leave out, a caller may still pass."""
    if schema is None or not default:
        return
    wrong = [each for each in violations(schema, default) if not each.missing]
    if wrong:
        raise Invalid(f"{label}: input.default: {_told(wrong)}", key="input.default")


def _extension(value: Any, label: str) -> Extension:
    try:
        return Extension.model_validate({} if value is None else value)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        where = ".".join(str(part) for part in (EXTENSION_KEY, *first["loc"]))
        known = ", ".join(Extension.model_fields)
        raise Invalid(f"{label}: `{where}`: {first['msg']}. Known keys are: {known}.", key=where) from problem


def _namespaces(raw: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return `a.b.key: value` as `{"a.b": {"key": value}}`."""
    result: dict[str, dict[str, Any]] = {}
    for key, value in raw.items():
        namespace, dot, rest = key.rpartition(".")
        if dot and key not in _RESERVED:
            result.setdefault(namespace, {})[rest] = value
    return result


def _told(found: Sequence[Violation]) -> str:
    return "; ".join(f"{each.path or '/'}: {each.message}" for each in found[:5]) + "."


def _checked_message(message: Any, index: int) -> Message:
    place = f"Message {index + 1} of the history"
    check_json(message, place)
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise Invalid(f"{place} must be a mapping with a `role`.", index=index)
    if not isinstance(message.get("content"), list):
        raise Invalid(f"{place} must have `content` as a list of parts.", index=index)
    return message
