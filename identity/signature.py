"""The signature of a request, as existing clients make it: JDCLOUD2- and JDCLOUD3-HMAC-SHA256.

Pure functions of a request and a secret, which read no clock. The form is the section
"Signature" of the wire contract; it differs from the signatures of object stores only in names.
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

#: By algorithm, the prefix of the secret and the last part of a credential's scope.
ALGORITHMS = {
    "JDCLOUD2-HMAC-SHA256": (b"JDCLOUD2", "jdcloud2_request"),
    "JDCLOUD3-HMAC-SHA256": (b"JDCLOUD3", "jdcloud3_request"),
}

_DATE = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_UNRESERVED = "-_.~"
_BLANKS = re.compile(rb"[ \t]+")


class AuthorizationError(Exception):
    """The Authorization header is malformed, or of another algorithm; the text may be told."""


class SignatureError(Exception):
    """The signature is not valid for this request.

    The text says which rule failed, for the log and for the client; it tells nothing that was not
    sent, and above all no signature.
    """


@dataclass(frozen=True)
class Authorization:
    """The parts of an Authorization header; nothing in it was verified."""

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
        """The scope for which the signing key is made."""
        return f"{self.date}/{self.region}/{self.service}/{self.terminator}"

    @property
    def signs_nonce(self) -> bool:
        """Whether the nonce is signed, so that another one needs another signature."""
        return NONCE_HEADER in self.signed_headers


@dataclass(frozen=True)
class Request:
    """A request as it was received; the names of `headers` are in lower case."""

    method: str
    target: bytes  #: path and query, raw as sent
    headers: Mapping[str, bytes]
    body_digest: str  #: SHA-256 of the body, in lower-case hex


def parse_authorization(text: str) -> Authorization:
    """Return the parts of an Authorization header; raises AuthorizationError if malformed."""
    algorithm, _, rest = text.strip().partition(" ")
    if algorithm not in ALGORITHMS:
        names = " or ".join(ALGORITHMS)
        raise AuthorizationError(f"Authorization must begin with Bearer, or with {names}")
    parts: dict[str, str] = {}
    for part in rest.split(","):
        name, separator, value = part.strip().partition("=")
        if not separator or not value or name in parts:
            raise AuthorizationError("Authorization must be a list of name=value, each name once")
        parts[name] = value
    if parts.keys() != {"Credential", "SignedHeaders", "Signature"}:
        raise AuthorizationError("Authorization must have Credential, SignedHeaders and Signature")
    credential = parts["Credential"].split("/")
    if len(credential) != 5 or not all(credential):
        end = ALGORITHMS[algorithm][1]
        raise AuthorizationError(f"Credential must be access key/YYYYMMDD/region/service/{end}")
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
    """Return the time of an x-jdcloud-date header, such as 20190214T104514Z; raises ValueError."""
    if not _DATE.fullmatch(text):
        raise ValueError("not YYYYMMDDTHHMMSSZ")
    return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def canonical_request(
    request: Request, signed_headers: tuple[str, ...], *, is_collapsed: bool = False
) -> bytes:
    """Return the canonical form of a request. Raises SignatureError if a header is missing.

    With `is_collapsed`, a run of blanks inside a signed value is one.
    """
    path, _, query = request.target.partition(b"?")
    missing = [name for name in signed_headers if name not in request.headers]
    if missing:
        raise SignatureError("a header that is signed was not sent")
    values = [request.headers[name].strip() for name in signed_headers]
    if is_collapsed:
        values = [collapsed(value) for value in values]
    lines = [
        request.method.encode(),
        quote(unquote_to_bytes(path), safe=f"/{_UNRESERVED}").encode(),
        _canonical_query(query),
        *(n.encode() + b":" + value for n, value in zip(signed_headers, values, strict=True)),
        b"",
        ";".join(signed_headers).encode(),
        request.body_digest.encode(),
    ]
    return b"\n".join(lines)


def collapsed(value: bytes) -> bytes:
    """Return the value of a header with each run of blanks as one, and none around it."""
    return _BLANKS.sub(b" ", value.strip())


def _canonical_query(query: bytes) -> bytes:
    if not query:
        return b""
    pairs = []
    for piece in query.split(b"&"):
        name, _, value = piece.partition(b"=")
        pairs.append((_encoded(name), _encoded(value)))
    return b"&".join(name + b"=" + value for name, value in sorted(pairs))


def _encoded(part: bytes) -> bytes:
    # The application reads a plus as a space, so the signature must do the same.
    return quote(unquote_to_bytes(part.replace(b"+", b" ")), safe=_UNRESERVED).encode()


def string_to_sign(authorization: Authorization, date: str, canonical: bytes) -> bytes:
    """Return the string to sign; `date` is the value of x-jdcloud-date."""
    digest = hashlib.sha256(canonical).hexdigest()
    return "\n".join([authorization.algorithm, date, authorization.scope, digest]).encode()


def signing_key(authorization: Authorization, secret: str) -> bytes:
    """Return the signing key, derived from a secret and the scope of a credential."""
    prefix, _ = ALGORITHMS[authorization.algorithm]
    key = prefix + secret.encode()
    for part in authorization.scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def signature_of(
    request: Request, authorization: Authorization, secret: str, *, is_collapsed: bool = False
) -> str:
    """Return the signature of a request with a secret, in lower-case hex.

    With `is_collapsed`, that of its canonical form with runs of blanks as one. Raises
    SignatureError if a signed header is missing.
    """
    canonical = canonical_request(request, authorization.signed_headers, is_collapsed=is_collapsed)
    date = request.headers.get(DATE_HEADER, b"").strip().decode("latin-1")
    key = signing_key(authorization, secret)
    return hmac.digest(key, string_to_sign(authorization, date, canonical), "sha256").hex()


def require_scope(request: Request, authorization: Authorization) -> None:
    """Check everything that needs no secret: scope, signed headers, nonce and day.

    Raises SignatureError.
    """
    _, terminator = ALGORITHMS[authorization.algorithm]
    names = authorization.signed_headers
    if authorization.terminator != terminator:
        raise SignatureError(f"the credential must end with {terminator}")
    if len(set(names)) != len(names):
        raise SignatureError("SignedHeaders has a name twice")
    # The date is in the string to sign, so it need not be among the headers that are signed.
    if authorization.signs_nonce and not request.headers.get(NONCE_HEADER, b"").strip():
        raise SignatureError(f"{NONCE_HEADER} is signed, and empty or missing")
    if request.headers.get(DATE_HEADER, b"").strip()[:8] != authorization.date.encode():
        raise SignatureError(f"the day in the credential must be that of {DATE_HEADER}")


def verify(request: Request, authorization: Authorization, secret: str) -> None:
    """Check that a request was signed with `secret`; raises SignatureError.

    Signers differ in what they make of runs of blanks inside a value, so both forms are good. The
    caller checks the age of the date, and whether nonce or signature was used.
    """
    require_scope(request, authorization)
    for is_collapsed in (False, True):
        expected = signature_of(request, authorization, secret, is_collapsed=is_collapsed)
        if hmac.compare_digest(expected.encode(), authorization.signature.encode()):
            return
    raise SignatureError("the signature does not match the canonical request")
