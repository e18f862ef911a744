"""Extensions of the protocol on our server: what they declare, at which revisions, for which clients."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import mcp_types as types
from mcp.server.context import HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp_types import HEADER_MISMATCH, METHOD_NOT_FOUND, MISSING_REQUIRED_CLIENT_CAPABILITY
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

MODERN = frozenset(MODERN_PROTOCOL_VERSIONS)


def serve_extensions(server: Server[Any], extensions: Sequence[Extension]) -> None:
    """Declare the extensions and serve their methods, each at its revisions alone."""
    for extension in extensions:
        server.extensions[extension.identifier] = extension.settings()
        for binding in extension.methods():
            server.add_request_handler(binding.method, binding.params_type, partial(_at_its_revisions, binding))


async def _at_its_revisions(binding: MethodBinding, call: ServerRequestContext[Any, Any], params: Any) -> HandlerResult:
    if binding.protocol_versions is not None and call.protocol_version not in binding.protocol_versions:
        raise MCPError(METHOD_NOT_FOUND, "Method not found", binding.method)
    return await binding.handler(call, params)


def declares(call: ServerRequestContext[Any, Any], identifier: str) -> bool:
    """Tell whether the client of this request speaks the extension; before 2026-07-28 none does."""
    capabilities = call.session.client_capabilities
    extensions = None if capabilities is None else capabilities.extensions
    return call.protocol_version in MODERN and extensions is not None and identifier in extensions


def required(identifier: str) -> MCPError:
    """Return the error for a client that asks for what only clients with the extension understand."""
    needed = types.ClientCapabilities(extensions={identifier: {}})
    return MCPError(
        MISSING_REQUIRED_CLIENT_CAPABILITY,
        f"Declare the extension {identifier} in the client capabilities of the request",
        {"requiredCapabilities": needed.model_dump(mode="json", by_alias=True, exclude_none=True)},
    )


def check_name_header(call: ServerRequestContext[Any, Any], name: str) -> None:
    """Raise unless the HTTP header that intermediaries route by names what the body names; elsewhere there is none."""
    if call.request is not None and decode_header_value(call.request.headers.get(MCP_NAME_HEADER)) != name:
        raise MCPError(
            HEADER_MISMATCH, f"{MCP_NAME_HEADER} header does not match the request body's 'taskId' parameter"
        )
