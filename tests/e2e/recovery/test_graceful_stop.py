"""SIGTERM ends every process in order, and the same data is found again after a restart."""

from __future__ import annotations

import psutil

from tests.e2e.client import Api, ids
from tests.e2e.stack import Stack, await_end
from tools.demo.manifest import load

MANIFEST = load()
IMAGES = list(MANIFEST.first_images().values())[:48]


def test_a_stop_in_the_middle_of_a_task_and_a_restart_lose_nothing(
    stack: Stack, collection: str
) -> None:
    api = Api(stack.base_url)
    before, deleted, meanwhile = IMAGES[:8], IMAGES[8:10], IMAGES[10:]
    api.create(collection, IMAGES)
    api.finish(api.add_samples(collection, [*before, *deleted]))
    api.ok(
        "delete_product",
        collection_name=collection,
        product_id_list=[sample.product_id for sample in deleted],
    )
    task_id = api.add_samples(collection, meanwhile)
    api.close()

    children = [
        child
        for process in stack.processes.values()
        for child in psutil.Process(process.pid).children(recursive=True)
    ]
    # What goes on for 120 s is killed, and has another code.
    codes = stack.terminate()
    left = await_end(children, 50)
    # Before any verdict: the tests after this one need the stack.
    stack.start()
    stack.await_ready()
    assert codes == dict.fromkeys(codes, 0)
    assert left == []

    api = Api(stack.base_url)
    status = api.finish(task_id)
    assert sorted(ids(status["succeeded_list"])) == sorted(s.image_id for s in meanwhile)
    expected = sorted(sample.image_id for sample in (*before, *meanwhile))
    for sample in (*before, *deleted, *meanwhile[::8]):
        found = api.search(collection, sample.path, topk=200)
        assert sorted(ids(found)) == expected
        if sample not in deleted:
            assert found[0]["image_id"] == sample.image_id
            assert found[0]["similarity"] >= 0.999
    api.close()
