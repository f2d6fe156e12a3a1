# SPDX-License-Identifier: Apache-2.0
"""What of one patient's record is fetched from a server: the Patient, whole types side by side, what they refer to.

No type is asked for that was not granted, and nothing of another patient is taken in. Absolute references are followed
on the server's own base alone (standards: 16).
"""

import asyncio
import re
from collections.abc import Awaitable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from medagent.errors import ChartError, FhirError, MedAgentError
from medagent.records import Skipped
from medagent.scopes import Grant
from medagent_fhir import wire
from medagent_fhir.client import FhirClient, Received, TooLong
from medagent_fhir.containers import Contents, Resource, Unread, split_document
from medagent_fhir.documents import linked
from medagent_fhir.ownership import is_of_another, of_one_patient, targets
from medagent_fhir.references import References
from medagent_fhir.searches import Budget, TypeSearch, Whose
from medagent_fhir.sensitivity import Sensitivity, withheld
from medagent_fhir.statements import ElementError, decode

_AT_ONCE = 8  # Binaries; the client's own limit is the server's
_DEPTH = 4  # Medications within Medications: a mixture of mixtures is rare
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")

_medicated = msgspec.json.Decoder(wire.Medicated)
_medication = msgspec.json.Decoder(wire.Medication)
_patient = msgspec.json.Decoder(wire.Patient)
_binary = msgspec.json.Decoder(wire.Binary)
_Given = TypeVar("_Given")


@dataclass(slots=True)
class Fetched:
    """What was fetched of one type."""

    resources: list[Resource] = field(default_factory=list)
    included: list[Resource] = field(default_factory=list)
    """What came along and others refer to."""
    unread: list[Unread] = field(default_factory=list)
    reasons: tuple[str, ...] = ()
    """Why absence cannot be concluded from it."""


class Retrieval:
    """Fetches one patient's resources, for one chart."""

    def __init__(
        self,
        client: FhirClient,
        patient: str,
        *,
        sensitivity: Sensitivity,
        budget: Budget,
        attached_max: int,
        count: int,
    ) -> None:
        """`patient`: its id. `attached_max`: bytes of all its attachments. `count`: entries per page that are wished
        for."""
        self.references = References()
        self.key = f"Patient/{patient}"
        self.skipped: list[Skipped] = []
        """What was not read beside the types themselves."""
        self._client = client
        self._sensitivity = sensitivity
        self._budget = budget
        self._count = count
        self._whose: Whose | None = None
        self._tried: set[str] = set()
        self._attached_max = attached_max
        self._attached = Budget(attached_max)

    @property
    def patient(self) -> Resource:
        """As it was read."""
        assert self._whose is not None
        return self._whose.patient

    async def read_patient(self) -> Resource:
        """The Patient itself. Raises ChartError: without it there is no chart."""
        if not self._may_read("Patient"):
            raise ChartError("Patient: was not granted; the launch has to ask for patient/Patient.r")
        id = self.key.removeprefix("Patient/")
        try:
            given = await self._client.read("Patient", id)
        except FhirError as error:
            if error.failure in ("not_found", "gone"):
                message = "FHIR server: knows no patient with the id given as --patient"
                if not (await self._client.capabilities()).stated:
                    message += ", nor does it say what it can do: check that the URL is its FHIR base"
                raise ChartError(message) from error
            raise
        patient = self._one(given, self.key)
        if patient is None or patient.uri != self.key:
            raise ChartError("FHIR server: sent something else than the Patient that was asked for")
        self.references.add([patient])
        self._whose = Whose(patient, self.references, _merged(patient))
        return patient

    async def types(self, names: Sequence[str]) -> dict[str, Fetched]:
        """Types, side by side, and the drugs that their medications mean. What fails with a server is said
        of its type; other errors come out."""
        found = await side_by_side([self._type(name) for name in names])
        fetched = dict(zip(names, found, strict=True))
        await self._drugs([one for each in found for one in (*each.resources, *each.included)])
        return fetched

    async def attachments(self, documents: Iterable[tuple[str, str, bytes]]) -> None:
        """The Binaries behind these, each by its `Type/id`, type and bytes, as far as bytes allow."""
        wanted: dict[str, str] = {}
        for uri, kind, data in documents:
            for url in linked(kind, data):
                if url in self._tried:
                    continue
                self._tried.add(url)
                id = self._id_here(url, "Binary")
                if id is None:
                    self._skip(uri, "an attachment stands on another server, which is not asked")
                elif not self._may_read("Binary"):
                    self._skip(uri, "an attachment was not read: Binary was not granted")
                else:
                    wanted.setdefault(id, uri)
        ids = list(wanted)
        for start in range(0, len(ids), _AT_ONCE):
            if self._attached.left <= 0:
                reason = f"was not read: attachments are read up to {self._attached_max} bytes, the newest first"
                for id in ids[start:]:
                    self._skip(f"Binary/{id}", reason)
                return
            await self._attach(ids[start : start + _AT_ONCE])

    async def _type(self, name: str) -> Fetched:
        whose = self._whose
        assert whose is not None
        grant = self._client.authorization.granted
        narrowings = ((),) if grant is None else grant.reading(name)
        if narrowings is None:
            return Fetched(reasons=(f"{name}: not granted",))
        may_include = self._may_read("Medication")
        search = TypeSearch(self._client, whose, name, self._budget, count=self._count, may_include=may_include)
        contents = Contents(whose.patient.container.retrieved_at)
        try:
            found = await search.found(narrowings, contents)
        except ChartError as error:  # of the capabilities: pages tell theirs themselves
            return Fetched(reasons=(f"{name}: {error}",))
        came_along = targets(contents.resources, self._sensitivity)
        included = [one for one in came_along if one.type == "Medication" and may_include]
        self.references.add(included)
        resources = of_one_patient(contents, name, self.references, whose.merged)
        return Fetched(resources, included, contents.unread, tuple(found.reasons))

    async def _drugs(self, resources: Iterable[Resource]) -> None:
        """Reads the Medications that are referred to and not there yet; then those that these consist of."""
        if not self._may_read("Medication"):
            return
        origins: Iterable[Resource] = resources
        for _ in range(_DEPTH):
            wanted = {
                id for origin in origins for reference in _drugs_of(origin) if (id := self._missing(reference, origin))
            }
            wanted -= self._tried
            self._tried |= wanted
            if not wanted:
                return
            found = await side_by_side([self._medication(id) for id in sorted(wanted)])
            origins = [one for one in found if one is not None]
            self.references.add(targets(origins, self._sensitivity))

    def _missing(self, reference: str, origin: Resource) -> str | None:
        """The id of a Medication of this server that was not read yet."""
        if self.references.find(reference, "Medication", origin.full_url) is not None:
            return None
        return self._id_here(reference, "Medication")

    async def _medication(self, id: str) -> Resource | None:
        found = await self._shared("Medication", id, self._client.read("Medication", id))
        if isinstance(found, TooLong):
            self._skip(f"Medication/{id}", str(found).removeprefix(f"Medication/{id}: "))
            return None
        return found

    async def _attach(self, ids: Sequence[str]) -> None:
        """Binaries, the first ones first.

        Steps: (1) side by side each has an equal share of the bytes that are left, so that together they never hold
        more; (2) who needs more is asked for again, alone; (3) what does not fit ends it, also for what comes later.
        """
        found = await side_by_side([self._binary(id, self._attached.left // len(ids)) for id in ids])  # (1)
        for id, one in zip(ids, found, strict=True):
            if isinstance(one, TooLong) and len(ids) > 1 and self._attached.left:
                one = await self._binary(id, self._attached.left)  # (2)
            if one is None:
                continue
            if isinstance(one, Resource) and self._attached.spend(len(one.raw)):
                [target] = targets([one], self._sensitivity)
                self.references.add([target])
                if not target.raw:
                    self._skip(f"Binary/{id}", withheld(1))
            else:
                self._attached.left = 0  # (3)
                self._skip(f"Binary/{id}", "was not read: it exceeds what is left for attachments")

    async def _binary(self, id: str, bytes_max: int) -> Resource | TooLong | None:
        return await self._shared("Binary", id, self._own_binary(id, bytes_max))

    async def _own_binary(self, id: str, bytes_max: int) -> Received:
        """A Binary has no subject, but may say whose access rules hold for it: another patient's is not used. FhirError
        `foreign` then, which is on record."""
        given = await self._client.binary(id, bytes_max=bytes_max)
        try:
            context = decode(_binary, given.body).security_context
        except ElementError:  # it carries no text that can be read
            context = None
        if context is not None and context.reference and is_of_another(context.reference, self.references):
            message = f"Binary/{id}: belongs to another patient; nothing of it is used"
            await self._client.refuse(given, "foreign", message)
            raise FhirError("foreign", message)
        return given

    async def _shared(self, kind: str, id: str, asked: Awaitable[Received]) -> Resource | TooLong | None:
        """One resource that others refer to. What cannot be read is said, but for what is too long."""
        try:
            given = await asked
            if self._budget.spend(len(given.body)):
                return self._one(given, f"{kind}/{id}")
            self._skip(f"{kind}/{id}", "was not read: the chart is as large as it may be")
        except TooLong as error:
            return error
        except ChartError as error:
            self._skip(f"{kind}/{id}", str(error).removeprefix(f"{kind}/{id}: "))
        return None

    def _one(self, given: Received, name: str) -> Resource | None:
        contents = Contents(given.retrieved_at)
        split_document(name, given.body, contents, f"{self._client.base}/{name}", given.sha256)
        for resource in contents.resources:
            resource.raw = bytes(resource.raw)
            resource.version = resource.version or _version_in(given.etag)
            return resource
        return None

    def _id_here(self, reference: str, kind: str) -> str | None:
        """The id, of what stands on this server."""
        plain = reference.split("/_history/", 1)[0].removeprefix(f"{self._client.base}/")
        found, _, id = plain.partition("/")
        return id if found == kind and _ID.fullmatch(id) else None

    def _may_read(self, kind: str) -> bool:
        """Whether resources of a type may be read by their ids."""
        grant: Grant | None = self._client.authorization.granted
        if grant is None:
            return True
        return any(one.type in ("*", kind) and "r" in one.may and not one.narrowed for one in grant.scopes)

    def _skip(self, where: str, reason: str) -> None:
        self.skipped.append(Skipped(where=where, reason=reason))


async def side_by_side(tasks: Sequence[Awaitable[_Given]]) -> list[_Given]:
    """All of them at once. The first error ends the others; it comes out as itself, not as a group."""

    async def one(task: Awaitable[_Given]) -> _Given:
        return await task

    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(one(task)) for task in tasks]
    except* MedAgentError as errors:
        problem: BaseException = errors
        while isinstance(problem, BaseExceptionGroup):
            problem = problem.exceptions[0]
        failed = problem
    else:
        return [task.result() for task in running]
    raise failed


def _merged(patient: Resource) -> Collection[str]:
    """Records that this one replaced, or that replaced it."""
    try:
        links = decode(_patient, patient.raw).link
    except ElementError:  # said where its fact is made
        return frozenset()
    others = (link.other.reference for link in links if link.type in ("replaces", "replaced-by") and link.other)
    return frozenset("/".join(name.split("/_history/")[0].rsplit("/", 2)[-2:]) for name in others if name)


def _drugs_of(resource: Resource) -> list[str]:
    """The Medications that a resource refers to."""
    try:
        if resource.type == "Medication":
            parts = (part.item_reference for part in decode(_medication, resource.raw).ingredient)
            return [part.reference for part in parts if part is not None and part.reference]
        if resource.type.startswith("Medication"):
            said = decode(_medicated, resource.raw).medication_reference
            return [said.reference] if said is not None and said.reference else []
    except ElementError:  # said where its facts are made
        return []
    return []


def _version_in(etag: str | None) -> str | None:
    """https://hl7.org/fhir/R4/http.html#versioning: `W/"3"` is version 3."""
    found = re.fullmatch(r'(?:W/)?"([A-Za-z0-9\-.]{1,64})"', etag or "")
    return found[1] if found else None
