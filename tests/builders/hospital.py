# SPDX-License-Identifier: Apache-2.0
"""A hospital's EHR behind a real socket: FHIR R4 as a strict server speaks it.

    with hospital(fhir.patient(), fhir.observation("4548-4", "6.5", "%")) as ehr:
        client = FhirClient(Open(ehr.url), recorder, clock=clock)

Resources are dictionaries, bytes, Bundles, files or folders; they go out as the bytes that came in. `ehr.requests` is
what was asked, in order; `ehr.load(...)` and `ehr.remove("Type/id")` change the record while it runs.
"""

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from builders.hospital_access import Access
from builders.hospital_capabilities import Ability
from builders.hospital_faults import Fault, Rule, Where
from builders.hospital_fhir import Fhir
from builders.hospital_outcomes import Refused
from builders.hospital_paging import LinkStyle, Pages
from builders.hospital_records import Loadable, Records
from builders.hospital_wire import Asked, Listener, Reply

__all__ = ["Ability", "Asked", "Hospital", "LinkStyle", "Loadable", "Reply", "hospital"]

_BASE = "/fhir"


class Hospital:
    """The server while it runs. Threads of it write here; tests read when their call has returned."""

    def __init__(self, lacks: frozenset[str], links: LinkStyle, page: int, live: bool) -> None:
        self.records = Records()
        self.requests: list[Asked] = []
        """In order of arrival."""
        self._rules: list[Rule] = []
        self._lock = threading.RLock()
        self._listener = Listener(self._respond)
        self._listener.packs = "gzip" not in lacks
        self._elsewhere = Listener(self._respond_elsewhere)
        self.strayed: list[Asked] = []
        """What came to the other host, where nothing of a client's may come."""
        pages = Pages(lambda: self.url, lambda: self.elsewhere, links)
        self._fhir = Fhir(self.records, pages, lambda: self.url, lacks, page, live)

    @property
    def root(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self._listener.port}"

    @property
    def url(self) -> str:
        """The FHIR base."""
        return self.root + _BASE

    @property
    def elsewhere(self) -> str:
        """Another origin, which records who comes in `strayed`."""
        return f"http://127.0.0.1:{self._elsewhere.port}"

    @property
    def connections(self) -> int:
        """How many were accepted."""
        return self._listener.connections

    @property
    def at_once(self) -> int:
        """The most requests that were answered side by side."""
        return self._listener.at_once

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

    def start(self) -> None:
        """Answers from now on."""
        self._listener.start()
        self._elsewhere.start()

    def stop(self) -> None:
        """Ends every connection and the threads."""
        self._listener.stop()
        self._elsewhere.stop()
        assert not self._listener.errors, f"The hospital itself failed: {self._listener.errors}"

    def _respond(self, asked: Asked) -> Reply:
        with self._lock:
            self.requests.append(asked)
            labels = self._fhir.labels(asked, self._below(asked) or "")
            for rule in self._rules:
                if rule.plays(asked, labels):
                    return rule.fault(asked, lambda: self._honest(asked))
            return self._honest(asked)

    def _honest(self, asked: Asked) -> Reply:
        try:
            path = self._below(asked)
            if path is None:
                raise Refused(404, "not-found", "There is nothing at this address")
            return self._fhir.answer(asked, path, Access())
        except Refused as refused:
            return refused.reply

    def _below(self, asked: Asked) -> str | None:
        """The path below the base."""
        if asked.path != _BASE and not asked.path.startswith(f"{_BASE}/"):
            return None
        return asked.path.removeprefix(_BASE).strip("/")

    def _respond_elsewhere(self, asked: Asked) -> Reply:
        self.strayed.append(asked)
        return Reply(200, b'{"resourceType": "Bundle", "type": "searchset"}')


@contextmanager
def hospital(
    *resources: Loadable,
    lacks: Collection[Ability | str] = (),
    links: LinkStyle = "opaque",
    page: int = 50,
    live: bool = False,
) -> Iterator[Hospital]:
    """A running hospital.

    `lacks`: abilities that it has not, and says so; a type's name takes that type away. `links`: how the next page is
    named. `page`: entries of a page where `_count` asks for no fewer. `live`: each page shows the record of now, so it
    changes underfoot where a test changes the record; else that of the search.
    """
    ehr = Hospital(frozenset(lacks), links, page, live)
    ehr.load(*resources)
    ehr.start()
    try:
        yield ehr
    finally:
        ehr.stop()
