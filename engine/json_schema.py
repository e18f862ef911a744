"""JSON Schema for values inside the house: draft 2020-12, references within the schema only, nothing ever fetched."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from referencing import Registry
from referencing.exceptions import Unresolvable

MAX_MESSAGE = 300


class Violation(NamedTuple):
    """One way in which a value breaks its schema: `path` as in `$.lines[2].amount`, and what was expected there."""

    path: str
    message: str


def violations(schema: Mapping[str, Any], value: Any) -> Iterator[Violation]:
    """Yield what is wrong with `value`; a reference that leads out of the schema is a violation, not a request."""
    # jsonschema's own default would fetch a foreign reference from the network.
    validator = Draft202012Validator(dict(schema), registry=cast(Any, Registry()))
    try:
        for error in validator.iter_errors(value):
            yield Violation(error.json_path, error.message[:MAX_MESSAGE])
    except Unresolvable as error:
        yield Violation("$", f"the schema refers to {error.ref!r}, which it does not contain")


def schema_problem(schema: Mapping[str, Any]) -> str | None:
    """Return why `schema` is not the JSON Schema of an object, or None if it is."""
    try:
        Draft202012Validator.check_schema(dict(schema))
    except SchemaError as error:
        return f"{error.json_path}: {error.message[:MAX_MESSAGE]}"
    return None if schema.get("type") == "object" else f"its type is {schema.get('type')!r}, not 'object'"


def first_violation(schema: Mapping[str, Any], value: Any) -> str | None:
    """Return the first violation as one sentence with its path, or None."""
    for found in violations(schema, value):
        return f"{found.path}: {found.message}"
    return None
