# SPDX-License-Identifier: Apache-2.0
"""What a server says it can do: its CapabilityStatement, as far as a client that reads asks.

A statement counts where it speaks: a server that lists no operation at all may know some, and one that lists a few
says that it knows no other. https://hl7.org/fhir/R4/capabilitystatement.html
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class TypeAbilities:
    """What a server can do with one resource type. None: it does not say."""

    interactions: frozenset[str] | None = None
    search_parameters: frozenset[str] | None = None
    includes: frozenset[str] | None = None
    reverse_includes: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Of one server. Without a statement that can be read, everything is supported, so everything is tried."""

    stated: bool = False
    """Whether there was a statement."""
    software: str | None = None
    """Name and version of the server."""
    fhir_version: str | None = None
    types: Mapping[str, TypeAbilities] = field(default_factory=dict)
    interactions: frozenset[str] | None = None
    """Of the whole system, such as `batch`. None: it does not say."""
    operations: frozenset[str] = frozenset()
    """By name: `export` of the system, `Patient/everything` of a type. Empty: it does not say."""
    posts_searches: bool = True
    """Whether searches go by POST. A statement cannot say so: it holds until the server refuses one."""

    def supports(self, resource_type: str, interaction: str) -> bool:
        """Whether `read`, `vread`, `search-type`, `history-instance` or `history-type` of a type may be asked for."""
        raise NotImplementedError

    def operates(self, name: str) -> bool:
        """Whether an operation may be asked for: `export`, or `Patient/everything`."""
        raise NotImplementedError

    def search_parameters(self, resource_type: str) -> frozenset[str] | None:
        """What a type can be searched by, without those that begin with `_`. None: it does not say."""
        raise NotImplementedError

    def includes(self, resource_type: str, include: str) -> bool:
        """Whether `_include` may name this, such as `MedicationRequest:medication`."""
        raise NotImplementedError

    def reverse_includes(self, resource_type: str, include: str) -> bool:
        """Whether `_revinclude` may name this, such as `Provenance:target`."""
        raise NotImplementedError
