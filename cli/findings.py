"""The outcome of one check of `snapsku doctor`: a line that says what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pymongo.errors import PyMongoError
from redis.exceptions import RedisError

from catalog.rows.accounts import MalformedAccountError
from config.redaction import clean_text
from identity.vault import VaultError


class Wrong(Exception):
    """A check failed; the text says what is wrong and what to do."""


@dataclass(frozen=True)
class Finding:
    """The outcome of one check."""

    subject: str
    is_ok: bool
    text: str

    def __str__(self) -> str:
        return f"{'OK' if self.is_ok else 'WRONG':5}  {self.subject}: {self.text}"


def find(subject: str, check: Callable[[], str]) -> Finding:
    """Run a check that returns a text or raises Wrong, and return its finding.

    A fault of a server, a file or a user's row is a finding too; any other is raised.
    """
    try:
        return Finding(subject, True, check())
    except Wrong as fault:
        return Finding(subject, False, str(fault))
    except (MalformedAccountError, VaultError) as fault:
        return Finding(subject, False, str(fault))
    except (PyMongoError, RedisError, OSError) as fault:
        return Finding(subject, False, clean_text(" ".join(str(fault).split()), 300))
