"""gunicorn's worker with threads, which gives its port free once its parent is dead.

gunicorn's own goes on with the connections that it has, for as long as a graceful stop may
take, and listens meanwhile: the next parent gets no port, and new callers get no answer.
"""

from __future__ import annotations

from gunicorn.workers.gthread import ThreadWorker


class ApiWorker(ThreadWorker):  # type: ignore[misc]
    """A worker that ends what it has begun, and no more, after its parent was killed."""

    def is_parent_alive(self) -> bool:
        """Tell whether the parent lives; if not, listen no longer and keep no connection."""
        if super().is_parent_alive():
            return True
        self.alive = False
        self.set_accept_enabled(False)
        for listener in self.sockets:
            listener.close()
        return False
