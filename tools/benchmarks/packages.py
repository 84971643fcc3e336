"""Fetches the packages that the sets are made of, into a cache folder.

They are asked for by name from the clients that the machine has set up (apt-get, npm); none is
installed, so no rights are needed. Knows nothing of what the files are used for.
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

#: A fetch that takes longer than this, in seconds, counts as one that cannot be done.
FETCH_SECONDS = 600


class PackageUnavailable(Exception):
    """A package cannot be fetched or unpacked here; the text is one line for a person."""


def debian_package(name: str, cache: Path) -> Path:
    """Return the folder of a Debian package's unpacked files. Raises PackageUnavailable."""
    return _cached(cache / name, ["apt-get", "download", name], "*.deb")


def npm_package(name: str, version: str, cache: Path) -> Path:
    """Return the folder of an npm package's unpacked files. Raises PackageUnavailable."""
    folder = cache / f"{name.strip('@').replace('/', '-')}-{version}"
    return _cached(folder, ["npm", "pack", f"{name}@{version}"], "*.tgz") / "package"


def _cached(folder: Path, command: list[str], pattern: str) -> Path:
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as workplace:
        unpacked = Path(workplace, "unpacked")
        unpacked.mkdir()
        _run(command, workplace)
        archives = sorted(Path(workplace).glob(pattern))
        if len(archives) != 1:
            raise PackageUnavailable(f"{' '.join(command)} gave {len(archives)} files, not one")
        if archives[0].suffix == ".deb":
            _run(["dpkg-deb", "-x", str(archives[0]), str(unpacked)], workplace)
        else:
            try:
                with tarfile.open(archives[0]) as archive:
                    archive.extractall(unpacked, filter="data")
            except (tarfile.TarError, OSError) as error:
                raise PackageUnavailable(f"{archives[0].name} does not unpack: {error}") from error
        # Only a whole folder gets the name, so that a fetch that was cut off is done again.
        shutil.move(unpacked, folder)
    return folder


def _run(command: list[str], directory: str) -> None:
    words = " ".join(command)
    try:
        done = subprocess.run(  # noqa: S603
            command, cwd=directory, capture_output=True, text=True, timeout=FETCH_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PackageUnavailable(f"{words}: {error}") from error
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise PackageUnavailable(f"{words}: exit code {done.returncode}, {last}")
