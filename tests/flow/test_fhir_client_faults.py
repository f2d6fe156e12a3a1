# SPDX-License-Identifier: Apache-2.0
"""However an EHR fails, a call ends as one clear failure, is on record before anything is used, and gives no secret
away."""

import asyncio
import logging
import socket
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from builders import fhir
from builders.fhir_client import QUICK, Recording, Tokens, all_of, asked
from builders.hospital import Hospital, Smart, hospital
from builders.hospital_faults import Fault, broken, content_type, instead, padded, redirect, slow, status, stranger
from builders.hospital_tls import Certificate
from pydantic import SecretStr

from medagent.clock import SystemClock
from medagent.errors import AuditError, AuthorizationError, FhirError, FhirFailure
from medagent_fhir.authorization import Authorization
from medagent_fhir.client import FhirClient, Received, silence_http_logs

TOKEN = "canary-token-1f2e3d"  # noqa: S105  # of nobody
OTHER_TOKEN = "canary-token-4c5b6a"  # noqa: S105
NAME = "Canary-Family-Name"


def ehr_with(**options: Any) -> Any:
    return hospital(fhir.patient(), fhir.observation("4548-4", "6.5", "%", id="o"), **options)


def read(whom: str | Authorization, **options: Any) -> Received:
    return asked(whom, lambda client: client.read("Observation", "o"), **options)


def search(whom: str | Authorization, **options: Any) -> list[Received]:
    return asked(whom, lambda client: all_of(client.search("Observation", [("patient", "patient-1")])), **options)


def observation_requests(ehr: Hospital) -> int:
    return len([one for one in ehr.requests if one.path.startswith("/fhir/Observation")])


@pytest.mark.parametrize(
    ("fault", "failure", "said"),
    [
        pytest.param(status(403), "forbidden", "status 403; forbidden", id="the right is missing"),
        pytest.param(status(404), "not_found", "status 404; not-found", id="there is no such thing"),
        pytest.param(status(410), "gone", "status 410; deleted", id="there is no such thing any more"),
        pytest.param(status(429), "busy", "status 429; throttled", id="it is overloaded"),
        pytest.param(status(429, retry_after=3_600), "busy", "status 429", id="it asks to wait for an hour"),
        pytest.param(status(500), "unavailable", "status 500; exception", id="it fails"),
        pytest.param(status(503), "busy", "status 503", id="it is not there for now"),
        pytest.param(status(422), "refused", "status 422", id="it refuses the request"),
        pytest.param(broken("half"), "unavailable", "connection broke", id="half a body"),
        pytest.param(broken("reset"), "unavailable", "connection broke", id="the connection breaks"),
        pytest.param(instead(b'{"resourceType":"Obser'), "invalid", "is no JSON", id="half a document"),
        pytest.param(instead(b"<html>"), "invalid", "is no JSON", id="no JSON under the name of JSON"),
        pytest.param(content_type("text/html"), "invalid", "something else than FHIR JSON", id="a page for people"),
        pytest.param(content_type("application/fhir+xml"), "invalid", "FHIR JSON", id="FHIR in XML"),
        pytest.param(content_type(None), "invalid", "FHIR JSON", id="no media type"),
        pytest.param(padded(3_000_000), "invalid", "longer than", id="an archive of spaces"),
        pytest.param(stranger(fhir.observation("1", 1, id="other")), "foreign", "another resource", id="another id"),
        pytest.param(stranger(fhir.condition("1", id="o")), "foreign", "another resource", id="another type"),
        pytest.param(instead(b"", status=204, content_type=None), "invalid", "no meaning", id="no content"),
        pytest.param(instead(b"", status=304, content_type=None), "invalid", "no meaning", id="unchanged, unasked"),
    ],
)
def test_each_way_to_fail_is_told_as_what_it_is(fault: Fault, failure: FhirFailure, said: str) -> None:
    recording = Recording()
    with ehr_with() as ehr:
        ehr.on("Observation", fault)
        with pytest.raises(FhirError, match=said) as caught:
            read(ehr.url, recording=recording, limits=replace(QUICK, attempt_seconds=30, body_bytes=1_000_000))

    assert caught.value.failure == failure
    assert str(caught.value).startswith("Observation/o: ")
    assert {outcome[2] for outcome in recording.outcomes} == {failure}
    assert all(call.detail for call in recording.calls[1:])


@pytest.mark.parametrize("ends", ["hang", "trickle"])
def test_who_answers_never_or_byte_by_byte_is_left(ends: Any) -> None:
    recording = Recording()
    with ehr_with() as ehr:
        ehr.on("Observation", broken(ends))
        began = time.monotonic()
        with pytest.raises(FhirError, match="did not answer in time"):
            read(ehr.url, recording=recording, limits=replace(QUICK, attempt_seconds=1.5))

        assert observation_requests(ehr) == 1
    assert 1.5 <= time.monotonic() - began < 20
    assert [outcome[2] for outcome in recording.outcomes] == ["deadline"]


@pytest.mark.parametrize(
    ("fault", "attempts"),
    [
        pytest.param(status(429, retry_after=0), 3, id="overloaded"),
        pytest.param(status(503), 3, id="not there for now"),
        pytest.param(status(502), 3, id="a gateway without a server"),
        pytest.param(status(504), 3, id="a gateway with a slow server"),
        pytest.param(broken("reset"), 3, id="a broken connection"),
        pytest.param(broken("half"), 3, id="half a body"),
        pytest.param(status(500), 1, id="a failure"),
        pytest.param(status(403), 1, id="a right that is missing"),
        pytest.param(status(404), 1, id="nothing there"),
        pytest.param(instead(b"<html>"), 1, id="no JSON"),
        pytest.param(content_type("text/html"), 1, id="a page for people"),
        pytest.param(status(429, retry_after=3_600), 1, id="overloaded for an hour"),
    ],
)
def test_only_what_may_pass_is_asked_again_and_each_attempt_is_on_record(fault: Fault, attempts: int) -> None:
    recording = Recording()
    with ehr_with() as ehr:
        ehr.on("Observation", fault)
        with pytest.raises(FhirError):
            read(ehr.url, recording=recording)

        assert observation_requests(ehr) == attempts
    assert len(recording.outcomes) == attempts
    assert len({call.request_id for call in recording.calls}) == attempts + 1


@pytest.mark.parametrize("fault", [status(503), broken("reset"), broken("half"), status(429, retry_after=0)])
@pytest.mark.parametrize("use", [read, search], ids=["a read", "a search by POST"])
def test_what_passes_gives_what_was_asked_for(use: Any, fault: Fault) -> None:
    with ehr_with() as ehr:
        ehr.on("Observation", fault, times=2)
        use(ehr.url)

        assert observation_requests(ehr) == 3


def test_a_batch_whose_fate_is_unknown_is_not_sent_again() -> None:
    with ehr_with() as ehr:
        ehr.on(lambda one: one.path == "/fhir", broken("reset"))
        with pytest.raises(FhirError):
            asked(ehr.url, lambda client: client.batch(["Observation/o"]))

        assert len([one for one in ehr.requests if one.path == "/fhir"]) == 1


def test_a_client_waits_as_long_as_the_server_asks() -> None:
    with ehr_with() as ehr:
        ehr.on("Observation", status(429, retry_after=1), times=1)
        began = time.monotonic()
        read(ehr.url)

    assert time.monotonic() - began >= 1


class Noon:
    """A clock that stands."""

    def now(self) -> datetime:
        return datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


def test_a_client_waits_until_the_time_that_the_server_names() -> None:
    with ehr_with() as ehr:
        ehr.on("Observation", status(503, retry_after=Noon().now() + timedelta(seconds=1)), times=1)
        began = time.monotonic()
        read(ehr.url, clock=Noon())

    assert time.monotonic() - began >= 1


def test_a_client_does_not_wait_beyond_its_deadline() -> None:
    async def use(client: FhirClient) -> None:
        with client.within(20):
            await client.read("Observation", "o")

    with ehr_with() as ehr:
        ehr.on("Observation", status(429, retry_after=50))
        began = time.monotonic()
        with pytest.raises(FhirError, match="429"):
            asked(ehr.url, use)

    assert time.monotonic() - began < 20


def test_retries_add_little_to_an_outage() -> None:
    async def use(client: FhirClient) -> None:
        await client.capabilities()
        for _ in range(20):
            with pytest.raises(FhirError):
                await client.read("Observation", "o")

    with ehr_with() as ehr:
        ehr.on("Observation", status(503))
        asked(ehr.url, use)

        assert observation_requests(ehr) <= 20 + 5 + 20 * QUICK.retry_share + 1


def test_a_server_that_is_not_there_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(FhirError, match="cannot be reached") as caught:
        read(f"http://127.0.0.1:{port}/fhir")

    assert caught.value.failure == "unavailable"


class TestRedirects:
    @pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
    @pytest.mark.parametrize("where", ["elsewhere", "here"])
    def test_none_is_followed(self, code: int, where: str) -> None:  # standards: 16
        with ehr_with() as ehr:
            target = ehr.elsewhere if where == "elsewhere" else f"{ehr.url}/Observation/other"
            ehr.on("Observation/o", redirect(target, status=code))
            with pytest.raises(FhirError, match="points elsewhere") as caught:
                read(Tokens(ehr.url, TOKEN))

            assert caught.value.failure == "foreign"
            assert ehr.strayed == []
            assert not [one for one in ehr.requests if "other" in one.path]


class TestTokens:
    def test_a_token_that_is_refused_is_replaced_once(self) -> None:
        tokens, recording = None, Recording()
        with ehr_with() as ehr:
            ehr.on(lambda one: one.bearer == TOKEN and "Observation" in one.path, status(401))
            tokens = Tokens(ehr.url, TOKEN, OTHER_TOKEN)
            read(tokens, recording=recording)

        assert [one.get_secret_value() for one in tokens.refused] == [TOKEN]
        assert recording.outcomes == [("read", 401, "unauthorized"), ("read", 200, None)]

    def test_a_server_that_refuses_every_token_is_told(self) -> None:
        with ehr_with() as ehr:
            ehr.on("Observation", status(401))
            tokens = Tokens(ehr.url, TOKEN, OTHER_TOKEN)
            with pytest.raises(FhirError) as caught:
                read(tokens)

            assert observation_requests(ehr) == 2
        assert (caught.value.failure, caught.value.status) == ("unauthorized", 401)
        assert len(tokens.refused) == 1

    def test_a_server_that_wants_a_token_where_there_is_none_is_told(self) -> None:
        with ehr_with() as ehr:
            ehr.on("Observation", status(401))
            with pytest.raises(FhirError) as caught:
                read(ehr.url)

            assert observation_requests(ehr) == 1
        assert caught.value.failure == "unauthorized"

    def test_a_run_goes_on_with_another_token_where_the_server_ended_the_first(self) -> None:
        async def use(client: FhirClient) -> list[str]:
            first = await client.read("Observation", "o")
            ehr.end_access_tokens()
            tokens.give(ehr.access_token("patient/*.rs", patient="patient-1"))
            return [first.name, (await client.read("Observation", "o")).name]

        with ehr_with(smart=Smart()) as ehr:
            tokens = Renewable(ehr.url, ehr.access_token("patient/*.rs", patient="patient-1"))
            assert asked(tokens, use) == ["Observation/o", "Observation/o"]
        assert tokens.renewed == 1

    def test_an_address_elsewhere_gets_no_token_even_if_one_is_asked_for(self) -> None:  # standards: 16
        """The last check before a token leaves, whatever the ones before it let pass."""
        from_elsewhere: list[str | None] = []
        with ehr_with() as ehr:

            class Strayed(FhirClient):
                """A client with a fault: it takes another server's address for one of its own."""

                async def stray(self) -> None:
                    ask = self._ask("read", "Observation/o", "/Observation/o")
                    address = replace(ask.address, origin=ehr.elsewhere)
                    await self._channel.ask(replace(ask, address=address), lambda answer: answer)

            async def use() -> None:
                async with Strayed(Tokens(ehr.url, TOKEN), Recording(), clock=SystemClock(), limits=QUICK) as client:
                    await client.stray()

            with pytest.raises(FhirError, match="must not go") as caught:
                asyncio.run(use())
            from_elsewhere = [one.bearer for one in ehr.strayed]

        assert caught.value.failure == "foreign"
        assert from_elsewhere == []

    def test_no_token_goes_over_plain_http_to_another_machine(self) -> None:
        recording = Recording()
        with pytest.raises(FhirError, match="HTTPS only"):
            read(Tokens("http://ehr.invalid/fhir", TOKEN), recording=recording)

        assert {call.status for call in recording.calls} == {None}

    @pytest.mark.parametrize("token", ["two\r\nlines", "ümlaut", " padded", ""])
    def test_a_token_that_no_header_may_hold_is_refused_without_showing_it(self, token: str) -> None:
        with ehr_with() as ehr, pytest.raises(AuthorizationError) as caught:
            read(Tokens(ehr.url, token))

        assert not token.strip() or token.strip() not in shown(caught.value)


class Renewable(Tokens):
    """Gets another token when the server refuses the one that it has."""

    renewed = 0
    _next = ""

    def give(self, token: str) -> None:
        """What the next refusal is answered with."""
        self._next = token

    async def token(self, refused: SecretStr | None = None) -> SecretStr | None:
        if refused is not None:
            self.renewed += 1
            self._tokens = [self._next]
        return SecretStr(self._tokens[0])


class TestRecord:
    """standards: 46, 47, 48"""

    def test_nothing_is_handed_out_that_is_not_on_record(self) -> None:
        with ehr_with() as ehr:
            with pytest.raises(AuditError):
                read(ehr.url, recording=Recording(full=2))

            assert observation_requests(ehr) == 1

    def test_nor_what_is_known_already(self) -> None:
        async def use(client: FhirClient) -> None:
            known = await client.read("Observation", "o")
            await client.read("Observation", "o", known=known)

        with ehr_with(stamps=True) as ehr, pytest.raises(AuditError):
            asked(ehr.url, use, recording=Recording(full=3))

    def test_nor_a_page(self) -> None:
        with ehr_with() as ehr, pytest.raises(AuditError):
            search(ehr.url, recording=Recording(full=2))

    def test_nor_a_line_of_a_file(self) -> None:
        lines: list[bytes] = []

        async def use(client: FhirClient) -> None:
            async with await client.export(types=["Observation"]) as export:
                manifest = await export.manifest()
                async for line in export.lines(manifest.output[0]):
                    lines.append(line)  # what came before the error is what counts

        with ehr_with() as ehr:
            ehr.exporting.polls = 0
            with pytest.raises(AuditError):
                asked(ehr.url, use, recording=Recording(full=4))

        assert lines == []

    def test_a_failure_that_cannot_be_recorded_ends_the_call_at_once(self) -> None:
        with ehr_with() as ehr:
            ehr.on("Observation", status(503))
            with pytest.raises(AuditError):
                read(ehr.url, recording=Recording(full=2))

            assert observation_requests(ehr) == 1

    def test_a_refusal_tells_in_the_record_what_the_server_said(self) -> None:
        recording = Recording()
        with ehr_with() as ehr:
            ehr.on("Observation", status(403, f"{NAME} is not yours"))
            with pytest.raises(FhirError) as caught:
                read(ehr.url, recording=recording)

        assert caught.value.outcome == f"{NAME} is not yours"
        assert recording.calls[-1].detail == f"{NAME} is not yours"
        assert NAME not in str(caught.value)

    def test_a_call_that_is_stopped_is_on_record(self) -> None:
        recording = Recording()

        async def use(client: FhirClient) -> None:
            await client.capabilities()
            async with asyncio.timeout(0.2):
                await client.read("Observation", "o")

        with ehr_with() as ehr:
            ehr.on("Observation", slow(9))
            with pytest.raises(TimeoutError):
                asked(ehr.url, use, recording=recording)

        assert recording.outcomes == [("read", None, "deadline")]
        assert "stopped here" in recording.calls[-1].detail

    def test_a_file_that_breaks_after_its_first_lines_is_on_record_twice(self) -> None:
        recording = Recording()

        async def use(client: FhirClient) -> None:
            async with await client.export(types=["Observation"]) as export:
                manifest = await export.manifest()
                await all_of(export.lines(manifest.output[0]))

        with ehr_with() as ehr:
            ehr.exporting.polls = 0
            ehr.on(lambda one: one.path.endswith(".ndjson"), broken("half"))
            with pytest.raises(FhirError, match="broke"):
                asked(ehr.url, use, recording=recording)

        files = [call for call in recording.calls if call.url.endswith(".ndjson")]
        assert [call.failure for call in files] == [None, "unavailable"]

    def test_token_and_patient_stand_in_each_record(self) -> None:
        recording = Recording()
        with ehr_with() as ehr:
            search(Tokens(ehr.url, TOKEN, patient="Patient/patient-1"), recording=recording)

        assert recording.calls[-1].token_id == f"id of {TOKEN[:5]}"
        assert recording.calls[-1].patient == "Patient/patient-1"


class TestTls:
    def test_a_site_may_name_its_own_authority(self) -> None:
        with ehr_with(tls="own") as ehr:
            assert b"4548-4" in read(ehr.url, ca_file=ehr.ca_file).body

    @pytest.mark.parametrize(
        ("certificate", "named"),
        [
            pytest.param("own", False, id="of an authority that nobody knows"),
            pytest.param("expired", True, id="that has expired"),
            pytest.param("another host", True, id="of another host"),
        ],
    )
    def test_a_certificate_that_is_not_trusted_ends_the_call(self, certificate: Certificate, named: bool) -> None:
        recording = Recording()
        with ehr_with(tls=certificate) as ehr:
            with pytest.raises(FhirError, match="MEDAGENT_FHIR_CA_FILE") as caught:
                read(Tokens(ehr.url, TOKEN), ca_file=ehr.ca_file if named else None, recording=recording)

            assert ehr.requests == []
        assert caught.value.failure == "unavailable"
        assert len(recording.calls) == 1


class Kept(logging.Handler):
    """Keeps every record that is logged anywhere."""

    def __init__(self) -> None:
        super().__init__(level=logging.NOTSET)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextmanager
def everything_logged() -> Iterator[Kept]:
    """As somebody who looks for an error sets it: all that is logged, of the HTTP library above all."""
    root, handler = logging.getLogger(), Kept()
    noisy = [root, *(logging.getLogger(name) for name in ("httpx", "httpcore", "httpcore.http11", "asyncio"))]
    before = [logger.level for logger in noisy]
    root.addHandler(handler)
    for logger in noisy:
        logger.setLevel(logging.DEBUG)
    try:
        yield handler
    finally:
        root.removeHandler(handler)
        for logger, level in zip(noisy, before, strict=True):
            logger.setLevel(level)


def shown(error: BaseException) -> str:
    """All that a traceback, or who prints an error with all that it holds, could show."""
    seen: list[BaseException] = []
    while error not in seen:
        seen.append(error)
        error = error.__cause__ or error.__context__ or error
    lines = [line for one in seen for line in traceback.format_exception(one)]
    return "\n".join([*lines, *(repr(one) + repr(vars(one)) for one in seen)])


class TestSecrets:
    """standards: 15"""

    def test_the_http_library_logs_nothing_whoever_asks_it_to(self) -> None:
        with ehr_with() as ehr, everything_logged() as log:
            search(Tokens(ehr.url, TOKEN))

        assert [record.getMessage() for record in log.records if record.name.startswith("http")] == []

    def test_nor_for_other_clients_of_this_process(self) -> None:
        """Those of the authorization server, whose addresses may name a patient, too."""

        async def elsewhere(url: str) -> None:
            async with httpx.AsyncClient(trust_env=False) as client:
                await client.get(f"{url}/Patient?name={NAME}")

        silence_http_logs()
        with ehr_with() as ehr, everything_logged() as log:
            asyncio.run(elsewhere(ehr.url))

        assert not [record for record in log.records if NAME in record.getMessage()]

    @pytest.mark.parametrize(
        "fault",
        [
            pytest.param(status(401, NAME), id="401"),
            pytest.param(status(403, NAME), id="403"),
            pytest.param(status(503, NAME), id="503"),
            pytest.param(broken("reset"), id="a broken connection"),
            pytest.param(broken("half"), id="half a body"),
            pytest.param(broken("hang"), id="no answer"),
            pytest.param(redirect(f"http://127.0.0.1:9/{NAME}"), id="a redirect"),
            pytest.param(instead(f'{{"resourceType":"{NAME}'.encode()), id="half a document"),
            pytest.param(instead(f'{{"resourceType":"Bundle","type":"{NAME}"}}'.encode()), id="another Bundle"),
            pytest.param(instead(NAME.encode(), content_type="text/plain"), id="a text"),
        ],
    )
    def test_no_failure_shows_a_token_or_what_the_server_said(self, fault: Fault) -> None:
        with ehr_with() as ehr, everything_logged() as log:
            ehr.on("_search", fault)
            with pytest.raises(FhirError) as caught:
                search(Tokens(ehr.url, TOKEN, OTHER_TOKEN), limits=replace(QUICK, attempt_seconds=0.5))

        error = caught.value
        assert error.__cause__ is None
        assert TOKEN not in shown(error)
        assert OTHER_TOKEN not in shown(error)
        assert NAME not in str(error) + repr(error) + "".join(traceback.format_exception(error))
        assert not [record for record in log.records if TOKEN in record.getMessage() or NAME in record.getMessage()]
        assert not requests_held(error)

    def test_nothing_that_a_client_is_made_of_shows_a_token(self) -> None:
        shown_by: list[str] = []

        async def use(client: FhirClient) -> None:
            page = await anext(client.search("Observation", [("patient", NAME)]))
            shown_by.extend(map(repr, (client, client._channel, page, vars(client._channel))))

        with ehr_with() as ehr:
            asked(Tokens(ehr.url, TOKEN), use)

        assert not [text for text in shown_by if TOKEN in text or NAME in text]


def requests_held(error: BaseException) -> list[object]:
    """Requests, with their headers, that somebody can reach from an error."""
    held: list[object] = []
    seen: list[BaseException | None] = []
    current: BaseException | None = error
    while current is not None and current not in seen:
        seen.append(current)
        held += [current] if isinstance(current, httpx.HTTPError) else []
        held += [one for one in vars(current).values() if isinstance(one, httpx.Request | httpx.Response)]
        current = current.__cause__ or current.__context__
    return held


def test_many_stopped_calls_leave_the_connections_usable() -> None:
    """Neither a slot nor a connection stays taken by whoever is not there any more."""

    async def use(client: FhirClient) -> Received:
        await client.capabilities()
        for _ in range(10):
            tasks = [asyncio.create_task(client.read("Observation", "o")) for _ in range(6)]
            await asyncio.sleep(0.002)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return await client.read("Observation", "o")

    with ehr_with() as ehr:
        assert asked(ehr.url, use, limits=replace(QUICK, concurrency=3)).status == 200
