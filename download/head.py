"""The head of an answer, read and cleaned before `http.client` parses it.

`http.client` skips only interim answers of status 100, any number of them, and its parser of
headers stops at a line that is no header: the lines behind it are lost, Transfer-Encoding among
them, and the framing of chunks would be taken for the picture.
"""

from __future__ import annotations

import re
from typing import IO

from contract import causes
from download.faults import TransientFetchError

#: Interim answers that are skipped; one more is refused. Servers send one or two.
INTERIM_LIMIT = 10
#: Bytes of a line, and lines of a head; more end the download. The limits of `http.client`.
LINE_BYTES_LIMIT = 65536
LINES_LIMIT = 100

#: As much of the first line as `http.client` reads, too.
_STATUS = re.compile(rb"HTTP/(?:0\.9|1\.\S*)\s+([1-9][0-9]{2})\s")
#: A name as the parser of `http.client` knows it, and its colon; the name may be missing.
_FIELD = re.compile(rb"[!-9;-~]*:")
#: What continues a line and begins like a header of its own, as one does that a server indents by
#: mistake. The beginning of a URL is no name.
_FOLDED_FIELD = re.compile(rb"\s+[!-9;-~]+\s*:(?!//)")
#: 101 is not among them: nothing may follow it, since no other protocol was asked for.
_INTERIM = re.compile(rb"10[02-9]|1[1-9][0-9]")


def read_head(stream: IO[bytes], host: str) -> bytes:
    """Read the head of the answer, behind any interim ones, and return it with clean lines.

    Continued lines are joined, a carriage return within a line is a blank (RFC 9112, 2.2), and
    blanks behind a value are dropped.

    Raises BrokenBase64OrUrl for too many interim answers, a line that is no header, or one that
    continues another and looks like a header; TransientFetchError if the head is no HTTP or too
    long, and ConnectionError if it is cut off.
    """
    for _ in range(INTERIM_LIMIT + 1):
        status = _line(stream, host)
        told = _STATUS.match(status)
        if told is None:
            raise TransientFetchError(causes.ANSWER_FOR_NOW.fault(host=host))
        fields = _fields(stream, host)
        if not _INTERIM.fullmatch(told[1]):
            lines = [status.rstrip(), *fields, b"", b""]
            return b"\r\n".join(lines)
    raise causes.INTERIM.fault(host=host, limit=INTERIM_LIMIT)


def _line(stream: IO[bytes], host: str) -> bytes:
    line = stream.readline(LINE_BYTES_LIMIT + 1)
    if len(line) > LINE_BYTES_LIMIT:
        raise TransientFetchError(causes.ANSWER_FOR_NOW.fault(host=host))
    if not line.endswith(b"\n"):
        raise ConnectionError("the head is cut off")
    return line


def _fields(stream: IO[bytes], host: str) -> list[bytes]:
    fields: list[bytes] = []
    for _ in range(LINES_LIMIT):
        line = _line(stream, host)
        if line in (b"\r\n", b"\n"):
            return fields
        text = line.rstrip().replace(b"\r", b" ")
        if not text:
            continue
        if text[:1] in b" \t" and fields:
            if _FOLDED_FIELD.match(text):
                raise causes.FOLDED_LINE.fault(host=host)
            fields[-1] += b" " + text.lstrip()
        elif _FIELD.match(text):
            fields.append(text)
        else:
            raise causes.HEADER_LINE.fault(host=host)
    raise TransientFetchError(causes.ANSWER_FOR_NOW.fault(host=host))
