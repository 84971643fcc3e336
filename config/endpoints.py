"""The addresses of a data directory's embedded servers, in a file for all its processes.

The process that runs the servers writes the file; a worker started by hand on the same data
directory reads it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Endpoints:
    """URLs of the embedded servers; empty for one that is not embedded."""

    redis_url: str
    mongo_url: str


def _path(data_dir: Path) -> Path:
    return data_dir / "run" / "endpoints.json"


def read_endpoints(data_dir: Path) -> Endpoints | None:
    """Return the addresses written for `data_dir`, or None if no embedded server runs."""
    try:
        text = _path(data_dir).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return Endpoints(**json.loads(text))


def write_endpoints(data_dir: Path, endpoints: Endpoints) -> None:
    """Write the addresses for the other processes of `data_dir`; replaces the file atomically."""
    path = _path(data_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(asdict(endpoints)), encoding="utf-8")
    draft.replace(path)


def remove_endpoints(data_dir: Path) -> None:
    """Remove the addresses, after the embedded servers have stopped."""
    _path(data_dir).unlink(missing_ok=True)


@contextmanager
def announced(data_dir: Path, endpoints: Endpoints) -> Iterator[None]:
    """Keep the addresses on file while the context lasts."""
    write_endpoints(data_dir, endpoints)
    try:
        yield
    finally:
        remove_endpoints(data_dir)
