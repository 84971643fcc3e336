"""Content encodings: what a body is packed with, decided by its first bytes, and undone in pieces.

Servers name encodings that encode nothing (binary, utf-8, aws-chunked, image/jpeg), and label plain
pictures as packed. urllib3 decodes by the header alone, so it is given no say.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from itertools import chain

from contract import causes

_GZIP = frozenset({"gzip", "x-gzip"})
_UNDONE = _GZIP | {"deflate"}
#: Those of IANA's registry and some others; each would need a decoder of its own.
_KNOWN = _UNDONE | {
    *("aes128gcm", "br", "brotli", "bzip2", "compress", "dcb", "dcz", "exi", "lz4", "lzma"),
    *("pack200-gzip", "sdch", "snappy", "x-bzip2", "x-compress", "x-lzma", "x-xz", "xz", "zstd"),
}
#: How picture files begin: JPEG, PNG, GIF, WebP, BMP, TIFF, and what HEIC and AVIF are in. Gzip
#: never begins so, and deflate by a rare chance. Not every one is accepted, but none is packed.
_PICTURE = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF.{4}WEBP|BM.{4}\0{4}|II\*\0|MM\0\*|.{4}ftyp",
    re.DOTALL,
)
#: As many bytes as decide.
_FIRST_BYTES = 12
_GZIP_BEGIN = b"\x1f\x8b"


def read_body(pieces: Iterable[bytes], encodings: str, host: str, limit: int) -> bytes:
    """Return the body that comes in `pieces`, unpacked if need be: fewer than `limit` bytes.

    `encodings` is the value of Content-Encoding, with that of Transfer-Encoding but chunked.

    Raises BrokenBase64OrUrl for an encoding that can't be undone, or a file that does not unpack
    or unpacks to the limit; ImageSizeExceedLimit if `limit` bytes came.
    """
    pieces = iter(pieces)
    first = b""
    for piece in pieces:
        first += piece
        if len(first) >= _FIRST_BYTES:
            break
    packed_with = _packing(encodings, first, host)
    unpacker = _Unpacker(packed_with, first) if packed_with else None
    body, received = bytearray(), 0
    for piece in chain((first,), pieces):
        received += len(piece)
        if received >= limit:
            raise causes.TOO_MANY_BYTES.fault(limit=limit)
        try:
            body += piece if unpacker is None else unpacker.unpack(piece, limit - len(body))
        except zlib.error as error:
            raise causes.PACKED.fault(host=host, encoding=packed_with) from error
        # Pictures hardly compress: a body this large is a decompression bomb, not a large file.
        if len(body) >= limit:
            raise causes.BOMB.fault(host=host, limit=limit)
    return bytes(body)


def _packing(encodings: str, first: bytes, host: str) -> str:
    """Return the encoding to undo, "" for a body that is to be taken as it is.

    Raises BrokenBase64OrUrl if the body can't be unpacked.
    """
    if _PICTURE.match(first):
        return ""
    names = [name.strip() for name in encodings.lower().split(",")]
    known = [name for name in names if name in _KNOWN]
    if len(known) > 1 or not _UNDONE.issuperset(known):
        raise causes.ENCODING.fault(host=host, encoding=", ".join(known)[:40])
    if first.startswith(_GZIP_BEGIN):
        return "gzip"
    return known[0] if known else ""


class _Unpacker:
    """Undoes gzip, of one member or several, or deflate, with or without its header."""

    def __init__(self, packed_with: str, first: bytes) -> None:
        if packed_with in _GZIP:
            self._window_bits = 16 + zlib.MAX_WBITS
        elif first[:1] and first[0] & 0x0F == 8 and int.from_bytes(first[:2], "big") % 31 == 0:
            self._window_bits = zlib.MAX_WBITS
        else:
            self._window_bits = -zlib.MAX_WBITS  # some servers send deflate without its header
        self._stream = zlib.decompressobj(self._window_bits)
        self._is_over = False

    def unpack(self, piece: bytes, limit: int) -> bytes:
        """Return what `piece` adds, at most `limit` bytes; what exceeds them is lost.

        Raises zlib.error if the piece does not unpack. What follows the end, and is no further
        member of gzip, is ignored.
        """
        unpacked = b""
        while piece and len(unpacked) < limit and not self._is_over:
            if self._stream.eof:
                if self._window_bits < 16 or not piece.startswith(_GZIP_BEGIN[:1]):
                    self._is_over = True
                    break
                self._stream = zlib.decompressobj(self._window_bits)
            unpacked += self._stream.decompress(piece, limit - len(unpacked))
            piece = self._stream.unused_data
        return unpacked
