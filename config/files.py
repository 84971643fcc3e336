"""Files and folders on disk: entries written for good, room that is left, files of secrets."""

from __future__ import annotations

import os
import secrets
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


def make_secret_file(path: Path) -> bool:
    """Create a file that holds a random secret of 43 characters, readable by its owner alone.

    Returns whether it was made here: a file that exists, or that another process makes at the same
    time, is left as it is. Raises OSError if it can't be written.
    """
    if path.exists():
        return False
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        # Unlike a rename, a link never replaces a file that another process made.
        os.link(draft, path)
        sync_folder(path.parent)
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    return True
