"""Where settings come from, and which are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from config.endpoints import Endpoints, remove_endpoints, write_endpoints
from config.refusal import REFUSED
from config.settings import (
    Settings,
    SettingsError,
    known_variables,
    read_settings,
    settings,
)

REDIS = "redis://:hunter2@redis.internal:6379/0"
MONGO = "mongodb://somebody:hunter3@mongo.internal/"


def refusal() -> str:
    with pytest.raises(SettingsError) as caught:
        read_settings()
    return str(caught.value)


def test_every_setting_has_a_default_and_a_description() -> None:
    read_settings()
    assert [n for n, field in Settings.model_fields.items() if not field.description] == []


def test_a_setting_comes_from_its_variable(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("SNAPSKU_PORT", "8123")
    assert read_settings().port == 8123


def test_a_setting_comes_from_the_file_in_the_working_folder() -> None:
    Path("snapsku.env").write_text("SNAPSKU_PORT=8123\n", encoding="utf-8")
    assert read_settings().port == 8123


def test_a_setting_comes_from_the_file_that_is_named(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Path("snapsku.env").write_text("SNAPSKU_PORT=8123\n", encoding="utf-8")
    named = tmp_path / "other.env"
    named.write_text("# 端口\nSNAPSKU_PORT=8124\nSNAPSKU_CATEGORIES=包\n", encoding="utf-8")
    environment.setenv("SNAPSKU_SETTINGS_FILE", str(named))
    found = read_settings()
    assert (found.port, found.categories) == (8124, ("包",))


def test_a_file_that_is_named_and_missing_is_refused(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("SNAPSKU_SETTINGS_FILE", "missing.env")
    assert "missing.env" in refusal()


def test_a_variable_wins_over_the_file(environment: pytest.MonkeyPatch) -> None:
    Path("snapsku.env").write_text("SNAPSKU_PORT=8123\nSNAPSKU_API_THREADS=7\n", encoding="utf-8")
    environment.setenv("SNAPSKU_PORT", "8124")
    found = read_settings()
    assert (found.port, found.api_threads) == (8124, 7)


def test_a_variable_that_names_no_setting_is_refused(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("SNAPSKU_PROT", "8124")
    assert refusal() == "no such setting: SNAPSKU_PROT (did you mean SNAPSKU_PORT?)"
    environment.delenv("SNAPSKU_PROT")
    environment.setenv("SNAPSKU_XYZ", "1")
    assert refusal() == "no such setting: SNAPSKU_XYZ"


def test_a_line_of_the_file_that_names_no_setting_is_refused_with_its_file() -> None:
    Path("snapsku.env").write_text("SNAPSKU_PROT=8124\n", encoding="utf-8")
    assert refusal() == (
        "no such setting in snapsku.env: SNAPSKU_PROT (did you mean SNAPSKU_PORT?)"
    )


def test_other_programs_variables_are_left_alone(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PORT", "9999")
    assert read_settings().port == 8000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "http"),
        ("API_THREADS", "1"),
        ("LEASE_SECONDS", "0"),
        ("LEASE_SECONDS", "nan"),
        ("MONGO_DATABASE", "a/b"),
        ("MONGO_DATABASE", ""),
        ("LOG_FORMAT", "xml"),
        ("TOPK_LIMIT", "1001"),
        ("IMAGES_PER_CALL", "-1"),
        ("KEEP_PICTURES", "perhaps"),
        ("FETCH_ALLOW", "10.0.0.1/8"),
        ("FETCH_ALLOW", "http://files.internal"),
        ("FETCH_PORTS", "80,https"),
        ("FETCH_PORTS", "0"),
        ("FETCH_PORTS", "65536"),
        ("FETCH_PORTS", ""),
        ("FLOWER_USER", ""),
        ("FLOWER_USER", "a:b"),
    ],
)
def test_a_bad_value_is_told_in_one_line_that_names_the_setting(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    environment.setenv(f"SNAPSKU_{name}", value)
    told = refusal()
    assert name in told.upper()
    assert "\n" not in told


def test_all_bad_values_are_told_at_once(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("SNAPSKU_PORT", "http")
    environment.setenv("SNAPSKU_API_THREADS", "1")
    told = refusal()
    assert "SNAPSKU_PORT" in told
    assert "SNAPSKU_API_THREADS" in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("bad", "good"),
    [
        (
            {"LEASE_RENEWAL_SECONDS": "5", "LEASE_SECONDS": "5"},
            {"LEASE_RENEWAL_SECONDS": "4.9", "LEASE_SECONDS": "5"},
        ),
        (
            {"VISIBILITY_SECONDS": "120", "TIME_LIMIT_SECONDS": "120"},
            {"VISIBILITY_SECONDS": "121", "TIME_LIMIT_SECONDS": "120"},
        ),
        ({"TOPK_DEFAULT": "21", "TOPK_LIMIT": "20"}, {"TOPK_DEFAULT": "20", "TOPK_LIMIT": "20"}),
        (
            {"IMAGE_MIN_SIDE": "301", "IMAGE_MAX_SIDE": "300"},
            {"IMAGE_MIN_SIDE": "300", "IMAGE_MAX_SIDE": "300"},
        ),
        ({"FETCH_PORTS": "80,x"}, {"FETCH_PORTS": "80,8080"}),
        (
            {"PROBE_SECONDS": "5", "STALLED_SECONDS": "9.9"},
            {"PROBE_SECONDS": "5", "STALLED_SECONDS": "10"},
        ),
    ],
    ids=["lease", "visibility", "topk", "sides", "ports", "probes"],
)
def test_settings_that_do_not_fit_together_are_refused(
    environment: pytest.MonkeyPatch, bad: dict[str, str], good: dict[str, str]
) -> None:
    for name, value in good.items():
        environment.setenv(f"SNAPSKU_{name}", value)
    read_settings()
    for name, value in bad.items():
        environment.setenv(f"SNAPSKU_{name}", value)
    told = refusal()
    assert any(name in told for name in bad)
    assert "\n" not in told


@pytest.mark.parametrize("key", ["short", "x" * 31])
def test_a_secret_key_that_could_be_guessed_is_refused(
    environment: pytest.MonkeyPatch, key: str
) -> None:
    environment.setenv("SNAPSKU_SECRET_KEY", key)
    told = refusal()
    assert "secret_key" in told.lower()
    assert key not in told


@pytest.mark.parametrize("key", ["", "x" * 32])
def test_a_secret_key_is_long_or_there_is_none(environment: pytest.MonkeyPatch, key: str) -> None:
    environment.setenv("SNAPSKU_SECRET_KEY", key)
    assert read_settings().secret_key.get_secret_value() == key


def test_a_list_is_separated_by_commas_with_or_without_spaces(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("SNAPSKU_CATEGORIES", "服装, 鞋靴 ,其他")
    environment.setenv("SNAPSKU_FETCH_PORTS", "80")
    found = read_settings()
    assert found.categories == ("服装", "鞋靴", "其他")
    assert found.fetch_ports == ("80",)


@pytest.mark.parametrize("value", ["", " ", "服装,", "服装,,鞋靴"])
def test_an_empty_category_is_refused(environment: pytest.MonkeyPatch, value: str) -> None:
    environment.setenv("SNAPSKU_CATEGORIES", value)
    assert "categories" in refusal().lower()


def test_a_good_allow_list_is_taken(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("SNAPSKU_FETCH_ALLOW", "10.0.0.0/8, files.internal:8080, [::1]:9000")
    assert read_settings().fetch_allow == "10.0.0.0/8, files.internal:8080, [::1]:9000"


def test_secrets_are_masked_in_repr(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("SNAPSKU_REDIS_URL", REDIS)
    environment.setenv("SNAPSKU_MONGO_URL", MONGO)
    found = read_settings()
    assert found.redis_url.get_secret_value() == REDIS
    for shown in (repr(found), str(found)):
        assert "hunter" not in shown


def test_a_refusal_shows_no_secret(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("SNAPSKU_REDIS_URL", REDIS)
    environment.setenv("SNAPSKU_PORT", "http")
    assert "hunter" not in refusal()


def test_settings_cannot_be_changed_after_the_start() -> None:
    with pytest.raises(ValueError, match="frozen"):
        setattr(read_settings(), "port", 1)  # noqa: B010


def test_a_bad_setting_ends_the_process_with_one_line_and_the_code_that_forbids_a_restart(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("SNAPSKU_PORT", "http")
    with pytest.raises(SystemExit) as caught:
        settings()
    assert caught.value.code == REFUSED
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("snapsku: bad settings: SNAPSKU_PORT: ")


def test_addresses_of_embedded_servers_are_filled_in(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv("SNAPSKU_DATA_DIR", str(tmp_path))
    write_endpoints(tmp_path, Endpoints("redis://127.0.0.1:1/0", "mongodb://127.0.0.1:2/"))
    found = settings()
    assert found.redis_url == SecretStr("redis://127.0.0.1:1/0")
    assert found.mongo_url == SecretStr("mongodb://127.0.0.1:2/")


def test_a_server_that_is_named_wins_over_an_embedded_one(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv("SNAPSKU_DATA_DIR", str(tmp_path))
    environment.setenv("SNAPSKU_REDIS_URL", REDIS)
    write_endpoints(tmp_path, Endpoints("redis://127.0.0.1:1/0", "mongodb://127.0.0.1:2/"))
    found = settings()
    assert found.redis_url == SecretStr(REDIS)
    assert found.mongo_url == SecretStr("mongodb://127.0.0.1:2/")


def test_addresses_of_servers_that_stopped_are_forgotten(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv("SNAPSKU_DATA_DIR", str(tmp_path))
    write_endpoints(tmp_path, Endpoints("redis://127.0.0.1:1/0", ""))
    remove_endpoints(tmp_path)
    remove_endpoints(tmp_path)
    assert settings().redis_url == SecretStr("")


def test_a_password_of_flower_that_browsers_may_send_differently_is_refused(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("SNAPSKU_FLOWER_PASSWORD", "密码")
    told = refusal()
    assert "flower_password" in told.lower()
    assert "密码" not in told


SECRETS = ("REDIS_URL", "MONGO_URL", "FLOWER_PASSWORD", "SECRET_KEY")


def test_every_secret_may_stand_in_a_file() -> None:
    secret = {n.upper() for n, f in Settings.model_fields.items() if f.annotation is SecretStr}
    assert secret == set(SECRETS)
    assert {f"SNAPSKU_{name}_FILE" for name in SECRETS} <= known_variables()


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_comes_from_the_file_that_its_variable_names(
    environment: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    file = tmp_path / "secret"
    secret = ("mongodb://" if name == "MONGO_URL" else "redis://") + "s" * 32
    file.write_text(f"{secret}\n", encoding="utf-8")
    environment.setenv(f"SNAPSKU_{name}_FILE", str(file))
    environment.setenv(f"SNAPSKU_{name}", "")
    assert getattr(read_settings(), name.lower()).get_secret_value() == secret


def test_a_secrets_file_is_named_in_the_file_of_settings_too(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2", encoding="utf-8")
    Path("snapsku.env").write_text(
        f"SNAPSKU_FLOWER_PASSWORD_FILE={tmp_path / 'password'}\n", encoding="utf-8"
    )
    assert read_settings().flower_password.get_secret_value() == "hunter2"


def test_a_secret_that_is_set_twice_is_refused_in_one_line_without_it(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("hunter2", encoding="utf-8")
    environment.setenv("SNAPSKU_FLOWER_PASSWORD_FILE", str(tmp_path / "password"))
    environment.setenv("SNAPSKU_FLOWER_PASSWORD", "hunter3")
    told = refusal()
    assert told == "SNAPSKU_FLOWER_PASSWORD and SNAPSKU_FLOWER_PASSWORD_FILE are both set: keep one"


@pytest.mark.parametrize("content", [None, b"", b"\n", b"hunter2\nhunter3\n", b"\xff\xfe"])
def test_a_secrets_file_that_can_not_be_used_is_refused_in_one_line_without_its_content(
    environment: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    environment.setenv("SNAPSKU_FLOWER_PASSWORD_FILE", str(file))
    told = refusal()
    assert f"SNAPSKU_FLOWER_PASSWORD_FILE names {file}" in told
    assert "\n" not in told
    assert "hunter" not in told


def test_only_secrets_are_read_from_files(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("SNAPSKU_PORT_FILE", "port")
    assert refusal().startswith("no such setting: SNAPSKU_PORT_FILE")


@pytest.mark.parametrize("value", ["flower:5555", "http://u:hunter2@flower", "http://flower/x"])
def test_the_address_of_flower_is_a_url_of_a_host_alone(
    environment: pytest.MonkeyPatch, value: str
) -> None:
    environment.setenv("SNAPSKU_FLOWER_URL", value)
    assert refusal().startswith("SNAPSKU_FLOWER_URL")
