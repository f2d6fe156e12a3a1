# SPDX-License-Identifier: Apache-2.0
"""HTTP of the simulated hospital: requests as they came, replies as they go out, also broken ones, over TCP or TLS."""

import contextlib
import gzip
import select
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

FHIR_JSON = "application/fhir+json; charset=utf-8"
FORM = "application/x-www-form-urlencoded"

_POLL = 0.02  # seconds between two looks at whether the client has left or the server ends
_WORTH_PACKING = 256  # bytes


@dataclass(frozen=True)
class Asked:
    """One HTTP request as it came."""

    method: str
    target: str
    """Path and query as they stood in the request line."""
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes

    @cached_property
    def path(self) -> str:
        """Without the query, decoded."""
        return unquote(urlsplit(self.target).path)

    @cached_property
    def query(self) -> tuple[tuple[str, str], ...]:
        """Parameters of the URL, in order."""
        return tuple(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @cached_property
    def form(self) -> tuple[tuple[str, str], ...]:
        """Parameters of a form in the body, in order."""
        return tuple(parse_qsl(self.body.decode(), keep_blank_values=True)) if self.is_form else ()

    @property
    def is_form(self) -> bool:
        """Whether the body says that it is one."""
        return self.headers.get("content-type", "").split(";")[0].strip().lower() == FORM

    @property
    def parameters(self) -> tuple[tuple[str, str], ...]:
        """Those of the URL, then those of the form."""
        return self.query + self.form

    @property
    def bearer(self) -> str | None:
        """The access token that came along."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token if scheme.lower() == "bearer" else None


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes out."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str | None = FHIR_JSON
    delay: float = 0
    """Seconds before its first byte."""
    ends: Literal["whole", "half", "reset", "hang", "trickle"] = "whole"
    """`half`: the connection ends in the middle of the body. `reset`, `hang`: before the first byte. `trickle`: the
    body comes byte by byte, slower than anybody waits."""


class _Handler(BaseHTTPRequestHandler):
    """Parses requests and hands them on."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body leave together
    server: "_Server"

    def setup(self) -> None:
        if isinstance(self.request, ssl.SSLSocket):
            self.request.do_handshake()  # in this connection's thread: one that refuses us holds nobody else up
        super().setup()

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError:  # the client left
            self.close_connection = True

    def _any(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        listener = self.server.listener
        with listener.answering():  # ends before the reply leaves: who has it may ask on at once
            reply = listener.respond(Asked(self.command, self.path, headers, body))
            is_there = self._waited(None if reply.ends == "hang" else reply.delay)
        self._answer(reply, is_there, packs="gzip" in headers.get("accept-encoding", ""))

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _any  # noqa: N815  # the names are the base class's

    def _answer(self, reply: Reply, is_there: bool, packs: bool) -> None:
        if not is_there:
            self.close_connection = True
        elif reply.ends == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.server.listener.resetting.add(self.connection)
            self.close_connection = True
        else:
            self._write(reply, packs)

    def _write(self, reply: Reply, packs: bool) -> None:
        body, headers = reply.body, dict(reply.headers)
        if packs and self.server.listener.packs and len(body) > _WORTH_PACKING and reply.ends == "whole":
            body = gzip.compress(body, 1, mtime=0)
            headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        if reply.content_type is not None and body:
            headers["Content-Type"] = reply.content_type
        self.send_response(reply.status)
        if reply.status not in (204, 304):
            headers["Content-Length"] = str(len(body))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD" or reply.status in (204, 304):
            return
        if reply.ends == "trickle":
            self._trickle(body)
        else:
            self.wfile.write(body[: len(body) // 2] if reply.ends == "half" else body)
        self.wfile.flush()
        if reply.ends != "whole":
            self.close_connection = True

    def _trickle(self, body: bytes) -> None:
        for position in range(len(body)):
            self.wfile.write(body[position : position + 1])
            self.wfile.flush()
            if not self._waited(0.1):
                return

    def _waited(self, seconds: float | None) -> bool:
        """Whether client and server are still there after so long. None: waits until they are not."""
        end = None if seconds is None else time.monotonic() + seconds
        while not self.server.listener.stopping.is_set():
            remaining = _POLL if end is None else min(_POLL, end - time.monotonic())
            if remaining <= 0:
                return True
            readable, _, _ = select.select([self.connection], [], [], remaining)
            if readable and self._left():
                break
        return False

    def _left(self) -> bool:
        try:  # TLS knows no peeking; there nobody leaves before the end
            return not isinstance(self.connection, ssl.SSLSocket) and not self.connection.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def log_message(self, format: str, *args: Any) -> None:  # the name is the base class's
        """Silent: tests read what was recorded."""


class _Server(ThreadingHTTPServer):
    """Threads for connections, all of which end with it."""

    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def __init__(self, listener: "Listener", tls: ssl.SSLContext | None) -> None:
        self.listener = listener
        super().__init__(("127.0.0.1", 0), _Handler)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.listener.open.add(request)
        self.listener.connections += 1
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.listener.open.discard(request)
        if request in self.listener.resetting:
            self.listener.resetting.discard(request)
            request.close()  # without the orderly shutdown that the base class does first
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that refuses our certificate ends here; what goes wrong in the hospital itself fails the test."""
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, OSError):
            self.listener.errors.append(error)
            super().handle_error(request, client_address)  # prints it: the client's error would say nothing


class Listener:
    """The listening socket with its thread."""

    def __init__(self, respond: Callable[[Asked], Reply], tls: ssl.SSLContext | None = None) -> None:
        self.respond = respond
        self.packs = True
        """Whether replies are gzipped for who accepts it."""
        self.stopping = threading.Event()
        self.open: set[socket.socket] = set()
        self.resetting: set[socket.socket] = set()
        self.errors: list[BaseException] = []
        """What went wrong in the hospital itself."""
        self.connections = 0
        """How many were accepted."""
        self.at_once = 0
        """The most requests that were answered side by side."""
        self._answering = 0
        self._lock = threading.Lock()
        self._server = _Server(self, tls)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_POLL,), name="hospital")

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        return int(self._server.server_address[1])

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Counts who is being answered."""
        with self._lock:
            self._answering += 1
            self.at_once = max(self.at_once, self._answering)
        try:
            yield
        finally:
            with self._lock:
                self._answering -= 1

    def start(self) -> None:
        """Accepts connections from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Ends every connection, also those that hang."""
        self.stopping.set()
        self._server.shutdown()
        self._thread.join()
        for connection in tuple(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()
