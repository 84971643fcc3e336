"""A TypeScript client whose types are made of the document: tsc takes it, and its calls work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.client import collection_name
from tests.e2e.stack import Stack
from tests.node.conftest import Run
from tools.demo.manifest import load


@pytest.mark.timeout(900)
def test_a_typescript_client_made_of_the_document_adds_and_finds(stack: Stack, run: Run) -> None:
    # With the option, a member that has a default may be left out of a request; see docs/api.md.
    run(
        *("node_modules/.bin/openapi-typescript", f"{stack.base_url}/openapi.json"),
        *("--default-non-nullable=false", "--output", "schema.ts"),
    )
    run("node_modules/.bin/tsc", "--project", ".")
    picture: Path = load().images[0].path
    told = json.loads(run("node", "client.js", stack.base_url, str(picture), collection_name()))
    assert told.pop("picture") > 1000
    assert told == {
        "refusal": 1030,
        "created": ["p1"],
        "succeeded": [{"product_id": "p1", "image_id": "i1"}],
        "found": ["p1"],
        "listed": True,
        "missing": "10000",
        "ready": "ready",
    }
