"""The cookies of one download, which some hosts set before they redirect to the picture.

They go back to the host that set them and are forgotten with the download: docs/security.md has
the reasons. `http.cookiejar` would share them among the hosts of a domain, without a bound.
"""

from __future__ import annotations

import email.utils
import time
from collections.abc import Iterable
from dataclasses import dataclass

from download.address import Target

#: Characters of the names and values of all cookies; those beyond are not kept.
CHARACTERS_LIMIT = 4096


@dataclass(frozen=True)
class _Cookie:
    value: str
    #: The URL that set it.
    setter: Target
    path: str

    def goes_to(self, target: Target) -> bool:
        """Return whether the cookie may go with a request.

        Only to the scheme, host and port that set it, or from http to https of that host. One that
        came over https goes over https alone, so nothing else is asked of a secure one.
        """
        if self.setter.host != target.host:
            return False
        if self.setter.scheme == target.scheme:
            if self.setter.port != target.port:
                return False
        elif target.scheme != "https":
            return False
        asked = target.path.partition("?")[0]
        return asked == self.path or asked.startswith(self.path.removesuffix("/") + "/")


class Cookies:
    """The cookies that the hosts of one download have set so far."""

    def __init__(self) -> None:
        #: By the host that set the cookie, and its name.
        self._cookies: dict[tuple[str, str], _Cookie] = {}

    def take(self, target: Target, lines: Iterable[str]) -> None:
        """Keep the cookies of the Set-Cookie lines of an answer to `target`.

        One that is for another host, over http and secure, has expired or is too long is dropped.
        """
        for line in lines:
            pair, *rest = line.split(";")
            name, _, value = (part.strip() for part in pair.partition("="))
            attributes = {
                key.strip().lower(): attribute.strip()
                for key, _, attribute in (part.partition("=") for part in rest)
            }
            self._cookies.pop((target.host, name), None)
            cookie = _Cookie(value, target, _path(attributes.get("path", ""), target))
            if _is_kept(name, cookie, attributes) and self._has_room(name + value):
                self._cookies[target.host, name] = cookie

    def header(self, target: Target) -> str:
        """Return the value of the Cookie header for a request, "" if none goes with it."""
        return "; ".join(
            f"{name}={cookie.value}"
            for (_, name), cookie in self._cookies.items()
            if cookie.goes_to(target)
        )

    def _has_room(self, text: str) -> bool:
        kept = sum(len(name) + len(cookie.value) for (_, name), cookie in self._cookies.items())
        return kept + len(text) <= CHARACTERS_LIMIT


def _path(attribute: str, target: Target) -> str:
    """Return the path that a cookie is for; the folder of the URL if it names none."""
    if attribute.startswith("/"):
        return attribute
    return target.path.partition("?")[0].rpartition("/")[0] or "/"


def _is_kept(name: str, cookie: _Cookie, attributes: dict[str, str]) -> bool:
    """Return whether a cookie may stand in a header, is for its own host, and has not expired."""
    text = name + cookie.value
    if not name or not (text.isascii() and text.isprintable()):
        return False
    if "secure" in attributes and cookie.setter.scheme != "https":
        return False
    domain = attributes.get("domain", "").lower().removeprefix(".")
    if domain and not f".{cookie.setter.host}".endswith(f".{domain}"):
        return False
    if "max-age" in attributes:
        return attributes["max-age"].isdecimal() and attributes["max-age"].strip("0") != ""
    try:
        return email.utils.parsedate_to_datetime(attributes["expires"]).timestamp() > time.time()
    except (KeyError, ValueError, OverflowError):
        return True
