"""`snapsku evaluate` against the real stack: it measures, and shows what was missed."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.main import main
from tests.e2e.client import Api
from tools.demo.manifest import SampleImage, load

MANIFEST = load()
SAMPLES = list(MANIFEST.first_images().values())[:3]


def evaluate(api: Api, collection: str, pairs: Path, *options: str) -> Result:
    arguments = [str(pairs), "--collection", collection, "--url", api.base_url, *options]
    return CliRunner().invoke(main, ["evaluate", *arguments])


def written(file: Path, lines: Iterable[tuple[object, str]]) -> Path:
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["query", "product_id"])
        writer.writerows(lines)
    return file


@pytest.fixture
def filled(api: Api, collection: str) -> list[SampleImage]:
    api.create(collection, SAMPLES)
    api.finish(api.add_samples(collection, SAMPLES))
    return SAMPLES


def test_it_measures_and_shows_the_misses_with_pictures(
    api: Api, collection: str, filled: list[SampleImage], tmp_path: Path
) -> None:
    first, second, third = filled
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    pairs = written(
        tmp_path / "pairs.csv",
        [
            (first.path, first.product_id),
            (second.path, second.product_id),
            # Its right product comes second at best: the picture is that of another one.
            (third.path, second.product_id),
            ("broken.jpg", third.product_id),
            ("missing.jpg", third.product_id),
            (first.path.with_name("whatever.jpg"), "not-there"),
        ],
    )
    page = tmp_path / "misses.html"
    ended = evaluate(api, collection, pairs, "--json", "--page", str(page), "--threads", "2")
    assert ended.exit_code == 0, ended.output
    told = json.loads(ended.stdout)
    assert told["left_out"] == ["not-there"]
    assert [one["ranks"][:1] for one in told["queries"][:2]] == [[1], [1]]
    assert told["queries"][2]["ranks"] > [1]
    assert told["queries"][3]["refusal"].startswith("NOT_SUPPORT_IMAGE: ")
    assert told["queries"][4]["refusal"] == "can't be read: No such file or directory"
    assert told["recall_at_1"]["value"] == pytest.approx(2 / 5)
    assert told["median_milliseconds"] > 0
    text = page.read_text("utf-8")
    assert text.count("<article>") == 3
    assert "the right product has rank" in text
    assert text.count("data:image/jpeg;base64,") >= 4
    assert 'src="http' not in text, "the page needs nothing from elsewhere"


def test_it_prints_a_table_for_people(
    api: Api, collection: str, filled: list[SampleImage], tmp_path: Path
) -> None:
    pairs = written(tmp_path / "pairs.csv", [(one.path, one.product_id) for one in filled])
    page = tmp_path / "misses.html"
    ended = evaluate(api, collection, pairs, "--page", str(page))
    assert ended.exit_code == 0, ended.output
    lines = ended.stdout.splitlines()
    assert lines[0] == "queries       3"
    assert lines[1].startswith("recall@1      1.000  (0.")
    assert lines[-1] == f"The misses, with pictures: {page}"
    assert "<article>" not in page.read_text("utf-8")


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (("--url", "http://127.0.0.1:1"), "http://127.0.0.1:1 can't be reached"),
        ((), "NO_RELATIVE_COLLECTION"),
    ],
)
def test_a_service_that_can_not_be_asked_is_told_in_one_line(
    api: Api, collection: str, tmp_path: Path, options: tuple[str, ...], fault: str
) -> None:
    pairs = written(tmp_path / "pairs.csv", [("a.jpg", "boot")])
    ended = evaluate(api, collection, pairs, *options)
    assert ended.exit_code == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("Error: ")
    assert fault in line
