"""/healthz says that this process answers, /readyz that the service as a whole works.

It does if both servers answer, every queue is consumed, and all sets of the index are ready.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import pymongo
from flask import Flask, Response, jsonify
from pymongo.errors import PyMongoError
from redis.exceptions import RedisError

from app.services import Services
from broker.availability import refusal_of_writes
from broker.queues import QUEUES
from broker.reports.queued_work import queued_work
from catalog.rows.chunks import Stage
from config.data_directory import stack_id

HEALTH_PATHS = ("/healthz", "/readyz")

#: Timeout of MongoDB for /readyz. Operations wait longer.
MONGO_SECONDS = 1.5


def add_health(flask_app: Flask, services: Services) -> None:
    """Add both paths to the application."""

    @flask_app.get("/healthz")
    def healthz() -> Response:
        return jsonify(status="ok")

    @flask_app.get("/readyz")
    def readyz() -> tuple[Response, int]:
        # Both servers at once, so that two that hang take no longer than one.
        with ThreadPoolExecutor(1) as pool:
            mongo_answers = pool.submit(_mongo_answers, services)
            faults, warnings, answer = _seen_in_redis(services)
        if mongo_answers.result():
            warnings += _warnings_of_room(services)
        else:
            faults.insert(0, "MongoDB can't be reached")
        warnings = _warnings_of_calls(services) + warnings
        answer["stack"] = stack_id(services.settings.data_dir)
        if warnings:
            answer["warnings"] = warnings
        if faults:
            return jsonify(status="not ready", faults=faults, **answer), 503
        return jsonify(status="ready", **answer), 200


def _mongo_answers(services: Services) -> bool:
    try:
        with pymongo.timeout(MONGO_SECONDS):
            services.catalog.ping()
    except PyMongoError:
        return False
    return True


def _seen_in_redis(services: Services) -> tuple[list[str], list[str], dict[str, Any]]:
    """Return faults, warnings and what else Redis tells of queues and index.

    If Redis can't be reached, that is the only fault.
    """
    try:
        ages = services.consumption.ages(QUEUES)
        waiting = queued_work(services.redis, QUEUES)
        index, refused = services.index_reports.latest()
        standbys = services.index_reports.standbys()
        processes = services.process_reports.latest()
        refusal = refusal_of_writes(services.redis)
    except RedisError:
        return ["Redis can't be reached"], [], {}
    answer: dict[str, Any] = {
        "consumed_seconds_ago": ages,
        "waiting": {queue: asdict(work) for queue, work in waiting.items()},
        "index": None if index is None else asdict(index),
        "index_standbys": standbys,
        "processes": [{**asdict(one.report), "age_seconds": one.age_seconds} for one in processes],
    }
    stalled = [q for q, age in ages.items() if services.consumption.is_stalled(age)]
    faults = [] if refusal is None else [f"Redis takes no writes: {refusal}"]
    faults += [f"queue {queue} is not consumed" for queue in stalled]
    warnings = [warning for one in processes for warning in one.report.warnings]
    if index is not None:
        faults += index.faults
        warnings += index.warnings
    elif Stage.INDEX not in stalled:
        faults.append("index: its process has not said how it is")
    if refused:
        warnings.append(f"index: a second process was refused ({refused})")
    return faults, warnings, answer


def _warnings_of_room(services: Services) -> list[str]:
    try:
        with pymongo.timeout(MONGO_SECONDS):
            seconds = services.waits_for_room()
    except (PyMongoError, RedisError):
        return []  # reported as a fault already, or by the next call
    if seconds is None:
        return []
    return [f"no room for fetched bytes, fetching has waited for {seconds:.0f} s"]


def _warnings_of_calls(services: Services) -> list[str]:
    """Return warnings of what this process could not check since its start without Redis."""
    refused, passed = services.gate.unchecked, services.quotas.unchecked
    warnings = []
    if refused:
        warnings.append(f"signed calls refused, their nonces could not be checked: {refused}")
    if passed:
        warnings.append(f"calls that passed without a look at their quota: {passed}")
    return warnings
