# SPDX-License-Identifier: Apache-2.0
"""Images that the model is shown: scaled down by rule, counted, and never more than the site allows."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice

from medagent.errors import ImageError
from medagent.evidence import ImageRef
from medagent.images import ImageSource
from medagent.model.exchange import Picture
from medagent_tools.imaging.downscale import downscaled
from medagent_workflows.reasoning.bounds import Bounds, Spent


@dataclass(slots=True)
class Pictures:
    """The images of one run."""

    source: ImageSource | None
    """None: no pixels can be had."""
    listed: Callable[[], Iterable[ImageRef]]
    """The chart's images, newest first: what a model without tools is shown."""
    bounds: Bounds
    spent: Spent
    unreadable: list[str] = field(default_factory=list)
    """Ids of images that are there and cannot be read."""
    _shown: dict[str, Picture] = field(default_factory=dict)

    @property
    def shown(self) -> tuple[str, ...]:
        """Ids of the images that were shown, in order."""
        return tuple(self._shown)

    @property
    def left_out(self) -> tuple[str, ...]:
        """What a reviewer must know of the images that were to be shown: a film that cannot be read is not one without
        findings."""
        return tuple(f"image {image}: cannot be read" for image in dict.fromkeys(self.unreadable))

    def newest(self) -> tuple[ImageRef, ...]:
        """As many of the newest images as may be shown."""
        if self.bounds.images == 0 or self.source is None:
            return ()
        found = tuple(islice(self.listed(), self.bounds.images + 1))
        if len(found) > self.bounds.images:
            self.spent.refuse("images")
        return found[: self.bounds.images]

    def show(self, image: ImageRef) -> Picture | None:
        """One image for the model. None: none may be shown any more, or this one has no readable pixels."""
        if image.id in self._shown:
            return self._shown[image.id]
        if self.source is None or self.bounds.images == 0:
            return None
        if len(self._shown) >= self.bounds.images:
            self.spent.refuse("images")
            return None
        try:
            data = self.source.pixels(image)
            if data is None:
                return None
            scaled = downscaled(data, side_max=self.bounds.image_side)
        except ImageError:
            self.unreadable.append(image.id)
            return None
        picture = Picture(media_type="image/png", data=scaled.data, evidence=image.id)
        self._shown[image.id] = picture
        self.spent.images = len(self._shown)
        return picture
