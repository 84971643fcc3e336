"""Where `snapsku doctor` looks for Flower, and what it says of what answers there."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from cli import doctor
from cli.findings import Wrong
from config.settings import Settings

ELSEWHERE = "http://flower:5555"


class Flower:
    """Stands in for HTTP: notes what is asked, and answers as Flower with a password does."""

    def __init__(self, password: str) -> None:
        self.password = password
        self.asked: list[str] = []

    def get(
        self, url: str, what: str, variable: str, auth: tuple[str, str] | None
    ) -> SimpleNamespace:
        self.asked.append(url)
        if self.password and (auth is None or auth[1] != self.password):
            return SimpleNamespace(status_code=401, text="")
        return SimpleNamespace(status_code=200, text="OK")


def look(
    monkeypatch: pytest.MonkeyPatch, password: str, settings: Settings
) -> tuple[str, list[str]]:
    flower = Flower(password)
    monkeypatch.setattr(doctor, "_get", flower.get)
    return doctor.flower(settings), flower.asked


def test_flower_in_another_container_is_asked_with_the_password_of_the_shared_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "flower.password").write_text("hunter2\n", encoding="ascii")
    told, asked = look(monkeypatch, "hunter2", Settings(data_dir=tmp_path, flower_url=ELSEWHERE))
    assert asked == [f"{ELSEWHERE}/healthcheck"]
    assert "with a password" in told
    assert "hunter2" not in told


def test_without_an_address_flower_is_looked_for_on_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told, asked = look(monkeypatch, "", Settings(data_dir=tmp_path))
    assert asked == ["http://127.0.0.1:5555/healthcheck"]
    assert "without a password on loopback" in told


@pytest.mark.parametrize(
    ("served", "known", "word"),
    [
        ("hunter2", "", "wants a password"),
        ("hunter2", "hunter3", "another password"),
        ("", "", "without a password"),
    ],
)
def test_a_flower_that_lets_nobody_or_everybody_in_is_wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, served: str, known: str, word: str
) -> None:
    settings = Settings(data_dir=tmp_path, flower_url=ELSEWHERE, flower_password=known)
    with pytest.raises(Wrong, match=word):
        look(monkeypatch, served, settings)
