"""/healthz: this process answers. /readyz: the service as a whole does its work.

That is: the servers answer, every queue is consumed, and the index holds what it should.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import Flask, Response, jsonify
from pymongo.errors import PyMongoError
from redis.exceptions import RedisError

from app.services import Services
from catalog.chunks import Stage
from workers.broker import QUEUES
from workers.staging import IndexReport

HEALTH_PATHS = ("/healthz", "/readyz")


def add_health(flask_app: Flask, services: Services) -> None:
    """Add the two paths."""

    @flask_app.get("/healthz")
    def healthz() -> Response:
        return jsonify(status="ok")

    @flask_app.get("/readyz")
    def readyz() -> tuple[Response, int]:
        faults: list[str] = []
        warnings = _warnings_of_calls(services)
        try:
            services.catalog.ping()
        except PyMongoError:
            faults.append("MongoDB can't be reached")
        answer: dict[str, Any] = {}
        try:
            answer["consumed_seconds_ago"] = ages = services.consumption.ages(QUEUES)
            index, refused = services.index_reports.latest()
            answer["index"] = None if index is None else asdict(index)
            answer["index_standbys"] = services.index_reports.standbys()
        except RedisError:
            faults.append("Redis can't be reached")
        else:
            stalled = [q for q, age in ages.items() if services.consumption.is_stalled(age)]
            faults += [f"queue {queue} is not consumed" for queue in stalled]
            if index is not None:
                faults += _faults_of(index)
                warnings += _warnings_of(index)
            elif Stage.INDEX not in stalled:
                faults.append("index: its process has not said how it is")
            if refused:
                warnings.append(f"index: a second process was refused ({refused})")
        if warnings:
            answer["warnings"] = warnings
        if faults:
            return jsonify(status="not ready", faults=faults, **answer), 503
        return jsonify(status="ready", **answer), 200


def _warnings_of_calls(services: Services) -> list[str]:
    """Say what this process could not check since it started, for want of Redis."""
    refused, passed = services.gate.unchecked, services.quotas.unchecked
    warnings = []
    if refused:
        warnings.append(f"signed calls refused, their nonces could not be checked: {refused}")
    if passed:
        warnings.append(f"calls that passed without a look at their quota: {passed}")
    return warnings


def _faults_of(index: IndexReport) -> list[str]:
    faults = []
    if not index.is_complete:
        faults.append("index: not all sets are known yet")
    if index.sets_not_ready:
        faults.append(f"index: {index.sets_not_ready} of {index.sets} sets are not ready")
    return faults


def _warnings_of(index: IndexReport) -> list[str]:
    warnings = []
    if index.snapshots_lost:
        warnings.append(
            f"index: {index.snapshots_lost} snapshots were lost and are built anew from MongoDB"
        )
    if index.sets_not_saved:
        warnings.append(
            f"index: {index.sets_not_saved} of {index.sets} sets could not be saved "
            f"({index.save_fault})"
        )
    return warnings
