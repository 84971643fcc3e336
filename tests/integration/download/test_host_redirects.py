"""Redirects lead where docs/what-is-accepted.md says, and no further."""

from __future__ import annotations

import pytest

from contract.errors import BrokenBase64OrUrl
from download.client import fetch
from tests.integration.download.host_redirects import FOLLOWED, REFUSED
from tests.integration.download.loopback import Serve, examples, for_server, once, soon


@pytest.mark.parametrize("location_and_path", examples(FOLLOWED))
def test_a_location_is_followed_as_it_was_sent(
    serve: Serve, location_and_path: tuple[bytes, str]
) -> None:
    location, path = location_and_path
    server = serve(once(b"Location: " + location))
    assert fetch(server.url("/a/b?c"), for_server(server), soon()) == b"there"
    assert server.requests[1].startswith(f"GET {path} HTTP/1.1\r\n".encode())


@pytest.mark.parametrize("location", examples(REFUSED))
def test_a_location_that_is_refused_is_not_asked(serve: Serve, location: bytes) -> None:
    server = serve(once(location and b"Location: " + location))
    with pytest.raises(BrokenBase64OrUrl):
        fetch(server.url("/a/b?c"), for_server(server), soon())
    assert server.connections == 1
