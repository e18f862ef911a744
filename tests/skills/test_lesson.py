"""What is looked up by name or kept between calls outlives no right and no skill, and reaches no other caller."""

from pathlib import Path
from typing import Any, cast

import pytest

from engine.errors import NotFound
from engine.values import Principal
from skills.catalogue import Catalogue, Skill
from skills.folder import read_folder
from skills.lesson import check_ticket, learn
from skills.services import ToolContext
from skills.tool import AnyTool, tool
from skills.toolbox import Toolbox

PUBLISHER = Principal(tenant="acme", subject="alice", roles=frozenset({"publisher"}))
OTHER_PUBLISHER = Principal(tenant="acme", subject="carol", roles=frozenset({"publisher", "viewer"}))
VIEWER = Principal(tenant="acme", subject="bob", roles=frozenset({"viewer"}))
STRANGER = Principal(tenant="other", subject="alice", roles=frozenset({"publisher"}))


@tool()
async def look(ctx: ToolContext) -> dict[str, str]:
    """Look."""
    return {}


@tool(roles=("publisher",))
async def pay(ctx: ToolContext) -> dict[str, str]:
    """Pay."""
    return {}


def a_skill(
    root: Path, name: str, *tools: Any, body: str = "Do it.", tenant: str | None = None, front: str = ""
) -> Skill:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "SKILL.md").write_text(f"---\nname: {name}\ndescription: About {name}.\n{front}---\n{body}\n")
    own = tuple(cast(AnyTool, one).within(name.replace("-", "_")) for one in tools)
    return Skill(source=read_folder(folder), tools=own, tenant=tenant)


@pytest.mark.parametrize("first", [PUBLISHER, VIEWER], ids=["more rights first", "fewer rights first"])
def test_callers_of_different_rights_get_lessons_and_tickets_of_their_own(tmp_path: Path, first: Principal) -> None:
    skill = a_skill(tmp_path, "money", look, pay)
    learn(first, skill)
    full, part = learn(PUBLISHER, skill), learn(VIEWER, skill)
    assert [spec.name for spec in full.tools] == ["money.look", "money.pay"]
    assert [spec.name for spec in part.tools] == ["money.look"]
    assert "money.pay" not in part.text
    assert (check_ticket(VIEWER, skill, full.ticket), check_ticket(PUBLISHER, skill, part.ticket)) == (False, False)
    assert (check_ticket(PUBLISHER, skill, full.ticket), check_ticket(VIEWER, skill, part.ticket)) == (True, True)


def test_a_lesson_is_made_once_for_all_who_see_the_same(tmp_path: Path) -> None:
    skill = a_skill(tmp_path, "money", look, pay)
    assert learn(PUBLISHER, skill) is learn(OTHER_PUBLISHER, skill)
    assert learn(PUBLISHER, skill) is not learn(VIEWER, skill)


def test_a_skill_that_was_read_again_makes_older_tickets_stale_and_has_its_new_lesson(tmp_path: Path) -> None:
    before = learn(PUBLISHER, a_skill(tmp_path, "money", look, body="Spend."))
    changed = a_skill(tmp_path, "money", look, body="Save.")
    assert not check_ticket(PUBLISHER, changed, before.ticket)
    assert "Save." in learn(PUBLISHER, changed).text
    assert check_ticket(PUBLISHER, a_skill(tmp_path, "money", look, body="Spend."), before.ticket)


def test_a_right_that_was_taken_away_is_gone_with_the_next_call(tmp_path: Path) -> None:
    toolbox = Toolbox(Catalogue([a_skill(tmp_path, "money", pay)]), [])
    assert toolbox.find(PUBLISHER, "money.pay").spec.name == "money.pay"
    assert toolbox.catalogue.get(PUBLISHER, "money").key == "money"
    demoted = PUBLISHER.model_copy(update={"roles": frozenset({"viewer"})})
    for name in ("money.pay", "learn_money"):
        with pytest.raises(NotFound):
            toolbox.find(demoted, name)
    with pytest.raises(NotFound):
        toolbox.catalogue.get(demoted, "money")
    assert toolbox.surface(demoted) == toolbox.surface(VIEWER)
    assert "learn_money" in {spec.name for spec in toolbox.surface(PUBLISHER)}


def test_skills_of_one_name_in_two_tenants_stay_apart(tmp_path: Path) -> None:
    mine = a_skill(tmp_path / "acme", "money", look, body="Ours.", tenant="acme")
    theirs = a_skill(tmp_path / "other", "money", pay, body="Theirs.", tenant="other")
    catalogue = Catalogue([mine, theirs])
    assert catalogue.get(PUBLISHER, "money") is mine
    assert catalogue.get(STRANGER, "money") is theirs
    assert catalogue.tool(PUBLISHER, "money.pay") is None
    assert catalogue.tool(STRANGER, "money.look") is None
    assert catalogue.tool(STRANGER, "money.pay") is theirs.tools[0]


def test_a_granted_tool_is_found_only_while_a_skill_that_shows_it_exists_for_the_caller(tmp_path: Path) -> None:
    owner = a_skill(tmp_path, "money", look, tenant="other")
    granted = Skill(source=a_skill(tmp_path, "work").source, tools=owner.tools, tenant="acme")
    catalogue = Catalogue([owner, granted])
    assert catalogue.tool(VIEWER, "money.look") is owner.tools[0]
    nobody = Principal(tenant="third", subject="x")
    assert catalogue.tool(nobody, "money.look") is None
