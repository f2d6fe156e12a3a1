# SPDX-License-Identifier: Apache-2.0
"""What goes out: pages set by templates that escape everything; problems also as problem+json (RFC 9457)."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medagent_workflows.streams import plain

STYLE = files("medagent_workflows.web").joinpath("page.css").read_bytes()

_HEADINGS = {
    400: "MedAgent was not opened",
    404: "Nothing here",
    502: "MedAgent was not opened",
    503: "Not available",
}
"""What people read in place of the words of HTTP."""

_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",  # for browsers that know no frame-ancestors
    "referrer-policy": "same-origin",  # a callback's URL holds a code; `no-referrer` would hide whose our forms are
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
"""Of every answer, unless it says otherwise itself."""


def _harmless(value: object) -> object:
    """Chart text without signs that turn letters round or show as nothing. Escaping comes after."""
    return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


_templates = Environment(
    loader=PackageLoader("medagent_workflows.web"),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_harmless,
    trim_blocks=True,
    lstrip_blocks=True,
)


class Headers:
    """Adds what every answer carries."""

    def __init__(self, app: ASGIApp, secure: bool) -> None:
        """`secure`: browsers reach us by https, and are to do so from now on."""
        self._app = app
        further = {"strict-transport-security": "max-age=31536000"} if secure else {}
        self._headers = [(name.encode(), text.encode()) for name, text in {**_HEADERS, **further}.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *((name, text) for name, text in self._headers if name not in given),
                ]
            await send(message)

        await self._app(scope, receive, sending if scope["type"] == "http" else send)


def page(request: Request, template: str, *, status: int = 200, **said: Any) -> Response:
    """A page. `said`: what its template sets."""
    prefix = request.app.state.prefix
    return HTMLResponse(_templates.get_template(template).render(prefix=prefix, **said), status)


def problem(request: Request, status: int, detail: str, *, advice: str = "") -> Response:
    """What went wrong and what to do: a page for people, problem+json for programs."""
    title = HTTPStatus(status).phrase
    detail = "There is no such page." if detail == title else f"{detail.rstrip('.')}."
    if "text/html" in request.headers.get("accept", ""):
        heading = _HEADINGS.get(status, title)
        return page(request, "problem.html", status=status, title=heading, detail=detail, advice=advice)
    body: Mapping[str, Any] = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": plain(f"{detail} {advice}".strip()),
    }
    return Response(json.dumps(body), status, media_type="application/problem+json")
