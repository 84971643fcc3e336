"""What is no HTTP, or more than is taken, is answered in the envelope as everything else."""

from __future__ import annotations

import json
import time

import pytest
import requests

from tests.integration.operations.raw_client import CLIENT_SECONDS, Served, enveloped, post

OVER = 8 * 2**20 + 1

#: A body that is answered 200 where it is taken.
CHUNKED = b"2\r\n{}\r\n0\r\n\r\n"

#: A body that is a request where two parsers differ.
HIDDEN = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"

MALFORMED = {
    "no HTTP": b"hello\r\n\r\n",
    "no version": b"GET /healthz\r\n\r\n",
    "a version of its own": b"GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n",
    "a method in brackets": b"<GET> /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "a line that is too long": b"GET /" + b"a" * 8_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a head without end": b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000,
    "a header that is too long": b"GET / HTTP/1.1\r\nX: " + b"a" * 9_000 + b"\r\n\r\n",
    "too many headers": b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 65 + b"\r\n",
    "a header without colon": b"GET / HTTP/1.1\r\nnonsense\r\n\r\n",
    "a header with a space": b"GET / HTTP/1.1\r\nX : y\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nX: y\r\n z\r\n\r\n",
    "a zero byte in a header": b"GET / HTTP/1.1\r\nX: \x00\r\n\r\n",
    "two lengths": post("/v1/task_status", b"{}", "Content-Length: 3"),
    "a length and chunks": post("/v1/task_status", CHUNKED, "Transfer-Encoding: chunked"),
    "chunks in HTTP/1.0": post(
        "/v1/task_status",
        HIDDEN,
        "Transfer-Encoding: chunked",
        "Connection: keep-alive",
        length=-1,
        version="1.0",
        kept=True,
    ),
    "chunks in chunks": post(
        "/v1/task_status", CHUNKED, "Transfer-Encoding: chunked, chunked", length=-1
    ),
    "an empty line before a chunk": post(
        "/v1/task_status", b"\r\n" + CHUNKED, "Transfer-Encoding: chunked", length=-1
    ),
    "two hosts": b"GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\nConnection: close\r\n\r\n",
    "a negative length": post("/v1/task_status", b"", "Content-Length: -1", length=-1),
    "a length with a sign": post("/v1/task_status", b"{}", "Content-Length: +2", length=-1),
    "an unknown coding": post("/v1/task_status", b"{}", "Transfer-Encoding: x", length=-1),
    "an expectation": post("/v1/task_status", b"{}", "Expect: 200-ok"),
    "no chunk": post("/v1/task_status", b"zz\r\n{}\r\n", "Transfer-Encoding: chunked", length=-1),
    "a chunk that does not end": post(
        "/v1/task_status", b"2\r\n{}xx0\r\n\r\n", "Transfer-Encoding: chunked", length=-1
    ),
    "a trailer that is none": post(
        "/v1/task_status", b"2\r\n{}\r\n0\r\n\x00\r\n\r\n", "Transfer-Encoding: chunked", length=-1
    ),
}


@pytest.mark.parametrize("said", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_http_is_answered_in_the_envelope(served: Served, said: bytes) -> None:
    status, headers, result = enveloped(served.say(said))
    assert (status, result["code"]) == (400, 5001)
    assert headers["x-content-type-options"] == "nosniff"


def test_tls_on_the_plain_port_is_ended_at_its_first_byte_and_logged_once(served: Served) -> None:
    for _ in range(20):
        # What is cut off later, at the deadline, is answered in the envelope.
        assert served.say(b"\x16") == b""
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(f"https://127.0.0.1:{served.port}/healthz", timeout=CLIENT_SECONDS)
    lines = [json.loads(line) for line in served.log.read_text("utf-8").splitlines()]
    assert len([line for line in lines if "TLS" in str(line.get("event"))]) == 1
    assert requests.get(f"{served.url}/healthz", timeout=10).status_code == 200


@pytest.mark.parametrize(
    ("said", "detail"),
    [
        (b"hello\r\n\r\n", "this is no request of HTTP/1.1 that can be read"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000, "the request line and the headers are too long"),
        (b"GET / HTTP/1.1\r\n\r\n", "no such path; operations are listed at /openapi.json"),
        (b"GET /v1/add_image HTTP/1.1\r\nConnection: close\r\n\r\n", "the path takes POST alone"),
        (post("/v1/add_image", b"{", length=OVER), "the body may have 8388608 bytes"),
        (post("/v1/add_image", b"{}", "Content-Encoding: gzip"), "without Content-Encoding"),
        (
            post("/v1/add_image", b"{}").replace(b"application/json", b"text/plain"),
            "send Content-Type: application/json",
        ),
        (post("/v1/add_image", b"{'a': 1}"), "the body is not JSON: Expecting property name"),
        (post("/v1/add_image", b"[]"), "the body must be a JSON object; it is a list"),
        (post("/v1/add_image", b'{"a": "\xff"}'), "the body is not UTF-8"),
        (post("/v1/add_image", b'{"a": 1, "a": 2}'), "an object in it has a name twice"),
        (post("/v1/add_image", b'{"a": NaN}'), "it has a number that is not finite"),
    ],
    ids=lambda value: value if isinstance(value, str) else "sent",
)
def test_a_refusal_says_in_a_sentence_what_was_wrong(
    served: Served, said: bytes, detail: str
) -> None:
    said = said.replace(b" HTTP/1.1\r\n\r\n", b" HTTP/1.1\r\nConnection: close\r\n\r\n")
    _, _, result = enveloped(served.say(said))
    assert detail in result["detail"]


def test_a_body_over_the_limit_is_refused_by_its_length_alone(served: Served) -> None:
    answer = served.say(post("/v1/add_image", b"{", length=OVER))
    status, _, result = enveloped(answer)
    # A body that is waited for ends in 400.
    assert (status, result["code"]) == (413, 3056)


def test_a_client_that_sends_all_of_a_body_over_the_limit_still_gets_the_answer(
    served: Served,
) -> None:
    answer = requests.post(
        f"{served.url}/v1/add_image",
        data=b" " * OVER,
        headers={"Content-Type": "application/json"},
        timeout=20,
    )
    assert (answer.status_code, answer.json()["result"]["code"]) == (413, 3056)


def test_chunks_are_counted_while_they_are_read(served: Served) -> None:
    chunks = (b"10000\r\n" + b" " * 65536 + b"\r\n") * 130
    said = post("/v1/add_image", chunks + b"0\r\n\r\n", "Transfer-Encoding: chunked", length=-1)
    status, _, result = enveloped(served.say(said))
    assert (status, result["code"]) == (413, 3056)


def test_chunks_over_the_limit_are_refused_before_their_end(served: Served) -> None:
    chunks = (b"10000\r\n" + b" " * 65536 + b"\r\n") * 260
    answer = served.say(post("/v1/add_image", chunks, "Transfer-Encoding: chunked", length=-1))
    status, _, result = enveloped(answer)
    # An end that is waited for ends in 400.
    assert (status, result["code"]) == (413, 3056)


def test_very_many_small_chunks_are_refused(served: Served) -> None:
    chunks = b"1\r\n{\r\n" + b"1\r\n \r\n" * 1_000_000 + b"1\r\n}\r\n0\r\n\r\n"
    said = post("/v1/add_image", chunks, "Transfer-Encoding: chunked", length=-1)
    began = time.monotonic()
    status, _, result = enveloped(served.say(said))
    assert (status, result["code"]) == (400, 5001)
    assert time.monotonic() - began < CLIENT_SECONDS


def test_nothing_after_a_body_that_was_not_read_is_taken_for_a_request(served: Served) -> None:
    answer = served.say(post("/v1/add_image", HIDDEN, length=OVER, kept=True))
    assert answer.count(b"HTTP/1.1") == 1


def test_no_answer_names_the_server_or_its_version(served: Served) -> None:
    for answer in (
        requests.get(f"{served.url}/healthz", timeout=10),
        requests.get(f"{served.url}/docs", timeout=10),
    ):
        assert answer.headers["Server"] == "snapsku"


def test_what_was_malformed_is_not_repeated_in_the_log(served: Served) -> None:
    enveloped(served.say(b"GET /?key=SEKRET-5d1 HTTP/1.1\r\nAuthorization SEKRET-5d1\r\n\r\n"))
    lines = [json.loads(line) for line in served.log.read_text("utf-8").splitlines()]
    assert any(line.get("event") == "refused" and line.get("request_id") for line in lines)
    assert "SEKRET-5d1" not in served.log.read_text("utf-8")
