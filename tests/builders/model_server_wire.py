# SPDX-License-Identifier: Apache-2.0
"""HTTP on loopback for the scripted model server, with a hand on the socket: faults need one."""

import contextlib
import json
import re
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_TOKEN = re.compile(r"\s*\w+|\s*[^\w\s]|\s+")
_BLOCK = 16  # tokens; vLLM's own block of the prefix cache
_POLL = 0.05  # seconds between two looks at whether the client has left
_TRICKLE = 0.1  # seconds between two bytes


def token_texts(text: str) -> list[str]:
    """Words and signs with the white space before them: joined, they are the text."""
    return _TOKEN.findall(text)


def fold_tokens(tokens: list[str], known: set[int]) -> int:
    """How many tokens at the start stand in whole blocks that were seen before; remembers these blocks."""
    cached, digest, hit = 0, 0, True
    for start in range(0, len(tokens) - _BLOCK + 1, _BLOCK):
        digest = hash((digest, *tokens[start : start + _BLOCK]))
        hit = hit and digest in known
        cached += _BLOCK if hit else 0
        known.add(digest)
    return cached


class Exchange:
    """One HTTP request, with the ways of answering or not answering it."""

    def __init__(self, handler: "_Handler", body: bytes) -> None:
        self._handler = handler
        self.path = handler.path
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in handler.headers.items()}
        self.body = body

    def send(self, code: int, body: bytes, headers: Mapping[str, str]) -> None:
        """A whole answer."""
        self._start(code, {"Content-Type": "application/json", "Content-Length": str(len(body))} | dict(headers))
        self._handler.wfile.write(body)

    def json(self, content: object) -> None:
        """A whole answer of JSON."""
        self.send(200, json.dumps(content).encode(), {})

    def events(self, chunks: Iterable[object], *, ends: bool = True) -> None:
        """Server-sent events, an object each."""
        self._start(200, {"Content-Type": "text/event-stream; charset=utf-8", "Transfer-Encoding": "chunked"})
        for chunk in chunks:
            self._chunk(f"data: {json.dumps(chunk)}\n\n".encode())
        if ends:
            self._chunk(b"data: [DONE]\n\n")
        self._handler.wfile.write(b"0\r\n\r\n")

    def partial(self, text: str, *, streamed: bool) -> None:
        """The beginning of an answer that promised more."""
        if streamed:
            self._start(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"})
            chunk = {"choices": [{"index": 0, "delta": {"content": text}}]}
            self._chunk(f"data: {json.dumps(chunk)}\n\n".encode())
        else:
            self._start(200, {"Content-Type": "application/json", "Content-Length": "4096"})
            self._handler.wfile.write(b'{"choices":[{"message":{"content":' + json.dumps(text).encode())
        time.sleep(_POLL)  # a reset overtakes bytes that were not read yet

    def trickle(self, text: str, *, streamed: bool) -> None:
        """Bytes, one by one, until the client leaves."""
        kind = "text/event-stream" if streamed else "application/json"
        self._start(200, {"Content-Type": kind, "Content-Length": str(10 * len(text) + 1)})
        with contextlib.suppress(OSError):
            for sign in text:
                self._handler.wfile.write(sign.encode())
                if not self.wait(_TRICKLE):
                    break
        self.close()

    def wait(self, seconds: float | None) -> bool:
        """Whether the client is still there after so long. None: waits until it is not."""
        end = None if seconds is None else time.monotonic() + seconds
        while not self._handler.listener.stopping.is_set():
            remaining = _POLL if end is None else min(_POLL, end - time.monotonic())
            if remaining <= 0:
                return True
            readable, _, _ = select.select([self._handler.connection], [], [], remaining)
            if readable and self._left():
                break
        self.close()
        return False

    def _left(self) -> bool:
        try:
            return not self._handler.connection.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def guard(self, answer: Callable[[], None], left: Callable[[], None]) -> None:
        """Answers, and says so where the client left before the end."""
        try:
            answer()
        except (BrokenPipeError, ConnectionResetError):
            self.close()
            left()

    def close(self) -> None:
        """Ends the connection."""
        self._handler.close_connection = True

    def reset(self) -> None:
        """Ends the connection with a reset (RST)."""
        linger = struct.pack("ii", 1, 0)
        self._handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._handler.listener.resetting.add(self._handler.connection)
        self.close()

    def _start(self, code: int, headers: Mapping[str, str]) -> None:
        self._handler.send_response(code)
        for name, value in headers.items():
            self._handler.send_header(name, value)
        self._handler.end_headers()

    def _chunk(self, data: bytes) -> None:
        self._handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))


class _Handler(BaseHTTPRequestHandler):
    """Parses requests and hands them on."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "_Server"

    @property
    def listener(self) -> "Listener":
        """What this connection belongs to."""
        return self.server.listener

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def do_GET(self) -> None:
        self.listener.respond(Exchange(self, b""))

    def do_POST(self) -> None:
        self.listener.respond(Exchange(self, self.rfile.read(int(self.headers.get("Content-Length", 0)))))

    def log_message(self, format: str, *args: Any) -> None:  # the name is the base class's
        """Silent: tests read what was recorded."""


class _Server(ThreadingHTTPServer):
    """Threads for connections, all of which end with it."""

    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def __init__(self, listener: "Listener") -> None:
        self.listener = listener
        super().__init__(("127.0.0.1", 0), _Handler)

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


class Listener:
    """The listening socket with its thread."""

    def __init__(self, respond: Callable[[Exchange], None]) -> None:
        self.respond = respond
        self.stopping = threading.Event()
        self.open: set[socket.socket] = set()
        self.resetting: set[socket.socket] = set()
        self.connections = 0
        """How many were accepted."""
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_POLL,), name="scripted model")

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        return int(self._server.server_address[1])

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
