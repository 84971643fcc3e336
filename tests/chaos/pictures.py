"""The pictures of a chaos run, each with content of its own, and the server that hands them out.

Knows nothing of the service but what it answers for each kind of picture.
"""

from __future__ import annotations

import io
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image, ImageDraw

from tools.demo.manifest import SAMPLES

HOST = "127.0.0.1"
#: Sides of a picture, in pixels; the service takes 201 and more.
SMALLEST, LARGEST = 201, 272
TOO_SMALL = 150


class Kind(StrEnum):
    """What is special about a picture."""

    GOOD = "good"
    BUSY_FIRST = "busy first"  #: its first request is turned away
    CUT = "cut"  #: whole at its beginning only
    MISSING = "missing"  #: its URL leads nowhere
    TEXT = "text"  #: no picture at all
    SMALL = "small"

    @property
    def fault(self) -> str | None:
        """The message with which it must fail; None for one that must succeed."""
        return {
            Kind.CUT: "INVALID_IMAGE_CONTENT",
            Kind.MISSING: "BROKEN_BASE64_OR_URL",
            Kind.TEXT: "NOT_SUPPORT_IMAGE",
            Kind.SMALL: "IMAGE_TOO_SMALL",
        }.get(self)

    @property
    def by_url(self) -> bool:
        """Whether it must come as a URL: its Base64 would be refused at once, or is the same."""
        return self not in (Kind.GOOD, Kind.CUT)


@dataclass(frozen=True)
class Picture:
    """A picture and what the server does when it is asked for it."""

    key: str
    kind: Kind
    data: bytes


@cache
def _bases() -> tuple[Image.Image, ...]:
    paths = sorted((SAMPLES / "products").iterdir())
    bases = []
    for path in paths:
        with Image.open(path) as image:
            bases.append(image.convert("RGB").resize((360, 360)))
    return tuple(bases)


def make_picture(key: str, kind: Kind, chance: random.Random) -> Picture:
    """Make a picture that no other is like: a piece of a sample, turned and coloured by chance."""
    base = chance.choice(_bases())
    left, top = chance.randrange(60), chance.randrange(60)
    piece = base.crop((left, top, 360 - chance.randrange(60), 360 - chance.randrange(60)))
    piece = piece.rotate(chance.choice((0, 90, 180, 270)))
    sides = (SMALLEST, LARGEST) if kind is not Kind.SMALL else (TOO_SMALL, TOO_SMALL)
    piece = piece.resize((chance.randint(*sides), chance.randint(*sides)))
    tint = Image.new("RGB", piece.size, tuple(chance.randrange(256) for _ in range(3)))
    piece = Image.blend(piece, tint, chance.uniform(0.05, 0.35))
    draw = ImageDraw.Draw(piece)
    for _ in range(6):
        x, y, side = chance.randrange(180), chance.randrange(180), chance.randrange(8, 40)
        colour = tuple(chance.randrange(256) for _ in range(3))
        draw.rectangle((x, y, x + side, y + side), fill=colour)
    buffer = io.BytesIO()
    if chance.random() < 0.2:
        piece.save(buffer, "PNG")
    else:
        piece.save(buffer, "JPEG", quality=chance.randint(75, 92))
    data = buffer.getvalue()
    if kind is Kind.CUT:
        data = data[: len(data) // 2]
    elif kind is Kind.TEXT:
        data = f"no picture, {key}".encode()
    return Picture(key, kind, data)


class PictureServer(ThreadingHTTPServer):
    """Serves pictures by key; counts the requests of each."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__((HOST, 0), _Handler)
        self._guard = threading.Lock()
        self._pictures: dict[str, Picture] = {}
        self._asked: dict[str, int] = {}

    def offer(self, picture: Picture) -> str:
        """Serve a picture from now on; return its URL."""
        with self._guard:
            self._pictures[picture.key] = picture
        return f"http://{HOST}:{self.server_address[1]}/{picture.key}"

    def forget(self) -> None:
        """Serve none of the pictures of before any more."""
        with self._guard:
            self._pictures.clear()
            self._asked.clear()

    def ask(self, key: str) -> tuple[Picture | None, int]:
        """Return the picture of a key, and how often it was asked for."""
        with self._guard:
            self._asked[key] = self._asked.get(key, 0) + 1
            return self._pictures.get(key), self._asked[key]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that was killed."""


class _Handler(BaseHTTPRequestHandler):
    server: PictureServer

    def do_GET(self) -> None:
        picture, times = self.server.ask(self.path.strip("/"))
        time.sleep(0.02)
        if picture is None or picture.kind is Kind.MISSING:
            self.send_error(404)
        elif picture.kind is Kind.BUSY_FIRST and times == 1:
            self.send_error(503)
        else:
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(len(picture.data)))
            self.end_headers()
            self.wfile.write(picture.data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


@contextmanager
def serve_pictures() -> Iterator[PictureServer]:
    """Run a picture server while the block runs."""
    with PictureServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
