"""/docs/try: the document in Swagger UI, which sends calls and shows their answers.

All files are served from here. The folder `swagger_ui` has those of Swagger UI, with its licence.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from flask import Flask, Response, abort, request

from app.http.headers import CONTENT_POLICY

#: The path of the page; those of its files begin with it.
PATH = "/docs/try"

#: Scripts and styles are files of this service, and calls go to it alone. Swagger UI has its icons
#: in data: URLs, and shows a picture that was answered by a blob: URL.
TRY_OUT_POLICY = (
    f"{CONTENT_POLICY}; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data: blob:"
)

_SCRIPT, _STYLE = "text/javascript; charset=utf-8", "text/css; charset=utf-8"

#: By name, where a file is in the package, and what it is.
_FILES = {
    "start.js": ("templates/start.js", _SCRIPT),
    "swagger-ui-bundle.js": ("reference/swagger_ui/swagger-ui-bundle.js", _SCRIPT),
    "swagger-ui.css": ("reference/swagger_ui/swagger-ui.css", _STYLE),
}


def add_try_out(flask_app: Flask) -> None:
    """Add the page and its files; they are read at the first call."""

    @flask_app.get(PATH)
    def try_out() -> Response:
        page = Response(_read("templates/try.html"), content_type="text/html; charset=utf-8")
        page.headers["Content-Security-Policy"] = TRY_OUT_POLICY
        return page

    @flask_app.get(f"{PATH}/<name>")
    def file_of_try_out(name: str) -> Response:
        if name not in _FILES:
            abort(404)
        place, kind = _FILES[name]
        response = Response(_read(place), content_type=kind)
        # Kept by browsers, and asked for again only if it changed.
        response.headers["Cache-Control"] = "no-cache"
        response.add_etag()
        response.make_conditional(request)
        return response


@cache
def _read(place: str) -> bytes:
    return files("app").joinpath(place).read_bytes()
