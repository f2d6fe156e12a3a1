# SPDX-License-Identifier: Apache-2.0
"""Tokens and patients stay where they belong: canaries of both are planted in an EHR, everything is run, everything
fails in every way, and whatever is written anywhere is searched for them in every form that they could take.

Logging is at its lowest level for every library; event loops run in their debug mode; files are searched as bytes,
write-ahead logs and checkpoints of the graph included, also while a run is under way.
"""

import base64
import json
import logging
import signal
import subprocess
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import httpx
import pytest
from builders import fhir
from builders.ehr_runs import Site, on_screen, site
from builders.hospital import Client, Hospital, Smart, hospital
from builders.hospital_faults import Fault, broken, instead, meanwhile, redirect, status, stranger
from builders.launching import Browser, listening, url_of
from builders.model_server import Asked, Turn, calls, model_server, say
from builders.program import AS_OF as DAY
from builders.program import PROGRAM, SAMPLES, Program
from builders.reasoning_scripts import answer

from medagent.errors import MedAgentError
from medagent_workflows.recommending import Recorded
from medagent_workflows.rendering.document import document_json

Json = dict[str, Any]

PATIENT = "kennzeichen-4711-0815"
BORN = "1961-03-17"
NAMES = {
    "family": "Quästenflößer",
    "given": "Xanthippe-Eulalia",
    "street": "Nebelhornweg 17b",
    "phone": "0151-7777123",
    "number": "MRN-99887766-55",
    "note": "Vertraulich: sprach über Heimweh",
    "attached": "Im Vertrauen: schläft schlecht",
    "practitioner": "Dr. Kassandra Unheilbringer",
}
"""Of the patient and of those around: no rule rests on them, so they stand in no output at all."""
PERSON = {**NAMES, "id": PATIENT, "born": BORN}
"""Nothing of this may lie anywhere in the clear, nor in a log."""
CLIENT_SECRET = "s3cret/of+the=client&canary"  # noqa: S105 - of nobody


def chart() -> Json:
    """A sample, said of a person with a name, with notes here and behind a reference."""
    text = (SAMPLES / "diabetes-kidney.json").read_text("utf-8").replace("diabetes-kidney-patient", PATIENT)
    bundle: Json = json.loads(text, parse_float=Decimal)
    (person,) = (one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == "Patient")
    person |= {
        "name": [{"family": NAMES["family"], "given": [NAMES["given"]]}],
        "birthDate": BORN,
        "address": [{"line": [NAMES["street"]]}],
        "telecom": [{"system": "phone", "value": NAMES["phone"]}],
        "identifier": [{"system": "urn:numbers", "value": NAMES["number"]}],
        "text": {"status": "generated", "div": f"<div>{NAMES['given']} {NAMES['family']}</div>"},
    }
    here = {"contentType": "text/plain", "data": base64.b64encode(NAMES["note"].encode()).decode()}
    linked = {"contentType": "text/plain", "url": "Binary/attached-text"}
    bundle["entry"] += [
        {"resource": one}
        for one in (
            fhir.document_reference(here, patient=PATIENT, id="d1", description=f"Of {NAMES['family']}"),
            fhir.document_reference(linked, patient=PATIENT, id="d2", author=[{"display": NAMES["practitioner"]}]),
            fhir.binary(base64.b64encode(NAMES["attached"].encode()).decode(), id="attached-text"),
            fhir.immunization("140", at="2025-10-01", patient=PATIENT, id="i1", note=[{"text": NAMES["note"]}]),
        )
    ]
    return bundle


# Looking for them.


def forms(secret: str) -> set[bytes]:
    """What a secret looks like in text, JSON, URLs, Python's own words, hexadecimal, and base64 at any place."""
    raw = secret.encode()
    texts = {
        secret,
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        quote(secret, safe="").lower(),
        json.dumps(secret)[1:-1],
        repr(secret)[1:-1],
        repr(raw)[2:-1],
        raw.hex(),
    }
    found = {text.encode() for text in texts} | {secret.encode("utf-16-le")}
    if len(raw) >= 9:  # shorter ones would be found by chance
        for before in range(3):
            coded = base64.b64encode(b"\0" * before + raw)
            inner = coded[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]
            found |= {inner, inner.translate(bytes.maketrans(b"+/", b"-_"))}
    return found


@dataclass(slots=True)
class Canaries:
    """Secrets by what they are."""

    named: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, secrets: Iterable[str]) -> None:
        """More of a kind."""
        for number, secret in enumerate(sorted(set(secrets))):
            assert len(secret) >= 8, f"{kind}: too short to be looked for"
            self.named[f"{kind} {number}"] = secret

    def of(self, ehr: Hospital) -> "Canaries":
        """All that an EHR handed out, and all secrets that it was sent."""
        self.add("code or token", ehr.secrets)
        sent = [dict(one.form) for one in ehr.requests if one.path == "/oauth/token"]
        for name in ("client_assertion", "code_verifier", "refresh_token", "code"):
            self.add(name, (form[name] for form in sent if name in form))
        authorized = [dict(one.query) for one in ehr.requests if one.path == "/oauth/authorize"]
        for name in ("launch", "state", "nonce"):
            self.add(name, (query[name] for query in authorized if name in query))
        return self

    def in_(self, data: bytes | str) -> list[str]:
        """The names of those that stand in it in some form."""
        text = data.encode(errors="backslashreplace") if isinstance(data, str) else data
        return [name for name, secret in self.named.items() if any(form in text for form in forms(secret))]

    def within(self, folder: Path) -> dict[str, list[str]]:
        """By file, those that stand in the bytes of one. Keys lie in files of their own, which are none of these."""
        files = [one for one in folder.rglob("*") if one.is_file() and "keys" not in one.relative_to(folder).parts]
        return {one.name: found for one in files if (found := self.in_(one.read_bytes()))}


def keys_in(folder: Path) -> Iterator[str]:
    """Every line of private or symmetric keys."""
    for file in folder.rglob("*"):
        if file.is_file():
            for line in file.read_text("utf-8").splitlines():
                if len(line) >= 32 and "PUBLIC" not in line and not line.startswith("-----"):
                    yield line


def persons() -> Canaries:
    return Canaries(dict(PERSON))


def test_the_search_finds_each_form() -> None:
    """A search that finds nothing proves nothing by itself."""
    canaries = persons()
    for name, secret in PERSON.items():
        raw = secret.encode()
        for before in range(3):
            assert name in canaries.in_(base64.b64encode(b"x" * before + raw + b"and more"))
            assert name in canaries.in_(base64.urlsafe_b64encode(b"x" * before + raw + b"and more"))
        for text in (f"a {secret}.", json.dumps({"a": secret}), f"?a={quote(secret)}", repr([raw]), raw.hex()):
            assert name in canaries.in_(text)
        assert canaries.in_("nothing of the kind") == []


# What is written while everything runs.


class Kept(logging.Handler):
    """Every record, as text, with its arguments and tracebacks."""

    def __init__(self) -> None:
        super().__init__(level=logging.NOTSET)
        self.lines: list[str] = []
        self.names: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        trace = "" if record.exc_info is None else "".join(traceback.format_exception(*record.exc_info))
        self.lines.append(f"{record.name} {record.getMessage()} {record.args!r} {trace}")
        self.names.add(record.name)


_LOUD = (
    *("httpx", "httpcore", "httpcore.http11", "httpcore.connection", "uvicorn", "uvicorn.error", "uvicorn.access"),
    *("sqlalchemy", "sqlalchemy.engine", "sqlalchemy.pool", "aiosqlite", "asyncio", "langgraph", "langchain", "openai"),
)


@contextmanager
def everything_logged() -> Iterator[Kept]:
    """As somebody sets it who looks for an error, before anything is opened."""
    root, handler = logging.getLogger(), Kept()
    loggers = [root, *map(logging.getLogger, _LOUD)]
    before = [logger.level for logger in loggers]
    root.addHandler(handler)
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    try:
        yield handler
    finally:
        root.removeHandler(handler)
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def shown(error: BaseException) -> str:
    """All that a traceback shows of an error and of those before it, and what its repr does."""
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in seen:
        seen.append(current)
        current = current.__cause__ or current.__context__
    return "".join([*traceback.format_exception(error), *map(repr, seen), *map(str, seen)])


def reads_notes(look: Callable[[], object]) -> Callable[[Asked], Turn]:
    """A model that asks for notes, for what stands behind references, and for what no plan fetches."""

    def script(asked: Asked) -> Turn:
        look()
        if asked.schema is not None:
            return answer(abstain="nothing_to_add")
        turns = (
            calls(("search_notes", {"words": "sprach"}), ("search_chart", {"kind": "immunization"})),
            calls(("search_notes", {"words": NAMES["family"]}), ("list_labs", {"analyte": NAMES["given"]})),
        )
        return turns[asked.step] if asked.step < len(turns) else say("That is enough.")

    return script


@dataclass(slots=True)
class Written:
    """What a test has seen written."""

    errors: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    midway: list[Mapping[str, list[str]]] = field(default_factory=list)
    """What was found in files while runs were under way."""


def _taken(written: Written, recorded: Recorded) -> None:
    written.outputs += [document_json(recorded.dossier, recorded.stored).decode(), on_screen(recorded), repr(recorded)]


def check_urls(requests: Iterable[Any]) -> None:
    """No address names a person but by the id that FHIR puts there; searches go in bodies; tokens nowhere but in the
    header for them."""
    searches = [one for one in requests if one.path.endswith("/_search")]
    assert searches
    assert {one.method for one in searches} == {"POST"}
    for one in requests:
        assert Canaries({**NAMES, "born": BORN}).in_(one.target) == [], one.path
        assert PATIENT not in one.target or one.target == f"/fhir/Patient/{PATIENT}"
        assert one.path.startswith("/oauth/") or one.path.endswith(("metadata", "configuration")) or one.bearer
        assert one.bearer is None or one.path.split("/")[1] == "fhir"
        assert "code=" not in one.target
        assert "token=" not in one.target


FAILURES: Mapping[str, Callable[[Hospital], object]] = {
    "the patient is refused in words": lambda ehr: ehr.on("Patient", status(403, f"{NAMES['family']}, {BORN}")),
    "a type is refused in words": lambda ehr: ehr.on("Observation", status(403, f"{NAMES['family']}, {BORN}")),
    "a server that fails in words": lambda ehr: ehr.on("Condition", status(500, f"{NAMES['family']}, {BORN}")),
    "a broken connection": lambda ehr: ehr.on("*", broken("reset")),
    "half a body": lambda ehr: ehr.on("Condition", broken("half")),
    "half a document": lambda ehr: ehr.on("Condition", instead(f'{{"family": "{NAMES["family"]}'.encode())),
    "a page for people": lambda ehr: ehr.on(
        "Condition", instead(f"<p>{NAMES['family']}".encode(), content_type="text/html")
    ),
    "elements of other kinds": lambda ehr: ehr.on(
        "Condition",
        instead(json.dumps({"resourceType": "Bundle", "type": "searchset", "entry": NAMES["family"]}).encode()),
    ),
    "a Patient whose elements are of other kinds": lambda ehr: ehr.on(
        "Patient", instead(json.dumps({"resourceType": "Patient", "id": PATIENT, "birthDate": [BORN]}).encode())
    ),
    "a redirect to who they are": lambda ehr: ehr.on("Condition", redirect(f"http://127.0.0.1:9/{quote(BORN)}")),
    "another patient's resource": lambda ehr: ehr.on("Condition", stranger(fhir.condition("1", patient="other"))),
    "a token that ends": lambda ehr: ehr.on("Condition", meanwhile(ehr.end_access_tokens), times=1),
    "a token that ends, and no other": lambda ehr: _no_other_token(ehr, status(400, NAMES["family"])),
    "tokens that no header may hold": lambda ehr: _no_other_token(
        ehr, instead(b'{"access_token": "two\\nlines-canary", "token_type": "Bearer"}')
    ),
}


def _no_other_token(ehr: Hospital, answer: Fault) -> None:
    ehr.on("Condition", meanwhile(ehr.end_access_tokens), times=1)
    ehr.on("token", answer)


@pytest.mark.slow
def test_runs_and_failures_write_no_token_and_no_person_anywhere(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """standards: 15, 48; clinical: 19"""
    written = Written()
    people = persons()
    at: Site

    def look() -> None:
        """At the files of a run that is under way."""
        written.midway.append(people.within(at.services.settings.home))
        written.midway.append(Canaries().of(at.ehr).within(at.services.settings.home))

    with (
        everything_logged() as log,
        model_server(reads_notes(look)) as server,
        site(tmp_path, chart(), model=server, page=3, fhir_attempts_max=1) as at,
    ):
        session = at.launched(PATIENT, encounter="e1", intent="order-review")
        _taken(written, at.run(PATIENT, question="Is all well?"))
        _taken(written, at.run(PATIENT, session=session))
        requests = [*at.ehr.requests]
        assert any(one.path == "/fhir/Binary/attached-text" for one in requests)
        assert any(one.path == "/fhir/Immunization/_search" for one in requests)
        for number, happens in enumerate(FAILURES.values()):
            at.ehr.forget_faults()
            happens(at.ehr)
            try:
                _taken(written, at.run(PATIENT, session=session if number % 2 else None))
            except MedAgentError as error:
                written.errors.append(shown(error))
        canaries = Canaries().of(at.ehr)
        canaries.add("key", keys_in(at.services.settings.home / "keys"))
        canaries.add("key of assertions", keys_in(at.services.settings.smart_key_folder))
        canaries.add("session", [session.key])
        on_disk = canaries.within(at.services.settings.home) | people.within(at.services.settings.home)

    assert written.errors
    assert len(written.outputs) > 12
    assert {"sqlalchemy.engine.Engine", "asyncio"} <= log.names or "aiosqlite" in log.names
    said = "".join(capfd.readouterr())
    for data in (said, "\n".join(log.lines), "\n".join(written.errors)):
        assert canaries.in_(data) == []
    assert people.in_(said) == []
    assert people.in_("\n".join(log.lines)) == []
    assert set(people.in_("\n".join(written.errors))) <= {"id"}  # as `Patient/id`: it says whose chart failed
    check_urls(requests)
    for text in written.outputs:
        assert canaries.in_(text) == []
        assert Canaries(dict(NAMES)).in_(text) == []
    assert on_disk == {}
    assert len(written.midway) > 6
    assert [found for found in written.midway if found] == []


# The program itself: `medagent serve` and the command line, in processes of their own.

LOUD = f"""
import logging, sys
logging.basicConfig(level=1, stream=sys.stderr)
for name in {_LOUD!r}:
    logging.getLogger(name).setLevel(1)
"""
"""What a site may do to any Python program: everything is logged, from the first import on."""


def loud(folder: Path) -> dict[str, str]:
    """The environment in which every process logs all that it can."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(LOUD, "utf-8")
    return {"PYTHONPATH": str(folder), "PYTHONASYNCIODEBUG": "1", "PYTHONUTF8": "1"}


@dataclass(frozen=True, slots=True)
class Served:
    """`medagent serve` as it runs."""

    url: str
    output: Path


@contextmanager
def program_serving(program: Program, port: int, output: Path, **variables: str) -> Iterator[Served]:
    """The command in a process of its own, ended as a service manager ends it."""
    environment = program.environment(**variables)
    with output.open("wb") as file:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [PROGRAM, "serve", "--port", str(port)], stdout=file, stderr=file, env=environment
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _up(url, process)
            yield Served(url, output)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _up(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None, "it ended by itself"
        try:
            httpx.get(f"{url}/healthz", trust_env=False, timeout=1)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("it does not answer")


@pytest.mark.slow
def test_a_served_launch_writes_no_token_and_no_person_anywhere(tmp_path: Path) -> None:
    """standards: 15, 48"""
    with listening() as taken:
        port = taken.getsockname()[1]
        redirect_uri = f"{url_of(taken)}/callback"
    secret = tmp_path / "client.secret"
    secret.write_text(CLIENT_SECRET, "utf-8")
    secret.chmod(0o600)
    client = Client(kind="symmetric", secret=CLIENT_SECRET, redirect_uris=(redirect_uri,))
    program, output = Program(tmp_path / "home"), tmp_path / "output.txt"
    with (
        hospital(chart(), smart=Smart((client,), token_seconds=300)) as ehr,
        httpx.Client(trust_env=False, timeout=60, headers={"Accept": "text/html"}) as http,
    ):
        file = tmp_path / "ehrs.toml"
        file.write_text(
            f'[[ehr]]\nname = "north"\nissuer = "{ehr.url}"\nclient_id = "medagent"\n'
            f'authentication = {{ kind = "symmetric", secret_file = "{secret.name}" }}\n'
            'scopes = ["openid", "fhirUser", "offline_access", "patient/*.rs"]\n',
            "utf-8",
        )
        settings = {"MEDAGENT_EHRS_FILE": str(file), "MEDAGENT_FHIR_ATTEMPTS_MAX": "1"}
        with program_serving(program, port, output, **settings, **loud(tmp_path / "loud")) as served:
            browser = Browser(served.url, http)
            page = browser.launched(ehr, PATIENT, intent="order-review")
            assert "metformin" in page.text
            path = page.request.url.path
            happenings: tuple[Callable[[], object], ...] = (
                lambda: ehr.on("Patient", status(403, f"{NAMES['family']}, {BORN}")),
                lambda: ehr.on("Condition", broken("half")),
                lambda: ehr.end_access_tokens(),
                lambda: ehr.on("*", instead(NAMES["family"].encode())),
            )
            for happens in happenings:
                ehr.forget_faults()
                happens()
                browser.post(f"{path}/again", **{"Sec-Fetch-Site": "same-origin"})
                browser.ended(path)
            ehr.forget_faults()
            callback = browser.authorized(ehr, ehr.launch(PATIENT))
            http.get(callback.replace("state=", "state=x"))
            http.get(f"{callback}&code=again")
            http.get(callback + "%00%ff")
            http.request("BREW", callback)
            http.get(served.url + "/nowhere", params={"patient": NAMES["family"]})
            ehr.end_access_tokens()
            ehr.end_refresh_tokens()
            browser.post(f"{path}/again", **{"Sec-Fetch-Site": "same-origin"})
            assert "or it is over" in browser.ended(path).text
            cookies = [cookie.value or "" for cookie in http.cookies.jar]
        canaries = Canaries().of(ehr)
        canaries.add("cookie", cookies)
        canaries.add("client secret", [CLIENT_SECRET])
        canaries.add("key", keys_in(tmp_path / "home" / "keys"))
        check_urls(one for one in ehr.requests if one.method != "BREW")
    people = persons()
    said = output.read_bytes()
    assert b"sqlalchemy" in said  # everything was logged indeed
    assert b"MedAgent serves at" in said
    assert canaries.in_(said) == []
    assert people.in_(said) == []
    assert b"Traceback" not in said
    assert canaries.within(tmp_path / "home") == {}
    assert people.within(tmp_path / "home") == {}


@pytest.mark.slow
def test_the_command_writes_no_token_and_no_person_but_what_it_is_asked_for(tmp_path: Path) -> None:
    """standards: 15"""
    with site(tmp_path, chart(), page=3) as at:
        program = Program(tmp_path / "home")
        settings = at.services.settings
        own = loud(tmp_path / "loud") | {
            "MEDAGENT_EHRS_FILE": str(settings.ehrs_file),
            "MEDAGENT_SMART_KEY_FOLDER": str(settings.smart_key_folder),
            "MEDAGENT_FHIR_ATTEMPTS_MAX": "1",
        }
        asked = ("recommend", "--fhir", at.ehr.url, "--patient", PATIENT, "--as-of", DAY)
        ended = [program.run(*asked, **own), program.run(*asked, "--format", "json", **own)]
        assert [one.returncode for one in ended] == [0, 0]
        at.ehr.on("Patient", status(403, f"{NAMES['family']}, {BORN}"))
        ended.append(program.run(*asked, **own))
        assert ended[-1].returncode == 1
        ended.append(program.run("audit", "list", **own))
        canaries = Canaries().of(at.ehr)
        canaries.add("key", keys_in(tmp_path / "home" / "keys"))
        canaries.add("key of assertions", keys_in(settings.smart_key_folder))
        check_urls(at.ehr.requests)
    assert all("sqlalchemy" in one.stderr for one in ended)
    for one in ended:
        logged = "\n".join(line for line in one.stderr.splitlines() if not line.startswith("medagent: "))
        assert canaries.in_(one.stdout + one.stderr) == []
        assert persons().in_(logged) == []
        assert Canaries(dict(NAMES)).in_(one.stdout + one.stderr) == []
    assert canaries.within(tmp_path / "home") == {}
    assert persons().within(tmp_path / "home") == {}
