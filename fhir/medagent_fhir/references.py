# SPDX-License-Identifier: Apache-2.0
"""References between the resources of a source: urn:uuid, relative, absolute, logical, conditional.

The rules are those of https://hl7.org/fhir/R4/bundle.html#references: a reference first means the entry whose fullUrl
it is (relative ones completed by the base of the entry that refers). In files that carry no fullUrl, as NDJSON,
relative references are searched by type and id; absolute ones name nothing there. Contained resources are the
business of the resource that contains them.
"""

from collections.abc import Iterable
from urllib.parse import parse_qs

import msgspec

from medagent_fhir.containers import Resource
from medagent_fhir.wire import Identified

TARGETS = frozenset({"Patient", "Medication", "Binary"})
"""The types that are looked up. Nothing is read of others that a resource refers to."""

_identified = msgspec.json.Decoder(Identified)
_WEB = ("http://", "https://")
_ABSOLUTE = (*_WEB, "urn:uuid:", "urn:oid:")


class References:
    """Finds what a reference means among the targets of a source."""

    def __init__(self, resources: Iterable[Resource] = ()) -> None:
        self._by_url: dict[str, Resource] = {}
        self._by_id: dict[str, Resource] = {}
        self._targets: list[Resource] = []
        self._by_identifier: dict[tuple[str, str, str], Resource] | None = None
        self.add(resources)

    def add(self, resources: Iterable[Resource]) -> None:
        """Takes in the targets among these. Of two by one name the first is meant."""
        self._by_identifier = None
        for resource in resources:
            if resource.type not in TARGETS:
                continue
            self._targets.append(resource)
            if resource.full_url:
                self._by_url.setdefault(resource.full_url, resource)
            if resource.id:
                self._by_id.setdefault(f"{resource.type}/{resource.id}", resource)

    def name(self, url: str, target: Resource) -> None:
        """Lets a target be meant by another absolute URL, too."""
        self._by_url.setdefault(url, target)

    def names_of(self, target: Resource) -> tuple[str, ...]:
        """The absolute URLs that mean a target, sorted."""
        return tuple(sorted(url for url, one in self._by_url.items() if one is target))

    def find(self, reference: str, wanted: str, origin: str | None) -> Resource | None:
        """What a reference means: a resource of the type `wanted`, or None. `origin`: fullUrl of who refers."""
        found = self._find(reference, wanted, origin)
        return found if found is not None and found.type == wanted else None

    def _find(self, reference: str, wanted: str, origin: str | None) -> Resource | None:
        if reference.startswith("identifier|"):
            system, _, value = reference.removeprefix("identifier|").partition("|")
            return self._identified(wanted, system, value)
        if "?" in reference:
            return self._conditional(reference, wanted)
        plain = reference.split("/_history/", 1)[0]
        exact = self._by_url.get(plain)
        if exact is not None:
            return exact
        if plain.startswith(_ABSOLUTE):
            return None  # an id alone may be another server's: Patient/1 there is another patient
        candidate = self._by_id.get(plain)
        if origin is None or not origin.startswith(_WEB):
            return candidate
        exact = self._by_url.get(f"{origin.rsplit('/', 2)[0]}/{plain}")
        if exact is None and candidate is not None and (candidate.full_url or "").startswith(_WEB):
            return None
        return exact or candidate

    def may_be_here(self, reference: str, wanted: str) -> bool:
        """Whether a reference that leads nowhere may yet mean a target: it names no other resource for certain."""
        plain = reference.split("/_history/", 1)[0]
        if plain.startswith(_WEB):
            return f"{wanted}/{plain.rsplit('/', 1)[-1]}" in self._by_id
        return plain.startswith(("#", "urn:", "identifier|")) or f"{wanted}?" in plain

    def _conditional(self, reference: str, wanted: str) -> Resource | None:
        kind, query = reference.split("?", 1)
        if kind.rsplit("/", 1)[-1] != wanted:
            return None
        tokens = parse_qs(query).get("identifier", [])
        if len(tokens) != 1 or "|" not in tokens[0]:
            return None
        system, value = tokens[0].split("|", 1)
        return self._identified(wanted, system, value)

    def _identified(self, wanted: str, system: str, value: str) -> Resource | None:
        if not system or not value:
            return None  # a number means somebody only within its system, and a system alone nobody
        index = self._by_identifier  # pages are judged in threads, too
        if index is None:
            index = self._by_identifier = self._index_identifiers()
        return index.get((wanted, system, value))

    def _index_identifiers(self) -> dict[tuple[str, str, str], Resource]:
        """An identifier that two resources share finds neither: it would be a guess."""
        found: dict[tuple[str, str, str], Resource] = {}
        shared: set[tuple[str, str, str]] = set()
        for resource in self._targets:
            try:
                identifiers = _identified.decode(resource.raw).identifier
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue  # a resource whose identifiers are malformed is not found by them
            for identifier in identifiers:
                key = (resource.type, identifier.system or "", identifier.value or "")
                if found.setdefault(key, resource).uri != resource.uri:
                    shared.add(key)
        return {key: resource for key, resource in found.items() if key not in shared}
