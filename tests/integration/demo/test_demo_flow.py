from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import pytest

from tests.integration.demo.stub_stack import Service
from tools.demo import fileserver, flow
from tools.demo.client import SnapskuClient
from tools.demo.manifest import SAMPLES, load
from tools.demo.queries import Query

MANIFEST = load()
IMAGES = MANIFEST.images[:9]


@pytest.fixture
def client(service: Service) -> Iterator[SnapskuClient]:
    with SnapskuClient(service[1]) as opened:
        yield opened


@pytest.fixture
def file_url(service: Service) -> Iterator[str]:
    with fileserver.serve(SAMPLES / "products") as port:
        service[0].allow = f"127.0.0.1:{port}"
        yield f"http://127.0.0.1:{port}"


def query_of(product_id: str, content: bytes = b"picture") -> Query:
    return Query(f"query-{product_id}", product_id, "changed", content, 200, 400)


def outcome_of(rank: int | None, milliseconds: float = 10, error: str = "") -> flow.Outcome:
    return flow.Outcome(query_of("a"), "A", rank, None, None, None, milliseconds, error)


def test_half_the_images_go_in_as_urls_and_all_are_counted(
    client: SnapskuClient, service: Service, file_url: str
) -> None:
    flow.create_products(client, "shop", MANIFEST)
    seen = []
    done = flow.ingest(client, "shop", IMAGES, file_url, lambda *numbers: seen.append(numbers))
    assert (done.submitted, done.failures) == (9, ())
    assert service[0].fetched == 5
    assert set(service[0].images) == {image.image_id for image in IMAGES}
    assert seen[0] == (0, 0)
    assert seen[-1] == (9, 0)


def test_an_image_that_fails_is_reported_with_its_reason(
    client: SnapskuClient, file_url: str
) -> None:
    done = flow.ingest(client, "shop", IMAGES[:3], file_url + "/missing", lambda *_: None)
    assert done.failures == (
        (IMAGES[0].image_id, "BROKEN_BASE64_OR_URL"),
        (IMAGES[2].image_id, "BROKEN_BASE64_OR_URL"),
    )


def test_a_task_that_never_finishes_is_given_up(
    client: SnapskuClient, service: Service, file_url: str
) -> None:
    service[0].polls_until_finished = 10**9
    with pytest.raises(flow.FlowError, match="not finished"):
        flow.ingest(client, "shop", IMAGES[:2], file_url, lambda *_: None, seconds=0.01)


def test_a_refused_product_ends_the_demo(
    client: SnapskuClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = {
        "code": 0,
        "successful_list": [],
        "failed_list": [{"product_id": "a", "message": "EXISTING_PRODUCT"}],
    }
    monkeypatch.setattr(service[0], "create_product", lambda _: answer)
    with pytest.raises(flow.FlowError, match="EXISTING_PRODUCT"):
        flow.create_products(client, "shop", MANIFEST)


def test_a_search_ranks_products_not_images(
    client: SnapskuClient, service: Service, file_url: str
) -> None:
    flow.create_products(client, "shop", MANIFEST)
    flow.ingest(client, "shop", MANIFEST.images, file_url, lambda *_: None)
    first, second = "t-shirt", MANIFEST.images[0].product_id
    service[0].answers = {hashlib.sha256(b"picture").hexdigest(): first}
    found = flow.search(client, "shop", query_of(first), "T恤")
    assert (found.rank, found.similarity, found.box) == (1, 0.9, (10, 20, 110, 120))
    # The t-shirt's two images stand before it.
    next_one = flow.search(client, "shop", query_of(second), "next")
    assert next_one.rank == 2
    assert next_one.first is not None
    assert next_one.first.product_id == first
    assert next_one.similarity == pytest.approx(0.898)


def test_a_search_that_fails_is_an_outcome_with_an_error(
    client: SnapskuClient, service: Service
) -> None:
    service[0].override = (503, json.dumps({"code": "10020", "msg": "busy", "result": {}}).encode())
    found = flow.search(client, "shop", query_of("a"), "A")
    assert (found.rank, found.error) == (None, "10020: busy")


@pytest.mark.parametrize(
    ("first", "failures", "passed"), [(8, (), True), (7, (), False), (10, (("a", "x"),), False)]
)
def test_the_run_passes_only_with_eight_in_ten_first_and_all_ingested(
    first: int, failures: tuple[tuple[str, str], ...], passed: bool
) -> None:
    outcomes = [outcome_of(1 if place < first else 2) for place in range(10)]
    assert flow.summarise(flow.Ingest(20, failures, 4.0), outcomes).passed is passed


def test_a_run_without_searches_does_not_pass() -> None:
    assert not flow.summarise(flow.Ingest(20, (), 4.0), []).passed


def test_the_summary_line_has_the_figures() -> None:
    outcomes = [outcome_of(1, 10), outcome_of(None, 30), outcome_of(None, 9999, "10020: busy")]
    line = flow.summarise(flow.Ingest(20, (("a", "x"),), 4.0), outcomes).line()
    assert line == (
        "1 of 3 first, 19 of 20 images ingested in 4.0 s (5.0 images/s), median search 20 ms"
    )
