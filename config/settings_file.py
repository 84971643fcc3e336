"""Read the file of settings: lines such as SNAPSKU_PORT=8000.

Values are taken as they stand: a `$` is itself, since passwords contain it.
"""

from __future__ import annotations

import codecs
import io
from pathlib import Path

from dotenv.parser import parse_stream

#: What a file begins with that an editor saved as UTF-16.
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_settings_file(path: Path) -> dict[str, str]:
    """Return the names in upper case and the values of the file `path`; {} if there is none.

    Of two lines with the same name the later one counts. Raises ValueError, with one line, if the
    file can't be read, is not UTF-8, or has a line that is no NAME=VALUE.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ValueError(
            f"{path} can't be read ({error.strerror}); give it to the user of the service"
        ) from error
    values = {}
    for line in parse_stream(io.StringIO(_decoded(path, content))):
        number = line.original.line
        if line.error or (line.key is not None and line.value is None):
            raise ValueError(
                f"line {number} of {path} is not NAME=VALUE; mend it, or begin it with #"
            )
        if line.key is not None and line.value is not None:
            values[line.key.upper()] = line.value
    return values


def _decoded(path: Path, content: bytes) -> str:
    if content.startswith(_UTF_16) or b"\0" in content:
        raise ValueError(f"{path} is UTF-16 or no text; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path} is not UTF-8, from line {number} on; save it as UTF-8") from error
