"""The skills extension (SEP-2640): the catalogue as `skills/list` and `skills/get`, its files as resources."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast
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
MAX_DESCRIPTION = 1_024
MAX_COMPATIBILITY = 500

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


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
        page, cursor = paged("skills", [self._skills(call)], skill_uri, params)
        return {"skills": [_entry(skill) for skill in page], **({"nextCursor": cursor} if cursor else {}), **_cached()}

    async def _get(self, call: Call, params: GetSkillParams) -> HandlerResult:
        for skill in self._skills(call):
            if params.uri == skill_uri(skill):
                return {"skill": _entry(skill), **_cached()}
        raise MCPError(
            types.INVALID_PARAMS,
            f"There is no skill {params.uri[:200]!r}; skills/list shows those there are",
            {"uri": params.uri},
        )

    def _skills(self, call: Call) -> list[Skill]:
        """Return what the caller may see, without those that clients refuse, with the whole list they stand in."""
        return [skill for skill in self._catalogue.visible(principal_of(call)) if _conforms(skill.source.front_matter)]


def _conforms(front_matter: Mapping[str, Any]) -> bool:
    """Tell whether front matter keeps the format to the letter; folders are read more leniently."""
    metadata = front_matter.get("metadata", {})
    return (
        _NAME.fullmatch(front_matter["name"]) is not None
        and len(front_matter["description"]) <= MAX_DESCRIPTION
        and all(isinstance(front_matter.get(key, ""), str) for key in ("license", "allowed-tools"))
        and isinstance(compatibility := front_matter.get("compatibility", "-"), str)
        and 1 <= len(compatibility) <= MAX_COMPATIBILITY
        and isinstance(metadata, dict)
        and all(isinstance(value, str) for value in cast("dict[str, Any]", metadata).values())
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
