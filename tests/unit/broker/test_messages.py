"""A message carries ids; one that can't be sent is left to the sweep, or told."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from kombu.exceptions import OperationalError

from broker import messages
from broker.availability import BrokerUnreachableError
from broker.messages import send_chunks, send_neighbours, send_refresh, send_search, send_work
from broker.queues import NEIGHBOURS, QUEUES, REFRESH, SEARCH, task_name
from catalog.rows.chunks import Chunk, Item, Stage


class Broker:
    """Stands for the Celery application: notes what is sent, or refuses after some."""

    def __init__(self, takes: int = 100) -> None:
        self.sent: list[dict[str, Any]] = []
        self._takes = takes

    def send_task(self, name: str, **options: Any) -> None:
        if len(self.sent) == self._takes:
            raise OperationalError("gone")
        self.sent.append({"name": name, **options})


class Chunks:
    """Stands for the chunks of the catalogue: notes which were left to the sweep."""

    def __init__(self) -> None:
        self.unsent_ids: list[str] = []

    def unsent(self, chunks: list[Chunk]) -> None:
        self.unsent_ids.extend(chunk.id for chunk in chunks)


@pytest.fixture
def use(environment: pytest.MonkeyPatch) -> Callable[[Broker], Broker]:
    def replace(broker: Broker) -> Broker:
        environment.setattr(messages, "app", broker)
        return broker

    return replace


Use = Callable[[Broker], Broker]


def chunk(number: int, stage: Stage = Stage.FETCH) -> Chunk:
    items = (Item(label=number, product_id="商品", product_serial=1, image_id="图"),)
    return Chunk(
        id=f"chunk{number}",
        task_id="u/c/1",
        collection="u/c",
        generation="g",
        items=items,
        stage=stage,
        attempt=number,
    )


def is_id(value: Any) -> bool:
    return value is None or (isinstance(value, int | str) and len(str(value)) <= 128)


def assert_carries_ids(message: dict[str, Any]) -> None:
    assert set(message) <= {
        *("name", "args", "queue", "task_id", "ignore_result"),
        "retry",
    }
    for argument in message["args"]:
        values = argument if isinstance(argument, list) else [argument]
        assert all(is_id(value) for value in values), message


def test_messages_carry_ids_to_known_queues_and_want_no_result(use: Use) -> None:
    broker = use(Broker())
    catalog: Any = SimpleNamespace(chunks=Chunks())
    send_chunks(catalog, [chunk(1), chunk(2, Stage.VISION), chunk(3, Stage.INDEX)])
    send_refresh([1, 2**62])
    send_search("q" * 32)
    send_neighbours("q" * 32 + ".70", "1f", "鞋靴", 70)
    send_neighbours("q" * 32 + ".70", "1f", None, 70)
    assert len(broker.sent) == 7
    for message in broker.sent:
        assert_carries_ids(message)
        assert message["queue"] in QUEUES
        assert message["ignore_result"] is True
    assert catalog.chunks.unsent_ids == []


@pytest.mark.parametrize("stage", Stage)
def test_a_chunk_goes_to_the_queue_of_its_stage_with_its_attempt(use: Use, stage: Stage) -> None:
    broker = use(Broker())
    catalog: Any = SimpleNamespace(chunks=Chunks())
    send_chunks(catalog, [chunk(7, stage)])
    (message,) = broker.sent
    assert message["name"] == f"workers.{stage.value}"
    assert message["queue"] == stage.value
    assert message["args"] == ("chunk7", 7)


def test_each_message_of_a_chunk_has_an_id_of_its_own(use: Use) -> None:
    broker = use(Broker())
    catalog: Any = SimpleNamespace(chunks=Chunks())
    send_chunks(catalog, [chunk(1), chunk(2), chunk(1, Stage.VISION)])
    assert len({message["task_id"] for message in broker.sent}) == 3


def test_chunks_that_cannot_be_sent_are_left_to_the_sweep(use: Use) -> None:
    broker = use(Broker(takes=1))
    catalog: Any = SimpleNamespace(chunks=Chunks())
    send_chunks(catalog, [chunk(1), chunk(2), chunk(3)])
    assert [message["args"][0] for message in broker.sent] == ["chunk1"]
    assert catalog.chunks.unsent_ids == ["chunk2", "chunk3"]


def test_a_removal_that_cannot_be_sent_is_left_to_the_sweep(use: Use) -> None:
    use(Broker(takes=0))
    send_refresh([1, 2])


def test_a_removal_goes_to_the_process_that_owns_the_shards(use: Use) -> None:
    broker = use(Broker())
    send_refresh((1, 2))
    (message,) = broker.sent
    assert (message["name"], message["queue"]) == (REFRESH, Stage.INDEX.value)
    assert message["args"] == ([1, 2],)


def test_removing_nothing_sends_nothing(use: Use) -> None:
    broker = use(Broker())
    send_refresh([])
    assert broker.sent == []


def test_no_message_of_a_query_carries_a_moment_of_the_senders_clock(use: Use) -> None:
    broker = use(Broker())
    send_search("q1")
    send_neighbours("q2", "1f", None, 70)
    assert [m["queue"] for m in broker.sent] == [SEARCH, NEIGHBOURS]
    assert [m.get("expires") for m in broker.sent] == [None, None]


@pytest.mark.parametrize("queue", QUEUES)
def test_the_work_of_any_queue_is_its_task_with_the_arguments(use: Use, queue: str) -> None:
    broker = use(Broker())
    send_work(queue, 7, "1f")
    (message,) = broker.sent
    assert (message["name"], message["queue"]) == (task_name(queue), queue)
    assert (message["args"], message["task_id"]) == ((7, "1f"), None)


def test_a_query_that_cannot_be_sent_is_told(use: Use) -> None:
    use(Broker(takes=0))
    with pytest.raises(BrokerUnreachableError):
        send_work(SEARCH, "q1")
    with pytest.raises(BrokerUnreachableError):
        send_search("q1")
    with pytest.raises(BrokerUnreachableError):
        send_neighbours("q2", "1f", None, 70)
