# SPDX-License-Identifier: Apache-2.0
"""Serving: the application behind a socket of this process. TLS, where it is needed, ends in front of it."""

import socket
import sys
from contextlib import suppress

import uvicorn

from medagent.clock import SystemClock
from medagent.errors import SettingsError, UsageError
from medagent.settings import Settings
from medagent_workflows.ehrs import registry
from medagent_workflows.web.app import Web, build_app
from medagent_workflows.wiring import Services, open_services

_GRACE = 10  # seconds that open answers have when we are told to stop
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(*, host: str, port: int) -> None:
    """Serves until it is told to stop.

    Steps: (1) everything that a site has to have set is there; (2) the socket, so that a port that is taken is said at
    once; (3) records and keys; (4) requests, none of which is logged: their URLs hold codes.
    """
    # (1)
    settings = Settings.load()
    ehrs = registry(settings)
    if not len(ehrs):
        raise SettingsError("MEDAGENT_EHRS_FILE: name the file of the EHRs that may launch MedAgent")
    # (2)
    with _listening(host, port) as listener:
        public_url = settings.public_url or _own_url(host, listener.getsockname()[1])
        # (3)
        with open_services(settings, SystemClock()) as services:
            _say(services, public_url)
            # (4)
            server = server_of(Web.of(services, ehrs, public_url))
            with suppress(KeyboardInterrupt):  # it has ended in order then
                server.run(sockets=[listener])


def server_of(web: Web) -> uvicorn.Server:
    """The application's server. It logs no request, and nobody learns from it what it is made of."""
    config = uvicorn.Config(
        build_app(web),
        access_log=False,
        log_config=None,
        log_level="info",  # below DEBUG it writes each request's address, and with it codes, whatever the root's level
        ws="none",  # would have its own log of addresses
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=_GRACE,
    )
    return uvicorn.Server(config)


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no such port"
        raise UsageError(f"--host, --port: cannot listen at {host} {port} ({reason})") from error


def _own_url(host: str, port: int) -> str:
    """Without a public URL only this machine can reach us, by plain http."""
    if host not in _LOOPBACK:
        raise SettingsError("MEDAGENT_PUBLIC_URL: name the https URL under which browsers and EHRs reach this machine")
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _say(services: Services, public_url: str) -> None:
    sys.stderr.write(
        f"MedAgent serves at {public_url} (stage {services.stage}).\n"
        f"To register with an EHR: launch {public_url}/launch, redirect {public_url}/callback, "
        f"keys {public_url}/.well-known/jwks.json\n"
    )
    sys.stderr.flush()
