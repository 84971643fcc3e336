from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from indexer.directory_ownership import LOCK_FILE, DirectoryOwnership, IndexDirectoryOwned

ROOT = Path(__file__).resolve().parents[3]
OWNER = """
import sys
from pathlib import Path
from indexer.directory_ownership import DirectoryOwnership
ownership = DirectoryOwnership(Path(sys.argv[1]))
print("owned", flush=True)
sys.stdin.read()
"""


@contextmanager
def owner(directory: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(directory)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_a_second_process_is_refused_by_name(tmp_path: Path) -> None:
    directory = tmp_path / "index" / "new"
    with DirectoryOwnership(directory), owner(directory) as second:
        _, complaint = second.communicate(timeout=30)
        assert second.returncode == 1
        assert "IndexDirectoryOwned" in complaint
        assert f"{directory} is owned by process {os.getpid()}" in complaint


def test_a_killed_owner_leaves_the_directory_free(tmp_path: Path) -> None:
    with owner(tmp_path) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "owned\n"
        with pytest.raises(IndexDirectoryOwned, match=str(first.pid)) as refusal:
            DirectoryOwnership(tmp_path)
        assert (refusal.value.directory, refusal.value.holder) == (tmp_path, first.pid)
        first.send_signal(signal.SIGKILL)
        first.wait(timeout=30)
        DirectoryOwnership(tmp_path).release()


def test_a_second_owner_in_one_process_is_refused_until_release(tmp_path: Path) -> None:
    with DirectoryOwnership(tmp_path), pytest.raises(IndexDirectoryOwned):
        DirectoryOwnership(tmp_path)
    DirectoryOwnership(tmp_path).release()


def test_a_holder_that_has_not_written_its_id_is_reported_so(tmp_path: Path) -> None:
    with DirectoryOwnership(tmp_path):
        (tmp_path / LOCK_FILE).write_text("")
        with pytest.raises(IndexDirectoryOwned, match="just starting") as refusal:
            DirectoryOwnership(tmp_path)
        assert refusal.value.holder is None


def test_nothing_is_left_of_an_earlier_owner_with_a_longer_id(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).write_text("99999999999999\n")
    with DirectoryOwnership(tmp_path):
        assert (tmp_path / LOCK_FILE).read_text() == f"{os.getpid()}\n"
