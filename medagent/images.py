# SPDX-License-Identifier: Apache-2.0
"""The image seam: pixels behind the images that a chart names."""

from typing import Protocol

from medagent.evidence import ImageRef


class ImageSource(Protocol):
    """Where images come from."""

    def pixels(self, image: ImageRef) -> bytes | None:
        """A rendered frame as PNG or JPEG, as it is stored. None: the source has no such image. MUST raise ImageError
        for what is there and cannot be read."""
        ...
