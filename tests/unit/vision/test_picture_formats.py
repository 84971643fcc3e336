"""What clients are told of formats is the table by which pictures are read."""

from __future__ import annotations

import inspect
from typing import get_args

import pytest

from app.http.fields import Picture
from config.sections.pictures import FormatName
from config.settings import Settings
from contract.errors import NotSupportImage
from tests.unit.vision.picture_files import FILES, MORE
from vision.formats import FORMATS, Format, format_of
from vision.picture import PictureLimits, picture_limits_of

BY_NAME = pytest.mark.parametrize("one", FORMATS, ids=lambda one: one.name)


def test_the_names_and_beginnings_of_formats_are_apart() -> None:
    assert len({one.name for one in FORMATS}) == len(FORMATS)
    assert len({one.start.pattern for one in FORMATS}) == len(FORMATS)


@BY_NAME
def test_a_file_is_of_the_format_whose_reader_reads_it(one: Format) -> None:
    data = FILES[one.name]
    assert format_of(data) is one
    assert sum(other.start.match(data) is not None for other in FORMATS) == 1


def test_the_settings_name_the_formats_of_the_table_and_take_two_if_nothing_is_said() -> None:
    assert set(get_args(FormatName)) == {one.name for one in FORMATS}
    assert picture_limits_of(Settings()).formats == ("JPEG", "PNG")
    assert PictureLimits(0, 1, 0).formats == ("JPEG", "PNG")


@BY_NAME
def test_clients_are_told_of_every_format_that_is_taken(one: Format) -> None:
    chosen = Settings(picture_formats=(one.name,))
    assert one.name in Picture().keywords(chosen)["description"]
    assert one.name in (inspect.getdoc(NotSupportImage) or "")


def test_clients_are_not_told_of_a_format_that_is_not_taken() -> None:
    description = Picture().keywords(Settings())["description"]
    assert [name for name in MORE if name in description] == []
