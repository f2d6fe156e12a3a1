# SPDX-License-Identifier: Apache-2.0
"""Runs of the whole product over a FHIR server, and what a reader is told by one, whatever bytes the server made."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from builders.runs import Runner, instant_of, runner
from medagent.chart import AsOf
from medagent_workflows.ehrs import Entrance, open_server
from medagent_workflows.recommending import Recorded, recommend, resume
from medagent_workflows.rendering.document import document_json

AS_OF = instant_of("2026-06-30T23:59:59+00:00")

Said = dict[str, Any]


@contextmanager
def at_work(home: Path, **settings: Any) -> Iterator[Runner]:
    with runner(home / "home", **settings) as made:
        assert isinstance(made, Runner)
        yield made


def over_http(made: Runner, url: str, patient: str, *, as_of: AsOf = AS_OF, resumed: str | None = None) -> Recorded:
    """One run as the command line makes it."""

    async def run() -> Recorded:
        entrance = Entrance(actor="test", patient=f"Patient/{patient}", has_model=False, request=resumed)
        async with open_server(made.services, url, entrance) as source:
            if resumed is not None:
                return await resume(made.services, source, resumed)
            return await recommend(made.services, source, patient=patient, as_of=as_of, actor="test")

    return asyncio.run(run())


def document(recorded: Recorded) -> Said:
    """As a stranger reads it."""
    found: Said = json.loads(document_json(recorded.dossier, recorded.stored))
    return found


def told(said: Said) -> Said:
    """All that a reader is told, claim by claim, each with the resource that it stands in. Ids of evidence differ: they
    tell bytes and pages, and a server stores what a transaction says under references of its own."""
    resources = {one["id"]: one["source"]["uri"] for one in said["evidence"] if one["kind"] == "fact"}

    def citation(one: Said) -> Said:
        return one | {"evidence": resources.get(one["evidence"])}

    return {
        "outcome": (said["outcome"], said["reason"], said["banners"], said["counts"], said["results"]),
        "recommendations": [
            (
                one["title"],
                one["stance"],
                one["display"],
                one["warnings"],
                [(c["kind"], c["standing"], c["text"], [citation(x) for x in c["citations"]]) for c in one["claims"]],
            )
            for one in said["recommendations"]
        ],
        "suppressed": [(one["rule"], one["reason"], one["text"]) for one in said["suppressed"]],
        "missing": said["missing"],
    }
