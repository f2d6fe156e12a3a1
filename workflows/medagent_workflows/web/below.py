# SPDX-License-Identifier: Apache-2.0
"""The path of the public URL. What stands in front of us may take it away from requests, or leave it there."""

from starlette.types import ASGIApp, Receive, Scope, Send


class Below:
    """Finds routes with that path before them and without."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        """`prefix`: without a slash at its end; empty where we have the host to ourselves."""
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI. Routing passes over `root_path` where the path begins with it."""
        await self._app({**scope, "root_path": self._prefix} if self._prefix else scope, receive, send)
