"""Every fault of a picture has its row in the table of causes, and tells no more than it may."""

from __future__ import annotations

import ast
import re
import string
from pathlib import Path

import pytest

from contract import causes
from contract.causes import CAUSES, Cause
from contract.errors import ContractError

ROOT = Path(__file__).parents[3]

#: Where a picture is fetched and judged. Other modules of these rooms raise to their own callers.
FILES = [
    *sorted((ROOT / "download").rglob("*.py")),
    *sorted((ROOT / "vision").rglob("*.py")),
    ROOT / "workers" / "support" / "decoding.py",
    ROOT / "app" / "http" / "image_content.py",
]

#: Errors that the module which raises them, or its callers in the same room, turn into a cause.
INNER = {"TimeoutError", "ConnectionError", "ValueError", "UnusableFeaturesError"}


def raised(file: Path) -> list[tuple[int, str]]:
    """The line and the text of each `raise` of an error of its own."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return [
        (node.lineno, ast.unparse(node.exc))
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
    ]


def names_a_cause(text: str) -> bool:
    call = text.removeprefix("TransientFetchError(")
    if call.startswith("causes."):
        return call.partition("(")[0].removeprefix("causes.").removesuffix(".fault") in CAUSES
    return text.partition("(")[0] in INNER or call.startswith("fault")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_fault_that_is_raised_has_a_cause(file: Path) -> None:
    strange = [f"line {line}: {text}" for line, text in raised(file) if not names_a_cause(text)]
    assert strange == []


def test_every_cause_is_that_of_some_fault() -> None:
    rooms = ("app", "catalog", "download", "vision", "workers")
    files = [file for room in rooms for file in (ROOT / room).rglob("*.py")]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    assert [name for name in CAUSES if not re.search(rf"\b{name}\b", text)] == []


def test_the_check_above_finds_a_fault_without_a_cause() -> None:
    assert not names_a_cause("BrokenBase64OrUrl('status 404')")
    assert not names_a_cause("causes.NO_SUCH_ROW.fault()")
    assert not names_a_cause("TransientFetchError('not now')")
    assert names_a_cause("TransientFetchError(causes.CONNECTION.fault(host=host))")
    assert sum(len(raised(file)) for file in FILES) > 30
    containers = [file for file in FILES if file.parent.name == "containers"]
    assert sum(text.startswith("causes.") for file in containers for _, text in raised(file)) > 2


@pytest.mark.parametrize("name", CAUSES)
def test_a_sentence_is_plain_and_short(name: str) -> None:
    cause = CAUSES[name]
    fields = {field for _, field, _, _ in string.Formatter().parse(cause.sentence) if field}
    assert fields <= {
        "host",
        "limit",
        "status",
        "port",
        "reason",
        "encoding",
        "width",
        "height",
        "formats",
        "format",
        "kind",
    }
    fault = cause.fault(**dict.fromkeys(fields, 7))
    assert isinstance(fault, cause.error)
    assert "{" not in fault.detail
    assert not fault.detail.endswith(".")
    assert len(fault.detail) < 120
    assert fault.is_retryable == cause.is_retryable


def test_the_log_may_say_more_than_the_client_is_told() -> None:
    fault = causes.HOST.fault("files.internal has a forbidden address, 10.0.0.7", host="files")
    assert str(fault) == "files.internal has a forbidden address, 10.0.0.7"
    assert fault.detail == "files is not a host to fetch from"
    plain = causes.STATUS.fault(host="shop", status=404)
    assert str(plain) == plain.detail == "shop answers with status 404"


def test_an_error_without_a_cause_tells_its_message_alone() -> None:
    fault = ContractError.registered[0]()
    assert (fault.detail, fault.is_retryable) == ("", False)
    assert all(isinstance(cause, Cause) for cause in CAUSES.values())
