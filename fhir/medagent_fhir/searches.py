# SPDX-License-Identifier: Apache-2.0
"""All resources of one type that a server has of one patient: its pages, put together and judged.

A search is asked a second time where its pages changed while they were read (another total, an id twice, fewer entries
than the total, a page that is kept no longer). What is not certain then is said.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from medagent.errors import ChartError, FhirError
from medagent.scopes import Narrowing
from medagent_fhir.client import Capabilities, FhirClient, Received
from medagent_fhir.containers import BYTES_SETTING, Contents, Resource, split_document
from medagent_fhir.narrowings import checkable, granted
from medagent_fhir.ownership import detach, holds_strangers
from medagent_fhir.references import References

_BY_PATIENT_ALONE = frozenset({"AllergyIntolerance", "FamilyMemberHistory", "Immunization"})
_WITH_DRUG = frozenset({"MedicationAdministration", "MedicationDispense", "MedicationRequest", "MedicationStatement"})

Query = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Budget:
    """Bytes that a chart may still take in."""

    left: int

    def spend(self, count: int) -> bool:
        """Whether so many more may be; if so, they are taken."""
        if count > self.left:
            return False
        self.left -= count
        return True


@dataclass(frozen=True, slots=True)
class Whose:
    """The patient that is asked about, and what means them."""

    patient: Resource
    references: References
    """Among whose targets it is the only Patient."""
    merged: Collection[str]
    """`Patient/id` of records that were merged with it."""

    @property
    def key(self) -> str:
        """`Patient/id`."""
        return self.patient.uri


@dataclass(slots=True)
class Found:
    """What a search gave."""

    contents: Contents
    reasons: list[str] = field(default_factory=list)
    """Why it is not everything."""


class TypeSearch:
    """Asks for one type."""

    def __init__(
        self,
        client: FhirClient,
        whose: Whose,
        resource_type: str,
        budget: Budget,
        *,
        count: int,
        may_include: bool,
    ) -> None:
        """`may_include`: whether the drugs of medications may come along."""
        self._client = client
        self._whose = whose
        self._type = resource_type
        self._budget = budget
        self._count = count
        self._may_include = may_include

    async def found(self, narrowings: Sequence[Narrowing], now: Contents) -> Found:
        """What meets at least one of these; an empty one: everything. `now`: takes in what is found.

        Steps: (1) what of the grant can be checked; (2) one search for each; (3) what came back beyond it is refused.
        """
        found = Found(now)
        # (1)
        if () in narrowings:
            await self._ask((), found)
            return found
        found.reasons.append(f"{self._type}: only a part of it was granted")
        checked = [one for one in narrowings if checkable(one)]
        if len(checked) < len(narrowings):
            found.reasons.append(f"{self._type}: granted by a query that cannot be checked here, so it was not asked")
        # (2), and (3)
        for narrowing in checked:
            await self._ask(narrowing, found, checked)
        return found

    async def _ask(self, narrowing: Narrowing, found: Found, checked: Sequence[Narrowing] = ()) -> None:
        can = await self._client.capabilities()
        if not can.supports(self._type, "search-type"):
            found.reasons.append(f"{self._type}: the server says that it does not offer it")
            return
        queries = self._queries(narrowing, can)
        if not queries:
            found.reasons.append(f"{self._type}: the server does not search it by patient")
            return
        walk = await self._walked(queries, checked)
        if walk.is_shaken(self._type):
            again = await self._walked(queries, checked)
            walk, other = (walk, again) if again.error is not None and walk.error is None else (again, walk)
            self._budget.left += other.contents.bytes
            if walk.is_shaken(self._type):
                found.reasons.append(f"{self._type}: changed while it was read")
        found.reasons += walk.reasons(self._type)
        walk.into(found.contents)

    def _queries(self, narrowing: Narrowing, can: Capabilities) -> list[Query]:
        """Ways to ask for the same, the next where a server refuses the one before."""
        names = ("patient",) if self._type in _BY_PATIENT_ALONE else ("patient", "subject")
        said = can.search_parameters(self._type)
        known = [name for name in names if said is None or name in said]
        include = f"{self._type}:medication"
        asks: list[Query] = []
        if self._may_include and self._type in _WITH_DRUG and can.includes(self._type, include):
            asks += [((name, self._whose.key), *narrowing, ("_include", include)) for name in known[:1]]
        return [*asks, *(((name, self._whose.key), *narrowing) for name in known)]

    async def _walked(self, queries: Sequence[Query], checked: Sequence[Narrowing]) -> "_Walk":
        for query in queries:
            walk = _Walk(self._client, self._whose, self._budget, checked)
            await walk.through(self._type, query, self._count)
            if walk.is_taken:
                return walk
        return walk


class _Walk:
    """Through the pages of one search, once."""

    def __init__(self, client: FhirClient, whose: Whose, budget: Budget, checked: Sequence[Narrowing]) -> None:
        self._client = client
        self._whose = whose
        self._budget = budget
        self._checked = checked
        self._split: Contents | None = None
        self._starts: list[int] = []
        """Where the resources of each page begin."""
        self._beyond = 0
        self._has_room = True
        self.contents = Contents(whose.patient.container.retrieved_at)
        self.error: ChartError | None = None

    @property
    def is_taken(self) -> bool:
        """Whether the server took the question as it was asked."""
        refused = isinstance(self.error, FhirError) and self.error.failure == "refused"
        return bool(self.contents.pages) or not refused

    async def through(self, resource_type: str, query: Query, count: int) -> None:
        """Takes in page after page, each given up when it is split."""
        try:
            async for page in self._client.search(resource_type, query, count=count, judge=self._judge):
                if not self._budget.spend(len(page.body)):
                    self._has_room = False
                    return
                await self._take(page)
                del page  # not held while the next is waited for
        except ChartError as error:  # also where no token can be had
            self.error = error

    def _judge(self, page: Received) -> None:
        """Before the call goes on record: an answer that holds another patient's resource is refused as a whole."""
        contents = Contents(page.retrieved_at)
        try:
            split_document(page.name, page.body, contents, digest=page.sha256)
        except FhirError:
            raise
        except ChartError as error:
            raise FhirError("invalid", str(error)) from error
        whose = self._whose
        for said in contents.pages:
            self._learn_name(said.own_url, page.name.split(" ", 1)[0])
        if holds_strangers(contents, whose.references, whose.merged):
            message = f"{page.name}: the server sent another patient's data; nothing of this answer is used"
            raise FhirError("foreign", message)
        detach(contents)
        contents.bytes = len(page.body)
        self._split = contents

    def _learn_name(self, own_url: str | None, resource_type: str) -> None:
        """A server behind a proxy may know itself by another base, which its entries bear, too."""
        base, found, _ = (own_url or "").partition("?")[0].rpartition(f"/{resource_type}")
        if found and base.startswith(("http://", "https://")):
            self._whose.references.name(f"{base}/{self._whose.key}", self._whose.patient)

    async def _take(self, page: Received) -> None:
        contents, self._split = self._split, None
        assert contents is not None
        if self._checked:
            await self._refuse_beyond(page, contents)
        self._starts.append(len(self.contents.resources))
        _merge(contents, self.contents)

    async def _refuse_beyond(self, page: Received, contents: Contents) -> None:
        """What a server gave beyond a narrowed grant is not used, and that it gave it goes on record."""
        kind = page.name.split(" ", 1)[0]
        kept = [one for one in contents.resources if one.type != kind or granted(bytes(one.raw), self._checked)]
        beyond = len(contents.resources) - len(kept)
        if beyond:
            self._beyond += beyond
            contents.resources = kept
            await self._client.refuse(page, "forbidden", f"{page.name}: {beyond} entries are beyond what was granted")

    def is_shaken(self, resource_type: str) -> bool:
        """Whether the pages cannot be of one state of the record."""
        if isinstance(self.error, FhirError) and self.error.failure == "gone":
            return True
        if self.error is not None or not self._has_room:
            return False
        totals = {page.total for page in self.contents.pages if page.total is not None}
        matches = sum(page.matches for page in self.contents.pages)
        return len(totals) > 1 or any(matches < total for total in totals) or self._has_twice(resource_type)

    def _has_twice(self, resource_type: str) -> bool:
        """Whether an id stands on two pages, or on one with two contents. Twice the same on one page is no change."""
        seen: dict[str, tuple[int, Resource]] = {}
        page = 0
        for place, resource in enumerate(self.contents.resources):
            while page + 1 < len(self._starts) and place >= self._starts[page + 1]:
                page += 1
            if resource.type == resource_type and resource.id is not None:
                first, other = seen.setdefault(resource.id, (page, resource))
                if first != page or other.raw != resource.raw:
                    return True
        return False

    def reasons(self, resource_type: str) -> list[str]:
        """Why what was found is not everything."""
        found = []
        if self.error is not None:
            told = str(self.error).removeprefix(f"{resource_type}: ").removeprefix(f"{resource_type} page 1: ")
            found.append(f"{resource_type}: {told}")
        if not self._has_room:
            found.append(f"{resource_type}: the chart has more bytes than {BYTES_SETTING} allows")
        if self._beyond:
            found.append(f"{resource_type}: {self._beyond} entries beyond what was granted were refused")
        if any(page.warned for page in self.contents.pages):
            found.append(f"{resource_type}: the server attached a warning to its results")
        return found

    def into(self, contents: Contents) -> None:
        """Hands over what was found."""
        _merge(self.contents, contents)


def _merge(found: Contents, into: Contents) -> None:
    into.resources += found.resources
    into.unread += found.unread
    into.pages += found.pages
    into.bytes += found.bytes
