"""The table of codes is the seed's, to the letter."""

from __future__ import annotations

from collections import Counter

import pytest

from contract import errors
from contract.errors import BY_MESSAGE, TABLE, ContractError

SEED = [
    (1004, "TASK_NOT_EXIST"),
    (1030, "NO_RELATIVE_COLLECTION"),
    (1031, "NO_RELATIVE_IMAGE"),
    (1032, "REPEAT_IMAGE_NAME_IN_DB"),
    (1033, "REPEAT_IMAGE_NAME_IN_PARAM"),
    (2001, "INVALID_PARAM_TOP_K"),
    (2006, "BROKEN_BASE64_OR_URL"),
    (2008, "INVALID_DOCS"),
    (2010, "INVALID_COLLECTION_NAME"),
    (2011, "INVALID_IMAGE_INFO"),
    (2013, "COLLECTION_COUNT_EXCEEDS_LIMIT"),
    (3000, "INVALID_PRODUCT_LIST"),
    (3001, "PRODUCT_EMPTY"),
    (3002, "DUPLICATE_PRODUCT"),
    (3003, "INVALID_PRODUCT_ID"),
    (3004, "INVALID_PRODUCT_NAME"),
    (3005, "INVALID_PRODUCT_CATEGORY"),
    (3006, "EXISTING_PRODUCT"),
    (3007, "NOT_EXISTING_PRODUCT"),
    (3008, "INSERT_PRODUCT_ERROR"),
    (3009, "NO_MATCHED_PRODUCT"),
    (3010, "INVALID_IMAGE_LIST"),
    (3011, "EMPTY_IMAGE_LIST"),
    (3012, "DUPLICATE_IMAGE"),
    (3013, "INVALID_IMAGE_ID"),
    (3014, "INVALID_IMAGE_CONTENT"),
    (3015, "INVALID_IMAGE_INFO"),
    (3016, "IMAGE_NUM_EXCEED_TOTAL_LIMIT"),
    (3017, "IMAGE_NUM_EXCEED_PER_PRODUCT_LIMIT"),
    (3018, "INSERT_IMAGE_ERROR"),
    (3019, "NO_INVALID_IMAGE"),
    (3020, "INVALID_USER_ID"),
    (3021, "INVALID_TASK_ID"),
    (3030, "QUERY_TASK_STATUS_ERROR"),
    (3031, "SEARCH_PRODUCT_IMAGE_ERROR"),
    (3031, "DELETE_IMAGE_ERROR"),
    (3033, "QUERY_IMAGE_INFO_ERROR"),
    (3034, "DELETE_COLLECTION_ERROR"),
    (3040, "INVALID_SEARCH_TOPK"),
    (3041, "SEARCH_TOPK_EXCEED_LIMIT"),
    (3050, "INVALID_IMAGE_ID_LIST"),
    (3051, "EMPTY_IMAGE_ID_LIST"),
    (3052, "DUPLICATE_IMAGE_ID"),
    (3053, "NO_INVALID_IMAGE_ID"),
    (3054, "NOT_SUPPORT_IMAGE"),
    (3055, "PRODUCT_NUM_EXCEED_LIMIT"),
    (3056, "IMAGE_SIZE_EXCEED_LIMIT"),
    (5000, "INTERNAL_SERVER_ERROR"),
    (5001, "INVALID_PARAMETER_JSON"),
]

#: Used by the same service, but no row of the seed's table.
BESIDES_THE_SEED = [
    (2005, "IMAGE_TOO_SMALL"),
    (2007, "IMAGE_TOO_LARGE"),
    (None, "NO_AVAILABLE_FEATURE"),
]


def test_the_table_has_exactly_the_rows_of_the_seed_and_three_more() -> None:
    rows = Counter((error.code, error.message) for error in TABLE)
    assert rows == Counter([*SEED, *BESIDES_THE_SEED])


def test_each_row_has_a_class_of_its_own() -> None:
    assert len(set(TABLE)) == len(TABLE)


def test_no_class_of_the_module_is_missing_from_the_table() -> None:
    assert set(ContractError.__subclasses__()) == set(TABLE)


@pytest.mark.parametrize("error", TABLE, ids=lambda error: error.__name__)
def test_a_detail_is_for_the_log_and_never_replaces_the_message(
    error: type[ContractError],
) -> None:
    fault = error("a picture of 3 x 4 pixels")
    assert str(fault) == "a picture of 3 x 4 pixels"
    assert fault.message == error.message
    assert str(error()) == error.message


def test_a_message_leads_back_to_its_class() -> None:
    assert set(BY_MESSAGE) == {error.message for error in TABLE}
    for message, error in BY_MESSAGE.items():
        assert error.message == message


def test_the_message_that_stands_twice_leads_to_the_code_that_is_answered() -> None:
    assert BY_MESSAGE["INVALID_IMAGE_INFO"] is errors.InvalidImageInfo
    assert BY_MESSAGE["INVALID_IMAGE_INFO"].code == 3015


def test_the_two_messages_of_3031_lead_to_two_classes() -> None:
    assert BY_MESSAGE["SEARCH_PRODUCT_IMAGE_ERROR"] is errors.SearchProductImageError
    assert BY_MESSAGE["DELETE_IMAGE_ERROR"] is errors.DeleteImageError
