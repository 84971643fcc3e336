"""Tasks and queues: ids that are unique, and what proves a message lost."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from pymongo.database import Database

from catalog.coordination.queue_progress import Queues
from catalog.database.connection import now
from catalog.database.database_time import DATABASE_TIME
from catalog.rows.tasks import user_of
from catalog.store import Catalog
from tests.integration.catalog.at_once import at_once
from tests.integration.catalog.rows import open_task

SETTLING = timedelta(milliseconds=200)


@pytest.fixture
def queues(rows: Database[dict[str, Any]]) -> Queues:
    return Queues(rows["queues"], SETTLING)


def settle() -> None:
    time.sleep(SETTLING.total_seconds() + 0.02)


def test_tasks_of_the_same_microsecond_have_ids_of_their_own(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DATABASE_TIME, "microseconds", lambda: 1_581_417_512_999_998)
    tasks = at_once(8, lambda _: open_task(catalog, 1, "1001", "XX小店"))
    ids = sorted(task.task_id for task in tasks)
    assert len(set(ids)) == 8
    assert ids[:3] == [
        "1001/XX小店/1581417512.999998",
        "1001/XX小店/1581417512.999999",
        "1001/XX小店/1581417513.000000",
    ]


def test_a_task_is_found_as_it_was_opened(catalog: Catalog) -> None:
    created = open_task(catalog, 3, "1001", "XX小店")
    assert created.chunk_ids == ()
    assert catalog.tasks.find(created.task_id) == created
    assert catalog.tasks.find(created.task_id + "0") is None
    assert user_of(created.task_id) == created.user == "1001"
    assert created.collection == "1001/XX小店"


def test_chunks_of_a_task_are_listed_once_in_the_order_they_came(catalog: Catalog) -> None:
    task = open_task(catalog, 3)
    catalog.tasks.add_chunks(task.task_id, ["b", "a"])
    catalog.tasks.add_chunks(task.task_id, ["a", "c"])
    found = catalog.tasks.find(task.task_id)
    assert found is not None
    assert found.chunk_ids == ("b", "a", "c")


def test_chunks_that_many_add_at_once_are_all_listed(catalog: Catalog) -> None:
    task = open_task(catalog, 3)
    at_once(8, lambda n: catalog.tasks.add_chunks(task.task_id, [f"{n}", f"{n}b", "both"]))
    found = catalog.tasks.find(task.task_id)
    assert found is not None
    expected = {f"{n}{suffix}" for n in range(8) for suffix in ("", "b")} | {"both"}
    assert sorted(found.chunk_ids) == sorted(expected)


@pytest.mark.parametrize(
    "task_id",
    [
        "",
        "1001",
        "1001/shop",
        "1001/shop/",
        "1001/shop/1581417512",
        "1001/shop/1581417512.27459",
        "1001/shop/1581417512.2745981",
        "1001/shop/158141751.274598",
        "1001/shop/1581417512,274598",
        "1001/shop/1581417512.274598 ",
        "1001/shop/1581417512.274598\n",
        "/shop/1581417512.274598",
        "1001//1581417512.274598",
        "1001/a/b/1581417512.274598",
        "1001/shop/-581417512.274598",
        "1001/shop/１５８１４１７５１２.274598",
    ],
)
def test_a_malformed_task_id_names_nobody(task_id: str) -> None:
    assert user_of(task_id) is None


def test_a_well_formed_task_id_names_its_user() -> None:
    assert user_of("1001/XX小店/1581417512.274598") == "1001"


def test_a_queue_that_started_nothing_proves_nothing(queues: Queues) -> None:
    assert queues.settled("fetch") is None


def test_a_start_proves_older_messages_lost_only_after_the_settling_time(queues: Queues) -> None:
    sent_at = now()
    queues.started("fetch", sent_at)
    assert queues.settled("fetch") is None
    assert queues.settled("fetch") is None
    settle()
    assert queues.settled("fetch") == sent_at
    assert queues.settled("vision") is None


def test_a_newer_start_waits_for_its_own_settling_time(queues: Queues) -> None:
    first = now()
    queues.started("fetch", first)
    queues.settled("fetch")
    settle()
    second = now()
    queues.started("fetch", second)
    assert queues.settled("fetch") == first
    assert queues.settled("fetch") == first
    settle()
    assert queues.settled("fetch") == second


def test_a_start_that_nobody_looked_at_before_is_not_settled_at_the_first_look(
    queues: Queues,
) -> None:
    queues.started("fetch", now() - timedelta(hours=1))
    settle()
    queues.started("fetch", now())
    assert queues.settled("fetch") is None


def test_a_late_start_of_an_older_message_does_not_turn_time_back(queues: Queues) -> None:
    newest = now()
    at_once(8, lambda n: queues.started("fetch", newest - timedelta(seconds=n)))
    assert queues.settled("fetch") is None
    settle()
    assert queues.settled("fetch") == newest


def test_sweeps_at_the_same_time_never_prove_a_start_before_it_settled(queues: Queues) -> None:
    first = now()
    queues.started("fetch", first)
    queues.settled("fetch")
    settle()
    queues.started("fetch", now())
    assert set(at_once(8, lambda _: queues.settled("fetch"))) == {first}
