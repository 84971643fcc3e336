"""Every kind of answer in docs/what-is-accepted.md has the outcome that the page says."""

from __future__ import annotations

import re

import pytest

from contract.errors import BrokenBase64OrUrl
from download.client import TransientFetchError, fetch
from tests.accepted import kinds
from tests.integration.download import asked_urls, host_answers, host_redirects
from tests.integration.download.host_answers import FOR_NOW, PICTURE, REFUSED, TAKEN
from tests.integration.download.loopback import (
    Serve,
    answer,
    examples,
    for_server,
    soon,
)


@pytest.mark.parametrize("reply", examples(TAKEN))
def test_the_picture_comes_as_it_is(serve: Serve, reply: bytes) -> None:
    server = serve(reply)
    assert fetch(server.url(), for_server(server), soon()) == PICTURE


@pytest.mark.parametrize("reply", examples(FOR_NOW))
def test_another_try_is_made(serve: Serve, reply: bytes) -> None:
    server = serve(reply)
    with pytest.raises(TransientFetchError) as caught:
        fetch(server.url(), for_server(server), soon())
    assert caught.value.fault.is_retryable


NO_HTTP = "what is no HTTP, or a head of more than 100 lines or 64 KiB a line"


@pytest.mark.parametrize("reply", FOR_NOW[NO_HTTP])
def test_an_answer_that_is_no_http_is_called_so(serve: Serve, reply: bytes) -> None:
    server = serve(reply)
    with pytest.raises(TransientFetchError) as caught:
        fetch(server.url(), for_server(server), soon())
    assert caught.value.fault.detail == "the answer of 127.0.0.1 is no HTTP that can be read"


@pytest.mark.parametrize("reply_and_reason", examples(REFUSED))
def test_the_answer_is_refused_with_its_reason(
    serve: Serve, reply_and_reason: tuple[bytes, str]
) -> None:
    reply, reason = reply_and_reason
    server = serve(reply)
    with pytest.raises(BrokenBase64OrUrl) as caught:
        fetch(server.url(), for_server(server), soon())
    assert re.search(reason, caught.value.detail), caught.value.detail
    assert not caught.value.is_retryable


@pytest.mark.parametrize("body", [PICTURE, host_answers.PNG, b"GIF89a", b"RIFF....WEBPVP8 "])
def test_a_plain_file_is_as_it_is_whatever_it_is_called(serve: Serve, body: bytes) -> None:
    server = serve(host_answers.encoded("br", body + bytes(20)))
    assert fetch(server.url(), for_server(server), soon()) == body + bytes(20)


def test_no_odd_header_writes_the_url_into_the_log(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    server = serve(answer(PICTURE, Content_Type="multipart/mixed"))
    assert fetch(server.url("/secret?secret"), for_server(server), soon()) == PICTURE
    assert "secret" not in caplog.text


def test_the_page_has_a_row_for_each_kind_and_no_other() -> None:
    assert set(kinds("URLs")) == {*asked_urls.PATHS, *asked_urls.HOSTS, *asked_urls.REFUSED}
    assert set(kinds("What hosts send")) == {
        *TAKEN,
        *FOR_NOW,
        *REFUSED,
        *host_redirects.KINDS,
    }
