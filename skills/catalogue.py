"""The catalogue of skills: built-in folders, folders of code that the operator trusts, folders of instructions.

A skill is a folder (see `skills.folder`). Its `tools.py` is loaded where the folder is trusted code: built in, or
below a configured folder. A tenant's own skill is a `SKILL.md` that names tools it may use under `allowed-tools`.
"""

import importlib.util
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from engine.errors import Invalid, NotFound, Problem
from engine.values import Principal
from skills.arguments import near_names
from skills.folder import SkillText, read_folder
from skills.tool import AnyTool, tools_of

LIBRARY = Path(__file__).parent / "library"
logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Skill:
    """A skill ready to be learned. `tools` are its own and those it was granted, by full name.

    `tenant`: the only tenant that has it; None for all. `key` is the name as tools and tickets carry it. It never
    changes: a folder that was read again is another skill, equal to none before it.
    """

    source: SkillText
    tools: tuple[AnyTool, ...]
    tenant: str | None = None
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the folder, as in `process-design`."""
        return self.source.name

    @cached_property
    def key(self) -> str:
        """The name as part of identifiers, as in `process_design`."""
        return skill_key(self.source.name)

    @property
    def description(self) -> str:
        """What the skill is for, in one paragraph."""
        return self.source.description

    @property
    def instructions(self) -> str:
        """The body of `SKILL.md`."""
        return self.source.instructions

    def tools_for(self, principal: Principal) -> tuple[AnyTool, ...]:
        """Return the tools that `principal` may see and call."""
        return tuple(tool for tool in self.tools if tool.admits(principal))

    def exists_for(self, principal: Principal) -> bool:
        """Tell whether there is such a skill for `principal`: one all of whose tools are hidden is not there.

        A skill without any tool, or with `metadata: {instructions-only: "true"}`, is there for everybody.
        """
        if self.tenant not in (None, principal.tenant):
            return False
        return self._for_everybody or any(tool.admits(principal) for tool in self.tools)

    @cached_property
    def _for_everybody(self) -> bool:
        metadata = self.source.front_matter.get("metadata")
        declared = isinstance(metadata, dict) and str(metadata.get("instructions-only", "")).lower() == "true"
        return not self.tools or declared


@dataclass(frozen=True)
class Refused:
    """A folder that did not become a skill, and why."""

    folder: str
    reason: str


def skill_key(name: str) -> str:
    """Return a skill's name as identifiers carry it: hyphens become underscores."""
    return name.replace("-", "_")


class Catalogue:
    """All skills of a server. Nothing in it changes after it was loaded."""

    def __init__(self, skills: Iterable[Skill], refused: Sequence[Refused] = ()) -> None:
        """Hold `skills` in the order given; `refused` is what a start reports to the operator."""
        self.skills = tuple(skills)
        self.refused = tuple(refused)
        self._by_name = tuple(sorted(self.skills, key=lambda skill: skill.name))
        self._by_key: dict[str, list[Skill]] = {}
        self._having: dict[str, list[Skill]] = {}
        for skill in self._by_name:
            self._by_key.setdefault(skill.key, []).append(skill)
            for tool in skill.tools:
                self._having.setdefault(tool.spec.name, []).append(skill)

    @classmethod
    def load(
        cls,
        extra_dirs: Sequence[Path] = (),
        *,
        tenant_dirs: Mapping[str, Path] | None = None,
        library: Path = LIBRARY,
    ) -> "Catalogue":
        """Load the built-in skills, those below `extra_dirs` with their code, and tenants' folders without code.

        A broken folder outside the library is refused with its reason and the rest is loaded.

        Raises:
            Problem: a built-in skill is broken.
        """
        found = [_load(folder, trusted=True) for folder in _folders(library)]
        refused: list[Refused] = []
        for root in extra_dirs:
            _add(found, refused, root, trusted=True, tenant=None)
        for tenant, root in sorted((tenant_dirs or {}).items()):
            _add(found, refused, root, trusted=False, tenant=tenant)
        own = {tool.spec.name: tool for skill in found if skill.tenant is None for tool in skill.tools}
        catalogue = cls((_with_grants(skill, own) for skill in found), refused)
        catalogue.report()
        return catalogue

    def report(self) -> None:
        """Log what was refused and what was unusual."""
        for one in self.refused:
            logger.warning("skill folder %s refused: %s", one.folder, one.reason)
        for skill in self.skills:
            for warning in skill.warnings:
                logger.warning("skill %s: %s", skill.name, warning)

    def visible(self, principal: Principal) -> tuple[Skill, ...]:
        """Return the skills that exist for `principal`, by name."""
        return tuple(skill for skill in self._by_name if skill.exists_for(principal))

    def get(self, principal: Principal, name: str) -> Skill:
        """Return a skill by name or key.

        Raises:
            NotFound: there is none that `principal` may use; the message names the nearest.
        """
        for skill in self._by_key.get(skill_key(name), ()):
            if skill.exists_for(principal):
                return skill
        names = [skill.key for skill in self.visible(principal)]
        near = near_names(skill_key(name), names)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(names) or 'none'}"
        raise NotFound(f"there is no skill {name!r} for you; {hint}", near=list(near), skills=names)

    def tool(self, principal: Principal, name: str) -> AnyTool | None:
        """Return the tool of this full name that a skill shows `principal`, or None."""
        for skill in self._having.get(name, ()):
            if skill.exists_for(principal):
                for tool in skill.tools:
                    if tool.spec.name == name and tool.admits(principal):
                        return tool
        return None


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        raise Invalid(f"the folder of skills {root} does not exist")
    return sorted(path for path in root.iterdir() if path.is_dir() and (path / "SKILL.md").is_file())


def _add(found: list[Skill], refused: list[Refused], root: Path, *, trusted: bool, tenant: str | None) -> None:
    try:
        folders = _folders(root)
    except (Problem, OSError) as error:
        refused.append(Refused(str(root), str(error)))
        return
    for folder in folders:
        try:
            if not folder.resolve().is_relative_to(root.resolve()):
                raise Invalid(f"{folder.name} is a link that leaves the folder of skills")
            taken = {skill.key for skill in found if skill.tenant in (None, tenant)}
            if skill_key(folder.name) in taken:
                raise Invalid(f"there is a skill {folder.name} already; give this one another name")
            found.append(_load(folder, trusted=trusted, tenant=tenant))
        except Problem as problem:
            refused.append(Refused(str(folder), problem.message))


def _load(folder: Path, *, trusted: bool, tenant: str | None = None) -> Skill:
    source = read_folder(folder)
    warnings = list(source.warnings)
    tools: tuple[AnyTool, ...] = ()
    if source.has_code and trusted:
        tools = _own_tools(source)
    elif source.has_code:
        warnings.append("its tools.py is not loaded: only folders that the operator configures may bring code")
    return Skill(source=source, tools=tools, tenant=tenant, warnings=tuple(warnings))


def _own_tools(source: SkillText) -> tuple[AnyTool, ...]:
    try:
        return tuple(tool.within(skill_key(source.name)) for tool in _tools(source))
    except ValidationError as error:
        raise Invalid(f"the names of {source.name} and of its tools are longer than 64 characters together") from error


def _tools(source: SkillText) -> tuple[AnyTool, ...]:
    """Load `tools.py` under a name of its own and collect its tools."""
    module_name = f"skills.library.{skill_key(source.name)}.tools"
    described = importlib.util.spec_from_file_location(module_name, source.folder / "tools.py")
    if described is None or described.loader is None:
        raise Invalid(f"the tools.py of {source.name} can't be loaded")
    module = importlib.util.module_from_spec(described)
    # Types in annotations are looked up through the module's entry, as with any import.
    sys.modules[module_name] = module
    try:
        described.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise Invalid(f"the tools.py of {source.name} does not load: {type(error).__name__}: {error}") from error
    return tools_of(module)


def _with_grants(skill: Skill, own: Mapping[str, AnyTool]) -> Skill:
    """Add the tools that `allowed-tools` names. A grant shows a tool in the lesson; roles and approval still hold."""
    granted = [own[name] for name in skill.source.allowed_tools if name in own and own[name] not in skill.tools]
    unknown = [name for name in skill.source.allowed_tools if name not in own]
    warnings = list(skill.warnings)
    if unknown:
        warnings.append(f"allowed-tools grants only tools of skills here, so not: {', '.join(unknown)}")
    return replace(skill, tools=(*skill.tools, *granted), warnings=tuple(warnings))
