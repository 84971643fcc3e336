"""The sentence that a client is told of a fault: what is wrong, and what would do.

Sentences stand in `contract.errors`, `contract.causes` and `app.http.envelope.SystemCode`; this
module fills in the limits that hold, and says what was sent without repeating it at length.
"""

from __future__ import annotations

from typing import Any

from catalog.rows.collections import MOST_COLLECTIONS
from catalog.rows.products import MOST_IMAGES
from config.settings import Settings
from contract.errors import ContractError

#: By HTTP status, where the fault itself says no more.
HTTP_SENTENCES = {
    400: "the request can't be read; send a POST with a JSON object",
    404: "no such path; operations are listed at /openapi.json",
    405: "the path takes {allowed} alone",
    413: "the body may have {body_bytes} bytes; send fewer images in a call, or smaller ones",
    415: "send Content-Type: application/json",
}

#: What a limit of 0 stands for, where that is not any number.
CEILINGS = {"images_per_product": MOST_IMAGES, "collections_per_user": MOST_COLLECTIONS}

#: Most characters of what was sent that a sentence repeats.
ECHO_CHARACTERS = 64


def detail_of(fault: ContractError | type[ContractError], settings: Settings) -> str:
    """Return what a client is told of a fault: its own detail, or the sentence of its class."""
    return fault.detail or fault.sentence.format_map(_Limits(settings))


def told(fault: ContractError | type[ContractError], settings: Settings) -> dict[str, str]:
    """Return the fields of an item in failed_list that say why it is there."""
    return {"message": fault.message, "detail": detail_of(fault, settings)}


def echo(text: str) -> str:
    """Return the beginning of what was sent, with anything that is not printable replaced."""
    shown = "".join(c if c.isprintable() and not "\ud800" <= c <= "\udfff" else "?" for c in text)
    return shown if len(shown) <= ECHO_CHARACTERS else f"{shown[: ECHO_CHARACTERS - 3]}..."


def kind_of(value: Any) -> str:
    """Return what a value of JSON is, in words; of its content only a short number is told."""
    if value is None:
        return "missing or null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return echo(str(value))
    if isinstance(value, str):
        many = f"a string of {len(value)} characters" if len(value) > 1 else "one character"
        return many if value else "an empty string"
    return "a list" if isinstance(value, list) else "an object"


class _Limits(dict[str, Any]):
    """The settings as words of a sentence; 0 stands for no limit, or for what there is room for."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings

    def __missing__(self, name: str) -> str:
        value = getattr(self._settings, name)
        if isinstance(value, tuple):
            return ", ".join(value)
        return str(value or CEILINGS.get(name, "any number of"))
