"""Where the servers of a test run listen. Knows nothing of who starts them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Servers:
    """Where the servers of this test run listen, and the data directory of the embedded ones."""

    mongo_url: str
    redis_url: str
    data_dir: Path
