# SPDX-License-Identifier: Apache-2.0
"""Reads that were refused here for want of a scope, on record beside the calls that were made (standards: 11, 47)."""

from itertools import count

from medagent.clock import Clock
from medagent_fhir.calls import Call, Recorder


class Refusals:
    """Puts on record what tools of one run were refused. Nothing of it went to the server, and the record says so."""

    def __init__(self, recorder: Recorder, *, base: str, patient: str, clock: Clock) -> None:
        """`base`: FHIR base URL of the server that granted less. `patient`: `Patient/id` of the run."""
        self._recorder = recorder
        self._base = base.rstrip("/")
        self._patient = patient
        self._clock = clock
        self._numbers = count(1)

    async def __call__(self, tool: str, resource_type: str) -> None:
        """Durable on return. Raises AuditError: then the model may not even hear of the refusal."""
        now = self._clock.now()
        call = Call(
            interaction="search-type",
            method="GET",
            url=f"{self._base}/{resource_type}",
            body=None,
            patient=self._patient,
            resource=None,
            status=None,
            failure="forbidden",
            detail=f"{tool} was refused here: patient/{resource_type}.rs was not granted, and nothing was asked",
            request_id=f"{self._recorder.retrieval}.refused-{next(self._numbers)}",
            token_id=None,
            started_at=now,
            ended_at=now,
            response_sha256=None,
        )
        await self._recorder.record(call)
