"""What must stay secret goes through a whole stack, faults included: no log or page tells it."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from config.embedded import valkey_command
from tests.e2e.client import Api, as_base64
from tests.e2e.own_servers import OwnServers
from tests.e2e.stack import Stack, running
from tools.demo.manifest import load

SAMPLE = load().images[0]

#: Each is written as nothing else is.
SECRETS = {
    "password of Redis": "redis-geheim-4711",
    "password of Flower": "flower-geheim-4712",
    "bearer key": "bearer-geheim-4713",
    "password in a URL": "url-geheim-4714",
    "query of a URL": "query-geheim-4715",
    "signature": "5f" * 32,
}


class _Guarded(OwnServers):
    """Servers of which Redis wants a password."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        word = SECRETS["password of Redis"]
        self._commands["redis"] = lambda data_dir, port: [
            *valkey_command(data_dir, port),
            *("--requirepass", word),
        ]
        self.redis_url = self.redis_url.replace("redis://", f"redis://:{word}@")


@pytest.fixture
def own_servers(tmp_path: Path) -> Iterator[OwnServers]:
    servers = _Guarded(tmp_path / "servers")
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()


def test_no_log_and_no_page_tells_a_secret_or_a_picture(
    own_servers: OwnServers, tmp_path: Path, short_times: dict[str, str]
) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    word = SECRETS["password of Flower"]
    stack = Stack(
        tmp_path / "data",
        logs,
        redis_url=own_servers.redis_url,
        mongo_url=own_servers.mongo_url,
        flower_user="operator",
        flower_password=word,
        log_level="DEBUG",
        log_format="json",
        **short_times,
    )
    content = as_base64(SAMPLE.path)
    answers: list[str] = []
    with running(stack):
        api = Api(stack.base_url)
        api.create("c", [SAMPLE])
        images = [
            {"product_id": SAMPLE.product_id, "image_id": name, "image_content": given}
            for name, given in {
                "whole": content,
                "broken": content[: len(content) // 2 // 4 * 4],
                "query": f"http://127.0.0.1:9/x.jpg?token={SECRETS['query of a URL']}",
                "password": f"http://u:{SECRETS['password in a URL']}@127.0.0.1:9/x.jpg",
            }.items()
        ]
        # A URL with credentials is refused at once, and a broken picture, too.
        task = api.ok("add_image", collection_name="c", image_list=images)["task_id"]
        api.finish(task, seconds=90)
        assert api.search("c", SAMPLE.path)
        for authorization in (
            f"Bearer {SECRETS['bearer key']}",
            f"JDCLOUD2-HMAC-SHA256 Credential=ak/x, Signature={SECRETS['signature']}",
        ):
            for body in (b"{", b"{}", content.encode()):
                answers.append(
                    requests.post(
                        f"{stack.base_url}/v1/add_image?q={SECRETS['query of a URL']}",
                        data=body,
                        headers={
                            "Authorization": authorization,
                            "Content-Type": "application/json",
                        },
                        timeout=20,
                    ).text
                )
        own_servers.kill("redis")
        answers.append(requests.get(f"{stack.base_url}/readyz", timeout=20).text)
        api.call("task_status", task_id=task)
        own_servers.start("redis")
        stack.await_ready()
        for path in ("/tasks", "/api/tasks", "/workers", "/broker", "/metrics"):
            page = requests.get(stack.flower_url + path, auth=("operator", word), timeout=20)
            answers.append(page.text)
        api.close()
    told = {path.name: path.read_text("utf-8", "replace") for path in logs.iterdir()}
    assert len(told) == len(stack.kinds)
    told |= {f"answer {number}": text for number, text in enumerate(answers)}
    hidden = {
        **SECRETS,
        "basic credentials": base64.b64encode(f"operator:{word}".encode()).decode(),
        "a picture": content[400:460],
        "the end of a picture": content[-60:],
    }
    for where, text in told.items():
        for name, secret in hidden.items():
            assert secret not in text, f"{name} in {where}: {_line(text, secret)}"
        long = re.search(r"[A-Za-z0-9+/]{200,}", text)
        assert where.startswith("answer") or long is None, f"Base64 in {where}"


def _line(text: str, secret: str) -> str:
    return next(line for line in text.splitlines() if secret in line)[:2000]
