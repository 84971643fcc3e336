"""A query on its way from the API to a search worker, as it is stored in Redis."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True)
class Query:
    """What is searched for: a picture or its URL, and where to look."""

    picture: bytes  #: empty if there is a URL
    url: str | None
    generation: str
    category: str | None
    topk: int
    box: tuple[int, int, int, int] | None  #: left, top, right, bottom: searched as it is
    min_similarity: float
    group_by_product: bool
    request_id: str
    #: The model whose vectors are searched; None if the collection has none yet.
    model_id: str | None = None

    def pack(self) -> dict[str, bytes | str]:
        """Return the fields to be stored in Redis."""
        words = {name: value for name, value in asdict(self).items() if name != "picture"}
        return {"picture": self.picture, "words": json.dumps(words)}

    @classmethod
    def unpack(cls, left: Mapping[str, bytes]) -> Query:
        """Return the query from the fields that `pack` made; unknown ones are ignored."""
        words = json.loads(left["words"])
        known = {field.name for field in fields(cls)}
        given = {name: words[name] for name in words if name in known}
        given["box"] = given["box"] and tuple(given["box"])
        return cls(picture=left["picture"], **given)
