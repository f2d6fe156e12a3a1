# SPDX-License-Identifier: Apache-2.0
"""A process that works on one request and dies by SIGKILL at a chosen moment, wherever in its work that lies.

`python -m builders.killing` reads an order a line, forks a process that carries it out, and answers with two lines: the
id of that process, and how it ended. What the product needs is loaded once, before the first order; each fork opens
records, checkpoints and connections of its own.
"""

import asyncio
import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from builders.moments import Moment, Moments
from builders.reasoning_scripts import AS_OF, NOW
from builders.watched import WatchedJournal, WatchedSaver, WatchedStore, watch
from medagent.settings import Settings
from medagent_tools.guidelines.pack import shipped_pack
from medagent_tools.imaging.rendered import RenderedImages
from medagent_workflows.recommending import recommend, resume
from medagent_workflows.wiring import Services, chart_source, open_models

_NIGHT = timedelta(hours=10)


@dataclass(frozen=True, slots=True)
class Order:
    """What a process is to do."""

    home: str
    database_url: str
    model_url: str
    model: str
    chart: str
    images: str
    request: str | None
    """The recorded request to go on with. None: it makes one."""
    life: int
    """How many processes died before."""
    notes: str
    """The file in which it notes its moments."""
    death: Moment | None
    """None: it lives."""

    def line(self) -> str:
        """As it is sent."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, line: str) -> "Order":
        """As it was sent."""
        fields = json.loads(line)
        death = fields["death"]
        return cls(**(fields | {"death": None if death is None else Moment(**death)}))


@dataclass(slots=True)
class _Clock:
    """Goes on by a millisecond each time it is looked at. Between two lives lies a night."""

    next: datetime

    def now(self) -> datetime:
        present, self.next = self.next, self.next + timedelta(milliseconds=1)
        return present


async def _work(order: Order, services: Services, moments: Moments) -> None:
    """The request to its outcome: from the start, or from where another process died."""
    source = chart_source(order.chart, services.settings, services.clock)
    async with open_models(services, RenderedImages(Path(order.images))) as models:
        assert models is not None
        watched = replace(
            models,
            journal=WatchedJournal(models.journal, moments),
            checkpointer=WatchedSaver(models.checkpointer, moments),
        )
        if order.request is not None:
            await resume(services, source, order.request, models=watched)
        else:
            await recommend(services, source, patient=None, as_of=AS_OF, actor="test", models=watched)


def live(order: Order) -> None:
    """Carries out the order, or dies of it."""
    moments = Moments(Path(order.notes), order.death)
    watch(moments)
    settings = Settings.load(
        home=Path(order.home), database_url=order.database_url, model_url=order.model_url, model=order.model,
        model_images_max=4,
    )  # fmt: skip
    clock = _Clock(NOW + order.life * _NIGHT)
    with WatchedStore.open(settings, clock) as store:
        assert isinstance(store, WatchedStore)
        store.moments = moments
        asyncio.run(_work(order, Services(settings, clock, store), moments))


def _forked(work: Callable[[], None]) -> int:
    """The id of a process that does the work, and nothing behind it."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        work()
        status = 0
    finally:
        if status:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(status)


def main() -> None:
    """Carries out orders until there are no more."""
    shipped_pack()
    for line in sys.stdin:
        order = Order.of(line)
        process = _forked(partial(live, order))
        print(process, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
