"""Names: one look-up, checked addresses, and certificates of the name."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from contract.errors import BrokenBase64OrUrl
from download.client import TransientFetchError, fetch
from tests.integration.download.loopback import (
    Serve,
    Server,
    Stopwatch,
    answer,
    for_server,
    policy,
    soon,
)


def test_a_name_is_looked_up_once_and_keeps_its_host_header(serve: Serve) -> None:
    server = serve(answer(b"bytes"))
    asked = []

    def rebinding(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.2"]

    url = server.url("/x", host="Bücher.test")
    assert fetch(url, for_server(server), soon(), rebinding) == b"bytes"
    assert asked == [("xn--bcher-kva.test", server.port)]
    assert f"Host: xn--bcher-kva.test:{server.port}\r\n".encode() in server.requests[0]


@pytest.mark.parametrize("order", [1, -1])
def test_one_forbidden_address_forbids_the_name_and_nothing_is_connected(
    serve: Serve, order: int
) -> None:
    server = serve(answer(b"bytes"))
    addresses = ["127.0.0.1", "127.0.0.2"][::order]
    with pytest.raises(BrokenBase64OrUrl, match=r"127\.0\.0\.2"):
        fetch(server.url(host="a.test"), for_server(server), soon(), lambda _h, _p: addresses)
    assert server.connections == 0


def test_a_name_on_the_allow_list_may_have_any_address(serve: Serve) -> None:
    server = serve(answer(b"bytes"))
    rule = policy(f"files.internal:{server.port}")
    url = server.url(host="files.internal")
    assert fetch(url, rule, soon(), lambda _h, _p: ["127.0.0.1"]) == b"bytes"


def test_a_network_with_a_port_opens_that_port_for_no_other_address() -> None:
    rule = policy("127.0.0.1:8123")
    with pytest.raises(BrokenBase64OrUrl, match="forbidden address"):
        fetch("http://a.test:8123/", rule, soon(), lambda _h, _p: ["8.8.8.8"])


def test_callers_are_told_the_same_of_a_name_that_does_not_resolve_and_of_a_forbidden_address() -> (
    None
):
    def unknown(_host: str, _port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    told = []
    for resolver in (unknown, lambda _h, _p: [], lambda _h, _p: ["10.0.0.7"]):
        with pytest.raises(BrokenBase64OrUrl) as refused:
            fetch("http://a.test/secret.jpg?key=1", policy(), soon(), resolver)
        told.append((refused.value.detail, refused.value.is_retryable))
    assert set(told) == {("a.test is not a host to fetch from", False)}
    assert "10.0.0.7" in str(refused.value)
    assert "SNAPSKU_FETCH_ALLOW" in str(refused.value)


def test_localhost_is_refused_by_its_address() -> None:
    with pytest.raises(BrokenBase64OrUrl, match="forbidden address"):
        fetch("http://localhost/", policy(), soon())


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (socket.gaierror(socket.EAI_NONAME, "no such name"), BrokenBase64OrUrl),
        (socket.gaierror(socket.EAI_AGAIN, "later"), TransientFetchError),
        (OSError("no network"), TransientFetchError),
        (UnicodeError("label too long"), BrokenBase64OrUrl),
    ],
)
def test_faults_of_dns_are_told_apart(fault: Exception, expected: type[Exception]) -> None:
    def resolver(_host: str, _port: int) -> list[str]:
        raise fault

    with pytest.raises(expected):
        fetch("http://a.test/", policy(), soon(), resolver)


def test_a_name_without_an_address_is_a_fault_for_good() -> None:
    with pytest.raises(BrokenBase64OrUrl, match="no address"):
        fetch("http://a.test/", policy(), soon(), lambda _h, _p: [])


# TLS


@dataclass(frozen=True)
class TlsServer:
    """A server that speaks TLS, and the names that its clients asked for."""

    port: int
    names: list[str | None]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the files of a certificate for shop.test, signed by itself, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl command to make a certificate with")
    folder = tmp_path_factory.mktemp("certificate")
    files = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-nodes", "-days", "2"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-subj", "/CN=shop.test", "-addext", "subjectAltName=DNS:shop.test"),
            *("-out", files[0], "-keyout", files[1]),
        ],
        check=True,
        capture_output=True,
    )
    return files


@pytest.fixture
def tls_server(serve: Serve, certificate: tuple[Path, Path]) -> TlsServer:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    names: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: names.append(name)

    def talk(server: Server, connection: socket.socket, request: bytes) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            if secure.recv(4096).startswith(b"GET /slow"):
                secure.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                while not server.stopping.wait(0.05):
                    secure.sendall(b"x")
            secure.sendall(answer(b"secure"))

    return TlsServer(serve(talk, listen_only=True).port, names)


def fetch_tls(
    server: TlsServer, path: str, host: str, ca_file: Path | None, deadline: float
) -> bytes:
    rule = policy(f"127.0.0.1:{server.port}", ca_file=ca_file and str(ca_file))
    url = f"https://{host}:{server.port}{path}"
    return fetch(url, rule, deadline, lambda _h, _p: ["127.0.0.1"])


def test_the_certificate_and_sni_are_of_the_name_not_of_the_address(
    tls_server: TlsServer, certificate: tuple[Path, Path]
) -> None:
    assert fetch_tls(tls_server, "/", "shop.test", certificate[0], soon()) == b"secure"
    assert tls_server.names == ["shop.test"]


def test_a_certificate_of_another_name_is_a_fault_for_good(
    tls_server: TlsServer, certificate: tuple[Path, Path]
) -> None:
    with pytest.raises(BrokenBase64OrUrl, match="certificate"):
        fetch_tls(tls_server, "/", "other.test", certificate[0], soon())


def test_a_certificate_that_nobody_trusts_is_a_fault_for_good(tls_server: TlsServer) -> None:
    with pytest.raises(BrokenBase64OrUrl, match="certificate"):
        fetch_tls(tls_server, "/", "shop.test", None, soon())


def test_a_trickled_body_over_tls_ends_at_the_deadline(
    tls_server: TlsServer, certificate: tuple[Path, Path], stopwatch: Stopwatch
) -> None:
    with pytest.raises(TransientFetchError):
        fetch_tls(tls_server, "/slow", "shop.test", certificate[0], soon(0.5))
    assert stopwatch() < 9
