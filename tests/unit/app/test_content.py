"""image_content: what is taken, and which fault is told, without a fetch and without a model."""

from __future__ import annotations

import textwrap
import tracemalloc
from typing import Any

import pytest

from app.http.image_content import Content, read_content
from config.settings import Settings
from contract import errors
from contract.errors import ContractError
from download.policy import fetch_policy_of
from tests.unit.app.standins import image_file, in_base64
from vision.picture import PictureLimits

LIMITS = PictureLimits(max_bytes=3_932_160, min_side=201, max_side=4096)
POLICY = fetch_policy_of(Settings())
JPEG = image_file()
PNG = image_file("PNG")


def read(text: str, limits: PictureLimits = LIMITS) -> Content:
    return read_content(text, limits, POLICY)


def fault(text: str, limits: PictureLimits = LIMITS) -> type[ContractError]:
    with pytest.raises(ContractError) as caught:
        read(text, limits)
    return caught.type


@pytest.mark.parametrize(
    "url",
    [
        "http://shop.example/a.jpg",
        "https://shop.example/a.jpg?width=3&x=%20",
        "HTTPS://Shop.Example/a.jpg",
        "https://shop.example:443/",
        "https://商店.example/图.jpg",
    ],
)
def test_a_url_is_kept_as_it_was_sent(url: str) -> None:
    assert read(url) == Content(url, None)


@pytest.mark.parametrize(
    ("before", "behind"),
    [(" ", ""), ("", " "), ("\ufeff", ""), ("\r\n\t", "\r\n"), ("\u3000", "\u00a0")],
)
def test_blanks_line_ends_and_a_mark_around_a_url_are_trimmed(before: str, behind: str) -> None:
    url = "https://shop.example/my boot.jpg?a=%7e"
    assert read(before + url + behind) == Content(url, None)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://shop.example/a.jpg",
        "file:///etc/passwd",
        "http://",
        "https://shop.example:22/a.jpg",
        "http://127.0.0.1/a.jpg",
        "http://169.254.169.254/latest",
        "http://[::1]/a.jpg",
        "http://2130706433/a.jpg",
        " http://127.0.0.1/a.jpg\n",
        "http://shop.example/a.jpg\nhttp://shop.example/b.jpg",
        "http:// shop.example/a.jpg",
    ],
)
def test_a_url_that_may_not_be_fetched_is_2006(url: str) -> None:
    assert fault(url) is errors.BrokenBase64OrUrl


@pytest.mark.parametrize("url", ["ftp://x/y", "FILE:///etc/passwd", "s3://shop/boot.jpg"])
def test_a_url_of_another_scheme_is_told_as_one(url: str) -> None:
    with pytest.raises(errors.BrokenBase64OrUrl) as caught:
        read(url)
    assert caught.value.detail == "the URL is neither http nor https"


def test_a_data_uri_may_begin_as_a_url_does() -> None:
    assert read(f"data://image/jpeg;base64,{in_base64(JPEG)}").payload == JPEG


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "TIFF"])
def test_a_format_that_is_not_taken_is_told_in_every_spelling(kind: str) -> None:
    encoded = in_base64(image_file(kind) + b"\xfb\xff\xbf")
    safe = encoded.replace("+", "-").replace("/", "_").rstrip("=")
    assert safe != encoded
    for text in (encoded, safe, f"data:image/x;base64,{safe}", f"data:;base64,{safe}"):
        with pytest.raises(errors.NotSupportImage) as caught:
            read(text)
        assert caught.value.detail == "the file is none of JPEG, PNG"


@pytest.mark.parametrize("data", [JPEG, PNG], ids=["jpeg", "png"])
@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "data:image/png;base64,",
        "data:image/jpeg;base64,",
        "data:image/jpeg;charset=utf-8;base64,",
        "data:;base64,",
        "DATA:IMAGE/PNG;BASE64,",
    ],
)
def test_base64_is_taken_with_and_without_a_data_prefix(prefix: str, data: bytes) -> None:
    assert read(prefix + in_base64(data)) == Content(None, data)


@pytest.mark.parametrize(
    "prefix",
    [
        'data:image/png;name="a, b;base64,.png";base64,',
        "data:image/png;name=a%2C%20b.png;base64,",
        "data:image/svg+xml;charset=utf-8;name=图.png;base64,",
        "data:base64;base64,",
        "data:;;base64,",
        "data: image/png ; base64 ,",
        "\ufeff\n data:image/png;base64, ",
    ],
)
def test_any_parameters_may_stand_before_base64(prefix: str) -> None:
    assert read(prefix + in_base64(JPEG)) == Content(None, JPEG)


#: Pictures of every length modulo 3, whose Base64 holds "+" and "/".
PADDED = [JPEG + b"\xfb\xff\xbf" * 4 + bytes(extra) for extra in range(3)]


@pytest.mark.parametrize("data", PADDED, ids=lambda data: f"{-len(data) % 3} padding")
@pytest.mark.parametrize("prefix", ["", "data:image/jpeg;base64,"])
def test_base64_may_be_url_safe_and_unpadded(prefix: str, data: bytes) -> None:
    encoded = in_base64(data)
    url_safe = encoded.replace("+", "-").replace("/", "_")
    assert "-" in url_safe
    assert "_" in url_safe
    for text in (encoded.rstrip("="), url_safe, url_safe.rstrip("="), f" {url_safe}\n"):
        assert read(prefix + text) == Content(None, data)


@pytest.mark.parametrize("data", PADDED, ids=lambda data: f"{-len(data) % 3} padding")
@pytest.mark.parametrize("case", [str.upper, str.lower])
def test_base64_of_a_data_uri_may_be_percent_encoded(data: bytes, case: Any) -> None:
    encoded = in_base64(data)
    for character in "+/=\r\n":
        encoded = encoded.replace(character, case(f"%{ord(character):02x}"))
    assert read("data:image/jpeg;base64," + encoded + case("%0d%0a")).payload == data
    if "%" in encoded:
        assert fault(encoded) is errors.BrokenBase64OrUrl


@pytest.mark.parametrize(
    "text", ["hello_", "AA", "image-1", "data:text/plain;base64,aGVsbG8", "data:,;base64,aGVsbG8"]
)
def test_a_tolerant_spelling_that_is_no_picture_is_2006(text: str) -> None:
    assert fault(text) is errors.BrokenBase64OrUrl


def test_a_prefix_without_an_end_is_not_searched_to_the_end_of_the_text() -> None:
    """Searched as far as it goes, it took 1.1 s and 390 MB."""
    tracemalloc.start()
    try:
        assert fault("data:" + ";" * 3_000_000) is errors.BrokenBase64OrUrl
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 50_000_000


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\n\t ", " ", "\f", "\u2003"])
def test_base64_may_be_wrapped(line_end: str) -> None:
    wrapped = line_end.join(textwrap.wrap(in_base64(JPEG), 76)) + line_end
    assert read(wrapped).payload == JPEG
    assert read("data:image/jpeg;base64," + wrapped).payload == JPEG


@pytest.mark.parametrize(
    "text",
    [
        "A",
        "AAAAA",
        "AA=",
        "AA==AA==",
        "====",
        "not base64!",
        "图片",
        "\ud800",
        in_base64(JPEG)[:-1] + "*",
        in_base64(JPEG).replace("/", "_").replace("+", "-") + "-",
        " ",
        "data:image/png;base64,",
        "data:image/png," + in_base64(PNG),
    ],
)
def test_what_is_neither_a_url_nor_base64_is_2006(text: str) -> None:
    assert fault(text) is errors.BrokenBase64OrUrl


@pytest.mark.parametrize("remainder", [0, 1, 2], ids=lambda n: f"{n} bytes beyond a group")
def test_a_file_must_be_smaller_than_the_limit(remainder: int) -> None:
    data = JPEG + bytes((remainder - len(JPEG)) % 3)
    encoded = in_base64(data)
    assert read(encoded, PictureLimits(len(data) + 1, 1, 4096)).payload == data
    assert fault(encoded, PictureLimits(len(data), 1, 4096)) is errors.ImageSizeExceedLimit


def test_what_is_far_too_long_is_not_decoded_first() -> None:
    assert fault("*" * 4000, PictureLimits(1000, 1, 0)) is errors.ImageSizeExceedLimit


def test_zero_is_no_limit_of_bytes() -> None:
    assert read(in_base64(JPEG), PictureLimits(0, 1, 4096)).payload == JPEG


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (image_file("GIF"), errors.NotSupportImage),
        (image_file("WEBP"), errors.NotSupportImage),
        (b"hello", errors.NotSupportImage),
        (JPEG[:12], errors.InvalidImageContent),
        (PNG[:12], errors.InvalidImageContent),
        (b"\xff\xd8\xff" + b"\x00" * 64, errors.InvalidImageContent),
        (image_file("PNG", 200, 300), errors.ImageTooSmall),
        (image_file("JPEG", 300, 200), errors.ImageTooSmall),
        (image_file("PNG", 4097, 201), errors.ImageTooLarge),
        (image_file("JPEG", 201, 4097), errors.ImageTooLarge),
    ],
    ids=[
        *("gif", "webp", "text", "jpeg start", "png start", "jpeg without header"),
        *("low", "narrow", "wide", "high"),
    ],
)
def test_a_fault_of_the_header_has_its_own_code(data: bytes, expected: type[ContractError]) -> None:
    assert fault(in_base64(data)) is expected


@pytest.mark.parametrize("size", [(201, 201), (4096, 201), (201, 4096)])
def test_sides_at_the_limits_are_taken(size: tuple[int, int]) -> None:
    data = image_file("PNG", *size)
    assert read(in_base64(data)).payload == data
