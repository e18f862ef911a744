"""How values become payloads in Temporal: JSON by pydantic, sealed with the key ring, large ones kept outside.

Every payload is sealed (AES-256-GCM) for one workflow of one tenant. Where the SDK converts a payload it says for
which workflow (`WorkflowSerializationContext`, `ActivitySerializationContext`); the id has the form `<tenant>/<run>`
and gives the tenant. A payload copied into another workflow's history, even of the same tenant, does not open.

What is refused rather than passed: a payload that is not sealed (anyone who reaches Temporal's port could have put it
there), and converting without a context (async completion by a bare task token, memos of schedules): such a payload
would be bound to nobody.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import (
    ActivitySerializationContext,
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)

from engine.errors import Invalid
from server.keys import KeyRing, Unsealable
from server.payloads import PayloadStore, external_storage

ENCODING = b"binary/upstairs-sealed"
PURPOSE = "payload"

_WORKFLOW_ID = re.compile(r"(?P<tenant>[a-z0-9][a-z0-9-]{0,62})/(?P<run>.+)", re.DOTALL)

# A schedule seals its action's input under the id it is given; the server starts each run under that id and a time.
_SCHEDULED_AT = re.compile(r"-\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")


@dataclass(frozen=True)
class Binding:
    """What a payload is sealed for."""

    tenant: str
    workflow: str

    @classmethod
    def of(cls, workflow_id: str) -> "Binding":
        """Return the binding of a workflow id `<tenant>/<run>`, a scheduled run counting as its schedule's id."""
        match = _WORKFLOW_ID.fullmatch(workflow_id)
        if match is None:
            raise Invalid(
                f"The workflow id {workflow_id[:80]!r} names no tenant; ids have the form <tenant>/<run id>",
                workflow_id=workflow_id[:200],
                expected="<tenant>/<run id>",
            )
        return cls(match["tenant"], _SCHEDULED_AT.sub("", workflow_id))

    def aad(self) -> bytes:
        """Return the associated data; a tenant has no zero byte, so that no two bindings give the same bytes."""
        return f"{self.tenant}\0{self.workflow}".encode()


def tenant_of(workflow_id: str) -> str:
    """Return the tenant that `workflow_id` belongs to; raises `Invalid` when it names none."""
    return Binding.of(workflow_id).tenant


class SealingCodec(PayloadCodec, WithSerializationContext):
    """Seals and opens payloads for the workflow of the current serialization context."""

    def __init__(self, keys: KeyRing, binding: Binding | None = None) -> None:
        self._keys = keys
        self._binding = binding

    def with_context(self, context: SerializationContext) -> "SealingCodec":
        """Return the codec for the workflow, or the standalone activity, that `context` names."""
        if isinstance(context, WorkflowSerializationContext):
            return SealingCodec(self._keys, Binding.of(context.workflow_id))
        if isinstance(context, ActivitySerializationContext):
            owner = context.workflow_id or context.activity_id
            if owner:
                return SealingCodec(self._keys, Binding.of(owner))
        return SealingCodec(self._keys)

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Return each payload sealed, its own metadata inside."""
        binding = self._bound("sealed")
        return [self._seal(payload, binding) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Return each payload opened; raises `Unsealable` with the reason."""
        binding = self._bound("opened")
        return [self._open(payload, binding) for payload in payloads]

    def _bound(self, what: str) -> Binding:
        if self._binding is None:
            raise Invalid(
                f"A payload cannot be {what} without knowing its workflow; give the handle a context "
                "(`with_context`), and keep memos off schedules"
            )
        return self._binding

    def _seal(self, payload: Payload, binding: Binding) -> Payload:
        key_id, data = self._keys.seal_bytes(payload.SerializeToString(), binding.aad(), purpose=PURPOSE)
        return Payload(metadata={"encoding": ENCODING, "key": key_id.encode()}, data=data)

    def _open(self, payload: Payload, binding: Binding) -> Payload:
        encoding = payload.metadata.get("encoding", b"")
        if encoding != ENCODING:
            raise Unsealable(
                f"A payload of {binding.workflow} is not sealed (encoding {encoding[:40]!r}); "
                "only this platform's own clients may write to its workflows",
                workflow_id=binding.workflow,
            )
        key_id = payload.metadata.get("key", b"").decode("ascii", "replace")
        try:
            data = self._keys.open_bytes(key_id, payload.data, binding.aad(), purpose=PURPOSE)
        except Unsealable as error:
            raise Unsealable(f"A payload of {binding.workflow}: {error.message}", **error.details) from None
        return Payload.FromString(data)


def make_data_converter(keys: KeyRing, store: PayloadStore | None = None) -> DataConverter:
    """Return the data converter that every client and worker of the platform uses.

    Failures keep message and stack trace in a sealed payload too. With `store`, sealed payloads of 256 KiB and more
    are kept there and the history has a reference.
    """
    converter = DataConverter(
        payload_converter_class=PydanticPayloadConverter,
        payload_codec=SealingCodec(keys),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )
    return converter if store is None else replace(converter, external_storage=external_storage(store))
