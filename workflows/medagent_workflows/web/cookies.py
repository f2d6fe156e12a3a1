# SPDX-License-Identifier: Apache-2.0
"""The two cookies of a launch: one names the browser, one opens one launched page.

The key of a session stands in a cookie of that page's own path. So two charts that are open side by side in one browser
never show each other's patient, and no URL opens anything by itself.
"""

import re
import secrets
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

_BROWSER = "medagent-browser"
_SESSION = "medagent-session"
_RANDOM = re.compile(r"[A-Za-z0-9_-]{43}")
_PLACE = re.compile(r"[A-Za-z0-9_-]{22}")


@dataclass(frozen=True, slots=True)
class Cookies:
    """How cookies are set here."""

    prefix: str
    """Path of the public URL, without a slash at its end."""
    secure: bool
    """Whether browsers reach us by https. Not so on loopback alone."""

    @property
    def _browser_name(self) -> str:
        """A browser takes a name with this beginning from nobody but this very host."""
        return f"__Host-{_BROWSER}" if self.secure else _BROWSER

    @property
    def _session_name(self) -> str:
        return f"__Secure-{_SESSION}" if self.secure else _SESSION

    def browser(self, request: Request) -> str:
        """What names the browser; empty where it has no cookie of ours."""
        value = request.cookies.get(self._browser_name, "")
        return value if _RANDOM.fullmatch(value) else ""

    def name_browser(self, response: Response, value: str) -> None:
        """For as long as the browser is open."""
        response.set_cookie(self._browser_name, value, path="/", secure=self.secure, httponly=True, samesite="lax")

    def session(self, request: Request) -> str | None:
        """The key of the session whose page is asked for."""
        value = request.cookies.get(self._session_name, "")
        return value if _RANDOM.fullmatch(value) else None

    def open_page(self, response: Response, place: str, key: str, seconds: int) -> None:
        """Sent back for this page alone."""
        response.set_cookie(
            self._session_name,
            key,
            max_age=seconds,
            path=self.path(place),
            secure=self.secure,
            httponly=True,
            samesite="lax",
        )

    def close_page(self, response: Response, place: str) -> None:
        """Takes the key away."""
        response.delete_cookie(
            self._session_name, path=self.path(place), secure=self.secure, httponly=True, samesite="lax"
        )

    def path(self, place: str) -> str:
        """Where a launched page is."""
        return f"{self.prefix}/launched/{place}"


def new_browser() -> str:
    """A name that nobody guesses: 256 bits."""
    return secrets.token_urlsafe(32)


def new_place() -> str:
    """Where a page shall be. It tells nothing and opens nothing."""
    return secrets.token_urlsafe(16)


def is_place(text: str) -> bool:
    """Whether this may be a page's place."""
    return _PLACE.fullmatch(text) is not None
