# SPDX-License-Identifier: Apache-2.0
"""What a launch leaves: the context that the EHR gave, who the user is, and what was granted. Tokens are elsewhere."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from medagent.errors import LaunchError
from medagent.scopes import Grant
from medagent_fhir.smart.addresses import FHIR_ID


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


def launch_context(given: Mapping[str, Any]) -> LaunchContext:
    """The context beside the tokens. Raises LaunchError for what cannot be meant: a guess could be a wrong patient."""
    further = given.get("fhirContext")
    if further is not None and not (isinstance(further, list) and all(isinstance(item, dict) for item in further)):
        raise _not_meant("fhirContext")
    app_context = given.get("appContext")
    return LaunchContext(
        patient=_reference(given, "patient", "Patient"),
        encounter=_reference(given, "encounter", "Encounter"),
        fhir_context=tuple(further or ()),
        intent=_text(given, "intent"),
        tenant=_text(given, "tenant"),
        need_patient_banner=given.get("need_patient_banner") is not False,
        app_context=app_context if app_context is None or isinstance(app_context, str) else json.dumps(app_context),
    )


def _reference(given: Mapping[str, Any], name: str, resource_type: str) -> str | None:
    id_ = given.get(name)
    if id_ is None:
        return None
    if not isinstance(id_, str) or not FHIR_ID.fullmatch(id_):
        raise _not_meant(name)
    return f"{resource_type}/{id_}"


def _text(given: Mapping[str, Any], name: str) -> str | None:
    text = given.get(name)
    if text is not None and not isinstance(text, str):
        raise _not_meant(name)
    return text


def _not_meant(name: str) -> LaunchError:
    return LaunchError(f"{name}: the EHR's launch context is not as SMART has it; tell who runs the EHR")
