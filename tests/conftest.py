# SPDX-License-Identifier: Apache-2.0
"""Fixtures that every test may use."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import counterparts, postgresql
from builders.store import DATABASES, Records

from medagent.settings import Settings
from medagent.store import upgrade

SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


def pytest_configure() -> None:
    """The settings of whoever runs the tests are none of theirs: a model would speak where none is expected."""
    for name in Settings.model_fields:
        os.environ.pop(f"MEDAGENT_{name.upper()}", None)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real inputs beside the checkout; skips where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs ../shared/data")
    return SHARED_DATA


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[postgresql.Cluster]:
    """A PostgreSQL server of this session's own; skips where PostgreSQL is absent."""
    if (obstacle := postgresql.obstacle()) is not None:
        pytest.skip(obstacle)
    with postgresql.running() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def postgresql_url(postgresql_server: postgresql.Cluster) -> str:
    """A database at the newest schema, as MEDAGENT_DATABASE_URL names it. Tests that need an empty one copy it with
    `builders.postgresql.copied`, and nobody connects to this one."""
    url = postgresql_server.create()
    upgrade(url)
    return url


@pytest.fixture(scope="session")
def counterpart_servers() -> Iterator[counterparts.Counterparts]:
    """A FHIR server and an authorization server that others wrote; skips where they are absent."""
    if (obstacle := counterparts.obstacle()) is not None:
        pytest.skip(obstacle)
    with counterparts.running() as servers:
        yield servers


@pytest.fixture(params=DATABASES)
def records(request: pytest.FixtureRequest, tmp_path: Path) -> Records:
    """Records that are still empty, once for each database."""
    return Records.fresh(request, tmp_path)
