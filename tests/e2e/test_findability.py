"""Succeeded means found by the very next search; deleted means never found again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

from tests.e2e.client import Api, as_base64, ids
from tools.demo.manifest import SampleImage, load

MANIFEST = load()


def _names(sample: SampleImage) -> dict[str, str]:
    return {"product_id": sample.product_id, "image_id": sample.image_id}


def _found(api: Api, collection: str, sample: SampleImage) -> list[str]:
    return ids(api.search(collection, sample.path, topk=200))


def test_one_picture_after_another_is_found_at_the_moment_its_task_is_finished(
    api: Api, collection: str
) -> None:
    for sample in list(MANIFEST.first_images().values())[:8]:
        api.create(collection, [sample])
        status = api.finish(api.add_samples(collection, [sample]), pause=0)
        assert ids(status["succeeded_list"]) == [sample.image_id]
        best = api.search(collection, sample.path)[0]
        assert best["image_id"] == sample.image_id
        assert best["similarity"] >= 0.999


def test_each_picture_of_a_large_task_is_found_at_the_moment_it_is_listed_as_succeeded(
    api: Api, collection: str
) -> None:
    samples = {sample.image_id: sample for sample in MANIFEST.images[:40]}
    api.create(collection, samples.values())
    task_id = api.add_samples(collection, list(samples.values()))
    seen: set[str] = set()
    before_the_end = 0
    deadline = time.monotonic() + 60
    while len(seen) < len(samples):
        assert time.monotonic() < deadline
        status = api.ok("task_status", task_id=task_id)
        new = [image_id for image_id in ids(status["succeeded_list"]) if image_id not in seen]
        if new:
            found = _found(api, collection, samples[new[-1]])
            assert found[0] == new[-1]
            assert set(new) <= set(found)
            before_the_end += status["task_status"] == "PROCESSING"
        seen.update(new)
        assert status["failed_list"] == []
        # A loop without any rest would take the processor from the workers.
        time.sleep(0.02)
    assert before_the_end, "no picture succeeded before the end, so nothing was shown"


def test_a_deleted_picture_is_not_found_again_and_its_name_is_free(
    api: Api, collection: str
) -> None:
    kept, deleted = MANIFEST.images[0], MANIFEST.images[2]
    api.create(collection, [kept, deleted])
    api.finish(api.add_samples(collection, [kept, deleted]))
    answer = api.ok("delete_image", collection_name=collection, image_id_list=[_names(deleted)])
    assert answer["successful_list"] == [_names(deleted)]
    assert _found(api, collection, deleted) == [kept.image_id]
    info = api.ok("image_info", collection_name=collection, product_id=deleted.product_id)
    assert info["image_list"] == []
    repeated = api.ok("delete_image", collection_name=collection, image_id_list=[_names(deleted)])
    (failed,) = repeated["failed_list"]
    assert failed == {**_names(deleted), "message": "NO_RELATIVE_IMAGE", "detail": failed["detail"]}

    status = api.finish(api.add_samples(collection, [deleted]))
    assert ids(status["succeeded_list"]) == [deleted.image_id]
    found = _found(api, collection, deleted)
    assert found == [deleted.image_id, kept.image_id]


def test_a_deleted_product_is_not_found_again_and_can_be_created_anew(
    api: Api, collection: str
) -> None:
    kept, deleted = MANIFEST.images[0], MANIFEST.images[2]
    api.create(collection, [kept, deleted])
    task_id = api.add_samples(collection, [kept, deleted])
    api.finish(task_id)
    api.ok("delete_product", collection_name=collection, product_id_list=[deleted.product_id])
    assert _found(api, collection, deleted) == [kept.image_id]
    gone = api.call("image_info", collection_name=collection, product_id=deleted.product_id)
    assert gone["code"] == 3007
    # What was deleted after its end stays in the list of its task.
    assert set(ids(api.finish(task_id)["succeeded_list"])) == {kept.image_id, deleted.image_id}

    api.create(collection, [deleted])
    assert _found(api, collection, deleted) == [kept.image_id]
    api.finish(api.add_samples(collection, [deleted]))
    assert _found(api, collection, deleted) == [deleted.image_id, kept.image_id]


def _submit_half_by_url(
    api: Api, collection: str, samples: Sequence[SampleImage], file_server: str
) -> str:
    return api.add(
        collection,
        [
            {
                **_names(sample),
                "image_content": (
                    f"{file_server}/{sample.path.name}" if number % 2 else as_base64(sample.path)
                ),
            }
            for number, sample in enumerate(samples)
        ],
    )


def _assert_gone(
    api: Api,
    collection: str,
    task_id: str,
    deleted: Sequence[SampleImage],
    kept: Sequence[SampleImage],
    message: str,
) -> None:
    status = api.finish(task_id)
    ended = ids(status["succeeded_list"]) + ids(status["failed_list"])
    assert sorted(ended) == sorted(sample.image_id for sample in (*deleted, *kept))
    failed: dict[str, Any] = {item["image_id"]: item["message"] for item in status["failed_list"]}
    assert set(failed) <= {sample.image_id for sample in deleted}
    assert set(failed.values()) <= {message}
    assert failed, "every deletion came after the end, so nothing was shown"
    # The second time after the index was cleared of them, and the sweep came by.
    for pause in (0, 3):
        time.sleep(pause)
        for sample in (*deleted[:6], *kept):
            assert sorted(_found(api, collection, sample)) == sorted(s.image_id for s in kept)


@pytest.mark.answers("task_status", items=("NO_RELATIVE_IMAGE",))
def test_pictures_deleted_while_on_their_way_never_turn_up(
    api: Api, collection: str, file_server: str
) -> None:
    samples = list(MANIFEST.first_images().values())[:40]
    kept, deleted = samples[:4], samples[4:]
    api.create(collection, samples)
    task_id = _submit_half_by_url(api, collection, samples, file_server)
    # Spread over the time of the task, so that every stage meets one.
    for start in range(0, len(deleted), 4):
        names = [_names(sample) for sample in deleted[start : start + 4]]
        answer = api.ok("delete_image", collection_name=collection, image_id_list=names)
        assert answer["failed_list"] == []
        time.sleep(0.1)
    for sample in deleted[::9]:
        assert sample.image_id not in _found(api, collection, sample)
    _assert_gone(api, collection, task_id, deleted, kept, "NO_RELATIVE_IMAGE")

    status = api.finish(api.add_samples(collection, deleted))
    assert sorted(ids(status["succeeded_list"])) == sorted(s.image_id for s in deleted)
    assert sorted(_found(api, collection, deleted[0])) == sorted(s.image_id for s in samples)


@pytest.mark.answers("task_status", items=("NOT_EXISTING_PRODUCT",))
def test_products_deleted_while_their_pictures_are_on_their_way_never_turn_up(
    api: Api, collection: str, file_server: str
) -> None:
    samples = list(MANIFEST.first_images().values())[:40]
    kept, deleted = samples[:4], samples[4:]
    api.create(collection, samples)
    task_id = _submit_half_by_url(api, collection, samples, file_server)
    for start in range(0, len(deleted), 4):
        products = [sample.product_id for sample in deleted[start : start + 4]]
        answer = api.ok("delete_product", collection_name=collection, product_id_list=products)
        assert answer["failed_list"] == []
        time.sleep(0.1)
    for sample in deleted[::9]:
        assert sample.image_id not in _found(api, collection, sample)
    status = api.ok("task_status", task_id=task_id)
    assert {item["message"] for item in status["failed_list"]} <= {
        "NO_RELATIVE_IMAGE",
        "NOT_EXISTING_PRODUCT",
    }
    _assert_gone(api, collection, task_id, deleted, kept, "NOT_EXISTING_PRODUCT")
