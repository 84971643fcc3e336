"""Calls of the API in this process, on a real catalogue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask.testing import FlaskClient

#: Serves the API under limits of a test's own.
Serve = Callable[..., FlaskClient]


def result(client: FlaskClient, operation: str, **body: Any) -> dict[str, Any]:
    """Call an operation and return `result` of its envelope, whatever its code is."""
    response = client.post(f"/v1/{operation}", json=body)
    assert response.status_code == 200
    found: dict[str, Any] = response.get_json()["result"]
    return found
