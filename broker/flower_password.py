"""The password of Flower: that of the settings, or of a file that is made where one is needed."""

from __future__ import annotations

from pathlib import Path

from config.files import make_secret_file
from config.settings import Settings, is_loopback

FILE = "flower.password"


def password_file(chosen: Settings) -> Path:
    """Return the path of the file, which need not exist."""
    return chosen.data_dir.resolve() / FILE


def serving_password(chosen: Settings) -> str:
    """Return the password that Flower asks for, "" for none.

    Where none is set and Flower listens beyond loopback, it is that of the file, which is made if
    need be. Raises OSError if the file can't be made or read.
    """
    given = chosen.flower_password.get_secret_value()
    if given or is_loopback(chosen.host):
        return given
    make_secret_file(password_file(chosen))
    return password_file(chosen).read_text(encoding="ascii").strip()


def known_password(chosen: Settings) -> str:
    """Return the password that a client of Flower has to send, "" if these settings know none."""
    given = chosen.flower_password.get_secret_value()
    if given or (is_loopback(chosen.host) and not chosen.flower_url):
        return given
    try:
        return password_file(chosen).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
