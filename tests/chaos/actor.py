"""What one client does, each deed taken down in the ledger with what its answer promised.

Looks at each answer for what must not be: an image that was deleted before the search, one
that succeeded and is not found, a task that changes its mind.
"""

from __future__ import annotations

import base64
import random
import time
import uuid
from collections.abc import Sequence
from math import inf
from typing import Any

from tests.chaos.client import ChaosClient, Reply
from tests.chaos.ledger import DELETED, HELD, Fate, Ledger, Sent, is_good
from tests.chaos.pictures import Kind, PictureServer, make_picture

CATEGORIES = ("服装", "鞋靴", "其他")
#: The same picture is at least so like itself.
SAME = 0.999
SEARCH_SECONDS = 20.0


class Actor:
    """A client with chances of its own; for one thread."""

    def __init__(
        self,
        client: ChaosClient,
        ledger: Ledger,
        server: PictureServer,
        chance: random.Random,
        number: int,
        *,
        repeats: bool,
    ) -> None:
        """`number` is the round's; `repeats` whether the service knows Idempotency-Key."""
        self.client = client
        self.ledger = ledger
        self.chance = chance
        self._server = server
        self._number = number
        self._repeats = repeats
        self._name = f"{number}-{chance.randrange(16**6):06x}"
        self._made = 0

    def create(self, collection: str, product_ids: Sequence[str]) -> bool:
        """Create products; tell whether the service said that they are there."""
        reply = self.client.call(
            "create_product",
            {
                "collection_name": collection,
                "product_list": [
                    {
                        "product_id": product_id,
                        "product_name": f"商品 {product_id}",
                        "category": CATEGORIES[number % len(CATEGORIES)],
                    }
                    for number, product_id in enumerate(product_ids)
                ],
            },
        )
        if reply.result is None:
            return False
        for failed in reply.result.get("failed_list", ()):
            if not (reply.unclear and failed["message"] == "EXISTING_PRODUCT"):
                self.ledger.note("not created", f"{collection}: {failed}")
        return reply.code == 0

    def images(
        self,
        collection: str,
        product_ids: Sequence[str],
        count: int,
        *,
        bad: float = 0.0,
        by_url: float = 0.5,
        twins: int = 0,
    ) -> list[Sent]:
        """Make so many images; `bad` and `by_url` are shares, `twins` how many come twice."""
        made = []
        for _ in range(count):
            kind = Kind.GOOD
            if self.chance.random() < bad:
                kind = self.chance.choice([kind for kind in Kind if kind is not Kind.GOOD])
            picture = make_picture(self._key(), kind, self.chance)
            comes_by_url = kind.by_url or self.chance.random() < by_url
            product_id = self.chance.choice(product_ids)
            made.append(
                self.ledger.new(collection, product_id, picture, self._number, comes_by_url)
            )
        goods = [image for image in made if image.picture.kind is Kind.GOOD]
        for first in goods[:twins]:
            picture = type(first.picture)(self._key(), Kind.GOOD, first.picture.data)
            second = self.ledger.new(
                collection, first.product_id, picture, self._number, self.chance.random() < 0.5
            )
            first.twins = second.twins = first.image_id
            made.append(second)
        self.chance.shuffle(made)
        return made

    def _key(self) -> str:
        self._made += 1
        return f"{self._name}-{self._made}"

    def add(self, images: Sequence[Sent]) -> str | None:
        """Submit images of one collection; return the task that was promised."""
        now = time.monotonic()
        for image in images:
            image.started = min(image.started, now)
        body = {
            "collection_name": images[0].collection,
            "image_list": [
                {
                    "product_id": image.product_id,
                    "image_id": image.image_id,
                    "image_info": image.sha256,
                    "image_content": self._server.offer(image.picture)
                    if image.by_url
                    else base64.b64encode(image.picture.data).decode(),
                }
                for image in images
            ],
        }
        key = {"Idempotency-Key": uuid.UUID(int=self.chance.getrandbits(128)).hex}
        headers = key if self._repeats and self.chance.random() < 0.5 else None
        reply = self.client.call("add_image", body, headers=headers)
        task_id = self._note_taken(reply, images, sure=headers is not None)
        if task_id is not None and headers is not None and self.chance.random() < 0.4:
            again = self.client.call("add_image", body, headers=headers)
            if again.result is not None and again.result.get("task_id") != task_id:
                self.ledger.note("another task for one key", f"{task_id}: {again.result}")
        return task_id

    def _note_taken(self, reply: Reply, images: Sequence[Sent], *, sure: bool) -> str | None:
        """Take down what an answer to add_image promised.

        `sure` says that a repeated call can't have been carried out twice.
        """
        unclear = reply.unclear and not (sure and reply.result is not None)
        with self.ledger.guard:
            for image in images:
                image.unclear = image.unclear or unclear
                image.ended = inf if unclear or reply.result is None else reply.ended
            if reply.result is None:
                return None
            refused = {
                failed["image_id"]: failed["message"]
                for failed in reply.result.get("failed_list", ())
            }
            task_id: str | None = reply.result.get("task_id")
            if task_id is None and not refused:
                refused = {image.image_id: [reply.result["message"]] for image in images}
            for image in images:
                if image.image_id in refused:
                    self._note_refused(image, refused[image.image_id], reply)
            if task_id is None:
                return None
            taken = [image for image in images if image.image_id not in refused]
            for image in taken:
                image.ended = reply.ended
            self.ledger.promise(task_id, taken)
            return task_id

    def _note_refused(self, image: Sent, messages: list[str], reply: Reply) -> None:
        if HELD in messages and image.unclear:
            image.held = True
        elif not (DELETED.issuperset(messages) and self.ledger.was_deleted(image)):
            self.ledger.note("refused wrongly", f"{image.image_id}: {messages}, {reply.unclear=}")

    def delete_images(self, images: Sequence[Sent]) -> None:
        """Delete images of one collection."""
        collection = images[0].collection
        deletions = {
            image.image_id: self.ledger.delete(collection, image.product_id, image.image_id)
            for image in images
        }
        names = [{"product_id": i.product_id, "image_id": i.image_id} for i in images]
        reply = self.client.call(
            "delete_image", {"collection_name": collection, "image_id_list": names}
        )
        done = {i["image_id"] for i in (reply.result or {}).get("successful_list", ())}
        for image in images:
            deletion = deletions[image.image_id]
            deletion.unclear = reply.unclear
            if reply.result is None:
                continue
            if image.image_id in done or reply.unclear:
                deletion.answered = reply.ended
                continue
            self.ledger.forget(deletion)
            if self.ledger.fate(image) is Fate.ALIVE:
                self.ledger.note("deletion denied", f"{image.image_id}: {reply.result}")

    def delete_product(self, collection: str, product_id: str) -> bool:
        """Delete a product with its images; tell whether it is gone."""
        body = {"collection_name": collection, "product_id_list": [product_id]}
        deletion = self.ledger.delete(collection, product_id)
        return self._deleted(deletion, self.client.call("delete_product", body))

    def delete_collection(self, collection: str) -> bool:
        """Delete a collection; tell whether it is gone."""
        deletion = self.ledger.delete(collection)
        reply = self.client.call("delete_collection", {"collection_name": collection})
        return self._deleted(deletion, reply)

    def _deleted(self, deletion: Any, reply: Reply) -> bool:
        deletion.unclear = reply.unclear
        if reply.result is None:
            return False
        # Gone already is gone as well: then an attempt before did it, or it never was there.
        deletion.answered = reply.ended
        return True

    def search(self, image: Sent) -> None:
        """Search with an image's own picture, and look at what is answered."""
        reply = self.client.call(
            "product_search",
            {
                "collection_name": image.collection,
                "image_content": base64.b64encode(image.picture.data).decode(),
                "topk": self.chance.choice([10, 200]),
            },
            SEARCH_SECONDS,
        )
        if reply.result is None:
            return
        found = reply.result.get("images", [])
        for one in found:
            known = self.ledger.images.get(one["image_id"])
            if known is None or known.collection != image.collection:
                self.ledger.note("found a stranger", f"in {image.collection}: {one}")
            elif self.ledger.deleted_before(known.image_id, reply.last_started):
                self.ledger.note("found after deletion", f"{one['image_id']}")
        names = [one["image_id"] for one in found]
        if len(names) != len(set(names)):
            self.ledger.note("found twice", f"{sorted(names)}")
        if image.seen_at is None or image.seen_at > reply.last_started:
            return
        if self.ledger.deletions_of(image) or not is_good(image):
            return
        if not any(
            one["image_id"] == image.image_id and one["similarity"] >= SAME for one in found[:1]
        ):
            self.ledger.note(
                "succeeded and not found",
                f"{image.image_id}: {reply.result['message']} {found[:2]}",
            )

    def poll(self, task_id: str) -> bool:
        """Ask for a task, and look at what is answered; tell whether it is finished."""
        reply = self.client.call("task_status", {"task_id": task_id}, 30.0)
        if reply.result is None:
            return False
        if reply.code != 0:
            self.ledger.note("task lost", f"{task_id}: {reply.result}")
            return True
        status = reply.result
        lists = {
            name: [image["image_id"] for image in status[f"{name}_list"]]
            for name in ("succeeded", "failed", "pending")
        }
        said = [image_id for names in lists.values() for image_id in names]
        with self.ledger.guard:
            promised = {image.image_id for image in self.ledger.tasks[task_id]}
            if len(said) != len(set(said)) or set(said) != promised:
                self.ledger.note(
                    "task of other images",
                    f"{task_id}: {sorted(promised.symmetric_difference(said))} {len(said)=}",
                )
            for image_id in (*lists["failed"], *lists["pending"]):
                image = self.ledger.images.get(image_id)
                if image is not None and image.seen_at is not None:
                    self.ledger.note("task changed its mind", f"{task_id}: {image_id}")
            for image_id in lists["succeeded"]:
                image = self.ledger.images[image_id]
                image.seen_at = image.seen_at or reply.ended
        return bool(status["task_status"] == "FINISHED")
