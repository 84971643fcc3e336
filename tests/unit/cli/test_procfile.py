"""The Procfile starts what the service is made of: each queue once, no line forgotten."""

from __future__ import annotations

import importlib.util
import shlex
from collections import Counter
from pathlib import Path

import pytest

from broker.queues import NEIGHBOURS, QUEUES
from cli.processes import ROOT, procfile

LINES: dict[str, list[str]] = {kind: shlex.split(command) for kind, command in procfile().items()}
WORKERS = {kind: words for kind, words in LINES.items() if "worker" in words}


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


def queues(words: list[str]) -> list[str]:
    return option(words, "-Q").split(",")


def test_every_kind_of_process_has_its_line() -> None:
    assert set(LINES) == {
        *("api", "fetch", "vision", "search", "index", "maintenance", "beat", "flower")
    }


def test_every_queue_is_consumed_by_exactly_one_line() -> None:
    consumed = Counter(queue for words in WORKERS.values() for queue in queues(words))
    assert consumed == Counter(QUEUES)


def test_the_index_and_its_queries_share_a_process_and_a_pool_of_threads() -> None:
    assert queues(WORKERS["index"]) == ["index", NEIGHBOURS]
    assert option(WORKERS["index"], "-P") == "threads"


@pytest.mark.parametrize("kind", LINES)
def test_a_line_starts_with_exec_so_that_signals_reach_the_program(kind: str) -> None:
    assert LINES[kind][0] == "exec"


@pytest.mark.parametrize("kind", [kind for kind, words in LINES.items() if "-A" in words])
def test_the_module_of_a_celery_line_exists(kind: str) -> None:
    assert LINES[kind][1] == "celery"
    assert importlib.util.find_spec(option(LINES[kind], "-A")) is not None


def test_the_configuration_files_that_lines_name_exist() -> None:
    named = [option(LINES["api"], "-c")]
    named += [
        word.removeprefix("--conf=") for word in LINES["flower"] if word.startswith("--conf=")
    ]
    assert len(named) == 2
    for path in named:
        assert Path(ROOT, path).is_file()


def test_workers_have_names_of_their_own() -> None:
    names = [option(words, "-n") for words in WORKERS.values()]
    assert len(set(names)) == len(names)
