"""What became of each query: which products were found, and at which rank the right ones."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cli.evaluation.pairs import Pair
from cli.evaluation.service import Found, Service


@dataclass(frozen=True)
class Outcome:
    """The answer to a query."""

    pair: Pair
    found: Found

    @property
    def ranks(self) -> list[int]:
        """The ranks of the right products that were found, from 1 on."""
        return [
            rank
            for rank, image in enumerate(self.found.images, 1)
            if image["product_id"] in self.pair.products
        ]

    @property
    def is_miss(self) -> bool:
        """Whether the first product is not a right one, or there is none."""
        return self.ranks[:1] != [1]


def outcomes(
    service: Service, pairs: Sequence[Pair], folder: Path, *, topk: int, threads: int
) -> Iterator[Outcome]:
    """Search for each query, `threads` at a time, and yield the outcomes in the order of `pairs`.

    A picture that can't be read counts as one that was refused. Raises ServiceError.
    """

    def asked(pair: Pair) -> Outcome:
        try:
            content = pair.query if pair.is_url else _encoded(pair.path(folder))
        except OSError as error:
            return Outcome(pair, Found(0.0, refusal=f"can't be read: {error.strerror or error}"))
        return Outcome(pair, service.search(content, pair.category, topk))

    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(asked, pairs)


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
