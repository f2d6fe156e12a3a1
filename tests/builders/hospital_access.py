# SPDX-License-Identifier: Apache-2.0
"""Who may see what in the simulated hospital: SMART scopes and the patient's compartment.

Written without the product's own reading of scopes, so that the two can disagree.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

from builders.hospital_grants import Issue
from builders.hospital_outcomes import Refused
from builders.hospital_records import Records, Stored
from builders.hospital_search import PARAMETERS, elements, matches

_FIRST_VERSION = {"read": "rs", "write": "cud", "*": "cruds"}


class Access:
    """Of somebody who needs no authorization: everything."""

    owner: Hashable = None
    """Who it is, whatever token they bring: a next link is for the one who searched."""

    def require(self, type: str, letter: str) -> None:
        """Raises Refused where nothing of a type may be read (`r`) or searched for (`s`)."""

    def require_patient(self, type: str, parameters: Sequence[tuple[str, str]]) -> None:
        """Raises Refused where a search names a patient who may not be asked about."""

    def require_resource(self, stored: Stored, letter: str) -> None:
        """Raises Refused where this resource may not be seen."""

    def shows(self, stored: Stored, letter: str) -> bool:
        """Whether this resource may be among what was found."""
        return True


@dataclass(frozen=True, slots=True)
class Right:
    """One scope for resources, as a server understands it."""

    context: str
    type: str
    letters: frozenset[str]
    query: tuple[tuple[str, str], ...]

    def covers(self, type: str, letter: str) -> bool:
        """Whether it is about a type at all."""
        return self.type in ("*", type) and letter in self.letters


def rights(scopes: Iterable[str], *, first_version: bool = True) -> list[Right]:
    """Those among scopes that are for resources. `first_version`: whether `.read` means anything here."""
    found = []
    for scope in scopes:
        name, _, query = scope.partition("?")
        context, slash, rest = name.partition("/")
        type, dot, letters = rest.partition(".")
        if not slash or not dot or context not in ("patient", "user", "system"):
            continue
        if letters in _FIRST_VERSION:
            letters = _FIRST_VERSION[letters] if first_version else ""
        if letters and letters == "".join(letter for letter in "cruds" if letter in letters):
            found.append(Right(context, type, frozenset(letters), tuple(parse_qsl(query))))
    return found


class GrantedAccess(Access):
    """Of who brought a token: what its scopes allow, of its patient where they say `patient/`."""

    def __init__(self, records: Records, issue: Issue, *, first_version: bool) -> None:
        self._records = records
        self._rights = rights(issue.scopes, first_version=first_version)
        self._patient = issue.context.patient
        self.owner = (issue.client.id, self._patient)
        self._narrowed: dict[tuple[str, Right], frozenset[str]] = {}

    def require(self, type: str, letter: str) -> None:
        if not any(right.covers(type, letter) for right in self._rights):
            challenge = {"WWW-Authenticate": 'Bearer error="insufficient_scope"'}
            raise Refused(403, "forbidden", f"The token's scopes do not cover {type}", challenge)

    def require_patient(self, type: str, parameters: Sequence[tuple[str, str]]) -> None:
        if any(right.covers(type, "s") and right.context != "patient" for right in self._rights):
            return
        naming = ("patient", "subject", "beneficiary", *(["_id"] if type == "Patient" else []))
        named = [value.split(",") for name, value in parameters if name.partition(":")[0] in naming]
        if any(one.rpartition("/")[2] != self._patient for value in named for one in value):
            raise Refused(403, "forbidden", "The token is for another patient")

    def require_resource(self, stored: Stored, letter: str) -> None:
        if not self.shows(stored, letter):
            raise Refused(403, "forbidden", f"The token does not cover this {stored.type}")

    def shows(self, stored: Stored, letter: str) -> bool:
        return any(
            right.covers(stored.type, letter)
            and (right.context != "patient" or self._in_compartment(stored))
            and self._meets(stored, right)
            for right in self._rights
        )

    def _in_compartment(self, stored: Stored) -> bool:
        """What can be nobody's, such as a Medication, may be seen by all; a Binary is whose document refers to it."""
        if stored.type != "Binary":
            shared = not stored.patients and "patient" not in PARAMETERS.get(stored.type, {})
            return shared or self._patient in stored.patients
        if self._patient is None:
            return False
        theirs = [one for type in ("DocumentReference", "DiagnosticReport") for one in self._of_patient(type)]
        paths = ("content.attachment.url", "presentedForm.url")
        urls = (str(url) for one in theirs for path in paths for url in elements(one.body, path))
        return any(url.split("/_history/")[0].endswith(stored.name) for url in urls)

    def _of_patient(self, type: str) -> list[Stored]:
        return [one for one in self._records.of(type, self._patient) if self.shows(one, "r")]

    def _meets(self, stored: Stored, right: Right) -> bool:
        """Whether a resource meets the query that narrows a scope."""
        if not right.query:
            return True
        key = (stored.type, right)
        if key not in self._narrowed:
            self._narrowed[key] = frozenset(one.id for one in matches(self._records, stored.type, right.query))
        return stored.id in self._narrowed[key]
