"""What the API says of hostile pictures before it answers: the code they end with, or nothing."""

from __future__ import annotations

import base64

import pytest

from app.http.image_content import read_content
from config.settings import Settings
from contract.errors import BrokenBase64OrUrl, ContractError
from download.policy import fetch_policy_of
from tests.hostile_pictures import LIMIT_BYTES, HostilePicture, hostile_pictures
from vision.picture import PictureLimits

POLICY = fetch_policy_of(Settings(image_bytes=LIMIT_BYTES))
LIMITS = PictureLimits(LIMIT_BYTES, min_side=201, max_side=4096)


@pytest.fixture(scope="module")
def pictures() -> list[HostilePicture]:
    return list(hostile_pictures())


def _judged(prefix: str, data: bytes) -> type[ContractError] | None:
    try:
        content = read_content(prefix + base64.b64encode(data).decode(), LIMITS, POLICY)
    except ContractError as fault:
        return type(fault)
    assert content.payload == data
    return None


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_no_hostile_picture_has_two_codes(pictures: list[HostilePicture], prefix: str) -> None:
    judged = {picture.name: _judged(prefix, picture.data) for picture in pictures}
    ends = {
        picture.name: picture.fault if picture.data else BrokenBase64OrUrl for picture in pictures
    }
    assert {name: fault for name, fault in judged.items() if fault not in (None, ends[name])} == {}
    assert sum(fault is not None for fault in judged.values()) >= 30
