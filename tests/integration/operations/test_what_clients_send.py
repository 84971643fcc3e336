"""Each row of docs/what-is-accepted.md, as bytes on a socket of the real API."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo import MongoClient

from catalog.database.connection import Row
from cli.processes import ROOT
from tests.accepted import kinds
from tests.integration.operations.programs import environment, serving
from tests.integration.operations.raw_client import CLIENT_SECONDS, Served, enveloped, post
from tests.request_signer import SignedBy, bearer
from tests.servers import Servers

PATH = "/v1/list_collections"
OVER = 8 * 2**20 + 1
CHUNKS = b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"


@dataclass(frozen=True)
class Answered:
    """What is answered: the HTTP status, result.code or the system code, a part of the detail."""

    status: int
    code: int
    detail: str = ""


DONE = Answered(200, 0)
NO_OBJECT = "the body must be a JSON object"


def call(body: Any, *headers: str, path: str = PATH) -> bytes:
    return post(path, json.dumps(body).encode(), *headers)


#: What is sent, by the row that tells of it; b"" is where the connection just ends.
PLAIN: dict[str, list[tuple[bytes, Answered | None]]] = {
    "null for a field that may be absent": [(call({"limit": None, "cursor": None}), DONE)],
    "5.0 for an integer": [(call({"limit": 5.0}), DONE)],
    '5.5, "5" or true for an integer': [
        (call({"limit": 5.5}), Answered(200, 5001, "limit is 5.5")),
        (call({"limit": "5"}), Answered(200, 5001, "limit is one character")),
        (call({"limit": True}), Answered(200, 5001, "limit is true")),
        (call({"topk": 5.5}, path="/v1/product_search"), Answered(200, 2010)),
        (
            call(
                {"collection_name": "c", "image_content": "x", "topk": 5.5},
                path="/v1/product_search",
            ),
            Answered(200, 3040, "topk is 5.5"),
        ),
    ],
    "a field that is not known": [(call({"colour": "red", "": [1]}), DONE)],
    "half a surrogate pair in a name": [
        (
            post("/v1/delete_collection", b'{"collection_name": "\\ud800"}'),
            Answered(200, 2010, "collection_name is one character"),
        )
    ],
    "a byte order mark before the JSON": [(post(PATH, b"\xef\xbb\xbf{}"), DONE)],
    "no Content-Type, or one of JSON with parameters": [
        (post(PATH, b"{}").replace(b"Content-Type: application/json\r\n", b""), DONE),
        (post(PATH, b"{}").replace(b"/json", b"/json; charset=utf-8"), DONE),
    ],
    "another Content-Type, or a form": [
        (
            post(PATH, b"{}").replace(b"application/json", kind),
            Answered(415, 5001, "send Content-Type: application/json"),
        )
        for kind in (b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data")
    ],
    "a body that is packed (Content-Encoding)": [
        (call({}, "Content-Encoding: gzip"), Answered(415, 5001, "without Content-Encoding"))
    ],
    "a body in chunks": [
        (
            post(PATH, CHUNKS, "Transfer-Encoding: chunked", length=-1),
            DONE,
        )
    ],
    "Expect: 100-continue": [(call({}, "Expect: 100-continue"), DONE)],
    "HTTP/1.0": [(post(PATH, b"{}", version="1.0"), DONE)],
    "the absolute form of a URL, as to a proxy": [(call({}, path=f"http://localhost{PATH}"), DONE)],
    "a body that is no JSON, or holds NaN, or a name twice": [
        (post(PATH, b"{'limit': 5}"), Answered(400, 5001, "the body is not JSON: ")),
        (post(PATH, b""), Answered(400, 5001, "the body is not JSON: ")),
        (post(PATH, b'{"limit": NaN}'), Answered(400, 5001, "a number that is not finite")),
        (post(PATH, b'{"limit": 1, "limit": 2}'), Answered(400, 5001, "has a name twice")),
    ],
    "a body that is JSON and no object": [
        (call([]), Answered(400, 5001, f"{NO_OBJECT}; it is a list")),
        (call(None), Answered(400, 5001, NO_OBJECT)),
    ],
    "a body over the limit": [
        (post(PATH, b"{", length=OVER), Answered(413, 3056, "the body may have 8388608 bytes"))
    ],
    "a path that is not there, such as one with a slash too many": [
        (call({}, path=path), Answered(404, 5001, "operations are listed at /openapi.json"))
        for path in ("/v1/search", "/v1//list_collections", f"{PATH}/", "/v1/List_Collections")
    ],
    "GET instead of POST": [
        (
            f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode(),
            Answered(405, 5001, "the path takes POST alone"),
        )
    ],
    "what is no HTTP": [(b"hello\r\n\r\n", Answered(400, 5001, "no request of HTTP/1.1"))],
    "TLS on the port of plain HTTP": [(b"\x16", None), (b"\x16\x03\x01" + bytes(500), None)],
    "a request that stops halfway": [
        (post(PATH, b"{", length=9), Answered(400, 5001, "did not arrive in time"))
    ],
}


def answered(served: Served, said: bytes) -> Answered | None:
    """What comes of it, but for the words of its detail."""
    answer = served.say(said)
    if not answer:
        return None
    status, _, result = enveloped(answer)
    if result:
        return Answered(status, result["code"], result.get("detail", ""))
    body = json.loads(answer.rpartition(b"\r\n\r\n")[2])
    return Answered(status, int(body["code"]), body["detail"])


def check(found: Answered | None, expected: Answered | None) -> None:
    if found is None or expected is None:
        assert found == expected
        return
    assert expected.detail in found.detail
    assert dataclasses.replace(found, detail=expected.detail) == expected


@pytest.mark.parametrize("row", PLAIN)
def test_what_is_sent_is_answered_as_the_page_says(served: Served, row: str) -> None:
    assert row in kinds("Calls")
    for said, expected in PLAIN[row]:
        check(answered(served, said), expected)


def test_two_calls_at_once_on_one_connection_are_answered_one_after_the_other(
    served: Served,
) -> None:
    assert "two calls at once on one connection" in kinds("Calls")
    first = post(PATH, b"{}", kept=True)
    answer = served.say(first + call({"limit": "5"}))
    assert answer.count(b"HTTP/1.1 200") == 2
    assert answer.index(b'"collection_list"') < answer.index(b"limit is one character")


@pytest.fixture(scope="module")
def closed(
    servers: Servers,
    client: MongoClient[Row],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Served, dict[str, str]]]:
    """The API on a catalogue of its own, and the keys of its only user."""
    folder, database = tmp_path_factory.mktemp("closed"), f"keys_{uuid.uuid4().hex[:8]}"
    named = {"redis_url": servers.redis_url, "mongo_url": servers.mongo_url}
    made = subprocess.run(
        [sys.executable, "-m", "cli.main", "users", "add", "shop"],
        cwd=ROOT,
        env=environment(folder, **named, mongo_database=database),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert made.returncode == 0, made.stderr
    with serving(servers, folder, CLIENT_SECONDS, database) as (found, _):
        yield found, json.loads(made.stdout)
    for name in client.list_database_names():
        if name.startswith(database):
            client.drop_database(name)


def signed_rows(keys: dict[str, str]) -> dict[str, list[tuple[dict[str, str], Answered]]]:
    """The rows that need keys: the headers that are sent, and what is answered."""
    now = datetime.now(UTC)
    signer = SignedBy(keys["access_key"], keys["secret_key"], now)
    wide = {"x-more": "a  b \t c"}
    once = signer(PATH, b"{}")
    unsigned = [
        dataclasses.replace(signer, without=name)(PATH, b"{}")
        for name in ("x-jdcloud-date", "x-jdcloud-nonce")
    ]
    other = {"x-jdcloud-nonce": "another"}
    late = dataclasses.replace(signer, date=now - timedelta(minutes=6))
    repeated = Answered(401, 10047, "was used before")
    return {
        "a bearer key": [(bearer(keys["api_key"]), DONE)],
        "no key, once there are some": [({}, Answered(401, 10042, "the header Authorization"))],
        "a signature of JDCLOUD2 or JDCLOUD3": [
            (dataclasses.replace(signer, algorithm=algorithm)(PATH, b"{}"), DONE)
            for algorithm in ("JDCLOUD2", "JDCLOUD3")
        ],
        "a signature that covers neither date nor nonce": [
            (unsigned[0], DONE),
            (unsigned[1], DONE),
            (unsigned[1], repeated),
            (unsigned[1] | other, repeated),
        ],
        "runs of blanks in a signed value, signed as they are or as one": [
            (signer(PATH, b"{}", **wide), DONE),
            (signer(PATH, b"{}", **{"x-more": "a b c"}) | wide, DONE),
        ],
        "a signed call a second time": [(once, DONE), (once, repeated)],
        "a date that is more than 5 minutes off": [
            (late(PATH, b"{}"), Answered(401, 10045, "the clock of the service says 20"))
        ],
        "a header that was changed after it was signed, such as Host by a proxy": [
            (
                signer(PATH, b"{}", host="shop.example"),
                Answered(401, 10047, "signed headers host;x-jdcloud-date;x-jdcloud-nonce"),
            )
        ],
    }


SIGNED = list(signed_rows({"access_key": "", "secret_key": "", "api_key": ""}))


@pytest.mark.parametrize("row", SIGNED)
def test_what_is_signed_is_answered_as_the_page_says(
    closed: tuple[Served, dict[str, str]], row: str
) -> None:
    served, keys = closed
    assert row in kinds("Calls")
    for headers, expected in signed_rows(keys)[row]:
        lines = [f"{name}: {value}" for name, value in headers.items() if name != "host"]
        check(answered(served, post(PATH, b"{}", *lines)), expected)


def test_every_row_of_the_page_has_its_test() -> None:
    assert sorted(kinds("Calls")) == sorted(
        [*PLAIN, *SIGNED, "two calls at once on one connection"]
    )
