"""Settings: which source wins, where each value came from, and what is said about a wrong one."""

from pathlib import Path

import pytest

from engine.errors import Invalid
from server.settings import Settings, setting_paths
from server.settings_sources import Loaded, Origin, load_settings


def load(tmp_path: Path, toml: str | None = None, environ: dict[str, str] | None = None, **flags: object) -> Loaded:
    if toml is not None:
        (tmp_path / "upstairs.toml").write_text(toml)
    given = {name.replace("__", "."): value for name, value in flags.items()}
    return load_settings(given, environ={"UPSTAIRS_DATA": str(tmp_path / "data"), **(environ or {})}, folder=tmp_path)


def test_defaults_are_a_local_server_with_everything_in_the_data_folder(tmp_path: Path):
    settings = load(tmp_path).settings
    assert (settings.host, settings.port) == ("127.0.0.1", 7777)
    assert settings.temporal.mode == "embedded"
    assert settings.temporal.durability == "full"
    assert settings.database == f"sqlite+aiosqlite:///{tmp_path}/data/upstairs.db"
    assert settings.blobs == f"file://{tmp_path}/data/blobs"


def test_flags_win_over_the_environment_over_the_file_over_defaults(tmp_path: Path):
    toml = 'port = 1\nhost = "file"\nlog_level = "debug"\n[temporal]\nretention_days = 7\n'
    environ = {"UPSTAIRS_PORT": "2", "UPSTAIRS_HOST": "env"}
    loaded = load(tmp_path, toml, environ, port=3, temporal__task_queue_prefix="q")
    assert (loaded.settings.port, loaded.settings.host, loaded.settings.log_level) == (3, "env", "debug")
    assert loaded.settings.temporal.retention_days == 7
    assert loaded.settings.temporal.task_queue_prefix == "q"
    file = str(tmp_path / "upstairs.toml")
    assert loaded.origins["port"] == Origin("flag", "--port")
    assert loaded.origins["host"] == Origin("environment", "UPSTAIRS_HOST")
    assert loaded.origins["log_level"] == Origin("file", file)
    assert loaded.origins["temporal.retention_days"] == Origin("file", file)
    assert loaded.origins["temporal.task_queue_prefix"] == Origin("flag", "--temporal-task-queue-prefix")
    assert str(loaded.origins["temporal.mode"]) == "default"
    assert set(loaded.origins) == {".".join(path) for path in setting_paths()}


def test_nested_settings_come_from_the_environment_with_double_underscores(tmp_path: Path):
    environ = {"UPSTAIRS_TEMPORAL__MODE": "external", "UPSTAIRS_TEMPORAL__TLS__SERVER_NAME": "cloud"}
    loaded = load(tmp_path, None, environ, temporal__address="host:1")
    assert loaded.settings.temporal.mode == "external"
    assert loaded.settings.temporal.tls.server_name == "cloud"
    assert loaded.settings.temporal.address == "host:1"


def test_lists_are_separated_by_commas_outside_the_file(tmp_path: Path):
    environ = {"UPSTAIRS_ALLOWED_ORIGINS": "https://a, https://b"}
    assert load(tmp_path, None, environ).settings.allowed_origins == ("https://a", "https://b")
    assert load(tmp_path, 'allowed_origins = ["https://c"]').settings.allowed_origins == ("https://c",)


def test_an_empty_variable_counts_as_absent(tmp_path: Path):
    assert load(tmp_path, "port = 5", {"UPSTAIRS_PORT": ""}).settings.port == 5


def test_the_file_is_the_named_one_then_the_current_folders_then_the_data_folders(tmp_path: Path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "upstairs.toml").write_text("port = 1")
    assert load(tmp_path).settings.port == 1
    assert load(tmp_path, "port = 2").settings.port == 2
    named = tmp_path / "named.toml"
    named.write_text("port = 3")
    assert load(tmp_path, None, {"UPSTAIRS_CONFIG": str(named)}).settings.port == 3
    loaded = load_settings({}, config=Path("named.toml"), environ={"UPSTAIRS_DATA": str(data)}, folder=tmp_path)
    assert loaded.settings.port == 3
    assert loaded.file == named
    with pytest.raises(Invalid, match=r"absent\.toml does not exist"):
        load_settings({}, config=Path("absent.toml"), environ={}, folder=tmp_path)


def test_paths_are_relative_to_where_they_are_written(tmp_path: Path):
    (tmp_path / "etc").mkdir()
    file = tmp_path / "etc" / "upstairs.toml"
    file.write_text('data = "store"\nkeys_file = "ring.json"')
    loaded = load_settings({}, config=file, environ={}, folder=tmp_path)
    assert loaded.settings.data == tmp_path / "etc" / "store"
    assert loaded.settings.keys_file == tmp_path / "etc" / "ring.json"
    assert (
        load_settings({"data": "store"}, config=file, environ={}, folder=tmp_path).settings.data == tmp_path / "store"
    )


def test_a_file_in_the_data_folder_cannot_move_it(tmp_path: Path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "upstairs.toml").write_text('data = "elsewhere"')
    with pytest.raises(Invalid, match="cannot move it"):
        load_settings({"data": str(data)}, environ={}, folder=tmp_path)


@pytest.mark.parametrize(
    ("toml", "key", "said"),
    [
        ("port = [", None, "cannot be read"),
        ("port = 'many'", "port", "valid integer"),
        ("port = 70000", "port", "less than or equal to 65535"),
        ("prot = 1", "prot", "did you mean `port`"),
        ("zzzzzz = 1", "zzzzzz", "is not a setting"),
        ("[temporal]\nadress = 'x'", "temporal.adress", "did you mean `temporal.address`"),
        ("temporal = 'external'", "temporal", "it is a table"),
        ("[temporal]\ndurability = 'none'", "temporal.durability", "'full' or 'normal'"),
        ("[temporal]\naddress = 'x:1'", "temporal", 'need mode = "external"'),
        ("[temporal.tls]\ncert_file = 'c.pem'", "temporal.tls", "must be given together"),
        ("public_url = 'ftp://x'", "public_url", "must start with https"),
        ("[limits]\nmax_request_bytes = 0", "limits.max_request_bytes", "greater than or equal to 1"),
    ],
)
def test_a_wrong_file_is_refused_with_place_key_and_what_was_expected(
    tmp_path: Path, toml: str, key: str | None, said: str
):
    with pytest.raises(Invalid) as refused:
        load(tmp_path, toml)
    assert said in refused.value.message
    assert refused.value.details["key"] == key
    assert str(tmp_path / "upstairs.toml") in refused.value.details["source"]
    assert refused.value.details["expected"]


def test_a_wrong_variable_or_flag_is_named(tmp_path: Path):
    with pytest.raises(Invalid, match=r"`port` is 'x' \(environment UPSTAIRS_PORT\): .*valid integer"):
        load(tmp_path, None, {"UPSTAIRS_PORT": "x"})
    with pytest.raises(Invalid, match=r"`UPSTAIRS_PROT` in the environment .* `UPSTAIRS_PORT`"):
        load(tmp_path, None, {"UPSTAIRS_PROT": "1"})
    with pytest.raises(Invalid, match=r"\(flag --temporal-port\)"):
        load(tmp_path, temporal__port="x")
    with pytest.raises(Invalid, match="`nope` in the flags"):
        load(tmp_path, nope=1)


def test_keys_of_providers_are_recognised_and_never_shown(tmp_path: Path):
    environ = {
        "ANTHROPIC_API_KEY": "planted-a",
        "OPENAI_API_KEY": "planted-o",
        "UPSTAIRS_MODELS__OPENAI_API_KEY": "planted-ours",
        "UPSTAIRS_TEMPORAL__API_KEY": "planted-t",
        "UPSTAIRS_DATABASE_URL": "postgresql+asyncpg://me:planted-p@db/upstairs",
    }
    loaded = load(tmp_path, None, environ)
    models = loaded.settings.models
    assert models.anthropic_api_key is not None
    assert models.openai_api_key is not None
    assert models.anthropic_api_key.get_secret_value() == "planted-a"
    assert models.openai_api_key.get_secret_value() == "planted-ours"
    assert str(loaded.origins["models.anthropic_api_key"]) == "environment ANTHROPIC_API_KEY"
    assert str(loaded.origins["models.openai_api_key"]) == "environment UPSTAIRS_MODELS__OPENAI_API_KEY"
    shown = loaded.shown()
    assert "planted" not in str(shown)
    assert ("models.anthropic_api_key", "**********", "environment ANTHROPIC_API_KEY") in shown
    assert any("postgresql+asyncpg://me:**********@db/upstairs" in row for row in shown)
    assert "planted-a" not in repr(loaded.settings.models)


def test_settings_read_nothing_by_themselves(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("UPSTAIRS_PORT", "1")
    assert Settings().port == 7777


def test_the_default_data_folder_is_the_platforms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert load_settings({}, environ={}, folder=tmp_path).settings.data == tmp_path / "upstairs"
