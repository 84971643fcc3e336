"""What becomes of the faults that a person may meet at a command."""

from __future__ import annotations

import click
import pytest
from pymongo.errors import ServerSelectionTimeoutError

from catalog.schema.version import SchemaTooNewError
from cli.faults import CHARACTERS, told_in_one_line
from config.settings import SettingsError


def told(fault: Exception) -> str:
    with pytest.raises(click.ClickException) as raised, told_in_one_line():
        raise fault
    assert raised.value.exit_code == 1
    return raised.value.message


@pytest.mark.parametrize("kind", [SettingsError, SchemaTooNewError])
def test_a_text_for_people_is_told_as_it_is(kind: type[Exception]) -> None:
    assert told(kind("a line " + "x" * CHARACTERS)) == "a line " + "x" * CHARACTERS


def test_a_foreign_text_is_told_as_one_short_line_without_a_password() -> None:
    text = told(
        ServerSelectionTimeoutError("no\n answer of mongodb://me:secret@there/ " + "x" * 900)
    )
    assert text.startswith("MongoDB can't be reached (no answer of mongodb://")
    assert "secret" not in text
    assert len(text) <= CHARACTERS + 1


def test_any_other_fault_keeps_its_trace() -> None:
    with pytest.raises(ZeroDivisionError), told_in_one_line():
        raise ZeroDivisionError
