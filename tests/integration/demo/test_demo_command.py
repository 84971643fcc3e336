from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from rich.console import Console

from tests.integration.demo.stub_stack import Service
from tools.demo import fileserver, stack
from tools.demo.__main__ import run, run_on
from tools.demo.manifest import load
from tools.demo.queries import make_queries

STUB = (sys.executable, "-m", "tests.integration.demo.stub_stack")


def run_with(folder: Path, *arguments: str) -> tuple[int, str]:
    console = Console(width=160)
    with console.capture() as captured:
        status = run(folder, console, command=(*STUB, *arguments))
    return status, captured.get()


def test_the_demo_fills_searches_reports_and_stops_what_it_started(tmp_path: Path) -> None:
    status, shown = run_with(tmp_path / "out")
    assert status == 0
    assert "37 of 37 first, 72 of 72 images ingested" in shown
    assert (tmp_path / "out/index.html").is_file()
    # The stub's last line: half of the pictures came over the file server, and it was stopped.
    assert "stub stopped after 36 fetches" in (tmp_path / "out/stack.log").read_text("utf-8")


def test_the_demo_fails_where_the_wrong_products_are_found(tmp_path: Path) -> None:
    status, shown = run_with(tmp_path, "wrong")
    assert status == 1
    assert "of 37 first" in shown


def test_a_service_that_runs_already_is_filled_and_searched_without_urls(
    service: Service, tmp_path: Path
) -> None:
    stub, url = service
    stub.answers = {
        hashlib.sha256(query.content).hexdigest(): query.product_id
        for query in make_queries(load())
    }
    console = Console(width=160)
    with console.capture() as captured:
        assert run_on(url, "", tmp_path / "out", console) == 0
    assert "72 of 72 images ingested" in captured.get()
    assert stub.fetched == 0
    assert (tmp_path / "out/index.html").is_file()


def test_a_service_that_does_not_answer_fails_the_demo(tmp_path: Path) -> None:
    console = Console(width=160)
    with console.capture() as captured:
        assert run_on("http://127.0.0.1:9", "", tmp_path, console) == 1
    assert "The demo failed" in captured.get()


def test_a_stack_that_ends_early_fails_with_the_tail_of_its_log(tmp_path: Path) -> None:
    status, shown = run_with(tmp_path, "mute")
    assert status == 1
    assert "the stub was told to end" in shown
    assert not (tmp_path / "index.html").exists()


def test_a_stack_that_never_answers_is_given_up(tmp_path: Path) -> None:
    sleeper = (sys.executable, "-c", "import time; time.sleep(60)")
    running = stack.Stack({}, tmp_path / "log", command=sleeper)
    try:
        with pytest.raises(stack.StackError, match="not ready"):
            running.wait_ready("http://127.0.0.1:9/readyz", seconds=0.3)
    finally:
        running.stop()


def test_a_stack_that_ignores_the_signal_is_killed_and_reported(tmp_path: Path) -> None:
    program = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print('deaf', flush=True); time.sleep(60)"
    )
    running = stack.Stack({}, tmp_path / "log", command=(sys.executable, "-c", program))
    while "deaf" not in running.tail():
        time.sleep(0.02)
    with pytest.raises(stack.StackError, match="killed"):
        running.stop(seconds=0.2)
    running.stop()


def test_the_stack_gets_the_environment_and_the_demos_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SNAPSKU_LOG_LEVEL", "from outside")
    settings = stack.settings(tmp_path, 1, 2, 3)
    program = "import os; print({k: v for k, v in os.environ.items() if 'SNAPSKU' in k})"
    running = stack.Stack(settings, tmp_path / "log", command=(sys.executable, "-c", program))
    with pytest.raises(stack.StackError, match="status 0"):
        running.wait_ready("http://127.0.0.1:9/readyz", seconds=20)
    assert running.tail() == str(
        {
            name: value
            for name, value in {**os.environ, **settings}.items()
            if name.startswith("SNAPSKU")
        }
    )


def test_an_interrupted_demo_stops_the_stack(tmp_path: Path) -> None:
    sleeper = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit('told to stop'))\n"
        "print('up', flush=True)\n"
        "time.sleep(60)\n"
    )
    driver = (
        "import sys; from tools.demo.__main__ import main\n"
        f"sys.argv = ['demo', '--output', {str(tmp_path)!r}]\n"
        f"sys.exit(main(command=(sys.executable, '-c', {sleeper!r})))"
    )
    process = subprocess.Popen([sys.executable, "-c", driver], cwd=stack.ROOT)
    log = tmp_path / "stack.log"
    while not (log.exists() and "up" in log.read_text("utf-8")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 128 + signal.SIGTERM
    assert "told to stop" in log.read_text("utf-8")


def test_free_ports_differ() -> None:
    assert len(set(stack.free_ports(8))) == 8


def test_the_file_server_serves_its_folder_and_ends(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "a.txt").write_text("hello", "utf-8")
    (tmp_path / "secret.txt").write_text("secret", "utf-8")
    with fileserver.serve(folder) as port:
        base = f"http://127.0.0.1:{port}"
        with urllib.request.urlopen(f"{base}/a.txt", timeout=5) as response:  # noqa: S310
            assert response.read() == b"hello"
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{base}/../secret.txt", timeout=5)  # noqa: S310
        assert caught.value.code == 404
        caught.value.close()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{base}/a.txt", timeout=5)  # noqa: S310
