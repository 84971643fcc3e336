"""Chunks: one worker has the lease, and what comes late changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pymongo.database import Database

from catalog.database.connection import now
from catalog.flows.splitting import split_off
from catalog.rows.chunks import Chunk, Chunks, Stage, State
from catalog.store import Catalog
from tests.integration.catalog.at_once import at_once
from tests.integration.catalog.rows import ITEMS, open_task, plain

LEASE = timedelta(minutes=1)
AT_ONCE = timedelta(0)


@pytest.fixture
def chunks(rows: Database[dict[str, Any]]) -> Chunks:
    """Chunks whose leases do not run out while a test runs."""
    return Chunks(rows["chunks"], LEASE)


@pytest.fixture
def hasty(rows: Database[dict[str, Any]]) -> Chunks:
    """The same chunks, with leases that ran out before they began."""
    return Chunks(rows["chunks"], timedelta(seconds=-1))


def sent(chunks: Chunks, chunk_id: str = "c") -> Chunk:
    """Write a chunk as a submission does."""
    chunk = chunks.as_sent(plain(chunk_id))
    chunks.insert([chunk])
    return chunk


def running(chunks: Chunks, chunk_id: str = "c") -> Chunk:
    chunk = sent(chunks, chunk_id)
    return claim(chunks, chunk_id, chunk)


def claim(chunks: Chunks, chunk_id: str, chunk: Chunk) -> Chunk:
    """Claim a chunk; return it as its row is then, which says no more when it was sent."""
    claimed = chunks.claim(chunk_id, chunk.stage, chunk.attempt)
    assert claimed is not None
    assert claimed.sent_at == chunk.sent_at
    return replace(claimed, sent_at=None)


def row(chunks: Chunks, chunk_id: str = "c") -> Chunk:
    (found,) = chunks.find([chunk_id])
    return found


def test_a_chunk_comes_back_as_it_was_written(chunks: Chunks) -> None:
    written = sent(chunks)
    assert written.state is State.SENT
    assert written.sent_at is not None
    assert written.due_at is None
    assert chunks.find(["c", "none"]) == [written]


def test_a_chunk_that_is_there_already_stays_as_it_is(chunks: Chunks) -> None:
    claimed = running(chunks)
    chunks.insert([chunks.as_sent(plain()), chunks.as_sent(plain("other"))])
    assert row(chunks) == claimed
    assert row(chunks, "other").state is State.SENT


def test_many_messages_of_a_chunk_claim_it_once(chunks: Chunks) -> None:
    sent_at = sent(chunks).sent_at
    claimed = [c for c in at_once(16, lambda _: chunks.claim("c", Stage.FETCH, 1)) if c is not None]
    assert len(claimed) == 1
    assert claimed[0].state is State.RUNNING
    assert claimed[0] == replace(row(chunks), sent_at=sent_at)


def test_a_message_claims_only_the_stage_and_attempt_it_was_sent_for(chunks: Chunks) -> None:
    sent(chunks)
    assert chunks.claim("c", Stage.VISION, 1) is None
    assert chunks.claim("c", Stage.FETCH, 2) is None
    assert chunks.claim("none", Stage.FETCH, 1) is None
    assert chunks.claim("c", Stage.FETCH, 1) is not None


def test_a_message_of_an_older_attempt_claims_nothing(chunks: Chunks) -> None:
    first = sent(chunks)
    again = chunks.resend(first)
    assert again is not None
    assert again.attempt == 2
    assert chunks.claim("c", Stage.FETCH, 1) is None
    assert chunks.claim("c", Stage.FETCH, 2) is not None


def test_a_claim_starts_a_new_lease(chunks: Chunks, hasty: Chunks) -> None:
    sent(hasty)
    before = now()
    claimed = chunks.claim("c", Stage.FETCH, 1)
    assert claimed is not None
    assert claimed.due_at is not None
    assert before + LEASE <= claimed.due_at <= now() + LEASE


def test_a_renewed_lease_lasts_longer_and_keeps_everything_else(chunks: Chunks) -> None:
    claimed = running(chunks)
    time.sleep(0.005)
    assert chunks.renew(claimed)
    renewed = row(chunks)
    assert renewed.due_at is not None
    assert claimed.due_at is not None
    assert renewed.due_at > claimed.due_at
    assert replace(renewed, due_at=claimed.due_at) == claimed


def test_a_chunk_goes_on_to_the_next_stage_with_the_items_that_are_left(chunks: Chunks) -> None:
    claimed = running(chunks)
    advanced = chunks.advance(claimed, Stage.VISION, ITEMS[1:])
    assert advanced == row(chunks)
    assert (advanced.stage, advanced.state, advanced.attempt) == (Stage.VISION, State.SENT, 1)
    assert advanced.items == ITEMS[1:]
    assert chunks.claim("c", Stage.FETCH, 1) is None
    assert chunks.claim("c", Stage.VISION, 1) is not None


def test_a_chunk_can_go_on_with_no_items(chunks: Chunks) -> None:
    advanced = chunks.advance(running(chunks), Stage.INDEX, ())
    assert advanced is not None
    assert advanced.items == row(chunks).items == ()


def test_a_finished_chunk_keeps_its_outcomes_and_is_due_until_it_is_settled(
    chunks: Chunks, hasty: Chunks
) -> None:
    claimed = running(hasty)
    assert hasty.finish(claimed, ["SUCCEEDED", "DUPLICATE_IMAGE"])
    done = row(chunks)
    assert done.state is State.DONE
    assert done.outcomes == ("SUCCEEDED", "DUPLICATE_IMAGE")
    assert chunks.due(State.DONE, 10, now()) == [done]
    assert not chunks.finish(claimed, ["LATE", "LATE"])
    assert row(chunks) == done
    chunks.settle("c")
    assert row(chunks) == replace(done, due_at=None)
    assert chunks.due(State.DONE, 10, now()) == []
    assert chunks.claim("c", Stage.FETCH, 1) is None


def test_of_many_that_finish_at_once_one_does(chunks: Chunks) -> None:
    claimed = running(chunks)
    finished = at_once(12, lambda number: chunks.finish(claimed, [str(number)] * 2))
    assert finished.count(True) == 1
    assert row(chunks).outcomes == (str(finished.index(True)),) * 2


@pytest.mark.parametrize("unclean", [True, False])
def test_a_chunk_that_is_handed_back_waits_under_a_new_attempt(
    chunks: Chunks, unclean: bool
) -> None:
    claimed = running(chunks)
    before = now()
    back = chunks.hand_back(claimed, timedelta(seconds=7), unclean=unclean)
    assert back == row(chunks)
    assert (back.state, back.attempt, back.unclean) == (State.WAITING, 2, int(unclean))
    assert back.due_at is not None
    assert before <= back.due_at - timedelta(seconds=7) <= now()
    assert chunks.claim("c", Stage.FETCH, 2) is None
    again = chunks.resend(back)
    assert again is not None
    assert (again.state, again.attempt, again.unclean) == (State.SENT, 3, int(unclean))


LOSERS: dict[str, Callable[[Chunks, Chunk], object]] = {
    "renew": lambda chunks, chunk: chunks.renew(chunk),
    "advance": lambda chunks, chunk: chunks.advance(chunk, Stage.VISION, ITEMS),
    "finish": lambda chunks, chunk: chunks.finish(chunk, ["SUCCEEDED"] * 2),
    "hand_back": lambda chunks, chunk: chunks.hand_back(chunk, AT_ONCE, unclean=True),
}


@pytest.mark.parametrize("change", LOSERS.values(), ids=LOSERS)
def test_who_lost_the_lease_changes_nothing(
    chunks: Chunks, change: Callable[[Chunks, Chunk], object]
) -> None:
    claimed = running(chunks)
    expired = chunks.expire(claimed)
    assert expired is not None
    assert not change(chunks, claimed)
    assert row(chunks) == expired


@pytest.mark.parametrize("change", LOSERS.values(), ids=LOSERS)
def test_who_lost_the_lease_changes_nothing_while_another_works_on_the_chunk(
    chunks: Chunks, change: Callable[[Chunks, Chunk], object]
) -> None:
    claimed = running(chunks)
    expired = chunks.expire(claimed)
    assert expired is not None
    again = chunks.resend(expired)
    assert again is not None
    other = claim(chunks, "c", again)
    assert not change(chunks, claimed)
    assert row(chunks) == other


def test_a_lease_that_ran_out_counts_as_an_unclean_end(chunks: Chunks) -> None:
    expired = chunks.expire(running(chunks))
    assert expired == row(chunks)
    assert (expired.state, expired.attempt, expired.unclean) == (State.WAITING, 2, 1)


def test_a_lease_that_was_renewed_meanwhile_does_not_run_out(chunks: Chunks) -> None:
    claimed = running(chunks)
    seen = row(chunks)
    time.sleep(0.005)
    assert chunks.renew(claimed)
    assert chunks.expire(seen) is None
    assert row(chunks).state is State.RUNNING
    assert chunks.finish(claimed, ["SUCCEEDED"] * 2)


def test_of_many_sweeps_that_see_a_lease_run_out_one_takes_the_chunk_back(chunks: Chunks) -> None:
    running(chunks)
    seen = row(chunks)
    expired = [c for c in at_once(8, lambda _: chunks.expire(seen)) if c is not None]
    assert len(expired) == 1
    assert row(chunks).unclean == 1


def test_of_many_sweeps_that_send_a_chunk_again_one_does(chunks: Chunks) -> None:
    lost = sent(chunks)
    resent = [c for c in at_once(8, lambda _: chunks.resend(lost)) if c is not None]
    assert len(resent) == 1
    assert row(chunks).attempt == 2


def test_a_lease_ends_by_finish_or_by_running_out_and_never_by_both(chunks: Chunks) -> None:
    for number in range(5):
        claimed = running(chunks, f"c{number}")

        def end(thread: int, claimed: Chunk = claimed) -> bool:
            if thread % 2:
                return chunks.finish(claimed, ["SUCCEEDED"] * 2)
            return chunks.expire(claimed) is not None

        assert at_once(4, end).count(True) == 1


def test_due_gives_exactly_what_must_be_looked_at_now(chunks: Chunks, hasty: Chunks) -> None:
    sent(chunks, "sent and young")
    sent(hasty, "sent long ago")
    running(chunks, "running and silent for a moment")
    running(hasty, "running and dead")
    chunks.hand_back(running(chunks, "waiting for later"), LEASE, unclean=False)
    chunks.hand_back(running(chunks, "waiting till now"), -LEASE, unclean=False)
    hasty.finish(running(hasty, "done"), ["SUCCEEDED"] * 2)
    for state, expected in {
        State.RUNNING: "running and dead",
        State.WAITING: "waiting till now",
        State.DONE: "done",
    }.items():
        (due,) = chunks.due(state, 10, now())
        assert due == row(chunks, expected)
    assert {c.id for c in chunks.unstarted(Stage.FETCH, now() + LEASE, 10)} == {
        "sent and young",
        "sent long ago",
    }
    assert chunks.unstarted(Stage.VISION, now() + LEASE, 10) == []


def test_the_chunks_that_are_due_longest_come_first(chunks: Chunks) -> None:
    for number in (2, 3, 1):
        waiting = running(chunks, str(number))
        chunks.hand_back(waiting, timedelta(seconds=-10 + number), unclean=False)
    assert [chunk.id for chunk in chunks.due(State.WAITING, 2, now())] == ["1", "2"]


def test_a_chunk_becomes_due_when_its_time_has_come(rows: Database[dict[str, Any]]) -> None:
    chunks = Chunks(rows["chunks"], timedelta(milliseconds=150))
    claimed = running(chunks)
    assert chunks.due(State.RUNNING, 10, now()) == []
    time.sleep(0.2)
    assert [chunk.id for chunk in chunks.due(State.RUNNING, 10, now())] == ["c"]
    assert chunks.renew(claimed)
    assert chunks.due(State.RUNNING, 10, now()) == []


def test_chunks_that_could_not_be_sent_wait_and_are_due_at_once(chunks: Chunks) -> None:
    lost = [sent(chunks, "a"), sent(chunks, "b")]
    busy = running(chunks, "busy")
    chunks.unsent([*lost, busy])
    time.sleep(0.003)
    assert {chunk.id for chunk in chunks.due(State.WAITING, 10, now())} == {"a", "b"}
    assert row(chunks, "busy") == busy
    again = chunks.resend(row(chunks, "a"))
    assert again is not None
    assert chunks.claim("a", Stage.FETCH, again.attempt) is not None


def test_the_first_messages_of_a_task_are_noted_as_sent_unless_the_sweep_was_faster(
    chunks: Chunks,
) -> None:
    new = replace(plain("new"), state=State.WAITING, due_at=now() + LEASE)
    urgent = replace(plain("urgent"), stage=Stage.VISION, state=State.WAITING, due_at=now())
    swept = replace(plain("swept"), state=State.WAITING, due_at=now())
    chunks.insert([new, urgent, swept])
    started = chunks.resend(swept)
    assert started is not None
    chunks.unsent([started])
    before = row(chunks, "swept")
    chunks.mark_sent([new, urgent, swept])
    for chunk in (new, urgent):
        found = row(chunks, chunk.id)
        assert found == replace(chunk, state=State.SENT, sent_at=found.sent_at, due_at=None)
        assert chunks.claim(chunk.id, chunk.stage, chunk.attempt) is not None
    assert row(chunks, "swept") == before


def test_a_chunk_is_sent_again_with_what_it_had_or_with_what_is_said(chunks: Chunks) -> None:
    again = chunks.resend(sent(chunks))
    assert again == row(chunks)
    assert (again.stage, again.attempt, again.items) == (Stage.FETCH, 2, ITEMS)
    last = chunks.resend(again, Stage.INDEX, ())
    assert last == row(chunks)
    assert (last.stage, last.attempt, last.items) == (Stage.INDEX, 3, ())
    assert last.due_at is None
    assert last.sent_at is not None


def test_a_chunk_that_a_worker_has_claimed_meanwhile_is_not_sent_again(chunks: Chunks) -> None:
    seen = sent(chunks)
    claimed = claim(chunks, "c", seen)
    assert chunks.resend(seen) is None
    assert row(chunks) == claimed


def test_splitting_writes_chunks_of_one_that_the_task_lists(
    catalog: Catalog, chunks: Chunks
) -> None:
    task = open_task(catalog, 2)
    first = chunks.as_sent(replace(plain(), task_id=task.task_id, unclean=2, attempt=4))
    chunks.insert([first])
    catalog.tasks.add_chunks(task.task_id, [first.id])
    start = now() + timedelta(seconds=9)
    split_off(catalog, first, dict.fromkeys(ITEMS, start), 1)
    found = catalog.tasks.find(task.task_id)
    assert found is not None
    assert len(found.chunk_ids) == 3
    singles = [chunk for chunk in chunks.find(found.chunk_ids) if chunk.id != first.id]
    assert {chunk.items for chunk in singles} == {(item,) for item in ITEMS}
    for single in singles:
        assert (single.task_id, single.collection, single.generation, single.stage) == (
            first.task_id,
            first.collection,
            first.generation,
            first.stage,
        )
        assert (single.state, single.attempt, single.unclean) == (State.WAITING, 1, 0)
        assert (single.passes, single.due_at, single.sent_at) == (1, start, None)


def test_splitting_twice_changes_nothing(catalog: Catalog, chunks: Chunks) -> None:
    task = open_task(catalog, 2)
    first = chunks.as_sent(replace(plain(), task_id=task.task_id))
    chunks.insert([first])
    split_off(catalog, first, dict.fromkeys(ITEMS, now()), 1)
    once = catalog.tasks.find(task.task_id)
    assert once is not None
    taken = chunks.resend(chunks.find(once.chunk_ids)[0])
    assert taken is not None
    at_once(4, lambda _: split_off(catalog, first, dict.fromkeys(ITEMS, now()), 1))
    assert catalog.tasks.find(task.task_id) == once
    assert row(chunks, taken.id) == taken


def test_a_chunk_that_was_split_off_is_due_at_its_time(catalog: Catalog, chunks: Chunks) -> None:
    task = open_task(catalog, 2)
    first = chunks.as_sent(replace(plain(), task_id=task.task_id))
    starts = {ITEMS[0]: now() - LEASE, ITEMS[1]: now() + LEASE}
    split_off(catalog, first, starts, 1)
    (due,) = chunks.due(State.WAITING, 10, now())
    assert due.items == ITEMS[:1]
    resent = chunks.resend(due)
    assert resent is not None
    assert chunks.claim(due.id, Stage.FETCH, resent.attempt) is not None
