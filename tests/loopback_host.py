"""A small HTTP server on loopback whose answers a test chooses path by path."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: Answers a request whose line and headers were read.
Answer = Callable[[BaseHTTPRequestHandler], None]


def gives(status: int, body: bytes = b"", length: int | None = None, **headers: str) -> Answer:
    """Return an answer; `length` is its Content-Length where that is not the body's."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.end_headers()
        # The client does not read on once it knows that a file is too large.
        with contextlib.suppress(ConnectionError):
            handler.wfile.write(body)

    return answer


@contextlib.contextmanager
def host(answer: Callable[[str], Answer]) -> Iterator[str]:
    """Yield the address of a server that answers a path, without its slashes, as `answer` says."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self.path.strip("/"))(self)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
