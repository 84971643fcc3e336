"""Writes those pages of the reference that follow from the code: `python docs/make_reference.py`.

Knows the declarations of settings and operations, and nothing of how they are used. A test
compares the pages with what this module gives.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))

from app.reference.openapi import in_order  # noqa: E402
from app.server import OPERATIONS  # noqa: E402
from config.settings import PREFIX, Settings  # noqa: E402
from contract.errors import TABLE, ContractError  # noqa: E402

_SECTION = re.compile(r"    # (?P<title>.+)")
_FIELD = re.compile(r"    (?P<name>[a-z_]+): ")

_BOUNDS = {"ge": "at least {}", "gt": "more than {}", "le": "at most {}", "lt": "less than {}"}

_SETTINGS_HEAD = """\
# Settings

<!-- Made by docs/make_reference.py: do not edit. -->

Every setting is an environment variable, or a line of the file `snapsku.env` in the working
folder (another file: name it in `SNAPSKU_SETTINGS_FILE`). A variable wins over the file. A
variable with the prefix that names no setting, or a value that can't be used, stops the process
with one line. `snapsku config show` prints what is in force, secrets masked.

A password, a key or a URL with a password need not stand there: `SNAPSKU_REDIS_URL_FILE`,
`SNAPSKU_MONGO_URL_FILE`, `SNAPSKU_FLOWER_PASSWORD_FILE` and `SNAPSKU_SECRET_KEY_FILE` each name a
file that holds the setting in one line. The user of the service must be able to read it.

Times are seconds and sizes are bytes, unless said. What may change on a live catalogue is on
[its own page](settings-that-may-change.md).
"""

_API_HEAD = """\
# The HTTP API

<!-- Made by docs/make_reference.py: do not edit. -->

A running service tells every field, limit and example itself: `/docs` for people, `/openapi.json`
for programs. `/docs/try` sends calls from the browser, with a key if one is entered there. This
page is the short form.

Every operation is a `POST` of a JSON object in UTF-8. Every answer is one object:

```json
{"code": "10000", "charge": false, "remainTimes": -1, "remainSeconds": -1, "msg": "查询成功",
 "result": {"code": 0, "message": "SUCCESS"}, "requestId": "0d6f1c1e6f4b4a0f9f0e6d2c3b5a7e81"}
```

`code` is the system code: `10000` where the call was handled, `10020` where it was not because
something that it needs is away or busy (HTTP 503 with `Retry-After`; try again). `result.code` is
the business code, 0 for success, and `result.message` says it in a word. The HTTP status is 200
whenever `code` is `10000`, but for 400, 404, 405 and 415 (`result.code` 5001), 413 (3056) and 500
(5000). A fault of one item stands in `failed_list` and never fails the others.

Whatever failed has a `detail`, a sentence that says what is wrong and what would do: beside
`message`, or beside `msg` where there is no `result`. It is for people, and may change. For an
image of `add_image`, which may have several faults, `message` and `detail` are lists in the same
order. In `failed_list` of `task_status`, `stage` is where the image failed, `failed_at` when, and
`retryable` tells whether the same picture may succeed later, null where that is not known any more.

While a task is processed, `Retry-After` says when to ask again. `pending_by_stage` counts what is
left; in `pending_list`, `detail` says why the last try to fetch an image failed, such as `127.0.0.1
did not send the picture in time`, and `next_try_at` when it is fetched again.

null is as good as absent for every field that may be absent, and 5.0 is an integer; see
[what clients send](what-is-accepted.md#calls). Every answer has the header `X-Request-Id`, which
the log lines carry as `request_id`.

Once a key was made, every call is signed or carries a bearer key; see [users](users.md) for both,
and for the codes of a refusal. Before that, programs of the same machine are the user `default`.

Besides the operations: `GET /v1/picture?collection_name=...&product_id=...&image_id=...` gives
the kept JPEG of an image; `GET /healthz` and `GET /readyz` are in [monitor](monitor.md).

## Clients that are generated

Each operation has its own request, answer, result and refusal in `/openapi.json`, such as
`AddImageRequest`, `AddImageAnswer`, `AddImageResult` and `AddImageRefusal`; `result.code` tells the
last two apart. These were tried, and are in the tests:

- Python: `openapi-python-client generate --url http://127.0.0.1:8000/openapi.json`. For pictures it
  needs a line in the file of its `--config`: `content_type_overrides: {image/jpeg:
  application/octet-stream}`.
- TypeScript: `openapi-typescript http://127.0.0.1:8000/openapi.json --default-non-nullable=false
  --output schema.ts`, with `openapi-fetch`. Without the option, members that have a default are
  wanted in each request.

## What may change

Any release may add operations, optional members of requests, members of answers and codes of
refusals: ignore members that you don't know, and take a code that you don't know for a refusal.
Nothing else that a client may rely on changes from one release to the next. What is to go is marked
`deprecated` in `/openapi.json`, and named in the changelog, for one minor release at least. A test
compares each change with the last release.

## Operations
"""


def settings_page() -> str:
    """Return the page of all settings, in the sections of the class."""
    lines = [_SETTINGS_HEAD]
    for title, names in _sections().items():
        lines += [
            f"## {title}",
            "",
            "| setting | default | values | meaning |",
            "|---|---|---|---|",
        ]
        lines += [_setting(name, Settings.model_fields[name]) for name in names]
        lines.append("")
    return "\n".join(lines)


def _sections() -> Mapping[str, list[str]]:
    """Return the names of the settings by the comment above them, of `Settings` and its bases."""
    sections: dict[str, list[str]] = {}
    title = ""
    declared = [one for one in Settings.__mro__ if one.__module__.startswith("config.")]
    for line in "".join(map(inspect.getsource, declared)).splitlines():
        if found := _SECTION.fullmatch(line):
            title = found["title"]
        elif (found := _FIELD.match(line)) and found["name"] in Settings.model_fields:
            sections.setdefault(title, []).append(found["name"])
    return sections


def _setting(name: str, field: FieldInfo) -> str:
    values = "; ".join(_values(field))
    meaning = (field.description or "").replace("<", "&lt;")
    return f"| `{PREFIX}{name.upper()}` | {_default(field)} | {values} | {meaning} |"


def _default(field: FieldInfo) -> str:
    value = field.default
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, bool):
        value = str(value).lower()
    text = ",".join(value) if isinstance(value, tuple) else str(value)
    return f"`{text}`" if text else "empty"


def _values(field: FieldInfo) -> Iterator[str]:
    kind: Any = field.annotation
    if get_origin(kind) is Literal:
        yield " or ".join(f"`{value}`" for value in get_args(kind))
    elif kind is bool:
        yield "`true` or `false`"
    elif kind is int:
        yield "whole number"
    elif kind is float:
        yield "number"
    for rule in field.metadata:
        for bound, words in _BOUNDS.items():
            if (limit := getattr(rule, bound, None)) is not None:
                yield words.format(limit)


def api_page() -> str:
    """Return the page of all operations and codes."""
    lines = [_API_HEAD, "| operation | paths | codes of the call | codes of an item |"]
    lines.append("|---|---|---|---|")
    for operation in in_order(OPERATIONS):
        paths = "<br>".join(f"`{path}`" for path in operation.paths)
        codes = _numbers(operation.all_codes)
        items = _numbers(operation.item_codes)
        lines.append(f"| {operation.name} | {paths} | {codes} | {items} |")
    lines += ["", "## Business codes", "", "| code | message | meaning |", "|---|---|---|"]
    lines += [
        f"| {'none' if error.code is None else error.code} | `{error.message}` | {error.__doc__} |"
        for error in TABLE
    ]
    return "\n".join([*lines, ""])


def _numbers(codes: Iterable[type[ContractError]]) -> str:
    return ", ".join(
        dict.fromkeys(
            f"`{error.message}`" if error.code is None else str(error.code) for error in codes
        )
    )


#: The pages by their file names.
PAGES = {"settings.md": settings_page, "api.md": api_page}


if __name__ == "__main__":
    for file, page in PAGES.items():
        (DOCS / file).write_text(page(), encoding="utf-8")
