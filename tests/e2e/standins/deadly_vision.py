"""The vision worker of tests, with a picture in the world that kills the process looking at it."""

from __future__ import annotations

import os
from typing import Any

from broker.celery_app import app
from tests.e2e.faulty_pictures import DEADLY_SIZE
from workers import vision
from workers.support.model import pipeline

__all__ = ["app"]


class _Mortal:
    """A pipeline that looks at the deadly picture once, and never at another."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def describe(self, picture: Any) -> Any:
        if picture.size == DEADLY_SIZE:
            os._exit(1)
        return self._real.describe(picture)


def _mortal(*model_id: str) -> _Mortal:
    return _Mortal(pipeline(*model_id))


setattr(vision, "pipeline", _mortal)  # noqa: B010
