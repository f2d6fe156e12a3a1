# SPDX-License-Identifier: Apache-2.0
"""What went wrong with an HTTP exchange, as a `ModelError`.

A server may quote the prompt in its errors, and the errors of the HTTP client hold the request with its key. So no
word of the server's is passed on, and no foreign error is chained.
"""

import re

import httpx

from medagent.errors import ModelError
from medagent.retries import RETRY_AFTER_MAX

_OVERLOADED = frozenset({429, 503})
_BROKEN = frozenset({408, 500, 502, 504})
# vLLM: "This model's maximum context length is …", "max_completion_tokens=… cannot be greater than max_model_len=…",
# "… is longer than the maximum model length …", "'max_tokens' or 'max_completion_tokens' is too large: …".
_TOO_LONG = re.compile(r"maximum context length|max_model_len|maximum model length|tokens' is too large", re.IGNORECASE)


class Transient(ModelError):
    """The server gave nothing of an answer, and the next attempt may succeed."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__("unavailable", message)
        self.wait = wait
        """Least seconds until the next attempt, as the server asks."""


def connection_problem(error: httpx.RequestError) -> str:
    """In words of ours, by the kind of error alone."""
    match error:
        case httpx.ConnectTimeout():
            return "The model server did not take a connection in time. Check MEDAGENT_MODEL_URL"
        case httpx.ConnectError():
            return "The model server cannot be reached. Check that it runs and that MEDAGENT_MODEL_URL names it"
        case httpx.DecodingError():
            return "The model server's answer is in an encoding that was not asked for"
        case _:
            return "The connection to the model server broke"


def refusal(status: int, said: str, retry_after: float = 0.0) -> ModelError:
    """The failure that an HTTP status stands for. `said` decides between too long and refused and is not passed on."""
    if status in _OVERLOADED and retry_after <= RETRY_AFTER_MAX:
        return Transient(f"The model server is overloaded (status {status})", retry_after)
    if status in _BROKEN:
        return Transient(f"The model server failed (status {status}). Its own log says why")
    if status >= 500 or status in _OVERLOADED:
        return ModelError("unavailable", f"The model server cannot serve now (status {status})")
    if status == 413 or (status in (400, 422) and _TOO_LONG.search(said)):
        return ModelError("too_long", "Prompt and answer exceed the context of the served model")
    return ModelError("refused", f"The model server refuses the request (status {status}). {_HINTS.get(status, _HINT)}")


_HINT = "Its own log says why"
_HINTS = {
    401: "Set the API key that it was started with",
    403: "Set an API key that may use this model",
    404: "Check that MEDAGENT_MODEL_URL is its base URL and that it serves the model or adapter of that name",
} | dict.fromkeys(
    (301, 302, 303, 307, 308), "It points elsewhere, which is not followed: set MEDAGENT_MODEL_URL to where it ends"
)
