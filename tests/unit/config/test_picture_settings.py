"""Which formats of pictures are taken, and what is said of one that can't be."""

from __future__ import annotations

from typing import Any

import pytest

from config.sections import pictures
from config.settings import SettingsError, read_settings


@pytest.mark.parametrize("text", ["jpeg,WEBP", " JPEG , WebP", "JPEG,WebP,jpeg", "JPEG\uff0c WebP"])
def test_formats_are_named_in_any_case(environment: pytest.MonkeyPatch, text: str) -> None:
    environment.setenv("SNAPSKU_PICTURE_FORMATS", text)
    assert read_settings().picture_formats == ("JPEG", "WebP")


@pytest.mark.parametrize("text", ["JPEG,SVG", ",", "JPEG,", "jpeg webp"])
def test_what_is_no_format_is_refused_in_one_line(
    environment: pytest.MonkeyPatch, text: str
) -> None:
    environment.setenv("SNAPSKU_PICTURE_FORMATS", text)
    with pytest.raises(SettingsError, match="SNAPSKU_PICTURE_FORMATS") as caught:
        read_settings()
    assert "\n" not in str(caught.value)


def test_a_format_that_nothing_here_can_read_is_refused_with_the_cure(
    environment: pytest.MonkeyPatch,
) -> None:
    def nothing(_name: str) -> Any:
        return None

    environment.setattr(pictures, "find_spec", nothing)
    environment.setenv("SNAPSKU_PICTURE_FORMATS", "JPEG,HEIC")
    with pytest.raises(SettingsError) as caught:
        read_settings()
    assert str(caught.value) == (
        "SNAPSKU_PICTURE_FORMATS names HEIC, which can't be read here: install snapsku[heic]"
    )
