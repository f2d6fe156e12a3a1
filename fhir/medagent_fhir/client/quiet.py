# SPDX-License-Identifier: Apache-2.0
"""Keeps the HTTP library from logging: at INFO it writes the URL of each request, which may name a patient, and at
DEBUG the headers of each answer."""

import logging

# A filter on a logger sees what is logged there, not what its children log: so each is named.
_LOGGERS = (
    "httpx",
    "httpcore",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
    "httpcore.socks",
)


def _nothing(record: logging.LogRecord) -> bool:
    return False


def silence_http_logs() -> None:
    """For the whole process, and for good: a filter also holds where somebody sets levels later. Whoever makes an HTTP
    client calls it first."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_nothing)  # adding it again changes nothing
