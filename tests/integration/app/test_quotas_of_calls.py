"""Quotas as callers meet them: the codes, Retry-After, and remainTimes in every answer."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask.testing import FlaskClient

from app.services import Services
from catalog.rows.accounts import NewKeys
from identity.keys import hash_of
from tests.contract_coverage import ANY
from tests.integration.app.api_in_process import Serve, result
from tests.request_signer import bearer

CALLERS = 50
QUOTA = 20


def remaining(client: FlaskClient, body: object = None, **headers: str) -> tuple[int, str, int]:
    answer = client.post("/v1/list_collections", json=body or {}, headers=headers)
    told = answer.get_json()
    return answer.status_code, told["code"], told["remainTimes"]


def test_fifty_callers_at_once_never_make_one_call_over_the_quota_of_a_day(serve: Serve) -> None:
    client = serve(requests_per_day=QUOTA + 1)
    product = {"product_id": "p", "product_name": "n", "category": "其他"}
    result(client, "create_product", collection_name="c", product_list=[product])
    barrier = threading.Barrier(CALLERS)

    def add(number: int) -> tuple[int, str, int]:
        image = {"product_id": "p", "image_id": f"i-{number}", "image_content": "http://a.b/c.jpg"}
        with client.application.test_client() as own:
            barrier.wait(30)
            answer = own.post("/v1/add_image", json={"collection_name": "c", "image_list": [image]})
        told = answer.get_json()
        assert told["code"] == "10000" or int(answer.headers["Retry-After"]) > 80_000
        return answer.status_code, told["code"], told["remainTimes"]

    with ThreadPoolExecutor(CALLERS) as threads:
        answers = list(threads.map(add, range(CALLERS)))
    assert Counter((status, code) for status, code, _ in answers) == {
        (200, "10000"): QUOTA,
        (429, "10040"): CALLERS - QUOTA,
    }
    assert {left for status, _, left in answers if status == 429} == {0}


@pytest.mark.answers(ANY, "10040")
def test_what_is_left_of_a_day_is_in_every_answer(serve: Serve) -> None:
    client = serve(requests_per_day=3)
    assert remaining(client) == (200, "10000", 2)
    assert remaining(client, body=["no object"]) == (400, "10000", 1)
    assert remaining(client, body={"limit": 0}) == (200, "10000", 0)
    assert remaining(client) == (429, "10040", 0)


@pytest.mark.answers(ANY, "10043")
def test_calls_over_the_limit_of_a_second_are_told_to_come_back(serve: Serve) -> None:
    client = serve(requests_per_second=2)
    answers = [client.post("/v1/list_collections", json={}) for _ in range(3)]
    assert [answer.get_json()["code"] for answer in answers] == ["10000", "10000", "10043"]
    assert (answers[2].status_code, answers[2].headers["Retry-After"]) == (429, "1")


def test_without_a_quota_nothing_counts_down(serve: Serve) -> None:
    client = serve()
    assert remaining(client) == remaining(client) == (200, "10000", -1)


def test_a_user_with_limits_of_its_own_has_those(serve: Serve, made: list[Services]) -> None:
    client = serve(requests_per_day=2)
    accounts = made[0].catalog.accounts
    accounts.add("more", NewKeys("SKMORE", b"", hash_of("key of more")), None, 9)
    accounts.add("any", NewKeys("SKANY", b"", hash_of("key of any")), None, 0)
    accounts.add("usual", NewKeys("SKUSUAL", b"", hash_of("key of usual")), None, None)
    left = [
        remaining(client, **bearer(f"key of {user}"))[2] for user in ("more", "any", "usual") * 2
    ]
    assert left == [8, -1, 1, 7, -1, 0]


def test_a_call_that_is_not_admitted_costs_nobody_anything(
    serve: Serve, made: list[Services]
) -> None:
    client = serve(requests_per_day=2)
    made[0].catalog.accounts.add("u", NewKeys("SKU", b"", hash_of("key of u")), None, None)
    assert remaining(client, **bearer("another key")) == (401, "10001", -1)
    assert remaining(client, **bearer("key of u")) == (200, "10000", 1)
