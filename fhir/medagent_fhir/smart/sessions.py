# SPDX-License-Identifier: Apache-2.0
"""What a launch leaves: the context that the EHR gave, who the user is, and what was granted. Tokens are elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from medagent.scopes import Grant


@dataclass(frozen=True, slots=True)
class LaunchContext:
    """What the EHR said of where it was launched from (standards 13)."""

    patient: str | None = None
    """`Patient/id`. None: it named none, so there is no chart to read."""
    encounter: str | None = None
    """`Encounter/id`."""
    fhir_context: tuple[Mapping[str, Any], ...] = ()
    """Further resources: `reference`, `canonical` or `identifier`, and perhaps `type` and `role`."""
    intent: str | None = None
    """What the user wants, in the EHR's words."""
    tenant: str | None = None
    """The organisation that uses the EHR."""
    need_patient_banner: bool = True
    """Whether the page must show whose chart it is. True where the EHR does not say that it shows it itself."""
    app_context: str | None = field(default=None, repr=False)
    """What the EHR hands on from whatever made it launch us, such as a CDS card."""


@dataclass(frozen=True, slots=True)
class SmartSession:
    """A launch that was granted, as its browser may use it."""

    key: str = field(repr=False)
    """Opens the session together with the browser's cookie. Goes into a cookie and nowhere else."""
    ehr: str
    """Name in the registry."""
    base: str
    """FHIR base URL, without a slash at its end."""
    context: LaunchContext
    user: str | None
    """fhirUser: `Practitioner/id`, absolute where it is not of this server. None: the EHR did not say."""
    scopes: tuple[str, ...]
    """As granted at last."""
    ends_at: datetime
    """When it is over at the latest."""

    @property
    def granted(self) -> Grant:
        """What of FHIR resources was granted."""
        return Grant.of(self.scopes)
