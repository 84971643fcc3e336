"""The headers that every answer has, whatever it is: what a browser may do with it."""

from __future__ import annotations

from flask import Response

REQUEST_ID_HEADER = "X-Request-Id"

#: An answer that names no policy of its own is no page: it may load, run and be framed nowhere.
CONTENT_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

#: No header of CORS is among them: no page of another site may read an answer.
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": CONTENT_POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def harden(response: Response) -> None:
    """Add what the answer does not say itself."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
