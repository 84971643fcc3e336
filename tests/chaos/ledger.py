"""What a chaos run sent, what it was promised, and so what must be there in the end.

The ledger judges by times: a deletion that began after the answer to add_image must
have removed the image; one that was over before has nothing to do with it; where the
two overlap, or an answer got lost, both ends are right. Knows nothing of HTTP or rows.
"""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf

from tests.chaos.pictures import Kind, Picture

#: Messages of an image that was deleted, or its product or collection, before it was done.
DELETED = frozenset({"NO_RELATIVE_IMAGE", "NOT_EXISTING_PRODUCT", "NO_RELATIVE_COLLECTION"})
TWICE = "DUPLICATE_IMAGE"
HELD = "REPEAT_IMAGE_NAME_IN_DB"


class Fate(StrEnum):
    """Whether an image must be there when all is quiet."""

    ALIVE = "alive"
    DEAD = "dead"
    EITHER = "either"


@dataclass(frozen=True)
class Finding:
    """Something that must not be."""

    kind: str
    text: str


@dataclass
class Sent:
    """An image that was sent in one or more calls of add_image."""

    collection: str
    product_id: str
    image_id: str
    picture: Picture
    sha256: str
    round: int
    by_url: bool
    twins: str | None = None  #: images of one such group have the same bytes and product
    started: float = inf
    ended: float = -inf
    promised: str | None = None  #: the task
    unclear: bool = False  #: a call that carried it was not answered
    held: bool = False  #: a repeated call was told that its name is taken
    seen_at: float | None = None  #: when a task_status first said that it succeeded


@dataclass
class Deletion:
    """A deletion of an image, a product or a whole collection."""

    collection: str
    product_id: str | None
    image_id: str | None
    started: float
    answered: float | None = None  #: None where it never was
    unclear: bool = False  #: a call of it was not answered, and may be done at any time after

    def covers(self, image: Sent) -> bool:
        """Return whether the image is below what was deleted."""
        return self.product_id in (None, image.product_id) and self.image_id in (
            None,
            image.image_id,
        )

    def meets(self, image: Sent) -> Fate | None:
        """Tell what it did to an image that it covers; None: nothing."""
        if self.answered is not None and self.started > image.ended:
            return Fate.DEAD
        over = inf if self.answered is None or self.unclear else self.answered
        return None if over < image.started else Fate.EITHER


@dataclass
class Ledger:
    """All that was sent and deleted in a run; safe for use by several threads."""

    images: dict[str, Sent] = field(default_factory=dict)
    tasks: dict[str, list[Sent]] = field(default_factory=dict)
    deletions: dict[str, list[Deletion]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    guard: threading.RLock = field(default_factory=threading.RLock)

    def note(self, kind: str, text: str) -> None:
        """Take down something that must not be."""
        with self.guard:
            self.findings.append(Finding(kind, text))

    def new(
        self, collection: str, product_id: str, picture: Picture, number: int, by_url: bool
    ) -> Sent:
        """Take down an image that is about to be sent."""
        sha256 = hashlib.sha256(picture.data).hexdigest()
        sent = Sent(collection, product_id, picture.key, picture, sha256, number, by_url)
        with self.guard:
            assert sent.image_id not in self.images
            self.images[sent.image_id] = sent
        return sent

    def promise(self, task_id: str, images: list[Sent]) -> None:
        """Take down that a task took these images."""
        with self.guard:
            known = self.tasks.setdefault(task_id, [])
            known.extend(image for image in images if image not in known)
            for image in images:
                if image.promised not in (None, task_id):
                    self.note("promised twice", f"{image.image_id}: {image.promised}, {task_id}")
                image.promised = task_id

    def delete(
        self, collection: str, product_id: str | None = None, image_id: str | None = None
    ) -> Deletion:
        """Take down that something is about to be deleted."""
        deletion = Deletion(collection, product_id, image_id, time.monotonic())
        with self.guard:
            self.deletions.setdefault(collection, []).append(deletion)
        return deletion

    def forget(self, deletion: Deletion) -> None:
        """Take back a deletion that was refused, whose every call was answered."""
        with self.guard:
            self.deletions[deletion.collection].remove(deletion)

    def deletions_of(self, image: Sent) -> list[Fate]:
        """Return what each deletion may have done to an image, those left out that did nothing."""
        with self.guard:
            fates = [
                deletion.meets(image)
                for deletion in self.deletions.get(image.collection, ())
                if deletion.covers(image)
            ]
        return [fate for fate in fates if fate is not None]

    def was_deleted(self, image: Sent) -> bool:
        """Return whether a client ever asked to delete the product or collection of an image."""
        with self.guard:
            return any(one.covers(image) for one in self.deletions.get(image.collection, ()))

    def deleted_before(self, image_id: str, moment: float) -> bool:
        """Return whether an image was deleted for sure before that moment."""
        with self.guard:
            image = self.images[image_id]
            return any(
                deletion.covers(image)
                and deletion.meets(image) is Fate.DEAD
                and deletion.answered is not None
                and deletion.answered < moment
                for deletion in self.deletions.get(image.collection, ())
            )

    def fate(self, image: Sent) -> Fate:
        """Return whether an image must be there when all is quiet."""
        if image.promised is None and not image.unclear:
            return Fate.DEAD
        by_deletion = self.deletions_of(image)
        if Fate.DEAD in by_deletion or image.picture.kind.fault is not None:
            return Fate.DEAD
        if by_deletion or image.promised is None or image.twins is not None:
            return Fate.EITHER
        return Fate.ALIVE

    def fits(self, image: Sent, message: str) -> bool:
        """Return whether a promised image may have failed with this message."""
        if message == image.picture.kind.fault:
            return True
        if message == TWICE:
            return image.twins is not None
        return message in DELETED and bool(self.deletions_of(image))

    def twin_groups(self) -> dict[str, list[Sent]]:
        """Return the images that repeat another's bytes in its product, by group."""
        groups: dict[str, list[Sent]] = {}
        with self.guard:
            for image in self.images.values():
                if image.twins is not None:
                    groups.setdefault(image.twins, []).append(image)
        return groups


def is_good(image: Sent) -> bool:
    """Return whether nothing is wrong with the picture itself."""
    return image.picture.kind in (Kind.GOOD, Kind.BUSY_FIRST)
