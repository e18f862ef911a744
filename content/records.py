"""The values of the content layer as its callers see them, and how they are read from rows and filtered in SQL."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from pydantic import Field, JsonValue
from sqlalchemy.engine import RowMapping

from content.passages import estimate_tokens
from content.structure import Box
from content.tables import object_facets, objects, versions
from engine.errors import Invalid
from engine.values import Value, canonical_json

ObjectKind = Literal["document", "image", "audio", "video", "data"]
VersionState = Literal["received", "processing", "ready", "needs_review", "rejected"]
Scalar = bool | int | float | str

TAG = "#"
_FACET_LIMIT = 200
_WORD = re.compile(r"\S+\s*|\s+")


class ObjectVersion(Value):
    """One immutable version of an object. `number` counts from 1, `size` is in bytes, `current` is what readers get.

    `structure_digest` names the blob of what was read from the bytes; it is None until the version is published.
    """

    object_id: str
    name: str
    number: int
    digest: str
    size: int
    mime: str
    state: VersionState
    reason: str = ""
    structure_digest: str | None = None
    extractor: str = ""
    report: dict[str, JsonValue] = {}
    title: str = ""
    language: str = ""
    page_count: int = 0
    passage_count: int = 0
    created_by: str
    created_at: datetime
    published_at: datetime | None = None
    current: bool = False


class ContentObject(Value):
    """An object with the version that was asked for: the current one, or the newest where none is published yet.

    `inherits` is true while whoever reaches its collections reaches it too; a list of its own ends that.
    """

    object_id: str
    name: str
    kind: ObjectKind
    content_type: str
    collection_id: str
    tags: tuple[str, ...]
    properties: dict[str, JsonValue]
    owner: str
    inherits: bool
    provenance: dict[str, JsonValue]
    current_version: int | None
    last_version: int
    created_at: datetime
    updated_at: datetime
    version: ObjectVersion

    @property
    def state(self) -> VersionState:
        """The state of the version at hand."""
        return self.version.state


class Page(Value):
    """Objects, newest first; `after` continues the list and is None at its end."""

    objects: tuple[ContentObject, ...]
    after: str | None = None


class Range(Value):
    """Bounds that hold themselves: both numbers, or both texts (dates in ISO form compare as texts)."""

    min: int | float | str | None = None
    max: int | float | str | None = None


class Filters(Value):
    """What objects must be like; all of it holds at once. `tags` must all be there, `states` is of the newest version.

    A property is compared with a scalar, which for a list in the object means any of its entries, or lies in a range.
    """

    object_ids: tuple[str, ...] | None = None
    name: str | None = None
    kind: ObjectKind | None = None
    content_type: str | None = None
    owner: str | None = None
    tags: tuple[str, ...] = ()
    properties: dict[str, Scalar | Range] = {}
    states: tuple[VersionState, ...] = ()
    created_after: datetime | None = None
    created_before: datetime | None = None


class Ranks(Value):
    """Why a passage was found: its place among the lexical and among the semantic candidates, counted from 1."""

    lexical: int | None = None
    semantic: int | None = None


class Citation(Value):
    """Where a quote stands: `anchor` resolves to exactly the quote; `score` is the fused reciprocal rank."""

    object_id: str
    name: str
    version: int
    anchor: str
    page: int | None = None
    box: Box | None = None
    heading_path: tuple[str, ...] = ()
    state: VersionState = "ready"
    score: float = 0.0
    why: Ranks = Ranks()


class Hit(Value):
    """A found passage: its exact text, its citation, its length in estimated tokens."""

    text: str
    citation: Citation
    tokens: int


class Reading(Value):
    """Part of a version's text: characters `start` to `end` of `total`; `next_start` is where to read on, if cut."""

    text: str
    anchor: str
    name: str
    start: int
    end: int
    total: int
    next_start: int | None = None


class Receipt(Value):
    """What erasing an object removed."""

    object_id: str
    versions: int = Field(ge=0)
    passages: int = Field(ge=0)
    blobs: int = Field(ge=0)


def checked_name(name: str, what: str, limit: int = 400) -> str:
    """Return `name`, or raise `Invalid` if it is empty, too long, has blanks around it or control characters."""
    if not 0 < len(name) <= limit or name != name.strip() or not name.isprintable():
        raise Invalid(
            f"{name[:80]!r} is no name of {what}; use 1 to {limit} printable characters without blanks around them",
            name=name[:limit],
        )
    return name


def fit(text: str, tokens: int) -> int:
    """Return how many characters from the start of `text` fit into a budget of estimated tokens, cut between words.

    A first word that alone exceeds the budget is cut inside, so that reading on always gets further.
    """
    for word in _WORD.finditer(text):
        cost = estimate_tokens(word[0])
        if cost > tokens:
            return word.start() or max(1, min(tokens, len(text)))
        tokens -= cost
    return len(text)


def to_version(row: RowMapping, name: str, current: int | None) -> ObjectVersion:
    """Read a row of `object_versions`."""
    values = {key: row[key] for key in ObjectVersion.model_fields if key in row}
    return ObjectVersion.model_validate({**values, "name": name, "current": row["number"] == current})


def to_object(row: RowMapping, version: ObjectVersion) -> ContentObject:
    """Read a row of `objects`."""
    values = {key: row[key] for key in ContentObject.model_fields if key in row}
    return ContentObject.model_validate({**values, "collection_id": row["home_id"], "version": version})


def facets_of(tags: Iterable[str], properties: Mapping[str, JsonValue]) -> list[dict[str, Any]]:
    """Return the rows that objects are filtered by: every tag and every scalar at the top of the properties.

    Raises:
        Invalid: a tag or the name of a property is empty or longer than 200 characters, or a value is no JSON.
    """
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for tag in tags:
        if not 0 < len(tag) <= _FACET_LIMIT:
            raise Invalid(f"a tag has 1 to {_FACET_LIMIT} characters, not {len(tag)}", tag=tag[:_FACET_LIMIT])
        rows[TAG, tag] = {"name": TAG, "value": tag, "number": None}
    for name, value in properties.items():
        if not 0 < len(name) <= _FACET_LIMIT or name == TAG:
            raise Invalid(f"{name[:_FACET_LIMIT]!r} is no name of a property; use 1 to {_FACET_LIMIT} characters")
        for entry in value if isinstance(value, list) else [value]:
            if isinstance(entry, bool | int | float | str):
                text = _facet(entry)
                rows[name, text] = {"name": name, "value": text, "number": _number(entry)}
            elif entry is not None:
                _facet(entry)
    return list(rows.values())


def matching(tenant: str, filters: Filters) -> list[sa.ColumnElement[bool]]:
    """Return the conditions on rows of `objects` that the filters mean."""
    conditions: list[sa.ColumnElement[bool]] = []
    if filters.object_ids is not None:
        conditions.append(objects.c.object_id.in_(filters.object_ids))
    for column, wanted in (
        (objects.c.name, filters.name),
        (objects.c.kind, filters.kind),
        (objects.c.content_type, filters.content_type),
        (objects.c.owner, filters.owner),
    ):
        if wanted is not None:
            conditions.append(column == wanted)
    if filters.created_after is not None:
        conditions.append(objects.c.created_at >= filters.created_after)
    if filters.created_before is not None:
        conditions.append(objects.c.created_at < filters.created_before)
    if filters.states:
        newest = sa.select(versions.c.object_id).where(
            versions.c.tenant == tenant,
            versions.c.object_id == objects.c.object_id,
            versions.c.number == objects.c.last_version,
            versions.c.state.in_(filters.states),
        )
        conditions.append(newest.exists())
    conditions += [_has_facet(tenant, TAG, object_facets.c.value == tag) for tag in filters.tags]
    conditions += [_has_facet(tenant, name, _property(wanted)) for name, wanted in filters.properties.items()]
    return conditions


def _has_facet(tenant: str, name: str, condition: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    found = sa.select(object_facets.c.object_id).where(
        object_facets.c.tenant == tenant, object_facets.c.name == name, condition
    )
    return objects.c.object_id.in_(found)


def _property(wanted: Scalar | Range) -> sa.ColumnElement[bool]:
    value, number = object_facets.c.value, object_facets.c.number
    if not isinstance(wanted, Range):
        return value == _facet(wanted) if _number(wanted) is None else number == _number(wanted)
    bounds = [bound for bound in (wanted.min, wanted.max) if bound is not None]
    if not bounds or len({isinstance(bound, str) for bound in bounds}) > 1:
        raise Invalid("a range needs a min or a max, both numbers or both texts", **wanted.model_dump())
    if isinstance(bounds[0], str):
        # Texts are kept as JSON, so they begin with a quotation mark and everything else does not.
        conditions = [value >= '"', value < "#"]
        conditions += [value >= _facet(wanted.min)] if wanted.min is not None else []
        conditions += [value <= _facet(wanted.max)] if wanted.max is not None else []
        return sa.and_(*conditions)
    conditions = [number.is_not(None)]
    conditions += [number >= wanted.min] if wanted.min is not None else []
    conditions += [number <= wanted.max] if wanted.max is not None else []
    return sa.and_(*conditions)


def _facet(value: JsonValue) -> str:
    try:
        text = canonical_json(value)
    except ValueError as error:
        raise Invalid(f"{value!r} is no JSON value: {error}") from error
    return text if len(text) <= _FACET_LIMIT else "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _number(value: Scalar) -> float | None:
    if isinstance(value, bool | str):
        return None
    try:
        return float(value)
    except OverflowError:
        return None
