# SPDX-License-Identifier: Apache-2.0
"""Tools over images: which there are, and a look at one of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from medagent.errors import ImageError, ToolRefused
from medagent.evidence import ImageRef
from medagent.images import ImageSource
from medagent.model.marking import marked
from medagent_tools.arguments import EvidenceId, ToolArguments, Window
from medagent_tools.charts.lines import label, status_words, when
from medagent_tools.charts.reading import ChartReader, newest_first, page, read_scopes
from medagent_tools.imaging.studies import Instance, Study, image_of, studies, study_of
from medagent_tools.seam import Line, ToolContext, ToolResult

_IMAGING = ("ImagingStudy",)


class ListImagesArguments(Window):
    """Of which modality, from when."""

    modality: Annotated[str | None, Field(max_length=16)] = None


class ViewImageArguments(ToolArguments):
    """Which image, and which of its frames."""

    image: EvidenceId
    frame: int = Field(default=1, ge=1, le=10_000)


@dataclass(frozen=True, slots=True)
class ListImages:
    """Studies newest first, and below each its images."""

    name: ClassVar[str] = "list_images"
    arguments: ClassVar[type[ListImagesArguments]] = ListImagesArguments
    scopes: ClassVar[tuple[str, ...]] = read_scopes(_IMAGING)

    def run(self, arguments: ListImagesArguments, context: ToolContext) -> ToolResult:
        """Only the images of the page are opened, for their size."""
        reader = ChartReader(context)
        window = arguments.bounds(reader.collector.zone, context.chart.as_of)
        facts = reader.read(_IMAGING).facts
        inside = [study_of(fact, context.chart) for fact in newest_first(filter(window.holds, facts))]
        shown = [study for study in inside if _is_of(study, arguments.modality)]
        items: list[Study | Instance] = []
        for study in shown:
            items += [study, *study.instances]
        images: dict[str, ImageRef] = {}

        def tell(item: Study | Instance) -> Line:
            if isinstance(item, Study):
                return _study_line(item)
            line, image = _instance_line(item, context.images)
            if image is not None:
                images[image.id] = image
            return line

        without = "" if context.images is not None else " No pixels can be had: no image can be looked at."
        heading = (
            f"Imaging studies, newest first: {len(shown)} of {len(facts)}, with "
            f"{sum(len(study.instances) for study in shown)} images.{without}{window.left_out(facts)}"
        )
        result = page(reader, heading, items, tell, arguments)
        return result.model_copy(update={"images": tuple(images.values())})


@dataclass(frozen=True, slots=True)
class ViewImage:
    """A look at one image: its pixels follow the answer."""

    name: ClassVar[str] = "view_image"
    arguments: ClassVar[type[ViewImageArguments]] = ViewImageArguments
    scopes: ClassVar[tuple[str, ...]] = read_scopes(_IMAGING)

    def run(self, arguments: ViewImageArguments, context: ToolContext) -> ToolResult:
        """Steps: (1) the image is one of this patient's; (2) the frame has pixels that can be read."""
        if context.images is None:
            raise ToolRefused("image: no pixels can be had in this run")
        reader = ChartReader(context)
        search = reader.read(_IMAGING)
        # (1)
        instance = _instance_of(arguments, context.images, context)
        # (2)
        try:
            image = image_of(instance, context.images, arguments.frame)
        except ImageError as error:
            raise ToolRefused(f"image: {error}") from error
        if image is None:
            raise ToolRefused(f"frame: this image has no frame {arguments.frame}")
        line = Line(
            text=f"{_about(instance)}, frame {image.frame}, {image.columns} × {image.rows} pixels",
            evidence=(image.id, instance.study.id),
        )
        return ToolResult(
            heading="The image to look at; what is seen in it is the model's own reading.",
            lines=(line,),
            total=1,
            queries=(search.reading.query,),
            readings=(search.reading.id,),
            images=(image,),
            pictures=(image.id,),
        )


def _is_of(study: Study, modality: str | None) -> bool:
    if modality is None:
        return True
    codes = {coding.code for coding in study.fact.codings} | {one.modality for one in study.instances}
    return modality.casefold() in {code.casefold() for code in codes if code}


def _study_line(study: Study) -> Line:
    named = f"{study.series} series, {len(study.instances)} images"
    if study.unnamed:
        named += f", {study.unnamed} more without a DICOM UID that could be cited"
    parts = [when(study.fact.time), f"study {label(study.fact)}", status_words(study.fact), named]
    return Line(text=", ".join(part for part in parts if part), evidence=(study.fact.id,))


def _instance_line(instance: Instance, source: ImageSource | None) -> tuple[Line, ImageRef | None]:
    """The line of an image, and the image where it has pixels."""
    try:
        image = None if source is None else image_of(instance, source)
    except ImageError:
        return Line(text=f"{_about(instance)}, cannot be read", evidence=(instance.study.id,)), None
    if image is None:
        return Line(text=f"{_about(instance)}, no pixels", evidence=(instance.study.id,)), None
    text = f"{_about(instance)}, {image.columns} × {image.rows} pixels"
    return Line(text=text, evidence=(image.id, instance.study.id)), image


def _about(instance: Instance) -> str:
    parts = [
        f"{when(instance.study.time)}, image {instance.number or 'without number'}",
        f"modality {marked(instance.modality, 16)}" if instance.modality else "",
        f"of {marked(instance.body_part, 60)}" if instance.body_part else "",
        marked(instance.title, 80) if instance.title else "",
    ]
    return ", ".join(part for part in parts if part)


def _instance_of(arguments: ViewImageArguments, source: ImageSource, context: ToolContext) -> Instance:
    """The image of this patient's chart that is meant, by the id of its first frame or of the one that is asked for.
    Raises ToolRefused where there is none."""
    for instance in _instances(context):
        for frame in dict.fromkeys((1, arguments.frame)):
            try:
                image = image_of(instance, source, frame)
            except ImageError:
                continue
            if image is not None and image.id == arguments.image:
                return instance
    raise ToolRefused("image: this patient's chart names no such image; use an id that list_images gave out")


def _instances(context: ToolContext) -> Iterator[Instance]:
    for study in studies(context.chart):
        yield from study.instances
