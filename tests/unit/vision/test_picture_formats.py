"""What clients are told of formats is the table by which pictures are read."""

from __future__ import annotations

import inspect

import pytest

from app.http.fields import Picture
from config.settings import Settings
from contract.errors import NotSupportImage
from vision.formats import FORMATS, Format


def test_the_names_and_beginnings_of_formats_are_apart() -> None:
    assert len({one.name for one in FORMATS}) == len(FORMATS)
    assert len({one.start.pattern for one in FORMATS}) == len(FORMATS)


@pytest.mark.parametrize("one", FORMATS, ids=lambda one: one.name)
def test_the_reader_is_the_one_of_the_format(one: Format) -> None:
    assert one.reader.format == one.name


@pytest.mark.parametrize("one", FORMATS, ids=lambda one: one.name)
def test_clients_are_told_of_every_format(one: Format) -> None:
    assert one.name in Picture().keywords(Settings())["description"]
    assert one.name in (inspect.getdoc(NotSupportImage) or "")
