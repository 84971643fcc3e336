"""The lease of the index: one owner at a time, under an epoch that only rises."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from catalog.coordination.index_ownership import Owner, OwnerLease
from catalog.store import Catalog
from config.settings import settings


def of(catalog: Catalog, lease: float = 30.0) -> OwnerLease:
    rows = catalog.client[settings().mongo_database]["owners"]
    return OwnerLease(rows, timedelta(seconds=lease))


def taken(ownership: OwnerLease, name: str = "a", silent: Owner | None = None) -> Owner:
    owner = ownership.take(f"process {name}", f"/{name}", f"lock {name}", silent=silent)
    assert owner is not None
    return owner


def test_a_lease_that_runs_is_taken_by_no_other(catalog: Catalog) -> None:
    first = taken(of(catalog))
    assert of(catalog).take("process b", "/b", "lock b") is None
    assert of(catalog).current() == first


def test_a_lease_that_has_ended_is_taken_under_the_next_epoch(catalog: Catalog) -> None:
    first = taken(of(catalog, 0.0))
    second = taken(of(catalog), "b")
    assert second.epoch == first.epoch + 1
    assert of(catalog).renew(first) is None
    assert of(catalog).current() == second


def test_a_lease_that_was_released_is_taken_at_once(catalog: Catalog) -> None:
    first = taken(of(catalog))
    of(catalog).release(first)
    found = of(catalog).current()
    assert found is not None
    assert (found.process, found.has_ended) == ("", True)
    assert taken(of(catalog), "b").epoch == first.epoch + 1


def test_a_lease_whose_lock_file_is_held_by_another_process_now_is_taken_at_once(
    catalog: Catalog,
) -> None:
    first = taken(of(catalog))
    assert taken(of(catalog), "a").epoch == first.epoch + 1


def test_a_lease_that_has_ended_and_was_taken_by_nobody_is_renewed(catalog: Catalog) -> None:
    first = taken(of(catalog, 0.0))
    renewed = of(catalog).renew(first)
    assert renewed is not None
    assert not renewed.has_ended
    assert of(catalog).take("process b", "/b", "lock b") is None


def test_an_owner_that_is_silent_for_long_is_followed_whatever_its_row_says(
    catalog: Catalog,
) -> None:
    first = taken(of(catalog, 86_400.0))
    assert taken(of(catalog), "b", silent=first).epoch == first.epoch + 1


def test_a_clock_that_was_set_forward_ends_no_lease_of_an_owner_that_is_watched(
    catalog: Catalog,
) -> None:
    first = taken(of(catalog, -3600.0))
    assert of(catalog).take("process b", "/b", "lock b", by_clock=False) is None
    of(catalog).release(first)
    assert of(catalog).take("process b", "/b", "lock b", by_clock=False) is not None


def test_an_owner_that_renewed_meanwhile_is_not_silent(catalog: Catalog) -> None:
    first = taken(of(catalog, 10.0))
    assert of(catalog, 20.0).renew(first) is not None
    assert of(catalog).take("process b", "/b", "lock b", silent=first) is None


def test_the_release_of_an_owner_that_was_followed_changes_nothing(catalog: Catalog) -> None:
    first = taken(of(catalog, 0.0))
    second = taken(of(catalog), "b")
    of(catalog).release(first)
    assert of(catalog).current() == second


def test_of_many_that_take_at_once_one_does(catalog: Catalog) -> None:
    for _ in range(3):
        with ThreadPoolExecutor(6) as pool:
            won = list(pool.map(lambda n: of(catalog).take(f"p{n}", f"/{n}", f"l{n}"), range(6)))
        (owner,) = [one for one in won if one is not None]
        of(catalog).release(owner)


def test_the_epochs_of_a_row_that_was_lost_are_not_used_again(catalog: Catalog) -> None:
    first = taken(of(catalog, 0.0))
    catalog.client[settings().mongo_database]["owners"].delete_many({})
    assert taken(of(catalog)).epoch >= first.epoch
