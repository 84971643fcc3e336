"""Celery's configuration, made from the settings."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from kombu import Exchange, Queue

from broker.celery_fixes.steady_schedule import every
from broker.queues import MAINTENANCE, PROBE, QUEUES, SWEEP, SWEEPS
from config.settings import Settings


def celery_settings(chosen: Settings) -> dict[str, Any]:
    """Return Celery's settings by name."""
    url = chosen.redis_url.get_secret_value()
    return {
        "broker_url": url,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": _transport_options(chosen),
        "result_backend": url,
        "result_backend_transport_options": {"visibility_timeout": chosen.visibility_seconds},
        "result_expires": timedelta(seconds=chosen.result_seconds),
        "visibility_timeout": chosen.visibility_seconds,
        "redis_socket_connect_timeout": chosen.redis_timeout_seconds,
        "redis_socket_timeout": 30.0,
        "redis_socket_keepalive": True,
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "task_queues": [Queue(name, Exchange("snapsku"), routing_key=name) for name in QUEUES],
        "task_default_queue": MAINTENANCE,
        "task_create_missing_queues": False,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_time_limit": chosen.time_limit_seconds,
        # Outcomes are stored under their chunk's id by broker.results; nothing else is a result.
        "task_ignore_result": True,
        "task_send_sent_event": True,
        # One retry, for a connection that Redis closed meanwhile; then the sender goes on.
        "task_publish_retry_policy": {
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0,
            "interval_max": 0,
        },
        "worker_send_task_events": True,
        # Flower remembers a number of tasks, and these would soon push out all others.
        "task_annotations": {name: {"send_events": False} for name in (PROBE, SWEEP, *SWEEPS)},
        "worker_prefetch_multiplier": 1,
        # A stage goes on without the broker: it holds its lease in MongoDB, and the message that
        # comes a second time is dropped.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_soft_shutdown_timeout": 10.0,
        # A pool's child loads the model before it says that it is alive.
        "worker_proc_alive_timeout": 120.0,
        "worker_hijack_root_logger": False,
        # Every worker installs the repairs and checks the schema, answers the probes of its queue,
        # and reports on its machine.
        "imports": (
            "workers.support.start",
            "workers.support.probe",
            "workers.support.process_reporter",
        ),
        "timezone": "UTC",
        # In memory: a file of the last runs could be damaged by a kill, and would contain times of
        # a clock that jumps.
        "beat_scheduler": "broker.scheduler:Scheduler",
        # No message expires: that would compare the clocks of two machines. The scheduler skips a
        # message if one like it waits already.
        "beat_schedule": _beat_schedule(chosen),
    }


def _transport_options(chosen: Settings) -> dict[str, Any]:
    """Return what kombu's transport over Redis goes by."""
    return {
        "visibility_timeout": chosen.visibility_seconds,
        # kombu restores messages of dead workers only every hundredth time by default.
        "unacked_restore_throttle": 1,
        # By default, a worker that dies meanwhile would keep all others from it for five
        # minutes. Two at once are harmless: a message that comes twice is dropped.
        "unacked_mutex_expire": 10,
        "socket_connect_timeout": chosen.redis_timeout_seconds,
        "socket_keepalive": True,
        "health_check_interval": 15,
    }


def _beat_schedule(chosen: Settings) -> dict[str, Any]:
    """Return what beat sends: each kind of background work, and a probe of each queue."""
    work = {
        name: {
            "task": name,
            "schedule": every(chosen.sweep_seconds),
            "options": {"queue": MAINTENANCE},
        }
        for name in SWEEPS
    }
    probes = {
        f"probe {queue}": {
            "task": PROBE,
            "schedule": every(chosen.probe_seconds),
            "args": (queue,),
            "options": {"queue": queue},
        }
        for queue in QUEUES
    }
    return work | probes
