"""Fetching the packages that the sets are made of, into a cache folder.

They are fetched by the clients of the machine (apt-get, npm) and unpacked, not installed, so no
privileges are needed.
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

#: The longest time of a fetch, in seconds; then the package counts as unavailable.
FETCH_SECONDS = 600


class PackageUnavailable(Exception):
    """A package can't be fetched or unpacked here; the text is one line."""


def debian_package(name: str, cache: Path) -> Path:
    """Fetch a Debian package once, and return its unpacked folder. Raises PackageUnavailable."""
    return _cached(cache / name, ["apt-get", "download", name], "*.deb")


def npm_package(name: str, version: str, cache: Path) -> Path:
    """Fetch an npm package once, and return its unpacked folder. Raises PackageUnavailable."""
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
        # Moved when complete, so that a fetch that was cut off is repeated.
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
