"""The headers of every answer, which say what a browser may do with it."""

from __future__ import annotations

from flask import Response

REQUEST_ID_HEADER = "X-Request-Id"

#: For answers without a policy of their own, which are no pages: they may load and run nothing, and
#: be framed nowhere.
CONTENT_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

#: Without a header of CORS: no page of another site may read an answer.
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": CONTENT_POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def harden(response: Response) -> None:
    """Add those headers that the answer does not set itself."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
