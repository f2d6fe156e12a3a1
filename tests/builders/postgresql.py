# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL server of the tests' own: in a temporary folder, on a free port of the loopback, ended with them.

PostgreSQL refuses to run as root. Where the tests do, it runs as `postgres`, which Debian's package creates.
"""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import psycopg
from psycopg import sql

_SUPERUSER = "tests"
_READY_SECONDS = 60.0  # a second is usual; two cores may be shared with a compiler
_CONFIGURATION = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "jit": "off",
    # The machine is not going to lose its power in a test; which transactions are durable is not at stake here.
    "fsync": "off",
    "full_page_writes": "off",
}


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running server."""

    port: int
    password: str
    database: str = "postgres"

    @property
    def url(self) -> str:
        """What stands in MEDAGENT_DATABASE_URL for this database."""
        return f"postgresql://{_SUPERUSER}:{self.password}@127.0.0.1:{self.port}/{self.database}"

    def create(self) -> str:
        """The URL of a new, empty database."""
        return copied(replace(self, database="template1").url)


def copied(url: str) -> str:
    """The URL of a new database: a copy of the one at `url`, to which nobody may be connected."""
    server, _, template = url.rpartition("/")
    name = f"test_{secrets.token_hex(8)}"
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(statement)
    return f"{server}/{name}"


def drop(url: str) -> None:
    """Ends a database of its own, and whoever is still connected to it."""
    server, _, name = url.rpartition("/")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def programs() -> Path | None:
    """The folder of PostgreSQL's programs; of Debian's versions the newest. None: it is not installed."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return installed[-1].parent if installed else None


def obstacle() -> str | None:
    """Why no server can be started here. None: it can."""
    if programs() is None:
        return "needs PostgreSQL: make services"
    if os.geteuid() == 0 and _account() is None:
        return "needs the account postgres, for PostgreSQL does not run as root: make services"
    return None


@contextmanager
def running() -> Iterator[Cluster]:
    """A server with a superuser of its own, to the end of the block."""
    with tempfile.TemporaryDirectory(prefix="medagent-postgresql-", ignore_cleanup_errors=True) as folder:
        password = secrets.token_hex(16)
        data = _initialised(Path(folder), password)
        cluster, process = _started(data, password)
        try:
            yield cluster
        finally:
            process.send_signal(signal.SIGINT)  # disconnects everybody and ends properly
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _account() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return None


class _Identity(NamedTuple):
    """As whom the server runs. None: as ourselves."""

    user: int | None = None
    group: int | None = None
    groups: list[int] | None = None


def _identity() -> _Identity:
    account = _account()
    if os.geteuid() != 0 or account is None:
        return _Identity()
    return _Identity(account.pw_uid, account.pw_gid, [])


def _initialised(folder: Path, password: str) -> Path:
    data, password_file = folder / "data", folder / "password"
    password_file.write_text(password)
    user, group, groups = _identity()
    if user is not None and group is not None:
        for path in (folder, password_file):
            os.chown(path, user, group)
    who = ["--username", _SUPERUSER, "--pwfile", str(password_file), "--auth", "scram-sha-256"]
    form = ["--encoding", "UTF8", "--locale", "C", "--no-sync"]
    subprocess.run(  # noqa: S603 - a program of the system, arguments of our own
        [_program("initdb"), "--pgdata", data, *who, *form],
        check=True,
        capture_output=True,
        cwd=folder,
        user=user,
        group=group,
        extra_groups=groups,
    )
    return data


def _started(data: Path, password: str) -> tuple[Cluster, "subprocess.Popen[bytes]"]:
    """The server, once it answers. Another program may take the port in between: then another one is tried."""
    user, group, groups = _identity()
    for _ in range(3):
        cluster = Cluster(_free_port(), password)
        settings = [f"--{name}={value}" for name, value in _CONFIGURATION.items()]
        with (data.parent / "log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 - a program of the system, arguments of our own
                [_program("postgres"), "-D", data, "-p", str(cluster.port), *settings],
                stdout=log,
                stderr=log,
                cwd=data,
                user=user,
                group=group,
                extra_groups=groups,
            )
        if _answers(cluster, process):
            return cluster, process
    raise RuntimeError(f"PostgreSQL does not start: {(data.parent / 'log').read_text(errors='replace')[-2_000:]}")


def _answers(cluster: Cluster, process: "subprocess.Popen[bytes]") -> bool:
    """Whether the server answers before it ends or time runs out."""
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            psycopg.connect(cluster.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return True
    process.kill()
    process.wait()
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _program(name: str) -> Path:
    folder = programs()
    assert folder is not None  # `obstacle` says so beforehand
    return folder / name
