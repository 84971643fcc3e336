"""Folders on disk: their entries written for good, and the room that is left."""

from __future__ import annotations

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Write the entries of a folder to disk. Raises OSError.

    Without this, a file that was created or renamed may be missing after a power cut.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def free_bytes(folder: Path) -> int:
    """Return the bytes that an ordinary user may fill on the disk of a folder.

    Raises FileNotFoundError if neither the folder nor one of its parents exists.
    """
    # Until the workers make the folder, its nearest parent tells of the same disk.
    for place in (folder, *folder.resolve().parents):
        if place.exists():
            found = os.statvfs(place)
            return found.f_bavail * found.f_frsize
    raise FileNotFoundError(folder)
