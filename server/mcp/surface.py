"""The server factory: providers in, one MCP server out, for both protocol eras and every transport.

The product, the conformance suite and the tests build their servers here, so what is tested is what is served.
"""

import logging
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import mcp_types as types
from mcp.server.caching import CacheHint
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import compose_tool_call_handler
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.server.request_state import RequestStateBoundary
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from content.blobs import Blobs
from engine.errors import Problem
from server.mcp.apps import AppPages, Apps
from server.mcp.completions import NameCompletions
from server.mcp.extensions import serve_extensions
from server.mcp.house import Call, House, Session
from server.mcp.inbox import InboxResources
from server.mcp.kept import SPACE, Kept
from server.mcp.library import LibraryResources
from server.mcp.listing import ICON, in_one_order
from server.mcp.logs import set_level
from server.mcp.pages import paged
from server.mcp.prompts import InteractionPrompts
from server.mcp.provider import Provider
from server.mcp.resources import RunResources, SkillResources, no_such_resource
from server.mcp.sealing import request_states
from server.mcp.skills import SkillsList
from server.mcp.subscriptions import Subscriptions
from server.mcp.tasks import RunTasks
from server.mcp.tools import FlatTools, SkillTools

logger = logging.getLogger(__name__)

NAME = "upstairs"
LIST_TTL_MS = 60_000

INSTRUCTIONS = (
    "An agent platform: durable runs of agents and processes, versioned prompts, content to search and cite. "
    "Call learn_<skill> first: it answers with instructions, the schemas of the skill's tools and a ticket for "
    "use_tool. Whatever takes long answers with a run id at once: follow it with get_run, answer what it waits for "
    "with answer_run."
)

FLAT_INSTRUCTIONS = (
    "The tools of an agent platform, listed flat. Whatever takes long answers with a run id at once: follow it with "
    "get_run, answer what it waits for with answer_run."
)


def make_mcp_server(house: House, *, extra_providers: Sequence[Provider] = (), flat: bool = False) -> Server[Session]:
    """Return the MCP server of `house`; `extra_providers` are asked after its own.

    `flat`: it lists the tools themselves, all or those of the skill that the path names, instead of the short list.

    It serves 2026-07-28 and the handshake eras before it, and holds no state of a caller: sessions of the old eras
    belong to the transport.
    """
    kept = Kept(Blobs(house.settings.blobs, space=SPACE), house.keys)
    providers: list[Provider] = [
        FlatTools(house, kept) if flat else SkillTools(house, kept),
        RunResources(house),
        InboxResources(house),
        SkillResources(house, kept),
        LibraryResources(house),
        InteractionPrompts(house),
        AppPages(),
        NameCompletions(house),
        *extra_providers,
    ]
    tasks = RunTasks(house)
    surface, subscriptions = Surface(providers), Subscriptions(providers, tasks)
    extensions = [tasks, SkillsList(house), Apps()]
    listed = CacheHint(ttl_ms=LIST_TTL_MS, scope="private")
    server = McpServer(
        NAME,
        version=house.version,
        title="Upstairs",
        icons=[ICON],
        instructions=FLAT_INSTRUCTIONS if flat else INSTRUCTIONS,
        cache_hints={
            "tools/list": listed,
            "prompts/list": listed,
            "resources/templates/list": listed,
            "resources/list": CacheHint(scope="private"),
            "resources/read": CacheHint(scope="private"),
        },
        lifespan=_lifespan,
        # None makes the transport list all tools before each call, to look for arguments that travel as headers
        # too; the house's own tools have none.
        get_tool_input_schema=None if extra_providers else _no_schema,
        on_list_tools=surface.list_tools,
        on_list_resources=surface.list_resources,
        on_list_resource_templates=surface.list_templates,
        on_read_resource=surface.read_resource,
        on_subscribe_resource=subscriptions.subscribe,
        on_unsubscribe_resource=subscriptions.unsubscribe,
        on_subscriptions_listen=subscriptions.listen,
        on_list_prompts=surface.list_prompts,
        on_get_prompt=surface.get_prompt,
        on_completion=surface.complete,
    )
    # Not by the constructor, which warns that the method is going: the older eras have it.
    server.add_request_handler("logging/setLevel", types.SetLevelRequestParams, set_level)
    called = compose_tool_call_handler(extensions, surface.call_tool)
    server.add_request_handler("tools/call", types.CallToolRequestParams, called)
    serve_extensions(server, extensions)
    server.middleware.append(RequestStateBoundary(request_states(house.keys), default_audience=NAME))
    server.middleware.append(no_internals)
    server.middleware.append(in_one_order)
    server.add_request_handler("server/discover", types.RequestParams, server.discover)
    return server


class McpServer(Server[Session]):
    """The SDK's server, which says in the older eras too that its list of tools may change.

    Since 2026-07-28 every answer names the server: its picture goes with the discovery alone.
    """

    @property
    def server_info_stamp(self) -> dict[str, Any]:
        """Return what each answer says of the server."""
        return {key: value for key, value in super().server_info_stamp.items() if key != "icons"}

    async def discover(self, call: Call, params: types.RequestParams) -> types.DiscoverResult:
        """Return what the server can do and how it looks."""
        return types.DiscoverResult(
            supported_versions=list(MODERN_PROTOCOL_VERSIONS),
            capabilities=self.get_capabilities(protocol_version=call.protocol_version),
            instructions=self.instructions,
            _meta={types.SERVER_INFO_META_KEY: super().server_info_stamp},
        )

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        """Return what a handshake is answered with."""
        options = notification_options or NotificationOptions(tools_changed=True)
        # Extensions are of 2026-07-28: no older client can use one.
        return super().create_initialization_options(options, experimental_capabilities, extensions or {})


@asynccontextmanager
async def _lifespan(_: Server[Session]) -> AsyncGenerator[Session]:
    yield Session()


def _no_schema(name: str) -> None:
    return None


async def no_internals(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Let no exception of ours reach a client as it is: a `Problem` becomes its message, a defect a reference."""
    try:
        return await call_next(ctx)
    except (MCPError, ValidationError):
        raise
    except Problem as problem:
        raise MCPError(types.INVALID_PARAMS, problem.message, {"code": problem.code, **problem.details}) from None
    except Exception:
        reference = secrets.token_hex(4)
        logger.exception("the request %s failed (reference %s)", ctx.method, reference)
        raise MCPError(
            types.INTERNAL_ERROR, f"The server failed on {ctx.method}; its log has the reason under {reference}"
        ) from None


class Surface:
    """The handlers of a server over its providers: lists are joined, a name is asked of one provider after another."""

    def __init__(self, providers: Sequence[Provider]) -> None:
        """Keep the providers, first asked first."""
        self._providers = providers

    async def list_tools(self, call: Call, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        """Return all tools on one page: a client that pages would otherwise see a changing list."""
        return types.ListToolsResult(tools=[tool for one in self._providers for tool in await one.tools(call)])

    async def call_tool(
        self, call: Call, params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        """Run a tool."""
        for provider in self._providers:
            if (result := await provider.call_tool(call, params)) is not None:
                return result
        raise MCPError(
            types.INVALID_PARAMS,
            f"There is no tool {params.name[:80]!r}; tools/list and find_tools show those there are",
        )

    async def list_resources(
        self, call: Call, params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        """Return a page of resources."""
        found = [await one.resources(call) for one in self._providers]
        page, cursor = paged("resources", found, lambda resource: resource.uri, params)
        return types.ListResourcesResult(resources=page, next_cursor=cursor)

    async def list_templates(
        self, call: Call, params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        """Return a page of templates."""
        found = [await one.templates(call) for one in self._providers]
        page, cursor = paged("templates", found, lambda template: template.uri_template, params)
        return types.ListResourceTemplatesResult(resource_templates=page, next_cursor=cursor)

    async def read_resource(
        self, call: Call, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult | types.InputRequiredResult:
        """Read a resource."""
        for provider in self._providers:
            if (result := await provider.read_resource(call, params)) is not None:
                return result
        raise no_such_resource(str(params.uri), "resources/templates/list shows the forms there are")

    async def list_prompts(self, call: Call, params: types.PaginatedRequestParams | None) -> types.ListPromptsResult:
        """Return a page of prompts."""
        found = [await one.prompts(call) for one in self._providers]
        page, cursor = paged("prompts", found, lambda prompt: prompt.name, params)
        return types.ListPromptsResult(prompts=page, next_cursor=cursor)

    async def get_prompt(
        self, call: Call, params: types.GetPromptRequestParams
    ) -> types.GetPromptResult | types.InputRequiredResult:
        """Render a prompt."""
        for provider in self._providers:
            if (result := await provider.get_prompt(call, params)) is not None:
                return result
        raise MCPError(
            types.INVALID_PARAMS, f"There is no prompt {params.name[:80]!r}; prompts/list shows those there are"
        )

    async def complete(self, call: Call, params: types.CompleteRequestParams) -> types.CompleteResult:
        """Complete an argument; what nobody completes has no suggestions."""
        for provider in self._providers:
            if (result := await provider.complete(call, params)) is not None:
                return result
        return types.CompleteResult(completion=types.Completion(values=[], has_more=False))
