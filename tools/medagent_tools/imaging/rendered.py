# SPDX-License-Identifier: Apache-2.0
"""Rendered images in a folder: PNG or JPEG files that are named by the SOP instance UID of what they show.

`<uid>.png` or `<uid>.jpg` is the only or first frame, `<uid>-<n>.png` frame n; not `<uid>.<n>.png`, which is how the
only frame of another instance may be called. Nothing outside of the folder is read: a UID is checked before it becomes
a name, and a link that leads out is refused.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from medagent.errors import ImageError
from medagent.evidence import ImageRef
from medagent_tools.imaging.downscale import BYTES_MAX
from medagent_tools.imaging.uids import is_uid

_ENDINGS = ("png", "jpg", "jpeg")


@dataclass(frozen=True, slots=True)
class RenderedImages:
    """The images of one folder."""

    folder: Path

    def pixels(self, image: ImageRef) -> bytes | None:
        """A rendered frame as it is stored. None: the folder has none of it."""
        if not is_uid(image.instance) or image.frame < 1:
            return None
        stems = [f"{image.instance}-{image.frame}"]
        if image.frame == 1:
            stems.insert(0, image.instance)
        for stem in stems:
            for ending in _ENDINGS:
                data = self._read(f"{stem}.{ending}")
                if data is not None:
                    return data
        return None

    def _read(self, name: str) -> bytes | None:
        """A plain file of the folder. None: there is none of this name."""
        path = self.folder / name
        try:
            real = path.resolve(strict=True)
        except FileNotFoundError:
            return None
        except (OSError, RuntimeError) as error:  # a link that leads to itself
            raise ImageError(f"{name}: cannot be read; check the folder of images") from error
        if not real.is_relative_to(self.folder.resolve()):
            raise ImageError(f"{name}: is a link that leads out of the folder of images; put the file there")
        try:
            # Opened once and then looked at, so that it cannot be changed for another in between.
            with open(os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                about = os.fstat(file.fileno())
                if not S_ISREG(about.st_mode):
                    raise ImageError(f"{name}: is no plain file")
                if about.st_size > BYTES_MAX:
                    raise ImageError(f"{name}: has more than {BYTES_MAX} bytes; render it smaller")
                return file.read(BYTES_MAX)
        except OSError as error:
            raise ImageError(f"{name}: cannot be read; check the folder of images") from error
