"""Reading a skill folder: `SKILL.md` with its front matter and the files beside it, as data from outside.

The format is that of Agent Skills (agentskills.io): a folder, a `SKILL.md` with YAML front matter (`name`,
`description`, optional `license`, `compatibility`, `metadata`, `allowed-tools`) and instructions below it. What is
merely unusual is read with a warning; what could deceive a reader or leave the folder is refused.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from engine.errors import Invalid, NotFound

MAX_SKILL_MD = 131_072
MAX_FILES = 512
MAX_BYTES = 16 * 1_048_576
MAX_DEPTH = 8
ADVISED_CHARS = 20_000
MAX_DESCRIPTION = 4_096
MAX_NAME = 58
"""The format allows 64 letters; `learn_` stands before them in a tool's name, which has 64 in all."""

_NAME = re.compile(r"[a-z0-9]+([-_][a-z0-9]+)*")
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n---[ \t]*(?:\n|\Z)(.*)\Z", re.DOTALL)
_KNOWN = frozenset({"name", "description", "license", "compatibility", "metadata", "allowed-tools"})
_CODE = frozenset({"tools.py"})

# Characters that make a text read differently for a model than for the person who reviewed it: tags, bidirectional
# embeddings, overrides and isolates, supplementary variation selectors, and control characters but tab and line feed.
_DECEPTIVE = re.compile(
    "[\U000e0000-\U000e007f\U000e0100-\U000e01ef\u202a-\u202e\u2066-\u2069\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
)


@dataclass(frozen=True)
class SkillFile:
    """A file of a skill: its path inside the folder with forward slashes, bytes, and sha256 in hexadecimal."""

    path: str
    size: int
    digest: str


@dataclass(frozen=True)
class SkillText:
    """A skill folder as it was read; `text` is the whole `SKILL.md`, `front_matter` verbatim as data."""

    name: str
    description: str
    instructions: str
    text: str
    front_matter: dict[str, Any]
    folder: Path
    files: tuple[SkillFile, ...]
    allowed_tools: tuple[str, ...]
    has_code: bool
    warnings: tuple[str, ...]

    def read(self, path: str) -> bytes:
        """Return the bytes of one of `files`, unchanged since it was read.

        Raises:
            NotFound: the skill has no such file, or it has been changed behind our back.
        """
        listed = next((file for file in self.files if file.path == path), None)
        if listed is not None:
            content = (self.folder / path).read_bytes()
            if hashlib.sha256(content).hexdigest() == listed.digest:
                return content
        raise NotFound(f"the skill {self.name} has no file {path!r}", files=[file.path for file in self.files])


def read_folder(folder: Path) -> SkillText:
    """Read the skill in `folder`; whether it holds code is said, the code is not touched.

    Raises:
        Invalid: the folder breaks a rule that is kept strictly: no or no readable `SKILL.md`, a name that is not
            the folder's, a link that leaves it, deceptive characters, too many or too large files.
    """
    warnings: list[str] = []
    files = tuple(_files(folder, warnings))
    text = _read_text(folder)
    front_matter, body = _split(folder, text)
    name = _name(folder, front_matter)
    description = _description(folder, front_matter, warnings)
    unknown = sorted(set(front_matter) - _KNOWN)
    if unknown:
        warnings.append(f"the front matter has keys that are not part of the format: {', '.join(unknown)}")
    if "_" in name:
        warnings.append("the name holds an underscore, which other hosts refuse; write a hyphen")
    if len(body.strip()) > ADVISED_CHARS:
        warnings.append(f"the instructions are {len(body.strip()):,} characters long; {ADVISED_CHARS:,} are advised")
    return SkillText(
        name=name,
        description=description,
        instructions=body.strip(),
        text=text,
        front_matter=front_matter,
        folder=folder,
        files=files,
        allowed_tools=_allowed_tools(front_matter, warnings),
        has_code=(folder / "tools.py").is_file(),
        warnings=tuple(warnings),
    )


def _read_text(folder: Path) -> str:
    path = folder / "SKILL.md"
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        raise Invalid(f"the skill {folder.name} has no readable SKILL.md") from error
    except UnicodeDecodeError as error:
        raise Invalid(f"the SKILL.md of {folder.name} is not UTF-8") from error
    if len(raw) > MAX_SKILL_MD:
        raise Invalid(f"the SKILL.md of {folder.name} has {len(raw):,} bytes; the limit is {MAX_SKILL_MD:,}")
    refuse_deceptive(text, f"the SKILL.md of {folder.name}")
    return text


def refuse_deceptive(text: str, what: str) -> None:
    """Raise `Invalid` when `text` holds characters that hide from or mislead the person who reads it."""
    found = _DECEPTIVE.search(text)
    if found:
        line = text.count("\n", 0, found.start()) + 1
        raise Invalid(
            f"{what} holds the hidden or misleading character U+{ord(found.group()):04X} in line {line}; remove it",
            line=line,
        )


def _split(folder: Path, text: str) -> tuple[dict[str, Any], str]:
    found = _FRONT_MATTER.match(text)
    if not found:
        raise Invalid(f"the SKILL.md of {folder.name} does not open with front matter between two lines of ---")
    try:
        # An alias repeats a node, and repeated repetition grows without bound once the data is written out.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(found.group(1), Loader=yaml.SafeLoader)):
            raise Invalid(f"the front matter of {folder.name} uses YAML aliases; write the values out")
        front_matter = yaml.safe_load(found.group(1))
    except (yaml.YAMLError, RecursionError) as error:
        raise Invalid(f"the front matter of {folder.name} is not YAML: {error}") from error
    if not isinstance(front_matter, dict):
        raise Invalid(f"the front matter of {folder.name} is not a mapping")
    data = cast(dict[str, Any], _as_json(front_matter))
    # YAML escapes ("\u202e") can bring in what the text itself does not show.
    for text_inside in _texts(data):
        refuse_deceptive(text_inside, f"a value in the front matter of {folder.name}")
    return data, found.group(2)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in cast(dict[str, Any], value).items():
            yield key
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in cast(list[Any], value):
            yield from _texts(inner)


def _as_json(value: Any) -> Any:
    """Return YAML data as JSON has it: keys are texts, and dates are written out."""
    if isinstance(value, dict):
        return {str(key): _as_json(inner) for key, inner in cast(dict[Any, Any], value).items()}
    if isinstance(value, list):
        return [_as_json(inner) for inner in cast(list[Any], value)]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _name(folder: Path, front_matter: dict[str, Any]) -> str:
    name = front_matter.get("name")
    if not isinstance(name, str) or len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise Invalid(f"the name {name!r} of {folder.name} must be 1 to {MAX_NAME} lowercase letters, digits, hyphens")
    if name != folder.name:
        raise Invalid(f"the skill in {folder.name} calls itself {name}; folder and name must be the same")
    return name


def _description(folder: Path, front_matter: dict[str, Any], warnings: list[str]) -> str:
    description = front_matter.get("description")
    if not isinstance(description, str) or not description.strip():
        raise Invalid(f"the skill {folder.name} has no description; it is what a model chooses by")
    if len(description) > MAX_DESCRIPTION:
        raise Invalid(f"the description of {folder.name} is longer than {MAX_DESCRIPTION:,} characters")
    if len(description) > 1_024:
        warnings.append(f"the description has {len(description):,} characters; the format allows 1,024")
    return " ".join(description.split())


def _allowed_tools(front_matter: dict[str, Any], warnings: list[str]) -> tuple[str, ...]:
    value = front_matter.get("allowed-tools", "")
    if isinstance(value, list):
        warnings.append("allowed-tools is a list; the format has names with spaces between them")
        return tuple(str(name) for name in cast(list[Any], value))
    return tuple(value.replace(",", " ").split()) if isinstance(value, str) else ()


def _files(folder: Path, warnings: list[str]) -> Iterator[SkillFile]:
    root, total, count = folder.resolve(), 0, 0
    for path in _walk(folder, root, warnings):
        relative = path.relative_to(folder).as_posix()
        refuse_deceptive(relative, f"a file name in {folder.name}")
        count, total = count + 1, total + path.stat().st_size
        if count > MAX_FILES or total > MAX_BYTES:
            raise Invalid(f"the skill {folder.name} has more than {MAX_FILES} files or {MAX_BYTES:,} bytes")
        content = path.read_bytes()
        yield SkillFile(path=relative, size=len(content), digest=hashlib.sha256(content).hexdigest())


def _walk(folder: Path, root: Path, warnings: list[str]) -> Iterator[Path]:
    for here, folders, names in os.walk(folder, followlinks=False):
        at = Path(here)
        for name in (*folders, *names):
            _refuse_escape(at / name, root, warnings)
        folders[:] = sorted(name for name in folders if not _skipped(at / name))
        if len(at.relative_to(folder).parts) > MAX_DEPTH:
            raise Invalid(f"the skill {folder.name} has folders more than {MAX_DEPTH} levels deep")
        for name in sorted(names):
            path = at / name
            if not _skipped(path) and path.is_file() and not (at == folder and name in _CODE):
                yield path


def _skipped(path: Path) -> bool:
    return path.name.startswith(".") or path.name == "__pycache__" or path.is_symlink()


def _refuse_escape(path: Path, root: Path, warnings: list[str]) -> None:
    if not path.is_symlink():
        return
    try:
        inside = path.resolve().is_relative_to(root)
    except (OSError, RuntimeError):
        inside = False
    if not inside or (path.parent.resolve() == root and path.name in (*_CODE, "SKILL.md")):
        raise Invalid(f"the skill {root.name} holds the link {path.name}, which leaves it or stands for its own text")
    warnings.append(f"the link {path.name} is not followed")
