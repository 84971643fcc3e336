"""A slow host holds up no other image; its own wait, most of them without being asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from catalog.database.connection import now
from catalog.database.durations import LONGEST_PAUSE
from catalog.flows.splitting import Wait, wait_apart
from catalog.rows.chunks import Chunk, Stage, State
from catalog.store import Catalog
from config.settings import settings
from download import batch
from tests.integration.workers.counting_files import serving
from tests.integration.workers.waiting import until
from tests.loopback_host import Answer, gives, host
from workers import fetch as fetch_stage
from workers.support import resources, tries
from workers.support.resources import staged_bytes

BAD = 8
DOWN = "127.0.0.1 failed several times in a row and is left alone for now; the last time: {}"
Mixed = Callable[..., Chunk]


@pytest.fixture
def base() -> Iterator[tuple[str, list[str]]]:
    with serving() as served:
        yield served


@pytest.fixture
def mixed(catalog: Catalog, take: Any) -> Mixed:
    """Return what takes in images with a URL each, in one chunk of one task."""

    def taken(*urls: str) -> Chunk:
        parts = [take(f"image-{number}", url=url) for number, url in enumerate(urls)]
        task = parts[0].task
        items = tuple(item for part in parts for chunk in part.chunks for item in chunk.items)
        first = parts[0].chunks[0]
        chunk = Chunk(
            id="chunk-of-all",
            task_id=task.task_id,
            collection=first.collection,
            generation=first.generation,
            items=items,
            stage=Stage.FETCH,
        )
        catalog.chunks.insert([catalog.chunks.as_sent(chunk)])
        catalog.tasks.add_chunks(task.task_id, [chunk.id])
        return chunk

    return taken


@contextmanager
def hanging() -> Iterator[tuple[str, threading.Event]]:
    """Yield the address of a server that answers nothing until the event is set."""
    over = threading.Event()

    def hang(_: BaseHTTPRequestHandler) -> None:
        over.wait(60)

    with host(lambda _: hang) as address:
        try:
            yield address, over
        finally:
            over.set()


def parts(catalog: Catalog, chunk: Chunk) -> list[Chunk]:
    """Return what became of a chunk: itself, and the chunks that were split off it."""
    task = catalog.tasks.find(chunk.task_id)
    assert task is not None
    return [each for each in catalog.chunks.find(task.chunk_ids) if each.id.startswith(chunk.id)]


def at_fetch(catalog: Catalog, chunk: Chunk) -> list[Chunk]:
    return [each for each in parts(catalog, chunk) if each.stage is Stage.FETCH]


def test_images_that_are_done_do_not_wait_for_one_whose_host_hangs(
    catalog: Catalog,
    mixed: Mixed,
    base: tuple[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batch, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(
        fetch_stage,
        "settings",
        lambda: settings().model_copy(update={"fetch_pass_seconds": 60.0}),
    )
    good, _ = base
    with hanging() as (slow, over):
        chunk = mixed(f"{good}/200-a", f"{slow}/b", f"{good}/200-c", f"{good}/503-d")
        a, b, c, d = chunk.labels
        thread = threading.Thread(target=fetch_stage.fetch, args=(chunk.id, chunk.attempt))
        thread.start()
        assert until(lambda: len(parts(catalog, chunk)) == 3, 30)
        assert until(lambda: catalog.chunks.find([chunk.id])[0].labels == [b], 30)
        states = {tuple(each.labels): each for each in parts(catalog, chunk)}
        assert states[b,].state is State.RUNNING, "it is still being fetched"
        assert (states[a, c].stage, states[a, c].state) == (Stage.VISION, State.SENT)
        assert (states[d,].stage, states[d,].state, states[d,].passes) == (
            Stage.FETCH,
            State.WAITING,
            1,
        )
        assert staged_bytes().present(chunk.labels) == {a, c}
        over.set()
        thread.join(30)
    assert not thread.is_alive()
    (last,) = catalog.chunks.find([chunk.id])
    assert (last.labels, last.state, last.passes) == ([b], State.WAITING, 1)


def test_a_worker_that_lost_its_lease_early_sends_nothing_ahead(
    catalog: Catalog,
    mixed: Mixed,
    base: tuple[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batch, "PATIENCE_SECONDS", 0.2)
    good, _ = base
    with hanging() as (slow, _):
        chunk = mixed(f"{good}/200-a", f"{slow}/b")

        def lose_lease(*arguments: Any, **options: Any) -> Any:
            (held,) = catalog.chunks.find([chunk.id])
            assert catalog.chunks.expire(held) is not None
            return batch.fetch_all(*arguments, **options)

        monkeypatch.setattr(fetch_stage, "fetch_all", lose_lease)
        fetch_stage.fetch(chunk.id, chunk.attempt)
    (found,) = parts(catalog, chunk)
    assert (found.labels, found.state, found.attempt) == (chunk.labels, State.WAITING, 2)


def test_images_of_a_host_that_fails_wait_as_one_chunk_and_most_are_not_asked_for(
    catalog: Catalog, mixed: Mixed, base: tuple[str, list[str]]
) -> None:
    url, asked = base
    chunk = mixed(*(f"{url}/503-{number}" for number in range(20)), "http://127.0.0.1:9/x")
    fetch_stage.fetch(chunk.id, chunk.attempt)
    limit = settings().fetch_per_host
    assert limit <= len(asked) <= 2 * limit, "those under way when the last fault was counted"
    waiting = at_fetch(catalog, chunk)
    assert all(each.state is State.WAITING for each in waiting)
    assert sorted(label for each in waiting for label in each.labels) == sorted(chunk.labels)
    assert len(waiting) <= 3, "by pause, not by image"
    for each in waiting:
        reasons = {reason for _, reason in each.waits}
        if each.passes == 0:
            assert each.put_off_at is not None
            assert reasons == {DOWN.format("127.0.0.1 answers with status 503, which may pass")}
        else:
            assert len(each.labels) <= len(asked) + 1
            assert reasons <= {
                "127.0.0.1 answers with status 503, which may pass",
                "127.0.0.1 could not be reached, or broke the connection",
            }


@pytest.mark.parametrize("bad", ["500", "503"])
def test_bad_urls_of_a_host_that_answers_cost_no_good_image_of_it(
    catalog: Catalog, mixed: Mixed, base: tuple[str, list[str]], bad: str
) -> None:
    url, _ = base
    paths = [*(f"{bad}-{number}" for number in range(8)), *(f"200-{n}" for n in range(8))]
    chunk = mixed(*(f"{url}/{path}" for path in paths))
    good = set(chunk.labels[8:])
    fetch_stage.fetch(chunk.id, chunk.attempt)

    def all_good_are_staged() -> bool:
        again(catalog, chunk)
        return staged_bytes().present(list(good)) == good

    assert until(all_good_are_staged, 120)
    assert staged_bytes().present(chunk.labels) == good
    assert not good & catalog.images.failures(chunk.labels).keys()


def test_a_host_that_only_redirects_is_not_blamed_for_where_it_leads(
    catalog: Catalog, mixed: Mixed, base: tuple[str, list[str]]
) -> None:
    good, _ = base

    def redirected(path: str) -> Answer:
        to, _, rest = path.partition("/")
        return gives(302, Location=f"{good if to == 'good' else 'http://127.0.0.1:9'}/{rest}")

    with host(redirected) as url:
        paths = [*(f"dead/{n}" for n in range(8)), *(f"good/200-{n}" for n in range(8))]
        chunk = mixed(*(f"{url}/{path}" for path in paths))
        fetch_stage.fetch(chunk.id, chunk.attempt)
    assert staged_bytes().present(chunk.labels) == set(chunk.labels[8:])
    states = resources.host_gate()
    assert states.put_off("127.0.0.1:9") is not None
    assert states.put_off(url.partition("//")[2]) is None


def again(catalog: Catalog, chunk: Chunk) -> bool:
    """Run the parts of a chunk that are due, as the sweep does; return whether none waits."""
    waiting = [each for each in at_fetch(catalog, chunk) if each.state is State.WAITING]
    for part in waiting:
        if part.due_at is not None and part.due_at <= now():
            resent = catalog.chunks.resend(part)
            assert resent is not None
            fetch_stage.fetch(resent.id, resent.attempt)
    return not at_fetch(catalog, chunk)


def test_images_of_a_host_that_stays_down_fail_with_that_reason_after_a_while(
    catalog: Catalog, mixed: Mixed, base: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = settings().model_copy(update={"fetch_down_seconds": 2.0})
    monkeypatch.setattr(tries, "settings", lambda: impatient)
    url, asked = base
    chunk = mixed(*(f"{url}/502-{number}" for number in range(BAD)))
    fetch_stage.fetch(chunk.id, chunk.attempt)
    assert until(lambda: again(catalog, chunk), 60)
    failures = catalog.images.failures(chunk.labels)
    assert set(failures) == set(chunk.labels)
    assert all(one.is_retryable and one.stage == "fetch" for one in failures.values())
    assert {one.detail for one in failures.values()} <= {
        "127.0.0.1 answers with status 502, which may pass",
        DOWN.format("127.0.0.1 answers with status 502, which may pass"),
    }
    assert len(asked) < BAD * settings().fetch_passes


def test_images_of_a_host_that_recovers_are_all_fetched(
    catalog: Catalog, mixed: Mixed, base: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, asked = base
    chunk = mixed(*(f"{url}/503-{number}" for number in range(BAD)))
    fetch_stage.fetch(chunk.id, chunk.attempt)
    real = fetch_stage._urls
    monkeypatch.setattr(
        fetch_stage,
        "_urls",
        lambda chunk: {n: each.replace("503", "200") for n, each in real(chunk).items()},
    )
    assert until(lambda: again(catalog, chunk), 60)
    assert staged_bytes().present(chunk.labels) == set(chunk.labels)
    assert sum(path.startswith("/200") for path in asked) == BAD


def test_pauses_that_a_host_asks_for_do_not_count_against_images_that_were_not_asked_for(
    catalog: Catalog,
    mixed: Mixed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def throttled(path: str) -> Answer:
        asked.append(path)
        return gives(429, Retry_After="20")

    with host(throttled) as url:
        chunk = mixed(*(f"{url}/{number}" for number in range(12)))
        fetch_stage.fetch(chunk.id, chunk.attempt)
        waiting = at_fetch(catalog, chunk)
        passes = {label: each.passes for each in waiting for label in each.labels}
        assert sum(passes.values()) == len(asked) <= settings().fetch_per_host
        assert len(passes) == 12
        for each in waiting:
            assert each.due_at is not None
            assert timedelta(seconds=10) < each.due_at - now() <= LONGEST_PAUSE
        monkeypatch.setattr(tries, "LONGEST_WAIT", timedelta(0))
        put_off = [each for each in waiting if each.put_off_at is not None]
        for part in put_off:
            resent = catalog.chunks.resend(part)
            assert resent is not None
            fetch_stage.fetch(resent.id, resent.attempt)
        failures = catalog.images.failures(chunk.labels)
        assert set(failures) == {label for part in put_off for label in part.labels}
        assert len(asked) <= settings().fetch_per_host


def test_a_chunk_that_waits_apart_is_written_again_after_a_crash_without_losing_an_image(
    catalog: Catalog, mixed: Mixed
) -> None:
    """A worker may die after it wrote a part, and find other images waiting at the next attempt."""
    chunk = mixed(*(f"http://127.0.0.1:9/{number}" for number in range(3)))
    first, second, third = chunk.items

    def part(held: Chunk, *items: Any) -> None:
        wait = Wait(items=items, start=now(), passes=1, reasons={})
        wait_apart(catalog, held, [wait])

    held = catalog.chunks.claim(chunk.id, Stage.FETCH, 1)
    assert held is not None
    part(held, first, third)
    restarted = catalog.chunks.expire(held)
    assert restarted is not None
    resent = catalog.chunks.resend(restarted)
    assert resent is not None
    part(resent, first, second)
    written = {label for each in parts(catalog, chunk) for label in each.labels}
    assert written == set(chunk.labels)
    assert len(parts(catalog, chunk)) == 3
