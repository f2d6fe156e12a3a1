# SPDX-License-Identifier: Apache-2.0
"""What a server says it can do: its CapabilityStatement, as far as a client that reads asks.

A statement counts where it speaks: a server that lists no operation at all may know some, and one that lists a few
says that it knows no other. https://hl7.org/fhir/R4/capabilitystatement.html
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from medagent.errors import FhirError
from medagent_fhir.client.bodies import decoded

_NAME = "CapabilityStatement"


@dataclass(frozen=True, slots=True)
class TypeAbilities:
    """What a server can do with one resource type. None: it does not say."""

    interactions: frozenset[str] | None = None
    search_parameters: frozenset[str] | None = None
    includes: frozenset[str] | None = None
    reverse_includes: frozenset[str] | None = None


_UNSAID = TypeAbilities()


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Of one server. Without a statement that can be read, everything is supported, so everything is tried."""

    stated: bool = False
    """Whether there was a statement."""
    software: str | None = None
    """Name and version of the server."""
    fhir_version: str | None = None
    types: Mapping[str, TypeAbilities] = field(default_factory=dict)
    """Empty: it does not say which types it has."""
    interactions: frozenset[str] | None = None
    """Of the whole system, such as `batch`. None: it does not say."""
    operations: frozenset[str] = frozenset()
    """By name: `export` of the system, `Patient/everything` of a type. Empty: it does not say."""
    posts_searches: bool = True
    """Whether searches go by POST. A statement cannot say so: it holds until the server refuses one."""

    def supports(self, resource_type: str, interaction: str) -> bool:
        """Whether `read`, `vread`, `search-type`, `history-instance` or `history-type` of a type may be asked for."""
        if self.types and resource_type not in self.types:
            return False
        said = self._of(resource_type).interactions
        return said is None or interaction in said

    def operates(self, name: str) -> bool:
        """Whether an operation may be asked for: `export`, or `Patient/everything`. Some servers list those of a type
        with the system's."""
        return not self.operations or not self.operations.isdisjoint((name, name.rpartition("/")[2]))

    def batches(self) -> bool:
        """Whether several requests may go in one."""
        return self.interactions is None or "batch" in self.interactions

    def search_parameters(self, resource_type: str) -> frozenset[str] | None:
        """What a type can be searched by, without those that begin with `_`. None: it does not say."""
        return self._of(resource_type).search_parameters

    def searches(self, resource_type: str, parameter: str) -> bool:
        """Whether a search may name this parameter, with modifiers or as a chain. A server may pass over one that it
        does not know, and give what other patients have. Those that begin with `_` are rarely listed."""
        said = self.search_parameters(resource_type)
        name = parameter.partition(":")[0].partition(".")[0]
        return said is None or name.startswith("_") or name in said

    def includes(self, resource_type: str, include: str) -> bool:
        """Whether `_include` may name this, such as `MedicationRequest:medication`."""
        return _among(self._of(resource_type).includes, include)

    def reverse_includes(self, resource_type: str, include: str) -> bool:
        """Whether `_revinclude` may name this, such as `Provenance:target`."""
        return _among(self._of(resource_type).reverse_includes, include)

    def _of(self, resource_type: str) -> TypeAbilities:
        return self.types.get(resource_type, _UNSAID)


def _among(said: frozenset[str] | None, include: str) -> bool:
    return said is None or not said.isdisjoint((include, "*", f"{include.partition(':')[0]}:*"))


class _Coded(msgspec.Struct):
    code: str | None = None


class _Named(msgspec.Struct):
    name: str | None = None
    definition: str | None = None


class _Resource(msgspec.Struct, rename="camel"):
    type: str
    interaction: tuple[_Coded, ...] = ()
    search_param: tuple[_Named, ...] = ()
    search_include: tuple[str, ...] = ()
    search_rev_include: tuple[str, ...] = ()
    operation: tuple[_Named, ...] = ()


class _Rest(msgspec.Struct):
    mode: str | None = None
    resource: tuple[_Resource, ...] = ()
    interaction: tuple[_Coded, ...] = ()
    operation: tuple[_Named, ...] = ()


class _Software(msgspec.Struct):
    name: str | None = None
    version: str | None = None


class _Statement(msgspec.Struct, rename="camel"):
    resource_type: str
    fhir_version: str | None = None
    software: _Software | None = None
    rest: tuple[_Rest, ...] = ()


def stated_in(body: bytes) -> Capabilities:
    """What a statement says. FhirError `invalid` for what is none, `refused` where it speaks of another FHIR than R4:
    what it would give could be misread."""
    statement = decoded(body, _Statement, _NAME)
    if statement.resource_type != _NAME:
        raise FhirError("invalid", f"{_NAME}: the server sent something else")
    if statement.fhir_version is not None and not statement.fhir_version.startswith("4."):
        raise FhirError("refused", f"{_NAME}: the server speaks another FHIR than R4; name the base of its R4 endpoint")
    rest = next((one for one in statement.rest if one.mode in (None, "server")), _Rest())
    software = statement.software
    return Capabilities(
        stated=True,
        software=" ".join(filter(None, (software.name, software.version))) if software else None,
        fhir_version=statement.fhir_version,
        types={one.type: _abilities(one) for one in rest.resource},
        interactions=_codes(rest.interaction),
        operations=frozenset(
            [
                *_operations("", rest.operation),
                *(name for one in rest.resource for name in _operations(f"{one.type}/", one.operation)),
            ]
        ),
    )


def _abilities(said: _Resource) -> TypeAbilities:
    return TypeAbilities(
        _codes(said.interaction),
        frozenset(one.name for one in said.search_param if one.name and not one.name.startswith("_")) or None,
        frozenset(said.search_include) or None,
        frozenset(said.search_rev_include) or None,
    )


def _codes(said: Iterable[_Coded]) -> frozenset[str] | None:
    return frozenset(one.code for one in said if one.code) or None


def _operations(prefix: str, said: Iterable[_Named]) -> Iterable[str]:
    """By each name that an operation goes by: its own, and the end of its definition (`…/Patient-everything`)."""
    for one in said:
        if one.name:
            yield prefix + one.name.removeprefix("$")
        if one.definition:
            yield prefix + one.definition.partition("|")[0].rpartition("/")[2].rpartition("-")[2]
