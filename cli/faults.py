"""Show the fault of a command in one line, with exit code 1."""

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
from config.server_faults import mongo_fault
from config.settings import SettingsError
from identity.vault import VaultError

#: Their messages are written for operators, and are shown as they are.
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

#: Characters of the system's own message that are shown.
CHARACTERS = 300


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """Raise click.ClickException, with one line, in place of a fault that operators may meet."""
    try:
        yield
    except FOR_PEOPLE as error:
        raise click.ClickException(str(error)) from error
    except PyMongoError as error:
        raise click.ClickException(f"MongoDB {mongo_fault(error)}") from error
    except OSError as error:
        text = clean_text(" ".join(str(error).split()), CHARACTERS)
        raise click.ClickException(text) from error
