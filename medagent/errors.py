# SPDX-License-Identifier: Apache-2.0
"""The one tree of errors.

Every message names the field, file or resource that is wrong and what to do about it. No message carries
patient data: a resource type, an id and an element name are the most that one may say.
"""

from typing import Literal


class MedAgentError(Exception):
    """Anything that MedAgent reports. Exit status 1 on the command line."""


class UsageError(MedAgentError):
    """The caller asked for something that cannot be meant. Exit status 2 on the command line."""


class SettingsError(MedAgentError):
    """A setting is missing, malformed or unsafe."""


class IntegrityError(MedAgentError):
    """Stored bytes are not what was recorded: a hash, a signature or a proof does not hold."""


class CanonicalError(MedAgentError):
    """A value has no canonical form, so it can be neither hashed nor stored."""


class TimeError(MedAgentError):
    """A text is not a FHIR date, dateTime, instant or duration."""


class UnitError(MedAgentError):
    """Two quantities cannot be compared: a unit is unknown, missing or of another dimension."""


class FormulaError(MedAgentError):
    """A formula was given an input outside of what its publication covers."""


class ChartError(MedAgentError):
    """A chart could not be read. Nothing was recorded."""


FhirFailure = Literal[
    "unavailable", "deadline", "unauthorized", "forbidden", "not_found", "gone", "busy", "refused", "invalid", "foreign"
]
"""How a call to a FHIR server ends where it gives nothing: it cannot be reached or fails; time ran out; the token is
refused; the right is missing; there is no such thing, or no longer; it is overloaded; it refuses the request; what came
back is no FHIR; what came back, or where it leads to, belongs to somebody else."""


class FhirError(ChartError):
    """A FHIR server gave no answer that can be used. Carries how, and what the server said itself."""

    def __init__(self, failure: FhirFailure, message: str, *, status: int | None = None, outcome: str = "") -> None:
        """`outcome`: the text of its OperationOutcome. It may name a patient, so it is no part of the message."""
        super().__init__(message)
        self.failure: FhirFailure = failure
        self.status = status
        self.outcome = outcome


class AuthorizationError(ChartError):
    """An authorization server, or what it answered, cannot be trusted or does not let us in. Carries no secret."""


class LaunchError(MedAgentError):
    """A SMART launch or its callback is not what it must be. It is answered with 400, and nothing is asked for it."""


class ImageError(MedAgentError):
    """An image is there and cannot be read, or is more than may be taken into memory."""


class RuleError(MedAgentError):
    """A guideline, rule or value set does not say what a rule must say."""


class StoreError(MedAgentError):
    """The database cannot be used as it is."""


class AuditError(StoreError):
    """The audit log could not take an event. What it was to record must not happen."""


class JournalError(StoreError):
    """What a run asks for is not what its journal holds. It cannot be resumed: start the request anew."""


class ToolRefused(MedAgentError):
    """A tool declines, with a reason that the model may read and act on. Anything else ends the run."""


class InvalidOutput(MedAgentError):
    """What a model wrote cannot be used. The message is for the model: which field, and what is needed there."""


ModelFailure = Literal["unavailable", "deadline", "too_long", "refused", "invalid_output"]
"""How a model call ends where it gives nothing: the server cannot be reached or is overloaded; time ran out; prompt and
answer exceed the context; the server refuses the request; what came back cannot be used."""


class ModelError(MedAgentError):
    """A model gave no answer. Carries how, and nothing of what was asked or answered."""

    def __init__(self, failure: ModelFailure, message: str) -> None:
        super().__init__(message)
        self.failure: ModelFailure = failure
