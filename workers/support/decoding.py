"""Decode pictures within a limit of memory, so that a bad file fails only its own image.

The limit lasts while a picture is decoded and counts from what the process holds then, so neither
the size of the model nor a long life of the worker uses it up. It applies to the whole process, so
one picture is decoded at a time: vision and search workers do so in child processes of one thread.
In a pool of threads, the end of one decoding would lift the limit of another.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from config.settings import settings
from contract import causes
from vision.picture import PictureLimits, decode
from workers.support.resources import picture_limits

if TYPE_CHECKING:
    from PIL import Image

log = structlog.get_logger(__name__)

#: Its first number is the address space of this process, in pages (proc(5)). Linux alone has this
#: file.
_STATM = Path("/proc/self/statm")


def decode_picture(data: bytes, limits: PictureLimits | None = None) -> Image.Image:
    """Decode a picture as `vision.picture.decode` does, within the memory that settings allow.

    `limits` are those of the settings by default. Raises what that function raises, and
    InvalidImageContent if the picture needs more memory.
    """
    try:
        with memory_ceiling(settings().decode_memory_bytes):
            return decode(data, limits or picture_limits())
    except MemoryError as error:
        log.warning("a picture needs more memory than it may use", bytes=len(data))
        raise causes.MEMORY.fault() from error


@contextmanager
def memory_ceiling(room: int) -> Iterator[None]:
    """Let this process map at most `room` bytes more while the context lasts; 0: no limit.

    An allocation beyond that raises MemoryError. There is no limit where the size of a process
    can't be read.
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
