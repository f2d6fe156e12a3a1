# SPDX-License-Identifier: Apache-2.0
"""A hospital's EHR behind a real socket: FHIR R4 and SMART App Launch 2.2 as a strict server speaks them.

    with hospital(fhir.patient(), fhir.observation("4548-4", "6.5", "%"), page=2) as ehr:
        client = FhirClient(Open(ehr.url), recorder, clock=clock)
        ehr.on("Observation", status(503, retry_after=1), times=1)

Resources are dictionaries, bytes, Bundles, files or folders; they go out as the bytes that came in. `ehr.requests` is
what was asked, in order; `ehr.load(…)` and `ehr.remove("Type/id")` change the record while it runs; `ehr.on(…)` lets
something go wrong (`hospital_faults`); `lacks` takes abilities away and `links` names next pages in every right and
wrong way (`hospital_paging`); `ehr.elsewhere` is another origin that keeps who came in `ehr.strayed`.

    application = Client("app", "asymmetric", jwks=keys.jwks, backend=True)
    with hospital(*record, smart=Smart((application,))) as ehr:
        launch = ehr.launch("patient-1", encounter="e1")      # and ehr.url is the iss
        callback = ehr.approve(authorization_url)             # what the browser is sent to
        ehr.smart.granted = ("launch", "patient/Patient.rs")  # fewer than asked
        ehr.smart.breaks = ["id_token audience"]              # a rule broken (`hospital_grants.SmartBreak`)
        ehr.end_access_tokens()                               # each gets 401 from now on

With `smart` the FHIR side wants a token and shows what its scopes allow, also where they are narrowed by a query, of
its patient where they say `patient/`. `ehr.access_token("patient/*.rs", patient="one")` gives one without a launch.
`ehr.secrets` is every code and token that was handed out. Of the product only JSON and the clock are used here: scopes
and launches are read anew, so that a mistake of one side is not one of both.
"""

import tempfile
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from builders.hospital_access import Access
from builders.hospital_capabilities import Ability
from builders.hospital_clients import Client, OAuthRefused
from builders.hospital_export import Export, Exports
from builders.hospital_faults import Fault, Rule, Where
from builders.hospital_fhir import Fhir, Manner
from builders.hospital_grants import Context, Smart, SmartBreak
from builders.hospital_outcomes import Refused
from builders.hospital_paging import LinkStyle, Pages
from builders.hospital_records import Loadable, Records
from builders.hospital_smart import AuthorizationServer
from builders.hospital_tls import Certificate, server_context, write_authority
from builders.hospital_wire import Asked, Listener, Reply

__all__ = [
    "Ability",
    "Asked",
    "Client",
    "Hospital",
    "LinkStyle",
    "Loadable",
    "Reply",
    "Smart",
    "SmartBreak",
    "hospital",
]

_BASE = "/fhir"
_DISCOVERY = ".well-known/smart-configuration"


class Hospital:
    """The server while it runs. Threads of it write here; tests read when their call has returned."""

    def __init__(
        self, manner: Manner, links: LinkStyle, stamps: bool, smart: Smart | None, tls: Certificate | None, folder: Path
    ) -> None:
        self.records = Records(stamps=stamps)
        self.requests: list[Asked] = []
        """In order of arrival."""
        self.strayed: list[Asked] = []
        """What came to the other host, where no token and nothing of a patient may come."""
        self.exporting = Export()
        """How exports go; may be changed."""
        self.ca_file = write_authority(folder) if tls is not None else None
        """What a client must know to trust this hospital's certificate."""
        self._rules: list[Rule] = []
        self._lock = threading.RLock()
        self._listener = Listener(self._respond, server_context(folder, tls) if tls is not None else None)
        self._listener.packs = "gzip" not in manner.lacks
        self._elsewhere: Listener | None = None
        pages = Pages(lambda: self.url, lambda: self.elsewhere, links)
        self._exports = Exports(self.records, self.exporting, lambda: self.url, lambda: self.elsewhere)
        self._fhir = Fhir(self.records, pages, self._exports, lambda: self.url, manner)
        self._smart = None
        if smart is not None:
            self._smart = AuthorizationServer(smart, self.records, lambda: self.root, lambda: self.elsewhere)
            self._fhir.oauth = {"authorize": self._smart.address("authorize"), "token": self._smart.address("token")}

    @property
    def root(self) -> str:
        """Scheme, host and port."""
        return f"{'http' if self.ca_file is None else 'https'}://127.0.0.1:{self._listener.port}"

    @property
    def url(self) -> str:
        """The FHIR base."""
        return self.root + _BASE

    @property
    def elsewhere(self) -> str:
        """Another origin, which records who comes in `strayed`."""
        with self._lock:
            if self._elsewhere is None:
                self._elsewhere = Listener(self._respond_elsewhere)
                self._elsewhere.start()
            return f"http://127.0.0.1:{self._elsewhere.port}"

    @property
    def connections(self) -> int:
        """How many were accepted."""
        return self._listener.connections

    @property
    def at_once(self) -> int:
        """The most requests that were answered side by side."""
        return self._listener.at_once

    @property
    def cancelled(self) -> list[str]:
        """Addresses of exports that their client deleted."""
        return self._exports.cancelled

    def load(self, *sources: Loadable) -> None:
        """Takes resources in; who has one already gets a new version of it."""
        with self._lock:
            self.records.load(*sources)

    def remove(self, name: str) -> None:
        """Deletes `Type/id`."""
        with self._lock:
            self.records.remove(name)

    def on(self, where: Where, fault: Fault, *, times: int | None = None, after: int = 0) -> None:
        """Plays a fault where a request fits, so many times, after so many that fit: see `hospital_faults`."""
        with self._lock:
            self._rules.append(Rule(where, fault, times, after))

    def forget_faults(self) -> None:
        """From now on nothing goes wrong."""
        with self._lock:
            self._rules.clear()

    @property
    def smart(self) -> Smart:
        """How it authorizes; may be changed."""
        return self._authorizing.rules

    @property
    def secrets(self) -> list[str]:
        """Every code, token and id_token that was handed out: none may turn up where it does not belong."""
        return self._authorizing.grants.secrets

    def launch(self, patient: str | None = None, **context: Any) -> str:
        """A launch token for the parameter `launch`; `iss` is `url`. `context`: further members that the answer to the
        code has, such as encounter, fhirContext, intent, tenant, need_patient_banner."""
        with self._lock:
            return self._authorizing.launch(Context(patient, context))

    def approve(self, url: str) -> str:
        """What a browser does with the address of `/authorize` where the user says yes: the address of the callback
        that it is sent to. AssertionError: it is shown an error."""
        assert url.startswith(f"{self.root}/"), "This is not the hospital's authorization endpoint"
        reply = self._respond(Asked("GET", url.removeprefix(self.root), {}, b""))
        assert reply.status == 302, f"{reply.status}: {reply.body.decode()}"
        return reply.headers["Location"]

    def access_token(self, *scopes: str, patient: str | None = None) -> str:
        """An access token without a launch, for tests of the FHIR side alone."""
        with self._lock:
            return self._authorizing.grants.token(self.smart.clients[0], scopes, patient)

    def end_access_tokens(self) -> None:
        """All that are out are refused with 401 from now on."""
        with self._lock:
            self._authorizing.grants.end_access()

    def end_refresh_tokens(self) -> None:
        """All that are out are refused with invalid_grant from now on."""
        with self._lock:
            self._authorizing.grants.end_refresh()

    @property
    def _authorizing(self) -> AuthorizationServer:
        assert self._smart is not None, "This hospital asks for no authorization: pass smart=Smart(…)"
        return self._smart

    def start(self) -> None:
        """Answers from now on."""
        self._listener.start()

    def stop(self) -> None:
        """Ends every connection and the threads."""
        self._listener.stop()
        if self._elsewhere is not None:
            self._elsewhere.stop()

    def check(self) -> None:
        """Raises what went wrong in the hospital itself, if anything did."""
        if self._listener.errors:
            raise AssertionError("The hospital itself failed") from self._listener.errors[0]

    def _respond(self, asked: Asked) -> Reply:
        with self._lock:
            self.requests.append(asked)
            for rule in self._rules:
                if rule.plays(asked, self._labels(asked)):
                    return rule.fault(asked, lambda: self._honest(asked))
            return self._honest(asked)

    def _honest(self, asked: Asked) -> Reply:
        try:
            return self._answer(asked)
        except (Refused, OAuthRefused) as refused:
            return refused.reply

    def _answer(self, asked: Asked) -> Reply:
        path = self._below(asked)
        if self._smart is not None:
            if path == _DISCOVERY:
                return self._smart.discovery()
            if path is None and (reply := self._smart.answer(asked)) is not None:
                return reply
        if path is None:
            raise Refused(404, "not-found", "There is nothing at this address")
        open_to_all = self._smart is None or path == "metadata"
        return self._fhir.answer(asked, path, Access() if open_to_all else self._authorizing.access(asked))

    def _labels(self, asked: Asked) -> frozenset[str]:
        """What a request may be called in a rule of faults."""
        path = self._below(asked)
        return frozenset({"*", asked.path.rpartition("/")[2]}) if path is None else self._fhir.labels(asked, path)

    def _below(self, asked: Asked) -> str | None:
        """The path below the base."""
        if asked.path != _BASE and not asked.path.startswith(f"{_BASE}/"):
            return None
        return asked.path.removeprefix(_BASE).strip("/")

    def _respond_elsewhere(self, asked: Asked) -> Reply:
        with self._lock:
            self.strayed.append(asked)
            match asked.path.split("/"):
                case ["", "fhir", "_export", job, file]:
                    return self._exports.file(job, file)
        return Reply(200, b'{"resourceType": "Bundle", "type": "searchset"}')


@contextmanager
def hospital(
    *resources: Loadable,
    lacks: Collection[Ability | str] = (),
    links: LinkStyle = "opaque",
    page: int = 50,
    live: bool = False,
    stamps: bool = False,
    smart: Smart | None = None,
    tls: Certificate | None = None,
) -> Iterator[Hospital]:
    """A running hospital.

    `lacks`: abilities that it has not, and says so; a type's name takes that type away. `links`: how the next page is
    named. `page`: entries of a page where `_count` asks for no fewer. `live`: each page shows the record of now, so it
    changes underfoot where a test changes the record; else that of the search. `stamps`: resources get
    `meta.versionId` and `lastUpdated`, as servers do, where they have none; else they stay byte by byte. `smart`: who
    may call and how; None: anybody may. `tls`: with which certificate it speaks HTTPS.
    """
    with tempfile.TemporaryDirectory(prefix="hospital-") as folder:
        ehr = Hospital(Manner(frozenset(lacks), page, live), links, stamps, smart, tls, Path(folder))
        ehr.load(*resources)
        ehr.start()
        try:
            yield ehr
        finally:
            ehr.stop()
    ehr.check()
