"""The signature of a request, as existing clients make it: JDCLOUD2- and JDCLOUD3-HMAC-SHA256.

Pure functions of a request and a secret: no framework, no database, no clock. The form is the
section "Signature" of the wire contract; it differs from what object stores use in the names
alone.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, unquote_to_bytes

DATE_HEADER = "x-jdcloud-date"
NONCE_HEADER = "x-jdcloud-nonce"

#: What must be signed, besides whatever else a client signs.
SIGNED_ALWAYS = frozenset({DATE_HEADER, NONCE_HEADER})

#: By algorithm: what stands before the secret, and what ends the scope of a credential.
ALGORITHMS = {
    "JDCLOUD2-HMAC-SHA256": (b"JDCLOUD2", "jdcloud2_request"),
    "JDCLOUD3-HMAC-SHA256": (b"JDCLOUD3", "jdcloud3_request"),
}

_DATE = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_UNRESERVED = "-_.~"


class AuthorizationError(Exception):
    """The header says nothing that could be a signature of these algorithms."""


class SignatureError(Exception):
    """The signature is not one of this request; the text is for the log alone."""


@dataclass(frozen=True)
class Authorization:
    """The header Authorization, taken apart; nothing in it was verified."""

    algorithm: str
    access_key: str
    date: str
    region: str
    service: str
    terminator: str
    signed_headers: tuple[str, ...]  #: in lower case, sorted
    signature: str

    @property
    def scope(self) -> str:
        """What the signing key is good for."""
        return f"{self.date}/{self.region}/{self.service}/{self.terminator}"


@dataclass(frozen=True)
class Request:
    """A request as it came over the wire; the names of `headers` are in lower case."""

    method: str
    target: bytes  #: path and query, as raw as they were sent
    headers: Mapping[str, bytes]
    body_digest: str  #: SHA-256 of the body, in lower-case hex


def parse_authorization(text: str) -> Authorization:
    """Take the header apart; raises AuthorizationError where it is not of the form."""
    algorithm, _, rest = text.strip().partition(" ")
    if algorithm not in ALGORITHMS:
        raise AuthorizationError("no algorithm that is known")
    parts: dict[str, str] = {}
    for part in rest.split(","):
        name, separator, value = part.strip().partition("=")
        if not separator or not value or name in parts:
            raise AuthorizationError("not a list of names and values")
        parts[name] = value
    if parts.keys() != {"Credential", "SignedHeaders", "Signature"}:
        raise AuthorizationError("a part is missing, or unknown")
    credential = parts["Credential"].split("/")
    if len(credential) != 5 or not all(credential):
        raise AuthorizationError("the credential has not five parts")
    access_key, date, region, service, terminator = credential
    return Authorization(
        algorithm,
        access_key,
        date,
        region,
        service,
        terminator,
        signed_headers=tuple(sorted(parts["SignedHeaders"].lower().split(";"))),
        signature=parts["Signature"],
    )


def parse_date(text: str) -> datetime:
    """Read the value of x-jdcloud-date, such as 20190214T104514Z; raises ValueError."""
    if not _DATE.fullmatch(text):
        raise ValueError("not YYYYMMDDTHHMMSSZ")
    return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def canonical_request(request: Request, signed_headers: tuple[str, ...]) -> bytes:
    """Return the bytes that stand for a request. Raises SignatureError if a header is missing."""
    path, _, query = request.target.partition(b"?")
    missing = [name for name in signed_headers if name not in request.headers]
    if missing:
        raise SignatureError("a signed header was not sent")
    lines = [
        request.method.encode(),
        quote(unquote_to_bytes(path), safe=f"/{_UNRESERVED}").encode(),
        _canonical_query(query),
        *(name.encode() + b":" + request.headers[name].strip() for name in signed_headers),
        b"",
        ";".join(signed_headers).encode(),
        request.body_digest.encode(),
    ]
    return b"\n".join(lines)


def _canonical_query(query: bytes) -> bytes:
    if not query:
        return b""
    pairs = []
    for piece in query.split(b"&"):
        name, _, value = piece.partition(b"=")
        pairs.append((_encoded(name), _encoded(value)))
    return b"&".join(name + b"=" + value for name, value in sorted(pairs))


def _encoded(part: bytes) -> bytes:
    # A plus is a space to whoever reads the query afterwards, so it must be one here.
    return quote(unquote_to_bytes(part.replace(b"+", b" ")), safe=_UNRESERVED).encode()


def string_to_sign(authorization: Authorization, date: str, canonical: bytes) -> bytes:
    """Return what is signed in the end; `date` is the value of x-jdcloud-date."""
    digest = hashlib.sha256(canonical).hexdigest()
    return "\n".join([authorization.algorithm, date, authorization.scope, digest]).encode()


def signing_key(authorization: Authorization, secret: str) -> bytes:
    """Return the key that a secret makes for the scope of a credential."""
    prefix, _ = ALGORITHMS[authorization.algorithm]
    key = prefix + secret.encode()
    for part in authorization.scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def signature_of(request: Request, authorization: Authorization, secret: str) -> str:
    """Return the signature that this request has with this secret, in lower-case hex.

    Raises SignatureError where a signed header is missing.
    """
    canonical = canonical_request(request, authorization.signed_headers)
    date = request.headers.get(DATE_HEADER, b"").strip().decode("latin-1")
    key = signing_key(authorization, secret)
    return hmac.digest(key, string_to_sign(authorization, date, canonical), "sha256").hex()


def require_scope(request: Request, authorization: Authorization) -> None:
    """Judge what can be judged without a secret; raises SignatureError."""
    _, terminator = ALGORITHMS[authorization.algorithm]
    names = authorization.signed_headers
    if authorization.terminator != terminator:
        raise SignatureError("the scope does not end as the algorithm has it")
    if len(set(names)) != len(names):
        raise SignatureError("a header is named twice")
    if not SIGNED_ALWAYS.issubset(names):
        raise SignatureError("date and nonce must be signed")
    if not request.headers.get(NONCE_HEADER, b"").strip():
        raise SignatureError("the nonce is missing")
    if request.headers.get(DATE_HEADER, b"").strip()[:8] != authorization.date.encode():
        raise SignatureError("the credential is of another day")


def verify(request: Request, authorization: Authorization, secret: str) -> None:
    """Make sure that whoever knows `secret` signed this request; raises SignatureError.

    How old the date is, and whether the nonce was used, is not judged here.
    """
    require_scope(request, authorization)
    expected = signature_of(request, authorization, secret)
    if not hmac.compare_digest(expected.encode(), authorization.signature.encode()):
        raise SignatureError("the signature is another one")
