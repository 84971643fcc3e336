"""What an operator should know of the embedded document database, in a line."""

from __future__ import annotations

from catalog.store import Catalog

#: Beyond so many images, the embedded document database is not what to rely on.
TRIAL_IMAGES = 100_000

#: Its makers call it an experiment; see docs/own-servers.md.
FOR_TRIALS = "embedded, for trials; for more, name a MongoDB in SNAPSKU_MONGO_URL"


def warning(catalog: Catalog) -> str | None:
    """Return what to do beyond TRIAL_IMAGES images, None up to there. Raises PyMongoError."""
    images = catalog.images.estimated_count()
    if images <= TRIAL_IMAGES:
        return None
    return (
        f"embedded, for trials, and holds {images} images; move to a MongoDB: "
        "`snapsku backup`, set SNAPSKU_MONGO_URL, `snapsku restore`"
    )
