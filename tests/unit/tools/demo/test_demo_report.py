from __future__ import annotations

import re
from pathlib import Path

import pytest
from rich.console import Console

from tools.demo import flow, report
from tools.demo.manifest import load
from tools.demo.queries import Query

MANIFEST = load()
HIT = flow.Outcome(
    query=Query("query-coat", "coat", "on noise", b"coat picture", 200, 400),
    expected_name="驼色大衣",
    rank=1,
    similarity=0.91234,
    first=flow.Hit("coat", "驼色大衣", "coat-1", 0.91234),
    box=(50, 100, 150, 300),
    milliseconds=123.4,
)
MISS = flow.Outcome(
    query=Query("query-ring", "ring", "turned +7°", b"ring picture", 300, 300),
    expected_name="钻石戒指",
    rank=4,
    similarity=0.5,
    first=flow.Hit("teapot", "红色茶壶", "teapot-1", 0.61),
    box=None,
    milliseconds=99.6,
)
FAILED = flow.Outcome(
    query=Query("query-<b>", "jeans", "<script>alert(1)</script>", b"x", 300, 300),
    expected_name='<img src="x">',
    rank=None,
    similarity=None,
    first=None,
    box=None,
    milliseconds=5,
    error="10020: <busy>",
)
OUTCOMES = (HIT, MISS, FAILED)
SUMMARY = flow.summarise(flow.Ingest(10, (("a<i>", "B&C"),), 2.0), OUTCOMES)


@pytest.fixture
def page(tmp_path: Path) -> str:
    written = report.write(tmp_path, (HIT, MISS), SUMMARY, (("a<i>", "B&C"),), MANIFEST)
    return written.read_text("utf-8")


def rendered() -> str:
    pictures = {outcome.query.query_id: "images/q.jpg" for outcome in OUTCOMES}
    pictures |= {"coat": "images/c.jpg", "teapot": "images/t.jpg"}
    return report.render(OUTCOMES, SUMMARY, [("a<i>", "B&C")], pictures)


def test_the_page_has_every_row_with_its_figures() -> None:
    page = rendered()
    assert page.count("<li class=") == len(OUTCOMES)
    for text in (
        "驼色大衣",
        "0.912",
        "123 ms",
        "50, 100, 150, 300",
        "钻石戒指",
        "红色茶壶",
        "0.610",
    ):
        assert text in page
    assert "not found" in page
    assert SUMMARY.line() in page
    assert "Not passed" in page


def test_the_page_escapes_everything_that_is_put_into_it() -> None:
    page = rendered()
    for raw in ("<script>alert", '<img src="x">', "<busy>", "a<i>", "B&C", "query-<b>"):
        assert raw not in page
    for escaped in ("&lt;script&gt;alert", "&lt;busy&gt;", "a&lt;i&gt;", "B&amp;C"):
        assert escaped in page


def test_a_box_is_drawn_in_percent_of_the_query() -> None:
    assert report.frame((50, 100, 150, 300), 200, 400) == report.Frame(25, 25, 50, 50)
    assert "left:25.0%;top:25.0%;width:50.0%;height:50.0%" in rendered()
    assert rendered().count('class="box"') == 1


def test_the_folder_holds_every_picture_that_the_page_shows(page: str, tmp_path: Path) -> None:
    shown = re.findall(r'src="([^"]+)"', page)
    assert len(shown) == 4
    for address in shown:
        assert (tmp_path / address).is_file()
    assert (tmp_path / "images/query-coat.jpg").read_bytes() == b"coat picture"


def test_the_page_loads_nothing_from_elsewhere(page: str) -> None:
    assert "http" not in page


def test_the_table_has_every_row() -> None:
    console = Console(width=160)
    with console.capture() as captured:
        console.print(report.table(OUTCOMES))
    shown = captured.get()
    for text in ("on noise", "coat 驼色大衣", "0.912", "50, 100, 150, 300", "123", "10020: <busy>"):
        assert text in shown


def test_square_brackets_in_the_table_are_text_not_markup() -> None:
    hostile = flow.Outcome(HIT.query, "[red]name[/red]", 1, 0.5, None, None, 1, "[bold]oops")
    console = Console(width=160)
    with console.capture() as captured:
        console.print(report.table([hostile]))
    assert "[red]name[/red]" in captured.get()
    assert "[bold]oops" in captured.get()
