"""What the surface needs of the rest of the house, and who is calling."""

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_REQUEST
from starlette.requests import Request

from engine.values import Principal
from server.hub import Hub
from server.keys import KeyRing
from server.settings import Settings
from skills.services import Services
from skills.toolbox import Toolbox

PRINCIPAL = "upstairs.principal"
"""The key of an HTTP request's scope under which the door leaves who is calling."""


class House(Protocol):
    """The composition root as the surface sees it."""

    @property
    def services(self) -> Services:
        """The stores and controls."""
        ...

    @property
    def toolbox(self) -> Toolbox:
        """The tools, core ones and those of the skills, and the chain that every call goes through."""
        ...

    @property
    def settings(self) -> Settings:
        """The settings the server was started with."""
        ...

    @property
    def hub(self) -> Hub:
        """The live deltas of this process and its wake-ups."""
        ...

    @property
    def version(self) -> str:
        """The version of the product, as clients see it."""
        ...

    @property
    def keys(self) -> KeyRing:
        """The key ring, the same for all replicas over one database."""
        ...

    @property
    def token(self) -> str:
        """The secret of loopback HTTP, kept in the data folder."""
        ...

    def local_user(self, name: str | None) -> Principal:
        """Return the principal of a local user of the settings; None is the user the server runs as.

        Raises:
            Invalid: the settings name no such user; the message lists those they name.
        """
        ...


@dataclass(frozen=True)
class Session:
    """What lives as long as a connection: its principal where the connection has one, as over the socket."""

    principal: Principal | None = None


Call: TypeAlias = ServerRequestContext[Session, Request]
"""One request on its way through the surface."""


def principal_of(call: ServerRequestContext[Any, Any]) -> Principal:
    """Return who is calling: whom the door let in with this request, else the connection's own principal."""
    request: Request | None = call.request
    found: Principal | None = call.lifespan_context.principal if request is None else request.scope.get(PRINCIPAL)
    if found is None:
        raise MCPError(INVALID_REQUEST, "The request carries no identity; send the token of the data folder")
    return found
