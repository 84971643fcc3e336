"""/healthz: this process answers. /readyz: the servers answer and every queue is consumed."""

from __future__ import annotations

from flask import Flask, Response, jsonify
from pymongo.errors import PyMongoError
from redis.exceptions import RedisError

from app.services import Services
from workers.broker import QUEUES


def add_health(flask_app: Flask, services: Services) -> None:
    """Add the two paths."""

    @flask_app.get("/healthz")
    def healthz() -> Response:
        return jsonify(status="ok")

    @flask_app.get("/readyz")
    def readyz() -> tuple[Response, int]:
        faults = _faults(services)
        if faults:
            return jsonify(status="not ready", faults=faults), 503
        return jsonify(status="ready"), 200


def _faults(services: Services) -> list[str]:
    faults = []
    try:
        services.catalog.ping()
    except PyMongoError:
        faults.append("MongoDB can't be reached")
    try:
        stalled = services.consumption.stalled(QUEUES)
    except RedisError:
        faults.append("Redis can't be reached")
    else:
        faults.extend(f"queue {queue} is not consumed" for queue in stalled)
    return faults
