"""The file of pairs that `snapsku evaluate` reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.evaluation.pairs import Pair, PairsError, read_pairs


def written(folder: Path, text: str | bytes) -> Path:
    file = folder / "pairs.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_lines_of_one_query_name_several_right_products(tmp_path: Path) -> None:
    text = "product_id,note,query\nboot-1,x,a.jpg\ncoat-1,,https://shop.test/b\nboot-2,,a.jpg\n"
    assert read_pairs(written(tmp_path, text)) == [
        Pair("a.jpg", None, {"boot-1", "boot-2"}),
        Pair("https://shop.test/b", None, {"coat-1"}),
    ]


def test_the_same_picture_in_two_categories_is_two_queries(tmp_path: Path) -> None:
    text = "query,product_id,category\na.jpg,boot-1,鞋靴\na.jpg,coat-1,服装\na.jpg,any,\n"
    assert [pair.category for pair in read_pairs(written(tmp_path, text))] == ["鞋靴", "服装", None]


def test_what_a_spreadsheet_writes_is_read(tmp_path: Path) -> None:
    text = b"\xef\xbb\xbf" + 'query,product_id\r\n" 图片, 1.jpg ",boot-1\r\n'.encode()
    assert read_pairs(written(tmp_path, text)) == [Pair("图片, 1.jpg", None, {"boot-1"})]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "the first line must name the column product_id and query"),
        ("query,sku\na,b\n", "the first line must name the column product_id"),
        ("query,product_id\n", "has no queries"),
        ("query,product_id\na.jpg,b\n,b\n", "line 3 has no query or no product_id"),
        ("query,product_id\na.jpg\n", "line 2 has no query or no product_id"),
        (b"query,product_id\n\xff,b\n", "pairs.csv: "),
    ],
)
def test_a_file_that_can_not_be_used_is_told_where_and_why(
    tmp_path: Path, text: str | bytes, fault: str
) -> None:
    with pytest.raises(PairsError, match=fault):
        read_pairs(written(tmp_path, text))


def test_a_missing_file_is_a_fault_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(PairsError, match=r"none\.csv: .*No such file"):
        read_pairs(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("query", "is_url"), [("HTTPS://a.test/b.jpg", True), ("http.jpg", False), ("./b.jpg", False)]
)
def test_what_begins_like_a_url_is_fetched_by_the_service(query: str, is_url: bool) -> None:
    assert Pair(query).is_url is is_url
