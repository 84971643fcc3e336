"""The embedded document database is told to be for trials, and warned of beyond them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cli.doctor import embedded
from cli.embedded_database import FOR_TRIALS, TRIAL_IMAGES, warning
from cli.findings import Doubtful, Outcome, find


def catalog_with(images: int) -> Any:
    return SimpleNamespace(images=SimpleNamespace(estimated_count=lambda: images))


def test_up_to_a_hundred_thousand_images_it_is_enough() -> None:
    assert TRIAL_IMAGES == 100_000
    assert warning(catalog_with(TRIAL_IMAGES)) is None
    assert embedded(catalog_with(TRIAL_IMAGES)) == FOR_TRIALS


def test_beyond_them_doctor_warns_with_what_to_do_and_is_not_wrong() -> None:
    catalog = catalog_with(TRIAL_IMAGES + 1)
    with pytest.raises(Doubtful, match="holds 100001 images; move to a MongoDB: `snapsku backup`"):
        embedded(catalog)
    finding = find("database", lambda: embedded(catalog))
    assert finding.outcome is Outcome.DOUBTFUL
    assert not finding.is_wrong
    assert str(finding).startswith("WARN   database: embedded, for trials, and holds 100001 images")
