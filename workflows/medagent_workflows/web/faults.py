# SPDX-License-Identifier: Apache-2.0
"""Faults of ours: answered without a word of them, and logged by type and place alone.

What an exception says may be what a chart says, and a server would write all of it, with all that it was raised from,
into its log.
"""

import logging

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medagent_workflows.web.answers import problem

_log = logging.getLogger(__name__)


def place_of(error: BaseException) -> str:
    """File and line that raised it; empty where nothing did."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return "" if place is None else f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}"


class Faults:
    """Answers where a handler breaks."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI. An answer that has begun ends where it is."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:  # noqa: BLE001  # the last one who sees it: beyond is a server that tells all
            _log.error("request_broke error=%s at=%s", type(error).__name__, place_of(error))
            if not begun:
                answer = problem(
                    Request(scope), 500, "Something went wrong within MedAgent", advice="Its log says where."
                )
                await answer(scope, receive, send)
