# SPDX-License-Identifier: Apache-2.0
"""What becomes of a fault of ours while a page is made: nobody reads what it says."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from medagent.settings import Settings
from medagent_fhir.smart import EhrRegistry
from medagent_workflows.web.app import Web, build_app
from medagent_workflows.wiring import open_services

CANARY = "Canary-Family-Name"


@contextmanager
def application(home: Path) -> Iterator[FastAPI]:
    """The real one, with one more page."""

    async def breaks(request: Request) -> Response:
        raise ValueError(CANARY) from KeyError(CANARY)

    settings = Settings.load(home=home / "records")
    with open_services(settings) as services:
        app = build_app(Web.of(services, EhrRegistry(), "http://127.0.0.1:9"))
        app.add_route("/breaks", breaks)
        yield app


async def answered(app: FastAPI, accept: str) -> httpx.Response:
    transport = httpx.ASGITransport(app)  # raises what the application lets out
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:9") as client:
        return await client.get("/breaks", headers={"accept": accept})


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_neither_the_answer_nor_the_log_says_what_it_says(
    tmp_path: Path, accept: str, caplog: pytest.LogCaptureFixture
) -> None:
    with application(tmp_path) as app, caplog.at_level(logging.DEBUG):
        answer = asyncio.run(answered(app, accept))

    assert (answer.status_code, CANARY in answer.text) == (500, False)
    assert answer.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "error=ValueError" in caplog.text
    assert Path(__file__).name in caplog.text
    assert CANARY not in caplog.text
