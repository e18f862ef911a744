"""Skill folders are read as data from outside: lenient with style, strict with what could deceive or escape."""

import os
import textwrap
from pathlib import Path

import pytest

from engine.errors import Invalid, NotFound, Problem
from engine.values import Principal
from skills.catalogue import Catalogue
from skills.folder import read_folder

ALICE = Principal(tenant="acme", subject="alice", roles=frozenset({"author"}))
BOB = Principal(tenant="acme", subject="bob")
EVE = Principal(tenant="other", subject="eve")

TOOLS = '''
    """Tools of a test."""

    from engine.values import Value
    from skills.services import ToolContext
    from skills.tool import tool


    class Answer(Value):
        """An answer."""

        text: str


    @tool(roles=("author",))
    async def write(ctx: ToolContext, text: str) -> Answer:
        """Write."""
        return Answer(text=text)
'''


def skill(root: Path, name: str, *, front: str | None = None, body: str = "Do it well.", tools: str = "") -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    front = front if front is not None else f"name: {name}\ndescription: For tests."
    (folder / "SKILL.md").write_text(f"---\n{front}\n---\n\n{body}\n", encoding="utf-8")
    if tools:
        (folder / "tools.py").write_text(textwrap.dedent(tools), encoding="utf-8")
    return folder


@pytest.fixture
def library(tmp_path: Path) -> Path:
    (tmp_path / "library").mkdir()
    return tmp_path / "library"


def test_a_folder_becomes_a_skill_with_its_text_files_and_tools(library: Path) -> None:
    folder = skill(
        library,
        "text-work",
        front="name: text-work\ndescription: >\n  Work on\n  texts.\nlicense: MIT\nmetadata: {since: 2026-01-02}",
        tools=TOOLS,
    )
    (folder / "references").mkdir()
    (folder / "references" / "style.md").write_text("Short.", encoding="utf-8")
    (found,) = Catalogue.load(library=library).skills
    assert (found.name, found.key, found.description) == ("text-work", "text_work", "Work on texts.")
    assert found.instructions == "Do it well."
    assert found.source.front_matter["metadata"] == {"since": "2026-01-02"}
    assert [file.path for file in found.source.files] == ["SKILL.md", "references/style.md"]
    assert found.source.read("references/style.md") == b"Short."
    assert [(tool.spec.name, tool.spec.skill) for tool in found.tools] == [("text_work.write", "text_work")]
    assert found.warnings == ()


def test_what_is_merely_unusual_is_read_with_a_warning(library: Path) -> None:
    skill(
        library,
        "odd_name",
        front=f"name: odd_name\ndescription: {'long ' * 300}\nwhen_to_use: often\nallowed-tools: [Read, Bash]",
        body="x" * 30_000,
    )
    (found,) = Catalogue.load(library=library).skills
    said = " ".join(found.warnings)
    for words in ("underscore", "1,024", "when_to_use", "30,000", "is a list", "Read, Bash"):
        assert words in said


@pytest.mark.parametrize(
    ("front", "body", "reason"),
    [
        ("name: other\ndescription: x", "", "folder and name must be the same"),
        ("name: Bad-Name\ndescription: x", "", "lowercase"),
        ("name: ../bad\ndescription: x", "", "lowercase"),
        ("description: x", "", "lowercase"),
        ("name: bad", "", "no description"),
        ("name: bad\ndescription: ''", "", "no description"),
        ("name: bad\ndescription: [", "", "not YAML"),
        ("- bad", "", "not a mapping"),
        ("name: bad\ndescription: x\nmetadata: {a: &a [x], b: [*a, *a]}", "", "aliases"),
        ("name: bad\ndescription: !!python/object/apply:os.getcwd []", "", "not YAML"),
        ("name: bad\ndescription: 'x \u202e y'", "", "U+202E"),
        ('name: bad\ndescription: "x \\u202e y"', "", "U+202E"),
        ("name: bad\ndescription: x", "see\U000e0041\U000e0042", "U+E0041 in line 6"),
        ("name: bad\ndescription: x", "see\u2066this", "U+2066"),
        ("name: bad\ndescription: x", "see\x1bthis", "U+001B"),
        ("name: bad\ndescription: x", "y" * 140_000, "the limit is"),
    ],
)
def test_what_could_deceive_or_break_is_refused(library: Path, front: str, body: str, reason: str) -> None:
    folder = skill(library, "bad", front=front, body=body)
    with pytest.raises(Invalid) as caught:
        read_folder(folder)
    assert reason in caught.value.message


def test_a_folder_without_front_matter_or_in_another_encoding_is_refused(library: Path) -> None:
    folder = skill(library, "bad")
    (folder / "SKILL.md").write_text("# Just text\n", encoding="utf-8")
    with pytest.raises(Invalid, match="front matter"):
        read_folder(folder)
    (folder / "SKILL.md").write_bytes("---\nname: bad\ndescription: ü\n---\n".encode("latin-1"))
    with pytest.raises(Invalid, match="UTF-8"):
        read_folder(folder)


def test_a_link_out_of_the_folder_is_refused_and_one_inside_is_not_followed(library: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret", encoding="utf-8")
    folder = skill(library, "linked")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "again.md").symlink_to(folder / "SKILL.md")
    read = read_folder(folder)
    assert [file.path for file in read.files] == ["SKILL.md"]
    assert len([warning for warning in read.warnings if "not followed" in warning]) == 2
    (folder / "notes.md").symlink_to(tmp_path / "secret")
    with pytest.raises(Invalid, match=r"notes\.md, which leaves it"):
        read_folder(folder)


def test_the_text_and_the_code_of_a_skill_may_not_be_links(library: Path, tmp_path: Path) -> None:
    (tmp_path / "SKILL.md").write_text("---\nname: fake\ndescription: x\n---\n", encoding="utf-8")
    (library / "fake").mkdir()
    (library / "fake" / "SKILL.md").symlink_to(tmp_path / "SKILL.md")
    with pytest.raises(Invalid, match="leaves it"):
        read_folder(library / "fake")


def test_a_linked_skill_folder_outside_its_root_is_refused(library: Path, tmp_path: Path) -> None:
    outside = skill(tmp_path / "elsewhere", "stranger", tools=TOOLS)
    extra = tmp_path / "extra"
    extra.mkdir()
    (extra / "stranger").symlink_to(outside, target_is_directory=True)
    catalogue = Catalogue.load([extra], library=library)
    assert catalogue.skills == ()
    assert "leaves the folder of skills" in catalogue.refused[0].reason


@pytest.mark.parametrize("path", ["../secret", "/etc/hostname", "references/../../secret", "tools.py", ".env", ""])
def test_only_listed_files_can_be_read(library: Path, tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_text("s3cret", encoding="utf-8")
    folder = skill(library, "files", tools=TOOLS)
    (folder / ".env").write_text("KEY=1", encoding="utf-8")
    read = read_folder(folder)
    with pytest.raises(NotFound, match="has no file"):
        read.read(path)


def test_a_file_that_was_changed_after_it_was_read_is_not_served(library: Path) -> None:
    folder = skill(library, "files")
    read = read_folder(folder)
    (folder / "SKILL.md").write_text("other", encoding="utf-8")
    with pytest.raises(NotFound):
        read.read("SKILL.md")


def test_too_many_files_and_too_deep_folders_are_refused(library: Path) -> None:
    folder = skill(library, "many")
    for number in range(520):
        (folder / f"{number}.md").write_text("", encoding="utf-8")
    with pytest.raises(Invalid, match="512 files"):
        read_folder(folder)
    deep = skill(library, "deep")
    os.makedirs(deep.joinpath(*"abcdefghij"))
    with pytest.raises(Invalid, match="levels deep"):
        read_folder(deep)


def test_a_broken_built_in_stops_the_start_and_a_broken_extra_is_left_out(library: Path, tmp_path: Path) -> None:
    extra = tmp_path / "extra"
    skill(extra, "broken", tools="raise RuntimeError('no')")
    skill(extra, "fine")
    catalogue = Catalogue.load([extra, tmp_path / "absent"], library=library)
    assert [found.name for found in catalogue.skills] == ["fine"]
    assert [Path(one.folder).name for one in catalogue.refused] == ["broken", "absent"]
    assert "RuntimeError: no" in catalogue.refused[0].reason
    skill(library, "broken", tools="raise RuntimeError('no')")
    with pytest.raises(Problem, match="does not load"):
        Catalogue.load(library=library)


def test_a_second_skill_of_the_same_name_is_refused(library: Path, tmp_path: Path) -> None:
    skill(library, "text-work", tools=TOOLS)
    skill(tmp_path / "extra", "text_work", body="Something else.")
    catalogue = Catalogue.load([tmp_path / "extra"], library=library)
    assert [found.name for found in catalogue.skills] == ["text-work"]
    assert "already" in catalogue.refused[0].reason


def test_a_skill_all_of_whose_tools_are_hidden_does_not_exist_for_that_caller(library: Path) -> None:
    skill(library, "writing", tools=TOOLS)
    skill(library, "manners")
    skill(
        library,
        "reading",
        front="name: reading\ndescription: x\nmetadata: {instructions-only: 'true'}",
        tools=TOOLS,
    )
    catalogue = Catalogue.load(library=library)
    assert [found.name for found in catalogue.visible(ALICE)] == ["manners", "reading", "writing"]
    assert [found.name for found in catalogue.visible(BOB)] == ["manners", "reading"]
    with pytest.raises(NotFound) as hidden:
        catalogue.get(BOB, "writing")
    with pytest.raises(NotFound) as absent:
        catalogue.get(BOB, "wrxting")
    assert hidden.value.message.replace("writing", "wrxting") == absent.value.message
    with pytest.raises(NotFound, match="did you mean writing"):
        catalogue.get(ALICE, "writting")


def test_a_tenants_skill_is_its_own_brings_no_code_and_is_granted_tools_by_name(library: Path, tmp_path: Path) -> None:
    skill(library, "writing", tools=TOOLS)
    skill(
        tmp_path / "acme",
        "house-style",
        front="name: house-style\ndescription: How we write.\nallowed-tools: writing.write writing.erase",
        tools="raise RuntimeError('must not run')",
    )
    catalogue = Catalogue.load(tenant_dirs={"acme": tmp_path / "acme"}, library=library)
    found = catalogue.get(ALICE, "house-style")
    assert [tool.spec.name for tool in found.tools_for(ALICE)] == ["writing.write"]
    assert "writing.erase" in " ".join(found.warnings)
    assert "not loaded" in " ".join(found.warnings)
    assert catalogue.get(ALICE, "house_style") is found
    assert [one.name for one in catalogue.visible(EVE)] == []
    # The grant shows no tool to someone whose roles do not reach it.
    assert [one.name for one in catalogue.visible(BOB)] == []
