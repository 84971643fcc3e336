"""The outcome of one check of `snapsku doctor`: a line that says what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from pymongo.errors import PyMongoError
from redis.exceptions import RedisError

from catalog.rows.accounts import MalformedAccountError
from config.redaction import clean_text
from config.server_faults import mongo_fault, redis_fault
from identity.vault import VaultError


class Wrong(Exception):
    """A check failed; the text says what is wrong and what to do."""


class Doubtful(Exception):
    """What was checked works, and will not for long; the text says what to do."""


class Outcome(StrEnum):
    """How a check ended, as it is shown."""

    OK = "OK"
    DOUBTFUL = "WARN"
    WRONG = "WRONG"


@dataclass(frozen=True)
class Finding:
    """The outcome of one check."""

    subject: str
    outcome: Outcome
    text: str

    @property
    def is_wrong(self) -> bool:
        """Whether something has to be done now."""
        return self.outcome is Outcome.WRONG

    def __str__(self) -> str:
        return f"{self.outcome:5}  {self.subject}: {self.text}"


def find(subject: str, check: Callable[[], str]) -> Finding:
    """Run a check that returns a text or raises Wrong or Doubtful, and return its finding.

    A fault of a server, a file or a user's row is a finding too; any other is raised.
    """
    try:
        return Finding(subject, Outcome.OK, check())
    except Doubtful as fault:
        return Finding(subject, Outcome.DOUBTFUL, str(fault))
    except Wrong as fault:
        return Finding(subject, Outcome.WRONG, str(fault))
    except (MalformedAccountError, VaultError) as fault:
        return Finding(subject, Outcome.WRONG, str(fault))
    except PyMongoError as fault:
        return Finding(subject, Outcome.WRONG, mongo_fault(fault))
    except RedisError as fault:
        return Finding(subject, Outcome.WRONG, redis_fault(fault))
    except OSError as fault:
        return Finding(subject, Outcome.WRONG, clean_text(" ".join(str(fault).split()), 300))
