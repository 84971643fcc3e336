"""Signs requests by the words of the contract, and shares no line with what checks them."""

from __future__ import annotations

import hashlib
import hmac
import uuid
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import parse_qsl, quote


def bearer(api_key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {api_key}"}


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode("utf-8"), hashlib.sha256).digest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class SignedBy:
    """Gives the headers of a signed request; each call has a nonce of its own."""

    access_key: str
    secret: str
    date: datetime
    algorithm: str = "JDCLOUD2"
    day: str | None = None  #: of the credential, where it is not that of the date
    without: str = ""  #: a header that is sent and not signed

    def __call__(
        self, target: str, body: bytes, method: str = "POST", **headers: str
    ) -> dict[str, str]:
        sent = {
            "x-jdcloud-date": self.date.strftime("%Y%m%dT%H%M%SZ"),
            "x-jdcloud-nonce": str(uuid.uuid4()),
            **headers,
        }
        path, _, query = target.partition("?")
        pairs = parse_qsl(query, keep_blank_values=True)
        names = sorted(name for name in sent if name != self.without)
        canonical = (
            f"{method}\n"
            + quote(path, safe="/~")
            + "\n"
            + "&".join(sorted(f"{quote(n, safe='~')}={quote(v, safe='~')}" for n, v in pairs))
            + "\n"
            + "".join(f"{name}:{sent[name].strip()}\n" for name in names)
            + "\n"
            + ";".join(names)
            + "\n"
            + _sha256(body)
        )
        end = f"{self.algorithm.lower()}_request"
        scope = [self.day or sent["x-jdcloud-date"][:8], "cn-north-1", "search", end]
        to_sign = "\n".join(
            [
                f"{self.algorithm}-HMAC-SHA256",
                sent["x-jdcloud-date"],
                "/".join(scope),
                _sha256(canonical.encode("utf-8")),
            ]
        )
        key = (self.algorithm + self.secret).encode("utf-8")
        for part in scope:
            key = _hmac(key, part)
        sent["Authorization"] = (
            f"{self.algorithm}-HMAC-SHA256 Credential={self.access_key}/{'/'.join(scope)}, "
            f"SignedHeaders={';'.join(names)}, Signature={_hmac(key, to_sign).hex()}"
        )
        return sent
