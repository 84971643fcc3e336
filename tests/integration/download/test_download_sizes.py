"""How much of an answer is read and unpacked: lengths, encodings and the limit of bytes."""

from __future__ import annotations

import gzip
import socket
import tracemalloc
import zlib

import pytest

from config.settings import Settings
from contract.errors import BrokenBase64OrUrl, ImageSizeExceedLimit
from download.client import (
    TransientFetchError,
    fetch,
)
from download.policy import fetch_policy_of
from tests.integration.download.loopback import (
    MAX_BYTES,
    Serve,
    Server,
    Stopwatch,
    answer,
    for_server,
    soon,
    trickle,
)


def test_a_body_at_the_limit_is_refused_without_a_length_too(serve: Serve) -> None:
    server = serve(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(MAX_BYTES))
    with pytest.raises(ImageSizeExceedLimit):
        fetch(server.url(), for_server(server), soon())


def test_an_announced_size_at_the_limit_is_refused_unread(
    serve: Serve, stopwatch: Stopwatch
) -> None:
    def talk(server: Server, connection: socket.socket, request: bytes) -> None:
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {MAX_BYTES}\r\n\r\n".encode())
        server.stopping.wait(60)

    server = serve(talk)
    with pytest.raises(ImageSizeExceedLimit):
        fetch(server.url(), for_server(server), soon())
    assert stopwatch() < 10


def test_without_a_limit_of_pictures_a_download_has_one_of_its_own(serve: Serve) -> None:
    server = serve(answer(bytes(5_000_000)))
    chosen = Settings(image_bytes=0, fetch_allow=f"127.0.0.1:{server.port}")
    assert fetch(server.url(), fetch_policy_of(chosen), soon()) == bytes(5_000_000)
    too_long = serve(answer(b"x", Content_Length=str(64 * 2**20)))
    chosen = Settings(image_bytes=0, fetch_allow=f"127.0.0.1:{too_long.port}")
    with pytest.raises(ImageSizeExceedLimit) as caught:
        fetch(too_long.url(), fetch_policy_of(chosen), soon())
    assert caught.value.detail == "the file has 67108864 bytes or more"


@pytest.mark.parametrize("length", ["9" * 30, "9" * 5000])
def test_an_absurd_announced_size_is_refused(serve: Serve, length: str) -> None:
    server = serve(answer(b"x", Content_Length=length))
    with pytest.raises(ImageSizeExceedLimit):
        fetch(server.url(), for_server(server), soon())


@pytest.mark.parametrize("head", [b"", b"Transfer-Encoding: chunked\r\n"])
def test_an_endless_body_is_cut_at_the_limit(
    serve: Serve, head: bytes, stopwatch: Stopwatch
) -> None:
    piece = b"1000\r\n" + bytes(4096) + b"\r\n" if b"chunked" in head else bytes(4096)
    server = serve(trickle(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n", piece, 0.0))
    with pytest.raises(ImageSizeExceedLimit):
        fetch(server.url(), for_server(server), soon())
    assert stopwatch() < 20


@pytest.mark.parametrize("encoding", ["gzip", "X-GZIP", "deflate"])
def test_what_a_server_packs_unasked_is_unpacked_as_far_as_the_limit(
    serve: Serve, encoding: str
) -> None:
    pack = zlib.compress if encoding == "deflate" else gzip.compress
    small, large, bomb = pack(b"unpacked"), pack(bytes(MAX_BYTES)), pack(bytes(50_000_000))
    assert len(bomb) < MAX_BYTES
    server = serve(answer(small, Content_Encoding=encoding))
    assert fetch(server.url(), for_server(server), soon()) == b"unpacked"
    for packed in (large, bomb):
        server = serve(answer(packed, Content_Encoding=encoding))
        with pytest.raises(BrokenBase64OrUrl, match="unpacks"):
            fetch(server.url(), for_server(server), soon())


def test_a_bomb_is_unpacked_no_further_than_the_limit(serve: Serve) -> None:
    packer = zlib.compressobj(wbits=31)
    bomb = b"".join(packer.compress(bytes(2**22)) for _ in range(50)) + packer.flush()
    server = serve(answer(bomb, Content_Encoding="gzip"))
    tracemalloc.start()
    try:
        with pytest.raises(BrokenBase64OrUrl, match="unpacks"):
            fetch(server.url(), for_server(server, max_bytes=len(bomb) + 1), soon())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000


@pytest.mark.parametrize(
    "encoding", ["br", "zstd", "compress", "gzip, gzip", "gzip,br", "X-Compress"]
)
def test_an_unrequested_encoding_is_a_fault_for_good(serve: Serve, encoding: str) -> None:
    server = serve(answer(b"bytes", Content_Encoding=encoding))
    with pytest.raises(BrokenBase64OrUrl, match="encoding"):
        fetch(server.url(), for_server(server), soon())


@pytest.mark.parametrize("length", ["x", "-5", "+5", "5.0", "0x5", "5 5", "", "5, 6", "5,", "\xb2"])
def test_a_length_that_is_none_is_a_fault_for_good(serve: Serve, length: str) -> None:
    head = answer(b"bytes", Content_Length="LENGTH").replace(b"LENGTH", length.encode("latin-1"))
    server = serve(head)
    with pytest.raises(BrokenBase64OrUrl):
        fetch(server.url(), for_server(server), soon())


def test_the_same_length_twice_is_one_length(serve: Serve) -> None:
    server = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nbytes")
    assert fetch(server.url(), for_server(server), soon()) == b"bytes"


def test_an_encoding_that_does_not_unpack_is_a_fault_for_good(serve: Serve) -> None:
    server = serve(answer(b"no gzip", Content_Encoding="gzip"))
    with pytest.raises(BrokenBase64OrUrl):
        fetch(server.url(), for_server(server), soon())


def test_a_body_shorter_than_announced_is_a_cut_connection(serve: Serve) -> None:
    server = serve(answer(b"short", Content_Length="500"))
    with pytest.raises(TransientFetchError):
        fetch(server.url(), for_server(server), soon())


def test_what_follows_the_announced_length_is_not_read(serve: Serve) -> None:
    server = serve(answer(b"12345 and more", Content_Length="5"))
    assert fetch(server.url(), for_server(server), soon()) == b"12345"
