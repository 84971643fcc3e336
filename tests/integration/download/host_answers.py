"""What hosts send, and what becomes of it: a kind in a row, each with its examples.

The titles are those of the table in docs/what-is-accepted.md.
"""

from __future__ import annotations

import gzip
import zlib

from tests.integration.download.loopback import MAX_BYTES, answer

PICTURE = b"\xff\xd8\xff\xe0 the bytes of a picture"
PNG = b"\x89PNG\r\n\x1a\n the bytes of another"
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
IN_CHUNKS = b"\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(PICTURE), PICTURE)
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nX: y\r\n\r\n"


def bare_deflate(data: bytes) -> bytes:
    return zlib.compress(data)[2:-4]


def encoded(encoding: str, body: bytes = PICTURE) -> bytes:
    return answer(body, Content_Encoding=encoding)


#: By the kind: answers that give the picture.
TAKEN: dict[str, list[bytes]] = {
    "200 or 203": [answer(PICTURE), answer(PICTURE, "203 Non-Authoritative Information")],
    "up to ten interim answers (1xx but 101) before it": [
        b"HTTP/1.1 100 Continue\r\n\r\n" + answer(PICTURE),
        b"HTTP/1.1 102 Processing\r\n\r\n" + HINTS + answer(PICTURE),
        b"HTTP/1.1 199\r\n\r\n" + answer(PICTURE),
        HINTS * 10 + answer(PICTURE),
    ],
    "no length, a length twice, chunks": [
        OK + b"\r\n" + PICTURE,
        OK + b"Content-Length: %d\r\n" % len(PICTURE) * 2 + b"\r\n" + PICTURE,
        OK + CHUNKED + IN_CHUNKS,
        OK + b"transfer-encoding:Chunked \t\r\n" + IN_CHUNKS,
        OK + CHUNKED * 2 + IN_CHUNKS,
        OK + b"Transfer-Encoding: identity, chunked\r\n" + IN_CHUNKS,
    ],
    "a header line without a name, continued, with a carriage return in it, ended by a line feed": [
        OK + b": x\r\n" + CHUNKED + IN_CHUNKS,
        OK + b":x\r\n  y\r\n" + CHUNKED + IN_CHUNKS,
        OK + b"X: a\r\n b\r\n\t\r\n" + CHUNKED + IN_CHUNKS,
        OK + b"X: a\r\n https://x/y z: b\r\n" + CHUNKED + IN_CHUNKS,
        OK + b"X: a\rb\r\n" + CHUNKED + IN_CHUNKS,
        OK + b"X: a\r: b\r\r\n" + CHUNKED + IN_CHUNKS,
        (OK + b"X: a\r\n" + CHUNKED).replace(b"\r", b"") + IN_CHUNKS.replace(b"\r\n", b"\n", 1),
        OK + b"X: \xff\xfe\xcd\xbc\r\n" + CHUNKED + IN_CHUNKS,
    ],
    "`Content-Encoding` that encodes nothing": [
        encoded(name)
        for name in (
            *("", " ", ",", "identity", "none", "None", "binary", "8bit", "utf-8", "UTF-8 "),
            *("base64", "aws-chunked", "image/jpeg", "image/jpeg; q=1", "jpg", "*", "null", "?"),
            *("identity, binary", "aws-chunked,", "none,utf-8,none"),
        )
    ],
    "a plain picture that is called packed": [
        *map(encoded, ("gzip", "deflate", "br", "zstd", "compress", "gzip, gzip", "br,gzip")),
        encoded(", ".join(["gzip"] * 30)),
        OK + b"Content-Encoding: gzip\r\n" + CHUNKED + IN_CHUNKS,
        OK + b"Content-Encoding: br\r\nContent-Encoding: gzip\r\n" + CHUNKED + IN_CHUNKS,
    ],
    "gzip or deflate, asked for or not": [
        encoded("gzip", gzip.compress(PICTURE)),
        encoded("X-GZip ", gzip.compress(PICTURE)),
        encoded("gzip", gzip.compress(PICTURE[:5]) + gzip.compress(PICTURE[5:])),
        encoded("gzip", gzip.compress(PICTURE) + b"\0\0\0"),
        encoded("deflate", zlib.compress(PICTURE)),
        encoded("deflate", bare_deflate(PICTURE)),
        encoded("aws-chunked, gzip", gzip.compress(PICTURE)),
        encoded("gzip, identity,", gzip.compress(PICTURE)),
        OK + b"Transfer-Encoding: gzip\r\n\r\n" + gzip.compress(PICTURE),
        OK
        + b"Transfer-Encoding: gzip, chunked\r\n"
        + b"\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(gzip.compress(PICTURE)), gzip.compress(PICTURE)),
    ],
    "gzip that no header names": [
        answer(gzip.compress(PICTURE)),
        encoded("utf-8", gzip.compress(PICTURE)),
        encoded("deflate", gzip.compress(PICTURE)),
    ],
}

#: By the kind: answers after which another try is made.
FOR_NOW: dict[str, list[bytes]] = {
    "202, 408, 423, 425, 429, 430, 5xx but 501 and 505": [
        answer(PICTURE, f"{status} X")
        for status in (202, 408, 423, 425, 429, 430, 500, 502, 503, 504, 507, 520, 524, 598)
    ],
    "an answer that ends early": [
        b"",
        b"HTTP/1.1 200",
        OK + b"Content-Le",
        HINTS,
        OK + b"\r\n",
        OK + b"Content-Length: 100\r\n\r\n" + PICTURE,
        OK + CHUNKED + IN_CHUNKS[:-9],
    ],
    "what is no HTTP, or a head of more than 100 lines or 64 KiB a line": [
        b"SSH-2.0-x\r\n",
        b"HTTP/2 200 OK\r\n\r\n" + PICTURE,
        b"HTTP/1.1 20 OK\r\n\r\n" + PICTURE,
        b"\xa0HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n" + PICTURE,
        OK + b"X: y\r\n" * 100 + b"\r\n" + PICTURE,
        OK + b"X: " + b"y" * 65536 + b"\r\n\r\n" + PICTURE,
        OK + b"X: y\r\n" + b" y" * 40_000 + b"\r\n\r\n" + PICTURE,
    ],
}

#: By the kind: answers that are refused for good, and what the reason says.
REFUSED: dict[str, list[tuple[bytes, str]]] = {
    "any other status": [
        (answer(PICTURE, f"{status} X"), f"status {status}")
        for status in (101, 201, 204, 205, 206, 226, 300, 304, 305, 400, 401, 402, 403, 404)
    ]
    + [
        (answer(PICTURE, f"{status} X"), f"status {status}")
        for status in (405, 406, 407, 409, 410, 416, 418, 421, 451, 501, 505, 600, 999)
    ],
    "an eleventh interim answer": [
        (HINTS * 11 + answer(PICTURE), "more than 10 interim answers"),
        (b"HTTP/1.1 100 C\r\n\r\n" * 11 + answer(PICTURE), "more than 10 interim answers"),
    ],
    "a continued line that begins with a name and a colon": [
        (OK + b"Server: x\r\n" + line + b"\r\n" + IN_CHUNKS, "begins with a blank")
        for line in (
            *(b" Transfer-Encoding: chunked", b"\tTransfer-Encoding:chunked", b" X: y"),
            *(b"  \t Transfer-Encoding : chunked", b" \rX: y", b" \x0bX: y"),
        )
    ],
    "a header line without a colon, or with a blank before its colon": [
        (OK + line + b"\r\n" + CHUNKED + IN_CHUNKS, "has no colon behind its name")
        for line in (
            *(b"no colon", b"X", b"<html>", b"X : y", b"X\t: y", b"X Y: z", b" X: y"),
            *(b"From me", b"\xe5\x9b\xbe: x", b"X\0: y", b"X\x7f: y", b"X\r: y"),
        )
    ]
    + [
        (OK + CHUNKED + b"no colon\r\n" + IN_CHUNKS, "has no colon behind its name"),
        (HINTS + OK + b"no colon\r\n\r\n" + PICTURE, "has no colon behind its name"),
    ],
    "br, zstd, compress and other encodings that can't be undone": [
        (encoded(name, b"packed bytes"), f"encoding that can't be undone: {named}")
        for name, named in (
            *(("br", "br"), ("zstd", "zstd"), ("compress", "compress"), ("BR ", "br")),
            *(("x-compress", "x-compress"), ("aws-chunked, br", "br"), ("xz", "xz")),
        )
    ],
    "two encodings, one after another": [
        (encoded(name, gzip.compress(gzip.compress(PICTURE))), f"can't be undone: {named}")
        for name, named in (
            ("gzip, gzip", "gzip, gzip"),
            ("gzip,br", "gzip, br"),
            (", ".join(["gzip"] * 30), "gzip, gzip, gzip"),
            ("deflate, none, x-gzip", "deflate, x-gzip"),
        )
    ]
    + [
        (
            OK
            + b"Content-Encoding: gzip\r\nContent-Encoding: deflate\r\n\r\n"
            + gzip.compress(PICTURE),
            "can't be undone: gzip, deflate",
        ),
        (
            OK
            + b"Content-Encoding: deflate\r\nTransfer-Encoding: gzip\r\n\r\n"
            + gzip.compress(PICTURE),
            "can't be undone: deflate, gzip",
        ),
    ],
    "`Transfer-Encoding` that is not known": [
        (OK + b"Transfer-Encoding: %s\r\n" % name + IN_CHUNKS, f"can't be undone: {named}")
        for name, named in (
            *((b"xchunked", "xchunked"), (b"br, chunked", "br"), (b"chunked;a=b", "chunked;a=b")),
            (b'"chunked"', r"\?chunked\?"),
        )
    ],
    "what does not unpack, or unpacks to the limit": [
        (encoded("gzip", b"not packed at all"), "does not unpack as gzip"),
        (encoded("deflate", b"not packed at all"), "does not unpack as deflate"),
        (answer(gzip.compress(PICTURE)[:12] + b"xxxxxxxx"), "does not unpack as gzip"),
        (encoded("gzip", gzip.compress(bytes(MAX_BYTES))), "unpacks to"),
        (answer(gzip.compress(bytes(MAX_BYTES * 100))), "unpacks to"),
    ],
    "a chunk of less than nothing": [
        (OK + CHUNKED + b"\r\n%s\r\n" % size + PICTURE + rest, "no HTTP that can be read")
        for size in (b"-5", b"-1", b"-ffffffffffffffffffff")
        for rest in (b"", b"\r\n0\r\n\r\n")
    ],
    "`Content-Length` that is not one number": [
        (OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n" + PICTURE, ""),
        (OK + b"Content-Length: x\r\n\r\n" + PICTURE, "not one number"),
    ],
}
