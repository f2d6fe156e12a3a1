# SPDX-License-Identifier: Apache-2.0
"""Wiring: reads the settings once, opens what a run needs, and closes it in reverse order."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

from medagent.chart import ChartSource
from medagent.clock import Clock, SystemClock
from medagent.errors import SettingsError, UsageError
from medagent.images import ImageSource
from medagent.model.vllm import VllmModel
from medagent.settings import Settings
from medagent.store import Store
from medagent_fhir.files import FileChartSource
from medagent_fhir.sensitivity import Sensitivity
from medagent_tools.guidelines.pack import Pack, shipped_pack
from medagent_tools.imaging.rendered import RenderedImages
from medagent_workflows.checkpoints import open_checkpointer
from medagent_workflows.reasoning.bounds import Bounds
from medagent_workflows.reasoning.services import Models


@dataclass(frozen=True, slots=True)
class Services:
    """What every run of this process shares."""

    settings: Settings
    clock: Clock
    store: Store

    @property
    def pack(self) -> Pack:
        """The rules; loaded when first asked for, so that a reviewer can verify records whatever the pack is like."""
        return shipped_pack()

    @property
    def stage(self) -> Literal["demo", "shadow", "care"]:
        """`care` needs a recorded approval of the guideline editions, of which this version knows none: it runs
        in shadow until then (clinical: 14)."""
        return "shadow" if self.settings.stage == "care" else self.settings.stage


@contextmanager
def open_services(settings: Settings | None = None, clock: Clock | None = None) -> Iterator[Services]:
    """Opens the services of one process."""
    settings = settings or Settings.load()
    clock = clock or SystemClock()
    with ExitStack() as closing:
        store = Store.open(settings, clock)
        closing.callback(store.close)
        yield Services(settings=settings, clock=clock, store=store)


@asynccontextmanager
async def open_models(services: Services, images: ImageSource | None = None) -> AsyncIterator[Models | None]:
    """Opens what runs need to reason with the site's model. None: no model is configured, which is a normal state.

    One per event loop: its connections and the checkpointer's belong to it. Nothing is asked of the server yet.
    """
    settings = services.settings
    if settings.model_url is None:
        yield None
        return
    if settings.model is None:
        raise SettingsError("MEDAGENT_MODEL: name the model that MEDAGENT_MODEL_URL serves; medagent model check helps")
    async with AsyncExitStack() as closing:
        model = VllmModel(
            settings.model_url,
            settings.model,
            revision=settings.model_revision,
            weights_digest=settings.model_weights_digest,
            api_key=settings.model_api_key,
            clock=services.clock,
            connections=settings.model_concurrency,
        )
        closing.push_async_callback(model.aclose)
        checkpointer = await closing.enter_async_context(open_checkpointer(settings))
        yield Models(
            model=model,
            journal=services.store.journal(settings.tenant),
            bounds=Bounds.of(settings),
            checkpointer=checkpointer,
            images=images,
        )


def unused_settings(settings: Settings) -> tuple[str, ...]:
    """The variables that ask for parts which this version does not have. Nothing is left out silently."""
    names = ["broker_url", "dicomweb_url", *(["model"] if settings.model_url is None else [])]
    return tuple(f"MEDAGENT_{name.upper()}" for name in names if getattr(settings, name) is not None)


def chart_source(location: str, settings: Settings, clock: Clock, *, partial: bool = False) -> ChartSource:
    """Where charts of files come from: a Bundle, NDJSON, or a folder of either."""
    path = Path(location)
    if not location or not os.path.exists(path):  # an empty text would be the working folder; pathlib's own may raise
        raise UsageError(f"--fhir: there is no file or folder {path}; a server is named as https://host/path")
    return FileChartSource(
        path,
        zone=ZoneInfo(settings.time_zone),
        clock=clock,
        partial=partial,
        bytes_max=settings.input_bytes_max,
        sensitivity=sensitivity(settings),
    )


def sensitivity(settings: Settings) -> Sensitivity:
    """What is withheld here. Nobody has shown a role or a purpose yet, so nothing is let through for one."""
    policy = Sensitivity.default() if settings.sensitivity_file is None else Sensitivity.load(settings.sensitivity_file)
    return policy.seen_by()


def image_source(folder: Path | None, settings: Settings) -> ImageSource | None:
    """Where pixels come from. None: nowhere. Image analysis is off until a site bounds it above nothing."""
    if folder is None:
        return None
    if settings.model_url is None or settings.model_images_max == 0:
        raise UsageError("--images: image analysis is off; set MEDAGENT_MODEL_URL and MEDAGENT_MODEL_IMAGES_MAX")
    if not folder.is_dir():
        raise UsageError(f"--images: there is no folder {folder}")
    return RenderedImages(folder)
