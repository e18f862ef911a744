"""What the server hands out and gets back: sealed and signed with the key ring, which all replicas share.

A rotation of the ring needs nothing here: the newest key seals, all of them open, and a process that meets a key it
does not know reads the ring again.
"""

from mcp.server.request_state import InvalidRequestState, RequestStateSecurity

from engine.values import Principal, canonical_json
from server.keys import KeyRing, Unsealable
from server.mcp.house import principal_of

STATE_SECONDS = 24 * 3600.0
"""How long a form that a call was answered with may be filled in: people go home in between."""

STATE = "mcp request state"
TASK = "mcp task"


class RingCodec:
    """The codec of request states over a key ring."""

    def __init__(self, keys: KeyRing) -> None:
        """Seal with the first of `keys`, open with all."""
        self._keys = keys

    def seal(self, payload: bytes) -> str:
        """Return `payload` encrypted and authenticated."""
        return self._keys.seal(payload, STATE)

    def unseal(self, token: str) -> bytes:
        """Return what `seal` sealed.

        Raises:
            InvalidRequestState: it was changed, or sealed with another ring or for something else.
        """
        try:
            return self._keys.open(token, STATE)
        except Unsealable as problem:
            raise InvalidRequestState(problem.message) from None


def request_states(keys: KeyRing) -> RequestStateSecurity:
    """Return how request states are kept: sealed with `keys`, each for one call of one principal."""
    return RequestStateSecurity(
        codec=RingCodec(keys),
        ttl=STATE_SECONDS,
        bind_principal=lambda call: _owner(principal_of(call)),
    )


def signed_task(keys: KeyRing, principal: Principal, run_id: str) -> str:
    """Return the id under which `principal` knows a run as a task of the protocol."""
    return f"{run_id}.{keys.sign(_task(principal, run_id), TASK)}"


def run_of_task(keys: KeyRing, principal: Principal, task_id: str) -> str:
    """Return the run of a task's id.

    Raises:
        Unsealable: the id was not given to this principal.
    """
    run_id, _, signature = task_id.partition(".")
    keys.verify(_task(principal, run_id), signature, TASK)
    return run_id


def _owner(principal: Principal) -> str:
    return canonical_json([principal.tenant, principal.subject])


def _task(principal: Principal, run_id: str) -> bytes:
    return canonical_json([principal.tenant, principal.subject, run_id]).encode()
