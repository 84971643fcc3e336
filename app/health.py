"""/healthz: this process answers. /readyz: the servers answer and every queue is consumed."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, jsonify
from pymongo.errors import PyMongoError
from redis.exceptions import RedisError

from app.services import Services
from workers.broker import QUEUES

HEALTH_PATHS = ("/healthz", "/readyz")


def add_health(flask_app: Flask, services: Services) -> None:
    """Add the two paths."""

    @flask_app.get("/healthz")
    def healthz() -> Response:
        return jsonify(status="ok")

    @flask_app.get("/readyz")
    def readyz() -> tuple[Response, int]:
        faults = []
        try:
            services.catalog.ping()
        except PyMongoError:
            faults.append("MongoDB can't be reached")
        answer: dict[str, Any] = {}
        try:
            answer["consumed_seconds_ago"] = services.consumption.ages(QUEUES)
        except RedisError:
            faults.append("Redis can't be reached")
        else:
            faults += [
                f"queue {queue} is not consumed"
                for queue, age in answer["consumed_seconds_ago"].items()
                if services.consumption.is_stalled(age)
            ]
        if faults:
            return jsonify(status="not ready", faults=faults, **answer), 503
        return jsonify(status="ready", **answer), 200
