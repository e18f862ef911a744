"""Routes and accounts in the settings: read from file and environment, shown, refused by place, and examined."""

from pathlib import Path

import pytest

from engine.errors import Invalid
from engine.routes import ModelEntry, resolve
from server.commands.diagnosis import examine
from server.settings_sources import Loaded, load_settings

TOML = """
[models]
default = "fast"

[models.routes]
fast = ["scripted/echo", { model = "openai/unheard-of", account = "eu", max_usd_input = 0.5 }]

[models.routes.careful]
candidates = [{ model = "openai/unheard-of", account = "eu" }, "anthropic/claude-sonnet-5-5"]
needs = ["tools"]

[models.accounts.eu]
provider = "openai"
region = "eu"
api_key = "secret:openai_eu"

[models.tenants.acme]
default = "careful"
"""


def load(tmp_path: Path, toml: str = TOML, **environ: str) -> Loaded:
    (tmp_path / "upstairs.toml").write_text(toml)
    return load_settings({}, environ={"UPSTAIRS_DATA": str(tmp_path / "data"), **environ}, folder=tmp_path)


def test_routes_are_lists_or_tables_and_tenants_have_their_own(tmp_path: Path) -> None:
    models = load(tmp_path).settings.models
    assert models.routes["fast"].candidates[1] == ModelEntry(model="openai/unheard-of", account="eu", max_usd_input=0.5)
    assert models.routes["careful"].needs == ("tools",)
    assert (models.accounts["eu"].secret, models.accounts["eu"].region) == ("openai_eu", "eu")
    assert (models.of("local").default, models.of("acme").default) == ("fast", "careful")
    assert [one.account for one in resolve("fast", models.of("acme").routes).candidates] == [None, "eu"]


def test_in_the_environment_they_are_json(tmp_path: Path) -> None:
    loaded = load(tmp_path, UPSTAIRS_MODELS__ROUTES='{"only": ["scripted/echo"]}')
    assert list(loaded.settings.models.routes) == ["only"]
    assert loaded.origins["models.routes"].name == "UPSTAIRS_MODELS__ROUTES"
    shown = {name: value for name, value, _ in loaded.shown()}
    assert shown["models.routes"] == '{"only": {"candidates": ["scripted/echo"]}}'
    assert shown["models.accounts"] == '{"eu": {"provider": "openai", "api_key": "secret:openai_eu", "region": "eu"}}'


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("max_usd_input", "max_usd_inptu", "fast.candidates.1.entry.max_usd_inptu"),
        ('needs = ["tools"]', 'needs = ["magic"]', "careful.needs.0: .*'tools'"),
        ('needs = ["tools"]', "candidate = []", "candidate"),
        ("[models.routes.careful]", '[models.routes."a/b"]', "String should match pattern"),
        ("secret:openai_eu", "sk-planted", "eu.api_key: a key is named by reference: write secret:name"),
        ("secret:openai_eu", "sk-planted openai", "eu.api_key: a key is named by reference"),
    ],
)
def test_what_is_wrong_is_named_by_its_place_and_never_shown(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(Invalid, match=said) as refused:
        load(tmp_path, TOML.replace(old, new, 1))
    assert "planted" not in f"{refused.value} {refused.value.details}"


def test_a_broken_table_of_accounts_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="written as a JSON object") as refused:
        load(tmp_path, UPSTAIRS_MODELS__ACCOUNTS='{"eu": {"api_key": "sk-planted"')
    assert "planted" not in f"{refused.value} {refused.value.details}"


@pytest.mark.anyio
async def test_doctor_says_of_each_candidate_whether_it_can_be_called(tmp_path: Path) -> None:
    loaded = load(tmp_path, OPENAI_API_KEY="planted")
    checks = [(check.name, check.state, check.text) async for check in examine(loaded)]
    about = [check for check in checks if check[0] == "default model" or check[0].startswith("route ")]
    no_account = "no API key for the account eu is stored: set it with: upstairs secret openai_eu"
    no_key = (
        "no API key for anthropic is configured: set ANTHROPIC_API_KEY, or store the secret anthropic_api_key of the "
        "tenant"
    )
    unknown = "(unpriced, unknown model)"
    assert about == [
        ("default model", "ok", "scripted/echo: can be called"),
        ("default model", "note", f"openai/unheard-of on eu: {no_account} {unknown}"),
        ("route careful", "missing", f"openai/unheard-of on eu: {no_account} {unknown}"),
        ("route careful", "missing", f"anthropic/claude-sonnet-5-5: {no_key}"),
        ("route fast", "ok", "scripted/echo: can be called"),
        ("route fast", "note", f"openai/unheard-of on eu: {no_account} {unknown}"),
    ]
    assert not any("planted" in text for _, _, text in checks)
