"""The skills extension (SEP-2640): the catalogue as `skills/list` and `skills/get`, its files as resources."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import mcp_types as types
from mcp.server.context import HandlerResult
from mcp.server.extension import Extension, MethodBinding
from mcp.shared.exceptions import MCPError
from pydantic import Field

from server.mcp.extensions import MODERN
from server.mcp.house import Call, House, principal_of
from server.mcp.pages import paged
from skills.catalogue import Skill

SKILLS = "io.modelcontextprotocol/skills"
TTL_MS = 60_000


class GetSkillParams(types.RequestParams):
    """The parameters of `skills/get`: the URI of a `SKILL.md`."""

    uri: str = Field(min_length=1, max_length=500)


class SkillsList(Extension):
    """The extension on a house: each caller sees the skills that exist for it."""

    identifier = SKILLS

    def __init__(self, house: House) -> None:
        """Keep the catalogue."""
        self._catalogue = house.toolbox.catalogue

    def methods(self) -> Sequence[MethodBinding]:
        """Return the two methods."""
        return (
            MethodBinding("skills/list", types.PaginatedRequestParams, self._list, MODERN),
            MethodBinding("skills/get", GetSkillParams, self._get, MODERN),
        )

    async def _list(self, call: Call, params: types.PaginatedRequestParams) -> HandlerResult:
        skills = self._catalogue.visible(principal_of(call))
        page, cursor = paged([_entry(skill) for skill in skills], params)
        return {"skills": page, **({"nextCursor": cursor} if cursor else {}), **_cached()}

    async def _get(self, call: Call, params: GetSkillParams) -> HandlerResult:
        for skill in self._catalogue.visible(principal_of(call)):
            if params.uri == skill_uri(skill):
                return {"skill": _entry(skill), **_cached()}
        raise MCPError(
            types.INVALID_PARAMS,
            f"There is no skill {params.uri[:200]!r}; skills/list shows those there are",
            {"uri": params.uri},
        )


def skill_uri(skill: Skill, path: str = "SKILL.md") -> str:
    """Return the URI of a file of a skill."""
    return f"skill://{skill.name}/{quote(path)}"


def _entry(skill: Skill) -> dict[str, Any]:
    files = [
        {"uri": skill_uri(skill, file.path), "digest": f"sha256:{file.digest}", "size": file.size}
        for file in skill.source.files
    ]
    return {"uri": skill_uri(skill), "frontmatter": skill.source.front_matter, "resources": files}


def _cached() -> dict[str, Any]:
    return {"ttlMs": TTL_MS, "cacheScope": "private"}
