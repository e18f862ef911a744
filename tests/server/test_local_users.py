"""The people of the data folder: the owner, users that the settings name, and the groups they are in."""

import getpass
from pathlib import Path

import pytest

from engine.errors import Denied, Invalid
from engine.runs import Seat, TaskDraft
from engine.seats import check_may_answer
from server.local import local_user
from server.settings import Settings
from server.settings_sources import load_settings

OWNER = getpass.getuser()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "upstairs.toml").write_text(
        '[local.users]\nfay = ["finance", "viewer"]\ngil = ["viewer"]\n'
        f'[local.groups]\npayables = ["fay", "{OWNER}"]\nlegal = ["fay"]\n'
    )
    return load_settings({"data": str(tmp_path)}, folder=tmp_path).settings


def test_a_local_user_has_the_roles_and_the_groups_that_the_settings_name(settings: Settings) -> None:
    fay, gil, owner = (local_user(settings, name) for name in ("fay", "gil", None))
    assert (fay.roles, fay.groups) == ({"finance", "viewer"}, {"payables", "legal"})
    assert (gil.roles, gil.groups) == ({"viewer"}, frozenset())
    assert owner.groups == {"payables"}
    assert "administrator" in owner.roles
    assert local_user(settings, OWNER) == owner


def test_a_seat_of_a_group_is_for_its_members_alone(settings: Settings) -> None:
    draft = TaskDraft(
        task_id="task_1",
        kind="decision",
        node="pay",
        title="Pay?",
        decisions=("approve",),
        seat=Seat(groups=("payables",)),
    )
    check_may_answer(draft, None, local_user(settings, "fay"))
    with pytest.raises(Denied):
        check_may_answer(draft, None, local_user(settings, "gil"))


def test_a_member_of_a_group_who_is_no_user_is_nobody(settings: Settings) -> None:
    stranger = settings.local.model_copy(update={"groups": {"payables": ("mallory",)}})
    with pytest.raises(Invalid, match=r"no local user 'mallory'; the settings name .*fay, gil"):
        local_user(settings.model_copy(update={"local": stranger}), "mallory")
