"""Identify the caller before anything else of a call is looked at.

Every operation and every picture goes through `Gate.admit`.
"""

from __future__ import annotations

import hashlib
import ipaddress
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import structlog
from flask import Request
from redis.exceptions import RedisError

from app.http.body import read_bytes
from app.http.details import echo
from app.http.envelope import RETRY_AFTER_SECONDS, Busy, SystemCode
from catalog.database.connection import now
from catalog.rows.accounts import AccessKey, Account, Accounts, MalformedAccountError
from config.settings import is_loopback
from contract.errors import InvalidUserId
from identity import signature
from identity.keys import DEFAULT_USER, hash_of
from identity.nonces import WINDOW_SECONDS, Nonces
from identity.signature import Authorization, AuthorizationError, SignatureError
from identity.vault import Vault, VaultError

log = structlog.get_logger(__name__)

#: A call with one of these came through a proxy, so its origin is unknown.
PROXY_HEADERS = ("Forwarded", "Via", "X-Real-Ip")
PROXY_PREFIX = "x-forwarded-"


class NotAdmitted(Exception):
    """The call is not handled; the message is for the log, the detail for the client."""

    def __init__(
        self,
        code: SystemCode,
        reason: str,
        detail: str = "",
        *,
        retry_after_seconds: int = RETRY_AFTER_SECONDS,
    ) -> None:
        """Without a detail, the client is told the sentence of the code."""
        super().__init__(reason)
        self.code = code
        self.detail = detail or code.sentence
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True)
class Caller:
    """A caller; limits are None if those of the settings apply."""

    name: str
    user: str  #: the name under which its data is kept
    per_second: int | None = None
    per_day: int | None = None


class Gate:
    """Identifies callers; made once per process, shared by its threads."""

    def __init__(
        self,
        accounts: Accounts,
        nonces: Nonces,
        vault: Vault,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._accounts = accounts
        self._nonces = nonces
        self._vault = vault
        self._clock = clock
        self._has_keys = False
        self._counting = threading.Lock()
        self._unchecked = 0

    @property
    def unchecked(self) -> int:
        """Number of calls that this process refused because no nonce could be checked."""
        return self._unchecked

    def admit(self, request: Request) -> Caller:
        """Return the caller of a request; its body may be read for the signature.

        Raises NotAdmitted with the system code of the refusal, InvalidUserId if the account of a
        valid key is gone or malformed, Busy if a nonce or a secret can't be read, HTTPException for
        a body over the limit, and PyMongoError.
        """
        caller = self._identify(request)
        structlog.contextvars.bind_contextvars(user=caller.name)
        return caller

    def _identify(self, request: Request) -> Caller:
        # Once a key was seen this stays true, whatever becomes of its row.
        self._has_keys = self._has_keys or self._accounts.has_keys()
        if not self._has_keys:
            require_this_machine(request)
            return Caller(DEFAULT_USER, DEFAULT_USER)
        text = request.headers.get("Authorization", "").strip()
        scheme, _, rest = text.partition(" ")
        try:
            if scheme.lower() == "bearer":
                account = self._by_api_key(rest.strip())
            else:
                account = self._by_signature(request, text)
        except MalformedAccountError as error:
            raise InvalidUserId(str(error)) from error
        if account is None:
            raise InvalidUserId("the account of a key is gone")
        if account.is_disabled:
            raise NotAdmitted(SystemCode.USER_DISABLED, f"{account.user} is disabled")
        return Caller(account.user, account.data_of, account.per_second, account.per_day)

    def _by_api_key(self, api_key: str) -> Account | None:
        if not api_key:
            reason = "the bearer key is empty"
            raise NotAdmitted(
                SystemCode.SIGNATURE_MISSING, reason, f"{reason}; send Authorization: Bearer KEY"
            )
        key = self._accounts.key_of_api(hash_of(api_key))
        return self._account(key)

    def _by_signature(self, request: Request, text: str) -> Account | None:
        try:
            authorization = signature.parse_authorization(text)
        except AuthorizationError as error:
            detail = str(error) if text else ""
            raise NotAdmitted(SystemCode.SIGNATURE_MISSING, str(error), detail) from error
        self._require_recent(request)
        key = self._accounts.key(authorization.access_key)
        malformed = None
        try:
            account = self._account(key)
        except MalformedAccountError as error:
            # Raised only after the signature was verified, so that only the key's owner learns of
            # it.
            account, malformed = None, error
        assert key is not None  # otherwise it was refused  # noqa: S101
        try:
            self._verify(request, authorization, key)
        except SignatureError as error:
            raise NotAdmitted(
                SystemCode.SIGNATURE_INVALID,
                str(error),
                f"{error}; method and path are {_called(request)}, "
                f"signed headers {echo(';'.join(authorization.signed_headers))}",
            ) from error
        self._take_once(request, authorization, key)
        if malformed is not None:
            raise malformed
        return account

    def _account(self, key: AccessKey | None) -> Account | None:
        """Return the account of a key, or None if it is gone.

        Raises NotAdmitted for an unknown key and for one that was replaced.
        """
        account = None if key is None else self._accounts.find(key.user)
        if key is None or (account is not None and account.access_key != key.access_key):
            raise NotAdmitted(SystemCode.UNKNOWN_ACCESS_KEY, "no such key")
        return account

    def _require_recent(self, request: Request) -> None:
        text = request.headers.get(signature.DATE_HEADER)
        if text is None:
            raise NotAdmitted(SystemCode.TIMESTAMP_MISSING, "no x-jdcloud-date")
        try:
            date = signature.parse_date(text.strip())
        except ValueError as error:
            raise NotAdmitted(SystemCode.TIMESTAMP_MALFORMED, str(error)) from error
        now_here = self._clock()
        if abs(now_here - date) > timedelta(seconds=WINDOW_SECONDS):
            raise NotAdmitted(
                SystemCode.TIMESTAMP_TOO_FAR_OFF,
                "over five minutes off",
                f"{signature.DATE_HEADER} is more than {WINDOW_SECONDS // 60} minutes off; the "
                f"clock of the service says {now_here.strftime('%Y%m%dT%H%M%SZ')}",
            )

    def _verify(self, request: Request, authorization: Authorization, key: AccessKey) -> None:
        headers = {name.lower(): _as_sent(value) for name, value in request.headers.items()}
        unread = signature.Request(request.method, target_of(request), headers, "")
        # Checked before megabytes of body are read for a call that is refused anyway.
        signature.require_scope(unread, authorization)
        try:
            secret = self._vault.open(key.access_key, key.secret)
        except VaultError as error:
            log.error("secret can't be read", fault=str(error))
            raise Busy("a secret can't be read") from error
        digest = hashlib.sha256(read_bytes(request)).hexdigest()
        signed = signature.Request(request.method, unread.target, headers, digest)
        signature.verify(signed, authorization, secret)

    def _take_once(self, request: Request, authorization: Authorization, key: AccessKey) -> None:
        """Record the nonce of a verified request, so that no other caller can use it up.

        A nonce that is not signed can be changed in a repeated request; then the signature
        is recorded. Raises NotAdmitted if it was used before, Busy if Redis can't be reached.
        """
        what, nonce = "signature", f"signature {authorization.signature}".encode()
        if authorization.signs_nonce:
            what = signature.NONCE_HEADER
            # One more blank inside of it would leave the signature good, and be another nonce.
            nonce = signature.collapsed(_as_sent(request.headers[signature.NONCE_HEADER]))
        try:
            is_new = self._nonces.take(key.access_key, nonce)
        except RedisError as error:
            with self._counting:
                self._unchecked += 1
            log.warning("nonce not checked", fault=repr(error), unchecked=self._unchecked)
            raise Busy("the nonce can't be checked") from error
        if not is_new:
            reason = f"the {what} was used before"
            raise NotAdmitted(
                SystemCode.SIGNATURE_INVALID,
                reason,
                f"{reason}; sign each call anew, with a nonce of its own among the signed headers",
            )


def target_of(request: Request) -> bytes:
    """Return path and query as they were sent, before any server decoded or split them."""
    raw = str(request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI") or "")
    if not raw.startswith("/"):
        # The absolute form, as it is sent to a proxy.
        _, _, rest = raw.partition("://")
        raw = rest[rest.find("/") :] if "/" in rest else "/"
    return _as_sent(raw)


def _called(request: Request) -> str:
    """Return method and path, without the query, which may hold what is private."""
    path, _, _ = target_of(request).partition(b"?")
    return echo(f"{request.method} {path.decode('latin-1')}")


def _as_sent(text: str) -> bytes:
    return text.encode("latin-1", "replace")


def require_this_machine(request: Request) -> None:
    """Raise NotAdmitted unless a program of this machine calls, without a proxy between.

    A page of a foreign site can make a browser of this machine call. Such a call is recognized by
    its Host (a foreign name that leads to 127.0.0.1), its Origin or its Sec-Fetch-Site.
    """
    headers = request.headers
    host = headers.get("Host", "")
    origin = headers.get("Origin")
    faults = {
        "not from loopback": not _is_loopback(request.remote_addr or ""),
        "through a proxy": any(name in headers for name in PROXY_HEADERS)
        or any(name.lower().startswith(PROXY_PREFIX) for name in headers.keys()),  # noqa: SIM118
        "under another name": not _names_loopback(host),
        "from another page": origin is not None
        and origin.lower() not in (f"http://{host.lower()}", f"https://{host.lower()}"),
        "from another site": headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"),
    }
    for reason, is_so in faults.items():
        if is_so:
            raise NotAdmitted(
                SystemCode.SIGNATURE_MISSING,
                f"no key was made yet; {reason}",
                f"the call came {reason}, and without keys only programs of the same machine are "
                "served; the operator can make a key",
            )


def _names_loopback(host: str) -> bool:
    try:
        parts = urlsplit(f"//{host}")
        name, _ = parts.hostname, parts.port
    except ValueError:
        return False
    return name is not None and parts.netloc == host and "@" not in host and is_loopback(name)


def _is_loopback(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback
