"""The audit as a client sees it: tasks, lists and searches, over HTTP."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterable
from typing import Any

from tests.chaos.actor import SAME
from tests.chaos.audit import name_of
from tests.chaos.client import ChaosClient
from tests.chaos.ledger import DELETED, Finding, Ledger, Sent
from tests.chaos.rows import Rows
from tests.chaos.servers import Plant

#: Searches with an image's own picture in a round; each takes a twentieth of a second or more.
OWN_SEARCHES = 12
TOPK = 200


def audit_tasks(plant: Plant, ledger: Ledger, rows: Rows, number: int) -> list[Finding]:
    """Check every task of the round, also those whose id no client got."""
    client = ChaosClient(plant.stack.base_url)
    findings: list[Finding] = []
    promised = {
        task_id: images
        for task_id, images in ledger.tasks.items()
        if images and images[0].round == number
    }
    mark = f"/货架-{number}-"
    for task_id in sorted({*promised, *(t["_id"] for t in rows.tasks if mark in t["_id"])}):
        reply = client.call("task_status", {"task_id": task_id}, 20.0)
        if reply.result is None or reply.code != 0:
            findings.append(Finding("task lost", f"{task_id}: {reply.result}"))
        else:
            findings += _task(task_id, reply.result, ledger, promised.get(task_id))
    client.close()
    return findings


def _task(
    task_id: str, status: dict[str, Any], ledger: Ledger, promised: list[Sent] | None
) -> Iterable[Finding]:
    succeeded = [image["image_id"] for image in status["succeeded_list"]]
    failed = {image["image_id"]: image["message"] for image in status["failed_list"]}
    ended = [*succeeded, *failed]
    if status["task_status"] != "FINISHED" or status["pending_list"]:
        yield Finding("stuck", f"task {task_id} has {len(status['pending_list'])} pending")
    if len(ended) != len(set(ended)) or len(failed) != len(status["failed_list"]):
        yield Finding("twice", f"task {task_id} names an image twice")
    if promised is not None and {image.image_id for image in promised} != set(ended):
        odd = sorted({image.image_id for image in promised}.symmetric_difference(ended))
        yield Finding("lost", f"task {task_id} has not ended, or was never given: {odd}")
    for image_id, message in failed.items():
        image = ledger.images.get(image_id)
        if image is None:
            yield Finding("stranger", f"task {task_id} names {image_id}")
        elif not ledger.fits(image, message) and not (promised is None and message in DELETED):
            yield Finding(
                "wrong reason", f"{image_id} ({image.picture.kind}) of {task_id}: {message}"
            )
    for image_id in succeeded:
        image = ledger.images.get(image_id)
        if image is None or image.picture.kind.fault is not None:
            yield Finding("wrong success", f"{image_id} of {task_id}")


def audit_lists(plant: Plant, rows: Rows, number: int) -> list[Finding]:
    """Compare the lists that clients see with the images that are there."""
    client = ChaosClient(plant.stack.base_url)
    findings: list[Finding] = []
    mine = [row for row in rows.collections if f"货架-{number}-" in row["_id"]]
    for collection in mine:
        images = [r for r in rows.living.values() if r["generation"] == collection["generation"]]
        by_product: dict[str, set[str]] = {}
        for row in images:
            by_product.setdefault(row["product_id"], set()).add(name_of(row))
        body = {"collection_name": collection["name"], "limit": TOPK}
        listed = client.call("list_products", body).result or {}
        for product in listed.get("product_list", ()):
            expected = by_product.get(product["product_id"], set())
            if product["image_count"] != len(expected):
                findings.append(Finding("counter", f"{product} has {len(expected)} images"))
            asked = {
                "collection_name": collection["name"],
                "product_id": product["product_id"],
            }
            told = client.call("image_info", asked).result or {}
            names = [image["image_id"] for image in told.get("image_list", ())]
            if sorted(names) != sorted(expected):
                odd = sorted(expected.symmetric_difference(names))
                findings.append(Finding("image_info", f"{collection['name']} {product}: {odd}"))
    client.close()
    return findings


def audit_searches(
    plant: Plant, ledger: Ledger, rows: Rows, number: int, chance: random.Random
) -> list[Finding]:
    """Search with pictures of the round, and compare with the images that are there."""
    client = ChaosClient(plant.stack.base_url)
    findings: list[Finding] = []
    mine = {
        name_of(row): row
        for row in rows.living.values()
        if name_of(row) in ledger.images and ledger.images[name_of(row)].round == number
    }
    names = sorted(mine)
    for name in chance.sample(names, min(OWN_SEARCHES, len(names))):
        image = ledger.images[name]
        expected = {
            name_of(row)
            for row in rows.living.values()
            if row["generation"] == mine[name]["generation"]
        }
        reply = client.call(
            "product_search",
            {
                "collection_name": image.collection,
                "image_content": base64.b64encode(image.picture.data).decode(),
                "topk": TOPK,
            },
        )
        found = (reply.result or {}).get("images", [])
        if not found or found[0]["image_id"] != name or found[0]["similarity"] < SAME:
            findings.append(Finding("not found", f"{name} by its own picture: {found[:2]}"))
        there = {one["image_id"] for one in found}
        if len(expected) < TOPK and (there != expected or len(found) != len(expected)):
            odd = sorted(expected.symmetric_difference(there))
            findings.append(Finding("search", f"{image.collection} answers {len(found)}: {odd}"))
    client.close()
    return findings
