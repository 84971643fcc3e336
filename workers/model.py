"""The model of a worker process that sees pictures: the vision and the search worker."""

from __future__ import annotations

import mmap
import os
import signal
from functools import cache
from typing import TYPE_CHECKING, Any

import structlog
from celery.signals import worker_shutdown

from catalog.models import ModelMismatchError, ModelRow
from config.refusal import REFUSED
from config.settings import Settings, settings
from workers.resources import catalog

if TYPE_CHECKING:
    from vision.pipeline import Pipeline

log = structlog.get_logger(__name__)

#: One byte that the parent of a pool shares with its children: set where one has no model.
_refused = mmap.mmap(-1, 1)


@cache
def pipeline() -> Pipeline:
    """Give the model, and make it the catalogue's if that has none yet.

    Raises ModelMismatchError where the catalogue was made with another, ValueError
    where the settings name a model or weights that can't be loaded.
    """
    loaded = load_from(settings())
    catalog().models.adopt(ModelRow(loaded.model_id, loaded.dimensions))
    return loaded


def load_from(chosen: Settings) -> Pipeline:
    """Load the model that settings name; raises ValueError where it can't be loaded."""
    # Read by OpenMP when torch is loaded. Its threads would otherwise spin while they wait for
    # each other, and hold each other up on a machine that is busy: 270 s instead of 3 for 16
    # pictures on two threads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # torch must not be imported in the parent of a prefork pool.
    from vision.pipeline import VisionOptions, load_pipeline

    return load_pipeline(
        VisionOptions(
            detector=chosen.detector,
            detector_weights=chosen.detector_weights,
            embedder=chosen.embedder,
            embedder_weights=chosen.embedder_weights,
            device=chosen.device,
            threads=chosen.torch_threads,
            engine=chosen.engine,
        )
    )


def load_model() -> None:
    """Load the model when a pool's child starts; end the whole worker where it can't be used.

    Celery goes on after a signal handler that failed, and a pool replaces a child that
    ended, for ever; so it is the parent that has to stop.
    """
    try:
        pipeline()
    except (ModelMismatchError, ValueError) as error:
        log.critical("model can't be used, worker stops", reason=str(error))
        _refused[0] = 1
        os.kill(os.getppid(), signal.SIGTERM)
        raise SystemExit(REFUSED) from error
    except OSError as error:
        # Weights that can't be read or downloaded now: no image is to pay for that.
        log.critical("model can't be loaded, worker stops to try again", reason=str(error))
        os.kill(os.getppid(), signal.SIGTERM)
        raise SystemExit(1) from error


@worker_shutdown.connect
def _end_as_refused(sender: Any = None, **_: Any) -> None:
    if _refused[0]:
        sender.exitcode = REFUSED
