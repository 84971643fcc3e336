"""Hostile servers: redirects inward, answers without end, lengths that lie, bombs."""

from __future__ import annotations

import gzip
import socket
import struct
import time
import zlib
from collections.abc import Callable

from tests.integration.download.hostile_world import (
    ENDLESS_SECONDS,
    FORBIDDEN,
    MAX_BYTES,
    PUBLIC,
    Hostile,
    Talk,
    World,
)

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
#: A public URL, for rows in which only the server is hostile.
URL = "http://public.test:PORT/"


def says(data: bytes) -> Talk:
    """Return a talk that sends these bytes."""

    def talk(world: World, connection: socket.socket, request: bytes) -> None:
        connection.sendall(data)

    return talk


def endless(begin: bytes, drop: bytes, gap: float = 0.0) -> Talk:
    """Send `begin`, and `drop` each `gap` seconds until the row is over."""

    def talk(world: World, connection: socket.socket, request: bytes) -> None:
        connection.sendall(begin)
        until = time.monotonic() + ENDLESS_SECONDS
        while time.monotonic() < until and not world.stopping.wait(gap):
            connection.sendall(drop)

    return talk


def stalls(data: bytes) -> Talk:
    """Send `data` and then nothing, with the connection open."""

    def talk(world: World, connection: socket.socket, request: bytes) -> None:
        connection.sendall(data)
        world.stopping.wait(ENDLESS_SECONDS)

    return talk


def resets(data: bytes) -> Talk:
    """Return a talk that sends these bytes, then resets the connection."""

    def talk(world: World, connection: socket.socket, request: bytes) -> None:
        connection.sendall(data)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return talk


def head(status: int, **headers: str) -> bytes:
    """Return the head of an HTTP answer without a body; an underscore stands for a hyphen."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} X\r\n{lines}Content-Length: 0\r\n\r\n".encode("utf-8", "replace")


def moved(*locations: str, status: int = 302) -> Talk:
    """Redirect / to the first location, /1 to the second, and so on; the last one stays.

    By the path and not by count: a pass that is cut off must not shorten the next one's way.
    """

    def talk(world: World, connection: socket.socket, request: bytes) -> None:
        step = request.split(b" ")[1].strip(b"/")
        location = locations[min(int(step) if step.isdigit() else 0, len(locations) - 1)]
        connection.sendall(head(status, Location=world.fill(location)))

    return talk


def slowly(talk: Talk, seconds: float) -> Talk:
    """Return a talk that waits before it says what another says."""

    def later(world: World, connection: socket.socket, request: bytes) -> None:
        world.stopping.wait(seconds)
        talk(world, connection, request)

    return later


def lures(status: int, header: str) -> Talk:
    """Return a talk that names the trap in a header which must not be followed."""

    def talk(world: World, connection: socket.socket, request: bytes) -> None:
        place = world.fill(f"http://{PUBLIC}:TRAP/")
        value = {"Refresh": f"0; url={place}", "Alt_Svc": f'h2="{PUBLIC}:{world.trap}"'}
        connection.sendall(head(status, **{header: value.get(header, place)}))

    return talk


def two_places(*ports: str) -> Talk:
    """Return a talk that redirects to several places at once."""

    def talk(world: World, connection: socket.socket, request: bytes) -> None:
        lines = "".join(world.fill(f"Location: http://{PUBLIC}:{port}/\r\n") for port in ports)
        connection.sendall(f"HTTP/1.1 302 X\r\n{lines}\r\n".encode())

    return talk


def inflated(pack: Callable[[bytes], bytes], megabytes: int) -> bytes:
    """Return so many megabytes of zeros, packed."""
    return pack(bytes(megabytes * 2**20))


def packed(encoding: str, body: bytes) -> Talk:
    """Return a talk that sends a body which is called compressed."""
    assert len(body) < MAX_BYTES
    length = f"Content-Encoding: {encoding}\r\nContent-Length: {len(body)}\r\n\r\n"
    return says(OK + length.encode() + body)


INWARD = {
    "dotted": f"http://{FORBIDDEN}:PORT/",
    "without a scheme": f"//{FORBIDDEN}:PORT/",
    "decimal": "http://2130706434:PORT/",
    "hexadecimal": "http://0x7f000002:PORT/",
    "short": "http://127.2:PORT/",
    "full-width": "http://１２７.0.0.2:PORT/",
    "mapped": "http://[::ffff:127.0.0.2]:PORT/",
    "IPv6 loopback": "http://[::1]:PORT/",
    "NAT64": "http://[64:ff9b::127.0.0.2]:PORT/",
    "metadata": "http://169.254.169.254/latest/meta-data/",
    "https": f"https://{FORBIDDEN}:PORT/",
    "a name": "http://in.test:PORT/",
    "a name of two answers": "http://two.test:PORT/",
    "a user": f"http://user@{PUBLIC}:TRAP/",
    "a public host as the user": f"http://public.test@{PUBLIC}:TRAP/",
    "a backslash": f"http://{PUBLIC}:TRAP\\@public.test/",
    "backslashes alone": f"\\\\{PUBLIC}:TRAP\\",
    "a forbidden address with blanks around": f" \t http://{FORBIDDEN}:PORT/ x \t",
    "a space in the host": f"http://public.test {PUBLIC}:TRAP/",
    "a tab": f"http://{PUBLIC}:TRAP/\tx",
    "a scheme without slashes": f"ftp:{PUBLIC}:TRAP/",
    "a forbidden address behind dots": f"/..//../\\{FORBIDDEN}:PORT/",
    "a control character": f"http://{PUBLIC}:TRAP/\x7f",
    "another port": f"http://{PUBLIC}:OTHER/",
    "another port of a name": "http://public.test:OTHER/",
    "ftp": f"ftp://{PUBLIC}:TRAP/",
    "gopher": f"gopher://{PUBLIC}:TRAP/_x",
    "dict": f"dict://{PUBLIC}:TRAP/x",
    "file": "file:///etc/passwd",
    "data": "data:image/png;base64,iVBORw0KGgo=",
    "javascript": "javascript:alert(1)",
    "no URL at all": "http://[::1",
    "sixty thousand characters": f"http://{PUBLIC}:TRAP/" + "a" * 60_000,
}
INSIDE_NAMES = {"in.test": [[FORBIDDEN]], "two.test": [[PUBLIC, FORBIDDEN]]}

REDIRECTS: dict[str, Hostile] = {
    **{
        f"redirect {status}: inward": Hostile(
            URL, moved(f"http://{FORBIDDEN}:PORT/", status=status)
        )
        for status in (301, 302, 303, 307, 308)
    },
    **{
        f"redirect to {title}": Hostile(URL, moved(location), INSIDE_NAMES)
        for title, location in INWARD.items()
    },
    "redirect: the fifth of five goes inward": Hostile(
        URL, moved("/1", "http://b.test:PORT/2", "/3", "/4", f"//{FORBIDDEN}:PORT/")
    ),
    "redirect: a sixth, to the trap": Hostile(
        URL, moved("/1", "/2", "/3", "/4", "/5", f"http://{PUBLIC}:TRAP/")
    ),
    "redirect: two places, the first to the trap": Hostile(URL, two_places("TRAP", "PORT")),
    "redirect: two places, the second to the trap": Hostile(URL, two_places("PORT", "TRAP")),
    "redirect: a raw forbidden host with GBK behind it": Hostile(
        URL, says(f"HTTP/1.1 302 X\r\nLocation: //{FORBIDDEN}/".encode() + b"\xcd\xbc\r\n\r\n")
    ),
    "redirect: a backslash that GBK hides": Hostile(
        URL, says(b"HTTP/1.1 302 X\r\nLocation: http://\x81\\@127.0.0.2/\r\n\r\n")
    ),
    "redirect: to itself for ever": Hostile(URL, moved("/")),
    "redirect: two names in turn for ever": Hostile(
        URL, moved(*(f"http://{'ab'[n % 2]}.test:PORT/{n + 1}" for n in range(16)))
    ),
    "redirect: slow ones for ever": Hostile(URL, slowly(moved("/"), 0.3)),
    "redirect: nowhere": Hostile(URL, says(head(302))),
    "redirect: an empty Location": Hostile(URL, moved("")),
    "redirect: bytes that are no text": Hostile(
        URL, says(b"HTTP/1.1 302 X\r\nLocation: http://\xff\xfe/\r\n\r\n")
    ),
    "redirect: https to http": Hostile(
        "https://public.test:PORT/", moved(f"http://{PUBLIC}:TRAP/"), meets="tls"
    ),
    "redirect: https to http by way of https": Hostile(
        "https://public.test:PORT/", moved("/1", f"http://{PUBLIC}:TRAP/"), meets="tls"
    ),
    "redirect: a second look-up of the same name goes inward": Hostile(
        "http://flip.test:PORT/", moved("/again"), {"flip.test": [[PUBLIC], [FORBIDDEN]]}
    ),
    "rebinding: the look-up of the next pass goes inward": Hostile(
        "http://flip.test:PORT/", says(head(503)), {"flip.test": [[PUBLIC], [FORBIDDEN]]}
    ),
    "rebinding: every further look-up goes inward": Hostile(
        "http://flip.test:PORT/", says(head(404)), {"flip.test": [[PUBLIC], [FORBIDDEN]]}
    ),
}
#: Status lines and headers that ask a generous client to go elsewhere.
LURES = {
    "201 with a Location": (201, "Location"),
    "300 with a Location": (300, "Location"),
    "304 with a Location": (304, "Location"),
    "305 asks for a proxy": (305, "Location"),
    "306 with a Location": (306, "Location"),
    "a Refresh": (404, "Refresh"),
    "an Alt-Svc": (421, "Alt_Svc"),
    "a Content-Location": (404, "Content_Location"),
}
HEADERS = {
    "nothing at all": stalls(b""),
    "status line by the byte": endless(b"HTTP/1.1 2", b"0", 0.05),
    "headers without end, slow": endless(OK, b"X: y\r\n", 0.05),
    "headers without end, fast": endless(OK, b"X: y\r\n" * 1000),
    "one header without end, slow": endless(OK + b"X: ", b"y", 0.05),
    "one header without end, fast": endless(OK + b"X: ", b"y" * 65536),
    "two hundred headers": says(OK + b"X: y\r\n" * 200 + b"\r\nx"),
    "a header of 70,000 bytes": says(OK + b"X: " + b"y" * 70_000 + b"\r\n\r\nx"),
    "a status line of 70,000 bytes": says(b"HTTP/1.1 200 " + b"y" * 70_000 + b"\r\n\r\nx"),
    "100 Continue without end, fast": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 500),
    "100 Continue without end, slow": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.05),
    "100 Continue with headers without end": endless(b"HTTP/1.1 100 C\r\n", b"X: y\r\n" * 1000),
    "103 Early Hints without end": endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", 0.01),
    "eleven interim answers, then a picture": says(
        b"HTTP/1.1 103 X\r\n\r\n" * 11 + OK + b"Content-Length: 3\r\n\r\n\xff\xd8\xff"
    ),
    "interim answers with headers without end": endless(
        b"HTTP/1.1 103 X\r\n", b"Link: y\r\n" * 1000
    ),
    "a header without a colon hides chunks": says(
        OK + b"no colon\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxxx\r\n0\r\n\r\n"
    ),
    "a blank before the first header hides chunks": says(
        OK + b" Transfer-Encoding: chunked\r\n\r\n3\r\nxxx\r\n0\r\n\r\n"
    ),
    "chunks by another name": says(
        OK + b"Transfer-Encoding: xchunked\r\n\r\n3\r\nxxx\r\n0\r\n\r\n"
    ),
    "101 to another protocol": stalls(b"HTTP/1.1 101 X\r\nUpgrade: h2c\r\n\r\n"),
    "closed in the headers": says(OK + b"Content-Le"),
    "reset in the headers": resets(OK + b"Content-Le"),
    "another protocol": says(b"SSH-2.0-x\r\n"),
    "the answer of a Redis": says(b"-ERR unknown command\r\n"),
    "no status": says(b"HTTP/1.1 OK\r\n\r\nx"),
    "a status of four digits": says(b"HTTP/1.1 2000 OK\r\n\r\nx"),
    "a status that asks for a password": says(head(401, WWW_Authenticate="Basic realm=x")),
    "a status that asks for a proxy's password": says(head(407, Proxy_Authenticate="Basic")),
    "busy for ever": says(head(503, Retry_After="999999999")),
    "204": says(head(204)),
    "206": says(b"HTTP/1.1 206 X\r\nContent-Range: bytes 0-0/9\r\nContent-Length: 1\r\n\r\nx"),
    "200 without a body": says(OK + b"\r\n"),
}
BODIES = {
    "by the byte, with a length": endless(OK + b"Content-Length: 5000\r\n\r\n", b"x", 0.05),
    "by the byte, without a length": endless(OK + b"\r\n", b"x", 0.05),
    "by the byte, in chunks": endless(CHUNKED, b"1\r\nx\r\n", 0.05),
    "by the byte, packed": endless(OK + b"Content-Encoding: gzip\r\n\r\n", b"\x1f", 0.05),
    "a piece, then nothing": stalls(OK + b"Content-Length: 5000\r\n\r\nxxx"),
    "length too large": says(OK + b"Content-Length: 5000\r\n\r\nxxx"),
    "length too large, reset": resets(OK + b"Content-Length: 5000\r\n\r\nxxx"),
    "length negative": says(OK + b"Content-Length: -1\r\n\r\nxxx"),
    "length negative, without end": endless(OK + b"Content-Length: -1\r\n\r\n", b"x" * 65536),
    "length no number": says(OK + b"Content-Length: 0x3\r\n\r\nxxx"),
    "length with a sign": says(OK + b"Content-Length: +3\r\n\r\nxxx"),
    "length empty": says(OK + b"Content-Length: \r\n\r\nxxx"),
    "length twice, and different": says(OK + b"Content-Length: 3\r\nContent-Length: 9\r\n\r\nxxx"),
    "two lengths in one": says(OK + b"Content-Length: 3, 9\r\n\r\nxxx"),
    "chunks without an end": says(CHUNKED + b"3\r\nxxx\r\n"),
    "a chunk cut off": says(CHUNKED + b"30\r\nxxx"),
    "a chunk of 2**64 bytes": stalls(CHUNKED + b"FFFFFFFFFFFFFFFF\r\nxxx"),
    "a chunk of less than nothing": says(CHUNKED + b"-1\r\nxxx\r\n0\r\n\r\n"),
    "a chunk of no number": says(CHUNKED + b"xyz\r\nxxx\r\n0\r\n\r\n"),
    "a chunk's line without end": endless(CHUNKED, b"0" * 65536),
    "a chunk's extension without end": endless(CHUNKED + b"1;a=", b"b" * 65536),
    "trailers without end": endless(CHUNKED + b"1\r\nx\r\n0\r\n", b"X: y\r\n" * 1000),
    "a trailer without end": endless(CHUNKED + b"1\r\nx\r\n0\r\nX: ", b"y" * 65536),
}
BOMBS = {
    "gzip": packed("gzip", inflated(gzip.compress, 64)),
    "x-gzip": packed("x-gzip", inflated(gzip.compress, 64)),
    "deflate": packed("deflate", inflated(zlib.compress, 64)),
    "bare deflate": packed("deflate", inflated(zlib.compress, 64)[2:-4]),
    "gzip, just over the limit": packed("gzip", gzip.compress(bytes(MAX_BYTES))),
    "gzip twice": packed("gzip, gzip", gzip.compress(inflated(gzip.compress, 64))),
    "gzip thirty times": packed(", ".join(["gzip"] * 30), gzip.compress(b"x")),
    "br": packed("br", b"\x8b" * 100),
    "zstd": packed("zstd", b"\x28\xb5\x2f\xfd" * 25),
    "compress": packed("compress", b"\x1f\x9d" * 50),
    "gzip that is none": packed("gzip", b"no gzip"),
    "gzip, called plain": packed("utf-8", inflated(gzip.compress, 64)),
    "gzip, called deflate": packed("deflate", inflated(gzip.compress, 64)),
    "gzip, called for the transfer": says(
        OK + b"Transfer-Encoding: gzip\r\n\r\n" + inflated(gzip.compress, 64)
    ),
    "gzip for the content and the transfer": says(
        OK + b"Content-Encoding: gzip\r\nTransfer-Encoding: gzip\r\n\r\n" + gzip.compress(b"x")
    ),
    "many gzip members": packed("gzip", gzip.compress(b"") * 5000 + inflated(gzip.compress, 64)),
    "gzip in chunks": says(
        OK
        + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"%x\r\n" % len(inflated(gzip.compress, 64))
        + inflated(gzip.compress, 64)
        + b"\r\n0\r\n\r\n"
    ),
}
TLS = {
    "no handshake": Hostile("https://public.test:PORT/", stalls(b""), meets="raw"),
    "half a handshake": Hostile(
        "https://public.test:PORT/", stalls(b"\x16\x03\x03\x40\x00\x02"), meets="raw"
    ),
    "a handshake by the byte": Hostile(
        "https://public.test:PORT/", endless(b"\x16\x03\x03\x40\x00", b"\x02", 0.05), meets="raw"
    ),
    "no TLS at all": Hostile("https://public.test:PORT/", says(head(200)), meets="raw"),
    "closed in the handshake": Hostile("https://public.test:PORT/", says(b""), meets="raw"),
    "a certificate of an unknown issuer": Hostile(
        "https://public.test:PORT/", says(head(200)), meets="tls", trusted=False
    ),
    "a certificate of another name": Hostile(
        "https://other.test:PORT/", says(head(200)), meets="tls"
    ),
    "a certificate of no address": Hostile(f"https://{PUBLIC}:PORT/", says(head(200)), meets="tls"),
    "a body by the byte": Hostile(
        "https://public.test:PORT/", endless(OK + b"\r\n", b"x", 0.05), meets="tls"
    ),
}

SERVERS: dict[str, Hostile] = {
    **REDIRECTS,
    **{f"lure: {title}": Hostile(URL, lures(*lure)) for title, lure in LURES.items()},
    **{f"headers: {title}": Hostile(URL, talk) for title, talk in HEADERS.items()},
    **{f"body: {title}": Hostile(URL, talk) for title, talk in BODIES.items()},
    "body: one byte a second": Hostile(URL, endless(OK + b"\r\n", b"x", 1.0), deadline=1.5),
    **{f"bomb: {title}": Hostile(URL, talk) for title, talk in BOMBS.items()},
    "connection: accepted, then nothing": Hostile(URL, stalls(b""), meets="raw"),
    "connection: closed at once": Hostile(URL, says(b""), meets="raw"),
    "connection: reset at once": Hostile(URL, resets(b""), meets="raw"),
    "connection: an answer before the request": Hostile(
        URL, resets(b"HTTP/1.1 404 X\r\n\r\n"), meets="raw"
    ),
    **{f"TLS: {title}": row for title, row in TLS.items()},
    **{
        f"looks inward: {mark}": Hostile(
            f"http://public.test:PORT{mark}@{FORBIDDEN}:PORT/", says(head(404))
        )
        for mark in ("/", "?", "#")
    },
}
#: A body that is no more than large has the contract's own code, 3056.
OVERSIZED: dict[str, Hostile] = {
    "length huge": Hostile(URL, stalls(OK + b"Content-Length: 99999999999999\r\n\r\n")),
    "length absurd": Hostile(URL, says(OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nx")),
    "body without end, without a length": Hostile(URL, endless(OK + b"\r\n", bytes(65536))),
    "body without end, in chunks": Hostile(
        URL, endless(CHUNKED, b"1000\r\n" + bytes(4096) + b"\r\n")
    ),
    "body without end, in chunks of one byte": Hostile(
        URL, endless(CHUNKED, b"1\r\nx\r\n" * 4096), deadline=5.0
    ),
    "body at the limit": Hostile(URL, says(OK + b"\r\n" + bytes(MAX_BYTES))),
}
