"""Where the embedded servers of a data directory listen, for every process that shares it.

Whoever runs them writes the file; a worker that somebody
starts by hand on the same data directory finds them here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Endpoints:
    """Addresses of the embedded servers; empty where one is not embedded."""

    redis_url: str
    mongo_url: str


def _path(data_dir: Path) -> Path:
    return data_dir / "run" / "endpoints.json"


def read_endpoints(data_dir: Path) -> Endpoints | None:
    """Return the addresses written for `data_dir`, or None where no embedded server runs."""
    try:
        text = _path(data_dir).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return Endpoints(**json.loads(text))


def write_endpoints(data_dir: Path, endpoints: Endpoints) -> None:
    """Tell the other processes of `data_dir` where the embedded servers listen."""
    path = _path(data_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(asdict(endpoints)), encoding="utf-8")
    draft.replace(path)


def remove_endpoints(data_dir: Path) -> None:
    """Forget the addresses, when the embedded servers have stopped."""
    _path(data_dir).unlink(missing_ok=True)


@contextmanager
def announced(data_dir: Path, endpoints: Endpoints) -> Iterator[None]:
    """Tell the addresses as long as the context lasts."""
    write_endpoints(data_dir, endpoints)
    try:
        yield
    finally:
        remove_endpoints(data_dir)
