"""A process that logs as ours do: run with the form of the lines, it writes hostile ones."""

from __future__ import annotations

import base64
import logging
import sys
import threading
import warnings

import structlog
from pydantic import SecretStr

from config.logging import configure_logging
from config.settings import Settings

#: Put together here, so that a traceback that shows a line of this file does not show it.
SECRET = "s3" + "cret"
PICTURE = base64.b64encode(bytes(range(256)) * 40).decode()

configure_logging(
    Settings(
        log_format="json" if sys.argv[1] == "json" else "console",
        mongo_url=SecretStr("mongodb://u:hunter2@h/"),
    )
)
log = structlog.get_logger("ours")
structlog.contextvars.bind_contextvars(request_id="r-1", task_id="t-1")
log.info("a picture", image_content=PICTURE, nested={"list": [PICTURE, {"x": PICTURE.encode()}]})
log.info("a url", url="https://u:hunter2@shop.example/a.jpg?token=s3cret and more s3cret")
log.info(f"in the event http://shop.example/a?x=s3cret {PICTURE}")
log.info("named", password="hunter2", authorization="Basic aHVudGVyMg==", settings=Settings())


def fails(secret: str) -> None:
    picture_of_caller = PICTURE
    raise ValueError(f"bad 'http://shop.example/b.jpg?sig={secret}' {picture_of_caller}")


try:
    try:
        fails(SECRET)
    except ValueError as cause:
        raise OSError("redis://:hunter2@redis.internal:6379/0 and /c.jpg?key=s3cret") from cause
except OSError as error:
    log.exception("a fault")
    log.warning("a fault as value", fault=error)
    logging.getLogger("celery.worker").exception("foreign: %s", error)
logging.getLogger("pymongo").warning("foreign %s with %r", "http://a.example/?q=s3cret", PICTURE)
logging.getLogger("urllib3.connectionpool").warning("with url: /x.jpg?token=s3cret (Caused by)")
warnings.warn("a warning\nof two lines http://a.example/?q=s3cret", stacklevel=1)
log.info("two\nlines", value="of\ntext", broken="\udc80", infinite=float("inf"))
thread = threading.Thread(target=fails, args=(SECRET,), name="worker thread")
thread.start()
thread.join()
fails(SECRET)
