"""The Flask application: paths, request ids, and the answer to each kind of error.

`create_app` is the only composition of the API; gunicorn calls it once per process.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

import structlog
from flask import Flask, Response, current_app, g, request
from werkzeug.exceptions import HTTPException

from app.auth.gate import Caller, NotAdmitted
from app.health import HEALTH_PATHS, add_health
from app.http.body import read_body
from app.http.details import HTTP_SENTENCES, detail_of
from app.http.envelope import Busy, Refused, SystemCode, not_served, refused, succeeded
from app.http.headers import REQUEST_ID_HEADER, harden
from app.operations import collections, images, ingestion, products, search, tasks
from app.operations.base import IDEMPOTENCY_HEADER, Call, Operation
from app.operations.pictures import add_pictures
from app.reference.page import add_reference
from app.services import Services, make_services
from broker.availability import UNREACHABLE
from config.logging import configure_logging
from config.settings import settings
from contract.errors import (
    ContractError,
    ImageSizeExceedLimit,
    InternalServerError,
    InvalidParameterJson,
    InvalidUserId,
)

log = structlog.get_logger(__name__)

OPERATIONS: tuple[Operation, ...] = (
    *collections.OPERATIONS,
    *products.OPERATIONS,
    *ingestion.OPERATIONS,
    *images.OPERATIONS,
    *tasks.OPERATIONS,
    *search.OPERATIONS,
)


def create_app(services: Services | None = None) -> Flask:
    """Return the application; `services` are made from the settings unless given."""
    if services is None:
        configure_logging(settings())
        services = make_services(settings())
    flask_app = Flask("snapsku", static_folder=None)
    flask_app.url_map.merge_slashes = False  # werkzeug answers a redirect with an HTML page
    flask_app.config["MAX_CONTENT_LENGTH"] = services.settings.body_bytes or None
    flask_app.before_request(_begin)
    flask_app.after_request(_end)
    flask_app.register_error_handler(NotAdmitted, _not_admitted)
    flask_app.register_error_handler(InvalidUserId, _without_account)
    flask_app.register_error_handler(Busy, _busy)
    for kind in UNREACHABLE:
        flask_app.register_error_handler(kind, _unreachable)
    flask_app.register_error_handler(HTTPException, _http_fault)
    flask_app.register_error_handler(Exception, _unexpected)
    for operation in OPERATIONS:
        for number, path in enumerate(operation.paths):
            flask_app.add_url_rule(
                path,
                endpoint=f"{operation.name}.{number}",
                view_func=_view(operation, services),
                methods=["POST"],
                provide_automatic_options=False,
            )
    add_health(flask_app, services)
    add_pictures(flask_app, services)
    add_reference(flask_app, OPERATIONS, services.settings)
    return flask_app


def _begin() -> None:
    g.request_id = uuid.uuid4().hex
    g.started = time.perf_counter()
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=g.request_id)


def _end(response: Response) -> Response:
    response.headers[REQUEST_ID_HEADER] = g.request_id
    harden(response)
    # Health checks come every few seconds, so they are logged for debugging only.
    note = log.debug if request.path in HEALTH_PATHS else log.info
    note(
        "answered",
        method=request.method,
        path=request.path,
        status=response.status_code,
        milliseconds=round((time.perf_counter() - g.started) * 1000, 1),
    )
    return response


def _view(operation: Operation, services: Services) -> Callable[[], Response]:
    def view() -> Response:
        caller = services.gate.admit(request)
        _charge(services, caller)
        body = read_body(request, services.settings.body_values)
        try:
            key = request.headers.get(IDEMPOTENCY_HEADER)
            call = Call(caller.user, body, g.request_id, key)
            fields = operation.handler(services, call)
            return succeeded(operation.poll_again(fields), **fields)
        except Refused as refusal:
            detail = detail_of(refusal.error, services.settings)
            return refused(refusal.error, detail, **refusal.fields)
        except ContractError as error:
            return refused(type(error), detail_of(error, services.settings))
        except Busy as busy:
            return _busy(busy)
        except UNREACHABLE as error:
            return _unreachable(error)
        except Exception:
            log.exception("operation failed", operation=operation.name)
            status = 500 if operation.fault is InternalServerError else 200
            return refused(
                operation.fault, detail_of(operation.fault, services.settings), status=status
            )

    return view


def _charge(services: Services, caller: Caller) -> None:
    """Count a call, and note what is left for the answer. Raises NotAdmitted over a quota."""
    limits = services.settings
    charge = services.quotas.charge(
        caller.name,
        limits.requests_per_second if caller.per_second is None else caller.per_second,
        limits.requests_per_day if caller.per_day is None else caller.per_day,
    )
    g.remaining = charge.remaining
    if charge.refusal is not None:
        detail = f"{charge.refusal.sentence}, {charge.retry_after_seconds} s"
        raise NotAdmitted(
            charge.refusal, "over a quota", detail, retry_after_seconds=charge.retry_after_seconds
        )


def _not_admitted(refusal: NotAdmitted) -> Response:
    log.info("not admitted", code=refusal.code.code, reason=str(refusal))
    return not_served(refusal.code, refusal.detail, refusal.retry_after_seconds)


def _without_account(error: InvalidUserId) -> Response:
    log.error("not admitted", reason=str(error))
    return refused(InvalidUserId, InvalidUserId.sentence)


def _busy(busy: Busy) -> Response:
    log.warning("not served", path=request.path, reason=str(busy))
    return not_served(SystemCode.BUSY, busy.detail, busy.retry_after_seconds)


def _unreachable(error: Exception) -> Response:
    log.warning("not served", path=request.path, fault=repr(error))
    return not_served(SystemCode.BUSY)


def _http_fault(error: HTTPException) -> Response:
    status = error.code or 500
    kind = ImageSizeExceedLimit if status == 413 else InvalidParameterJson
    # What this application raised has a description of its own; werkzeug's describe pages.
    allowed = [value for name, value in error.get_headers() if name == "Allow"]
    detail = vars(error).get("description") or HTTP_SENTENCES.get(status, kind.sentence).format(
        allowed=", ".join(allowed), body_bytes=current_app.config["MAX_CONTENT_LENGTH"]
    )
    response = refused(kind, detail, status=status)
    response.headers.extend(("Allow", value) for value in allowed)
    return response


def _unexpected(error: Exception) -> Response:
    log.error("request failed outside of an operation", exc_info=error)
    return refused(InternalServerError, InternalServerError.sentence, status=500)
