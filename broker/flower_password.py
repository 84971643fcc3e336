"""The password of Flower: that of the settings, or of a file that is made where one is needed."""

from __future__ import annotations

import errno
from pathlib import Path

from config.files import make_secret_file
from config.settings import Settings, is_loopback

FILE = "flower.password"

#: A file with less was cut off: an empty password would let everybody in.
CHARACTERS = 32


def password_file(chosen: Settings) -> Path:
    """Return the path of the file, which need not exist."""
    return chosen.data_dir.resolve() / FILE


def makes_password(chosen: Settings) -> bool:
    """Return whether Flower makes the file: it listens beyond loopback, and no password is set."""
    return not (chosen.flower_password.get_secret_value() or is_loopback(chosen.host))


def serving_password(chosen: Settings) -> str:
    """Return the password that Flower asks for, "" for none.

    Where none is set and Flower listens beyond loopback, it is that of the file, which is made if
    need be. Raises OSError if the file can't be made or read, or holds no password.
    """
    if not makes_password(chosen):
        return chosen.flower_password.get_secret_value()
    make_secret_file(password_file(chosen))
    found = _read(password_file(chosen))
    if len(found) < CHARACTERS:
        raise OSError(errno.EINVAL, "it holds no password, remove it")
    return found


def known_password(chosen: Settings) -> str:
    """Return the password that a client of Flower has to send, "" if these settings know none."""
    given = chosen.flower_password.get_secret_value()
    if given or (is_loopback(chosen.host) and not chosen.flower_url):
        return given
    try:
        return _read(password_file(chosen))
    except OSError:
        return ""


def _read(file: Path) -> str:
    return file.read_text(encoding="ascii", errors="replace").strip()
