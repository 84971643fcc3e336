"""How a fault of a command is told: in one line, and with exit code 1."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click
from pymongo.errors import PyMongoError

from catalog.backup.archive import BackupFileError
from catalog.backup.restoring import RestoreRefusedError
from catalog.backup.taking import NothingToBackUpError
from catalog.rows.accounts import MalformedAccountError
from catalog.schema.version import MissingMigrationError, RestoreUnfinishedError, SchemaTooNewError
from config.redaction import clean_text
from config.settings import SettingsError
from identity.vault import VaultError

#: Their texts are written for people, and are told as they are.
FOR_PEOPLE = (
    BackupFileError,
    MalformedAccountError,
    MissingMigrationError,
    NothingToBackUpError,
    RestoreRefusedError,
    RestoreUnfinishedError,
    SchemaTooNewError,
    SettingsError,
    VaultError,
)

#: Their texts may be long, have several lines, or name the password in a URL.
FOREIGN = (PyMongoError, OSError)

#: Characters of a foreign text that are told.
CHARACTERS = 300


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """Raise click.ClickException in place of a fault that a person may meet."""
    try:
        yield
    except FOR_PEOPLE as error:
        raise click.ClickException(str(error)) from error
    except FOREIGN as error:
        text = clean_text(" ".join(str(error).split()), CHARACTERS)
        raise click.ClickException(text) from error
