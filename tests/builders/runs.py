# SPDX-License-Identifier: Apache-2.0
"""Runs of the whole product in a folder of their own."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from medagent.chart import AsOf, ChartSource
from medagent.images import ImageSource
from medagent.settings import Settings
from medagent_workflows.recommending import Recorded, recommend
from medagent_workflows.rendering.document import document_json
from medagent_workflows.wiring import Services, chart_source, open_models, open_services


@dataclass(frozen=True, slots=True)
class Runner:
    """Services on a database of their own, and how to run a request on them."""

    services: Services

    def source(self, path: Path, *, partial: bool = False) -> ChartSource:
        """The chart source that the command line would use."""
        return chart_source(str(path), self.services.settings, self.services.clock, partial=partial)

    def record(
        self,
        source: ChartSource | Path,
        *,
        patient: str | None = None,
        as_of: AsOf | None = None,
        images: ImageSource | None = None,
        **request: Any,
    ) -> Recorded:
        """One request to its outcome, with the model of the settings if they name one. `as_of` None: now."""
        if isinstance(source, Path):
            source = self.source(source)
        moment: AsOf = as_of if as_of is not None else self.services.clock.now()

        async def run() -> Recorded:
            async with open_models(self.services, images) as models:
                return await recommend(
                    self.services, source, patient=patient, as_of=moment, actor="test", models=models, **request
                )

        return asyncio.run(run())

    def run(self, source: ChartSource | Path, **request: Any) -> dict[str, Any]:
        """The public JSON of one request, read with a plain JSON parser as a stranger would."""
        recorded = self.record(source, **request)
        document: dict[str, Any] = json.loads(document_json(recorded.dossier, recorded.stored))
        return document


@contextmanager
def runner(home: Path, **settings: Any) -> Iterator[Runner]:
    """A runner whose records lie in `home`."""
    with open_services(Settings.load(home=home, **settings)) as services:
        yield Runner(services)


def instant_of(text: str) -> datetime:
    """An instant from RFC 3339 text."""
    return datetime.fromisoformat(text)
