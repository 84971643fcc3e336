"""The clients of a round: they add, poll, search and delete at once while faults happen."""

from __future__ import annotations

import random
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable

from tests.chaos.actor import Actor
from tests.chaos.aim import Bell
from tests.chaos.client import ChaosClient
from tests.chaos.ledger import Ledger, is_good
from tests.chaos.pictures import PictureServer

#: Products of a collection.
PRODUCTS = 6
#: The threads of a round end by themselves; one that does not is stuck.
JOIN_SECONDS = 75.0


class Load:
    """The clients of one round, each a thread with chances of its own."""

    def __init__(
        self,
        base_url: str,
        ledger: Ledger,
        server: PictureServer,
        number: int,
        seed: int,
        images: int,
        bell: Bell,
        *,
        repeats: bool,
    ) -> None:
        """`images` is about how many pictures the round takes in; `bell` is rung at each call."""
        self.attempts: Counter[str] = Counter()
        self._number = number
        self._images = images
        self._ledger = ledger
        self._base_url = base_url
        self._over = threading.Event()
        self._importing = threading.Event()

        def actor(place: int) -> Actor:
            return Actor(
                ChaosClient(base_url, self.attempts, bell.ring),
                ledger,
                server,
                random.Random(f"{seed} {place}"),
                number,
                repeats=repeats,
            )

        deeds: dict[str, Callable[[Actor], None]] = {
            "importer": self._import_much,
            "dribbler": self._import_bit_by_bit,
            "editor": self._edit,
            "mover": self._make_again,
        }
        self._workers = [
            threading.Thread(target=self._run, args=(deed, actor(place)), name=name, daemon=True)
            for place, (name, deed) in enumerate(deeds.items())
        ]
        self._watchers = [
            threading.Thread(target=self._run, args=(deed, actor(10 + place)), daemon=True)
            for place, deed in enumerate((self._search, self._poll))
        ]

    def collection(self, letter: str, number: int | None = None) -> str:
        """Return the name of a collection of this round, or another."""
        return f"货架-{self._number if number is None else number}-{letter}"

    def products(self, letter: str) -> list[str]:
        """Return the products of a collection."""
        return [f"{self._number}-{letter}{place}" for place in range(PRODUCTS)]

    def start(self) -> None:
        """Begin."""
        for thread in (*self._workers, *self._watchers):
            thread.start()

    def join(self) -> None:
        """Wait until all was sent, and end."""
        deadline = time.monotonic() + JOIN_SECONDS
        for thread in self._workers:
            thread.join(max(0.1, deadline - time.monotonic()))
        self._over.set()
        for thread in (*self._workers, *self._watchers):
            thread.join(max(0.1, deadline - time.monotonic()))
            if thread.is_alive():
                self._ledger.note("a client is stuck", thread.name)

    def _run(self, deed: Callable[[Actor], None], actor: Actor) -> None:
        try:
            deed(actor)
        except Exception:
            self._ledger.note("a client fell", traceback.format_exc())
        finally:
            actor.client.close()

    def _import_much(self, actor: Actor) -> None:
        collection, products = self.collection("a"), self.products("a")
        if not actor.create(collection, products):
            return
        count = actor.chance.randint(self._images * 4 // 10, self._images * 6 // 10)
        actor.add(actor.images(collection, products, count, bad=0.06))

    def _import_bit_by_bit(self, actor: Actor) -> None:
        collection, products = self.collection("b"), self.products("b")
        if not actor.create(collection, products):
            return
        for _ in range(4):
            count = actor.chance.randint(self._images // 20, self._images // 8)
            made = actor.images(
                collection, products, count, bad=0.15, twins=actor.chance.randint(0, 2)
            )
            actor.add(made)
            actor.chance.random()
            time.sleep(actor.chance.uniform(0.3, 2.0))

    def _edit(self, actor: Actor) -> None:
        """Delete images, those on their way too, a product, and what is left of a round before."""
        for _ in range(4):
            time.sleep(actor.chance.uniform(0.8, 2.5))
            letter = actor.chance.choice("ab")
            with self._ledger.guard:
                candidates = [
                    image
                    for image in self._ledger.images.values()
                    if image.collection == self.collection(letter)
                    and image.promised
                    and not self._ledger.deletions_of(image)
                ]
            if candidates:
                count = min(len(candidates), actor.chance.randint(1, 8))
                actor.delete_images(actor.chance.sample(candidates, count))
        if actor.chance.random() < 0.7:
            product = actor.chance.choice(self.products("b"))
            collection = self.collection("b")
            gone = actor.delete_product(collection, product)
            if gone and actor.chance.random() < 0.5 and actor.create(collection, [product]):
                actor.add(actor.images(collection, [product], 4))
        if self._number > 1:
            for letter in "abc":
                actor.delete_collection(self.collection(letter, self._number - 2))

    def _make_again(self, actor: Actor) -> None:
        """Fill a small collection; now and then delete it meanwhile, and make it again."""
        collection, products = self.collection("c"), self.products("c")
        if not actor.create(collection, products):
            return
        actor.add(actor.images(collection, products, self._images // 12 + 1))
        if actor.chance.random() < 0.5:
            return
        time.sleep(actor.chance.uniform(0.0, 3.0))
        if actor.delete_collection(collection) and actor.create(collection, products):
            actor.add(actor.images(collection, products, self._images // 20 + 1, by_url=0.3))

    def _search(self, actor: Actor) -> None:
        while not self._over.wait(actor.chance.uniform(0.2, 0.6)):
            with self._ledger.guard:
                candidates = [
                    image
                    for image in self._ledger.images.values()
                    if image.round >= self._number - 1 and image.promised and is_good(image)
                ]
            if candidates:
                actor.search(actor.chance.choice(candidates))

    def _poll(self, actor: Actor) -> None:
        finished: set[str] = set()
        while not self._over.wait(0.3):
            with self._ledger.guard:
                tasks = [
                    task_id
                    for task_id, images in self._ledger.tasks.items()
                    if task_id not in finished and images and images[0].round == self._number
                ]
            for task_id in tasks:
                if self._over.is_set():
                    break
                if actor.poll(task_id):
                    finished.add(task_id)
