"""A picture that needs more memory than it may use fails alone."""

from __future__ import annotations

import io
import resource
import subprocess
import sys
from typing import Any

import pytest
from PIL import Image

from cli.processes import ROOT
from config.settings import settings
from contract.errors import InvalidImageContent
from workers.support import decoding
from workers.support.decoding import decode_picture, memory_ceiling


def png(colour: str) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (220, 220), colour).save(data, "PNG")
    return data.getvalue()


def greedy(*_: Any) -> Image.Image:
    """A decoder that wants three times the default ceiling, and has done some of its work."""
    parts = [Image.new("RGB", (8192, 8192)) for _ in range(12)]
    return parts[-1]


def test_a_decoder_that_wants_too_much_fails_and_the_next_picture_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    with monkeypatch.context() as patch:
        patch.setattr(decoding, "decode", greedy)
        with pytest.raises(InvalidImageContent):
            decode_picture(png("red"))
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert decode_picture(png("red")).size == (220, 220)


def test_the_largest_picture_fits_under_the_ceiling_by_far() -> None:
    data = io.BytesIO()
    Image.new("RGBA", (4096, 4096)).save(data, "PNG")
    with memory_ceiling(settings().decode_memory_bytes // 2):
        assert decode_picture(data.getvalue()).size == (4096, 4096)


HOLDS = """
from workers.support.decoding import memory_ceiling
held = bytearray(300 * 2**20)
with memory_ceiling(200 * 2**20):
    bytearray(100 * 2**20)
    try:
        bytearray(300 * 2**20)
    except MemoryError:
        print("refused")
"""


def test_what_a_process_holds_already_does_not_count() -> None:
    # A process of its own: one that ran many tests has room in its heap, and need not map more.
    ended = subprocess.run(
        [sys.executable, "-c", HOLDS], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout) == (0, "refused\n"), ended.stderr


def test_no_ceiling_where_none_is_wished() -> None:
    with memory_ceiling(0):
        assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


def test_a_lower_limit_of_the_operator_stays() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    low = 2**40
    resource.setrlimit(resource.RLIMIT_AS, (low, hard))
    try:
        with memory_ceiling(2**50):
            assert resource.getrlimit(resource.RLIMIT_AS)[0] == low
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
