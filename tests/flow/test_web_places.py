# SPDX-License-Identifier: Apache-2.0
"""The web application where things are not as usual: below a path of its host, and over rows that somebody changed."""

import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
from builders.hospital import Client, Hospital, Smart, hospital
from builders.hospital_faults import meanwhile
from builders.launching import PATIENCE, Browser, Serving, listening, serving, smart_for, url_of
from builders.program import SAMPLES

SAMPLE = SAMPLES / "diabetes-kidney.json"
PATIENT = "diabetes-kidney-patient"


def tamper(home: Path, kind: str, sealed: str = "zeroblob(length(sealed))") -> None:
    """Somebody who holds the database, and not its keys, changes what the vault keeps."""
    with closing(sqlite3.connect(home / "records" / "medagent.db", timeout=30)) as connection, connection:
        changed = connection.execute(
            f"UPDATE vault_secrets SET sealed = {sealed} WHERE kind = ?",  # noqa: S608  # an expression of a test
            (kind,),
        )
        assert changed.rowcount > 0


@contextmanager
def a_site(home: Path) -> Iterator[tuple[Hospital, Serving]]:
    with (
        listening() as listener,
        hospital(SAMPLE, smart=smart_for(listener)) as ehr,
        serving(home, listener, ehr) as web,
    ):
        yield ehr, web


def assert_clean(answer: httpx.Response, log: str) -> None:
    assert answer.status_code == 503
    assert "cannot do this at present" in answer.text
    assert "from the patient’s chart again" in answer.text
    assert "vault" not in answer.text
    assert "vault_secrets" in log


@pytest.mark.parametrize(
    "sealed",
    [
        pytest.param("zeroblob(length(sealed))", id="other bytes"),
        pytest.param("x''", id="no bytes"),
        pytest.param("'a text'", id="a text, which SQLite takes anywhere"),
        pytest.param("7", id="a number"),
    ],
)
def test_a_session_that_was_tampered_with_opens_nothing_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, sealed: str
) -> None:
    with a_site(tmp_path) as (ehr, web):
        browser = web.browser()
        path = browser.launched(ehr, PATIENT).request.url.path
        tamper(tmp_path, "session", sealed)
        assert_clean(browser.get(path), caplog.text)
        assert "In preparation" not in browser.launched(ehr, PATIENT).text, "a new launch works"


def test_a_launch_that_was_tampered_with_is_not_finished(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with a_site(tmp_path) as (ehr, web):
        browser = web.browser()
        callback = browser.authorized(ehr, ehr.launch(PATIENT))
        tamper(tmp_path, "launch")
        assert_clean(browser.client.get(callback), caplog.text)
        assert [asked.path for asked in ehr.requests if asked.path.endswith("/token")] == []


def test_a_run_whose_token_was_tampered_with_ends_as_one_that_failed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The row is changed while the run is under way, and what was renewed cannot be read."""
    caplog.set_level(logging.ERROR)
    with a_site(tmp_path) as (ehr, web):
        browser = web.browser()
        callback = browser.authorized(ehr, ehr.launch(PATIENT))

        def spoil() -> None:
            tamper(tmp_path, "session")
            ehr.end_access_tokens()

        ehr.on("metadata", meanwhile(spoil), times=1)
        path = browser.called_back(callback)
        until = time.monotonic() + PATIENCE
        while "run_failed" not in caplog.text:
            assert time.monotonic() < until, "the run did not end"
            time.sleep(0.05)
        assert_clean(browser.get(path), caplog.text)
    assert "run_failed error=IntegrityError" in caplog.text


@pytest.mark.parametrize("stripped", [pytest.param(True, id="taken away"), pytest.param(False, id="left")])
def test_below_a_path_of_its_host_whether_that_is_taken_away_in_front_of_it_or_not(
    tmp_path: Path, stripped: bool
) -> None:
    """A browser of which the path of the public URL is the only one that it knows, and what stands before us."""
    with listening() as listener:
        root, prefix = url_of(listener), "/tools/medagent"
        public = root + prefix
        smart = Smart((Client(redirect_uris=(f"{public}/callback",)),))
        with (
            hospital(SAMPLE, smart=smart) as ehr,
            serving(tmp_path, listener, ehr, public_url=public) as web,
        ):
            browser = web.browser()

            def asked_for(path: str) -> str:
                assert path.startswith(prefix), path
                return path.removeprefix(prefix) if stripped else path

            begun = browser.get(asked_for(f"{prefix}/launch"), iss=ehr.url, launch=ehr.launch(PATIENT))
            assert begun.status_code == 303, begun.text
            callback = ehr.approve(begun.headers["location"])
            assert callback.startswith(f"{public}/callback?")
            opened = browser.get(asked_for(callback.removeprefix(root)))
            assert opened.status_code == 303, opened.text
            place = opened.headers["location"]
            assert place.startswith(f"{prefix}/launched/")
            assert f"Path={place};" in opened.headers["set-cookie"]
            page = ended(browser, asked_for(place), opened)
            assert "metformin" in page.text
            assert f'href="{prefix}/assets/page.css"' in page.text
            for path in ("/assets/page.css", "/.well-known/jwks.json", "/healthz", "/"):
                assert browser.get(asked_for(prefix + path)).status_code == 200, path


def ended(browser: Browser, path: str, opened: httpx.Response) -> httpx.Response:
    """The page, by a browser whose cookie is that of the public path, whatever we are asked for."""
    name, _, value = opened.headers["set-cookie"].partition(";")[0].partition("=")
    browser.client.cookies.set(name, value)
    return browser.ended(path)
