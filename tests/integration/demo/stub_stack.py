"""A stub of the service for the demo's tests: the envelope and four operations, in memory.

Run as `python -m tests.integration.demo.stub_stack [wrong|mute]` it takes the settings that the
demo passes on and stops on SIGTERM; `wrong` finds the wrong product, `mute` never becomes ready.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import signal
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image


class StubService:
    """What the stub knows: the products, the images and the answers to queries."""

    def __init__(self, *, answers: dict[str, str] | None = None, allow: str = "") -> None:
        self.answers = answers or {}
        self.allow = allow
        self.ready_after = 1
        self.polls_until_finished = 1
        self.products: dict[str, dict[str, str]] = {}
        self.images: dict[str, dict[str, str]] = {}
        self.tasks: dict[str, dict[str, Any]] = {}
        self.fetched = 0
        self.override: tuple[int, bytes] | None = None

    def content(self, image_content: str) -> bytes:
        """Return the bytes of Base64, or of a URL that is allowed."""
        if not image_content.startswith("http://"):
            return base64.b64decode(image_content, validate=True)
        if not image_content.startswith(f"http://{self.allow}/"):
            raise ValueError("not allowed")
        self.fetched += 1
        with urllib.request.urlopen(image_content, timeout=5) as response:  # noqa: S310
            body: bytes = response.read()
        return body

    def create_product(self, body: dict[str, Any]) -> dict[str, Any]:
        for row in body["product_list"]:
            self.products[row["product_id"]] = row
        names = [row["product_id"] for row in body["product_list"]]
        return {"code": 0, "message": "SUCCESS", "successful_list": names, "failed_list": []}

    def add_image(self, body: dict[str, Any]) -> dict[str, Any]:
        task_id = f"default/{body['collection_name']}/{len(self.tasks)}.5"
        succeeded, failed = [], []
        for row in body["image_list"]:
            pair = {"product_id": row["product_id"], "image_id": row["image_id"]}
            try:
                Image.open(io.BytesIO(self.content(row["image_content"]))).load()
            except (OSError, ValueError):
                failed.append({**pair, "message": "BROKEN_BASE64_OR_URL"})
            else:
                self.images[row["image_id"]] = row
                succeeded.append(pair)
        self.tasks[task_id] = {"polls": 0, "succeeded": succeeded, "failed": failed}
        return {"code": 0, "message": "SUCCESS", "task_id": task_id, "failed_list": []}

    def task_status(self, body: dict[str, Any]) -> dict[str, Any]:
        task = self.tasks.get(body["task_id"])
        if task is None:
            return {"code": 1004, "message": "TASK_NOT_EXIST"}
        task["polls"] += 1
        finished = task["polls"] > self.polls_until_finished
        return {
            "code": 0,
            "message": "SUCCESS",
            "task_status": "FINISHED" if finished else "PROCESSING",
            "succeeded_list": task["succeeded"] if finished else [],
            "failed_list": task["failed"],
            "pending_list": [] if finished else task["succeeded"],
        }

    def product_search(self, body: dict[str, Any]) -> dict[str, Any]:
        content = self.content(body["image_content"])
        wanted = self.answers.get(hashlib.sha256(content).hexdigest())
        rows = sorted(self.images.values(), key=lambda row: row["product_id"] != wanted)
        return {
            "code": 0,
            "message": "SUCCESS",
            "rectangle": [{"left": 10, "top": 20, "right": 110, "bottom": 120}],
            "images": [
                {
                    "product_id": row["product_id"],
                    "product_name": self.products[row["product_id"]]["product_name"],
                    "image_id": row["image_id"],
                    "image_info": row["image_info"],
                    "info": row["image_info"],
                    "similarity": 0.9 - place / 1000,
                }
                for place, row in enumerate(rows[: body["topk"]])
            ],
        }

    def answer(self, operation: str, body: dict[str, Any]) -> tuple[int, bytes]:
        """Return HTTP status and body of a call."""
        if self.override is not None:
            return self.override
        result = getattr(self, operation)(body)
        envelope = {
            "code": "10000",
            "charge": False,
            "remainTimes": -1,
            "remainSeconds": -1,
            "msg": "查询成功",
            "result": result,
        }
        return 200, json.dumps(envelope).encode()


#: A running stub, and the base URL where it answers.
Service = tuple[StubService, str]


def server(service: StubService, port: int) -> ThreadingHTTPServer:
    """Return a server of the stub on 127.0.0.1, bound and not yet running."""

    class Handler(BaseHTTPRequestHandler):
        def reply(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            service.ready_after -= 1
            self.reply(200 if service.ready_after < 0 else 503, b"{}")

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.reply(*service.answer(self.path.removeprefix("/v1/"), body))

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing."""

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def main() -> None:
    """Serve with the demo's settings until SIGTERM."""
    from tools.demo.manifest import load
    from tools.demo.queries import make_queries

    mode = sys.argv[1] if len(sys.argv) > 1 else ""
    if mode == "mute":
        sys.exit("the stub was told to end")
    os.listdir(os.environ["SNAPSKU_DATA_DIR"])
    answers = (
        {}
        if mode == "wrong"
        else {
            hashlib.sha256(query.content).hexdigest(): query.product_id
            for query in make_queries(load())
        }
    )
    service = StubService(answers=answers, allow=os.environ["SNAPSKU_FETCH_ALLOW"])
    with server(service, int(os.environ["SNAPSKU_PORT"])) as running:
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=running.shutdown).start())
        running.serve_forever(0.05)
    print(f"stub stopped after {service.fetched} fetches", flush=True)


if __name__ == "__main__":
    main()
