"""Validated structured output: an answer is strict JSON that fits its schema, is repaired by the model, or fails."""

from typing import Any, NamedTuple

from jsonschema import SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import Draft202012Validator, validator_for
from pydantic import JsonValue
from referencing import Registry
from referencing.exceptions import Unresolvable

from engine.errors import Invalid, Problem
from engine.transcript import Message, ModelReply, ModelRequest, user
from providers.base import OnDelta, Provider
from providers.errors import Refused
from providers.wire import strict_json

MAX_ERRORS = 10
"""As many errors are told to the model at once; more of them confuse rather than help."""


class InvalidOutput(Problem):
    """The model's answer did not fit the schema, and repairing did not help; `answer` is the last text it gave."""

    code = "invalid_output"

    def __init__(self, errors: list[str], answer: str, tries: tuple[ModelReply, ...]) -> None:
        self.errors = errors
        self.answer = answer
        self.tries = tries
        super().__init__(
            f"The model gave no valid answer in {len(tries)} tries: {'; '.join(errors)}. "
            "Loosen the schema, or use a stronger model.",
            errors=errors,
            answer=answer,
            tries=len(tries),
        )


class Validated(NamedTuple):
    """A reply whose `output` fits the schema, and every reply it took in order, that one last; all of them cost."""

    reply: ModelReply
    tries: tuple[ModelReply, ...]


def schema_validator(schema: dict[str, Any]) -> Validator:
    """Return the validator of `schema` (draft 2020-12 unless it names another); `Invalid` if it is no schema.

    References are resolved inside the schema only: nothing is ever fetched.
    """
    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        raise Invalid(
            f"The output schema is not a JSON Schema: {error.message} at {error.json_path}.", path=error.json_path
        ) from error
    return kind(schema, registry=Registry())


def output_errors(value: JsonValue, schema: dict[str, Any]) -> list[str]:
    """Return what is wrong with `value`, each with its path, at most ten; an empty list means it fits."""
    try:
        found = sorted(schema_validator(schema).iter_errors(value), key=_place)
    except Unresolvable as error:
        raise Invalid(
            f"The output schema refers to {error.ref!r}, which it does not contain.", ref=error.ref
        ) from error
    return [f"{error.json_path}: {error.message[:300]}" for error in found[:MAX_ERRORS]]


def _place(error: Any) -> str:
    return str(error.json_path)


def read_output(text: str, schema: dict[str, Any]) -> tuple[JsonValue, list[str]]:
    """Return the parsed answer and what is wrong with it; text around the JSON is an error like any other."""
    try:
        value = strict_json(text)
    except ValueError as error:
        return None, [f"$: the answer is not JSON ({error})"]
    return value, output_errors(value, schema)


def repair_message(errors: list[str]) -> Message:
    """Return the user's message that asks for the whole answer once more, naming each error."""
    listed = "\n".join(f"- {error}" for error in errors)
    return user(
        f"Your answer does not fit the required format:\n{listed}\n"
        "Give the complete answer again: one JSON value that fits the schema, and nothing else."
    )


async def generate_validated(
    provider: Provider, request: ModelRequest, attempts: int = 2, on_delta: OnDelta | None = None
) -> Validated:
    """Call the model until its answer fits `request.output_schema`, at most `attempts` times.

    Tools are switched off for these calls. Raises `InvalidOutput` with the last answer, `Refused` if the model
    declined, `Invalid` for a wrong schema, and whatever the provider raises.
    """
    schema = request.output_schema
    if schema is None:
        raise Invalid("A validated answer needs an output schema; set `output_schema` on the request.")
    schema_validator(schema)
    request = request.model_copy(update={"tool_choice": "none"})
    tries: list[ModelReply] = []
    errors: list[str] = []
    while len(tries) < max(1, attempts):
        reply = await provider.generate(request, on_delta)
        tries.append(reply)
        if reply.finish.unified == "refusal":
            raise Refused(
                f"The model declined to answer: {reply.message.text[:300]}",
                provider=reply.provider,
                model=reply.model,
                request_id=reply.request_id,
            )
        value, errors = read_output(reply.message.text, schema)
        if reply.finish.unified == "length":
            errors = [f"$: the answer was cut off at {request.max_output_tokens} tokens; be shorter", *errors]
        if not errors:
            return Validated(reply.model_copy(update={"output": value}), tuple(tries))
        said = reply.message if reply.message.text else Message(role="assistant", parts=user("(no answer)").parts)
        request = request.model_copy(update={"messages": (*request.messages, said, repair_message(errors))})
    raise InvalidOutput(errors, tries[-1].message.text, tuple(tries))
