"""Numbers, models, blobs: what is given or written once stays so."""

from __future__ import annotations

import numpy as np
import pytest

from catalog.rows.models import ModelMismatchError, ModelRow
from catalog.store import Catalog
from tests.integration.catalog.at_once import at_once

EXTREMES = np.array(
    [0.1, -0.0, 1 / 3, np.finfo(np.float32).tiny, np.finfo(np.float32).max, 1e-45, -1.5],
    np.float32,
)


def test_no_number_is_given_twice_from_the_very_first_one_on(catalog: Catalog) -> None:
    sizes = [1, 2, 3, 7, 16]

    def reserve(_: int) -> list[int]:
        return [number for size in sizes for number in catalog.numbers.reserve(size)]

    given = [number for numbers in at_once(8, reserve) for number in numbers]
    assert sorted(given) == list(range(1, 8 * sum(sizes) + 1))


def test_reserving_none_takes_none(catalog: Catalog) -> None:
    assert list(catalog.numbers.reserve(0)) == []
    assert list(catalog.numbers.reserve(1)) == [1]


def test_a_catalogue_has_no_model_until_one_is_adopted(catalog: Catalog) -> None:
    assert catalog.models.current() is None
    catalog.models.adopt(ModelRow("first", 8))
    assert catalog.models.current() == ModelRow("first", 8)


def test_the_same_model_may_be_adopted_again(catalog: Catalog) -> None:
    at_once(8, lambda _: catalog.models.adopt(ModelRow("first", 8)))
    assert catalog.models.current() == ModelRow("first", 8)


@pytest.mark.parametrize("other", [ModelRow("second", 8), ModelRow("first", 16)])
def test_another_model_is_refused_by_both_names(catalog: Catalog, other: ModelRow) -> None:
    catalog.models.adopt(ModelRow("first", 8))
    with pytest.raises(ModelMismatchError, match=f"model first, .* {other.model_id};"):
        catalog.models.adopt(other)
    assert catalog.models.current() == ModelRow("first", 8)


def test_of_two_models_that_come_at_once_one_is_adopted(catalog: Catalog) -> None:
    def adopt(number: int) -> bool:
        try:
            catalog.models.adopt(ModelRow(f"model {number}", 8))
        except ModelMismatchError:
            return False
        return True

    adopted = at_once(8, adopt)
    assert adopted.count(True) == 1
    assert catalog.models.current() == ModelRow(f"model {adopted.index(True)}", 8)


def test_a_blob_put_twice_keeps_the_first_bytes(catalog: Catalog) -> None:
    every_byte = bytes(range(256))
    catalog.payloads.put({1: every_byte, 2: b""})
    catalog.payloads.put({1: b"late", 3: b"new"})
    assert catalog.payloads.get([1, 2, 3, 4]) == {1: every_byte, 2: b"", 3: b"new"}


def test_blobs_that_are_removed_are_gone_and_the_others_are_not(catalog: Catalog) -> None:
    catalog.pictures.put({1: b"one", 2: b"two"})
    catalog.pictures.remove([1, 9])
    assert catalog.pictures.get([1, 2]) == {2: b"two"}


def test_kinds_of_blobs_do_not_mix(catalog: Catalog) -> None:
    catalog.payloads.put({1: b"payload"})
    assert catalog.pictures.get([1]) == {}
    assert catalog.vectors.present([1]) == set()


def test_a_blob_of_the_largest_picture_comes_back_whole(catalog: Catalog) -> None:
    largest = np.random.default_rng(0).bytes(3_932_159)
    catalog.payloads.put({1: largest})
    assert catalog.payloads.get([1]) == {1: largest}


def test_a_vector_comes_back_bit_by_bit_with_its_model(catalog: Catalog) -> None:
    values = np.random.default_rng(0).normal(size=1280).astype(np.float32)
    catalog.vectors.put("m", {1: EXTREMES, 2: values})
    found = catalog.vectors.get([1, 2, 3], "m")
    assert found.keys() == {1, 2}
    assert found[1].tobytes() == EXTREMES.tobytes()
    assert found[2].tobytes() == values.tobytes()
    assert {vector.dtype for vector in found.values()} == {np.dtype(np.float32)}


def test_a_vector_put_twice_keeps_the_first(catalog: Catalog) -> None:
    catalog.vectors.put("m", {1: EXTREMES})
    catalog.vectors.put("m", {1: EXTREMES * 0})
    assert catalog.vectors.get([1], "m")[1].tobytes() == EXTREMES.tobytes()


def test_vectors_are_told_present_until_they_are_removed(catalog: Catalog) -> None:
    catalog.vectors.put("m", {1: EXTREMES, 2: EXTREMES})
    assert catalog.vectors.present([1, 2, 3]) == {1, 2}
    catalog.vectors.remove([1])
    assert catalog.vectors.present([1, 2, 3]) == {2}
