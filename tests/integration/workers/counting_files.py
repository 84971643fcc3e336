"""A server of small files on loopback that counts what it was asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.loopback_host import Answer, gives, host


@contextmanager
def serving() -> Iterator[tuple[str, list[str]]]:
    """Yield the address of the server, and the paths that it was asked for.

    It answers the status with which a path begins.
    """
    asked: list[str] = []

    def answer(path: str) -> Answer:
        asked.append(f"/{path}")
        return gives(int(path.split("-")[0]), f"bytes of /{path}".encode())

    with host(answer) as address:
        yield address, asked
