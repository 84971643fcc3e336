"""Decoding in a worker: under a ceiling of memory, so that one file costs one picture.

The ceiling lasts as long as a picture decodes and counts from what the process holds then, so
that neither the size of the model nor a long life of the worker uses it up. One picture at a
time: the limit is the whole process's.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from config.settings import settings
from contract.errors import InvalidImageContent
from vision.picture import PictureLimits, decode
from workers.support.resources import picture_limits

if TYPE_CHECKING:
    from PIL import Image

log = structlog.get_logger(__name__)

#: Its first number is the address space of this process, in pages (proc(5)); Linux alone has it.
_STATM = Path("/proc/self/statm")


def decode_picture(data: bytes, limits: PictureLimits | None = None) -> Image.Image:
    """Decode a picture as `vision.picture.decode` does, within the memory that settings allow.

    The limits are those of the settings, unless others are given.

    Raises what that raises, and InvalidImageContent for a picture that wants more memory.
    """
    try:
        with memory_ceiling(settings().decode_memory_bytes):
            return decode(data, limits or picture_limits())
    except MemoryError as error:
        log.warning("a picture wants more memory than it may have", bytes=len(data))
        raise InvalidImageContent("wants too much memory") from error


@contextmanager
def memory_ceiling(room: int) -> Iterator[None]:
    """Let this process map at most `room` bytes more, as long as this lasts; 0 is no ceiling.

    Whoever asks for more gets MemoryError. Where the size of a process can't be read, there
    is no ceiling.
    """
    if not room or not _STATM.exists():
        yield
        return
    held = int(_STATM.read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    allowed = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([held + room, *allowed]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
