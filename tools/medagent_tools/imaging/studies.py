# SPDX-License-Identifier: Apache-2.0
"""The images that the chart's ImagingStudy resources name (https://hl7.org/fhir/R4/imagingstudy.html).

What stands there was written elsewhere: identifiers count only if they are UIDs, words are marked. An image becomes
evidence only where its pixels can be had: its size is known then, and a reading of what nobody saw is none.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from medagent.canonical import content_id, parse_json
from medagent.chart import Chart
from medagent.errors import CanonicalError, ImageError
from medagent.evidence import VOID, Fact, ImageRef, Query
from medagent.images import ImageSource
from medagent_tools.charts.reading import newest_first
from medagent_tools.imaging.downscale import size_of
from medagent_tools.imaging.uids import is_uid

STUDIES = Query(resource_types=("ImagingStudy",))

_STUDY_SYSTEM, _STUDY_PREFIX = "urn:dicom:uid", "urn:oid:"


@dataclass(frozen=True, slots=True)
class Instance:
    """One image as a study names it."""

    study: Fact
    study_uid: str
    series_uid: str
    uid: str
    modality: str | None
    body_part: str | None
    number: str | None
    title: str | None


@dataclass(frozen=True, slots=True)
class Study:
    """A study with its images."""

    fact: Fact
    uid: str | None
    """None: it does not state its DICOM UID, so none of its images can be named."""
    series: int
    instances: tuple[Instance, ...]
    unnamed: int
    """Images without a UID."""


def studies(chart: Chart) -> tuple[Study, ...]:
    """All studies, newest first."""
    members = (chart.fact(member) for member in chart.read(STUDIES, {}).members)
    return tuple(study_of(fact, chart) for fact in newest_first(fact for fact in members if fact.status not in VOID))


def study_of(fact: Fact, chart: Chart) -> Study:
    """What a study says of its series and images."""
    try:
        resource = _object(parse_json(chart.slice_of(fact.source.sha256)))
    except CanonicalError:  # what the chart could read and we cannot names no image for certain
        return Study(fact, None, 0, (), 0)
    uid = _study_uid(resource)
    series = _objects(resource, "series")
    found: list[Instance] = []
    unnamed = 0
    for one in series:
        for place in _objects(one, "instance"):
            if uid is None or not is_uid(one.get("uid")) or not is_uid(place.get("uid")):
                unnamed += 1
                continue
            found.append(_instance(fact, uid, one, place))
    return Study(fact, uid, len(series), tuple(found), unnamed)


def images_of(chart: Chart, source: ImageSource) -> Iterator[ImageRef]:
    """The images that have pixels, those of the newest study first. Lazy: each is opened for its size."""
    for study in studies(chart):
        for instance in study.instances:
            try:
                image = image_of(instance, source)
            except ImageError:  # there and unreadable; the list of images says so
                continue
            if image is not None:
                yield image


def image_of(instance: Instance, source: ImageSource, frame: int = 1) -> ImageRef | None:
    """One frame as evidence. None: it has no pixels. Raises ImageError for pixels that cannot be read."""
    unsized = ImageRef(
        id="",
        source=instance.study.source,
        study=instance.study_uid,
        series=instance.series_uid,
        instance=instance.uid,
        frame=frame,
        rows=1,
        columns=1,
    )
    data = source.pixels(unsized)
    if data is None:
        return None
    size = size_of(data)
    named = [unsized.source.sha256, unsized.study, unsized.series, unsized.instance, frame, size.rows, size.columns]
    found = {"id": content_id("image", named), "rows": size.rows, "columns": size.columns}
    return unsized.model_copy(update=found)


def _study_uid(resource: Mapping[str, Any]) -> str | None:
    for identifier in _objects(resource, "identifier"):
        value = identifier.get("value")
        if identifier.get("system") == _STUDY_SYSTEM and isinstance(value, str) and value.startswith(_STUDY_PREFIX):
            uid = value.removeprefix(_STUDY_PREFIX)
            if is_uid(uid):
                return uid
    return None


def _instance(fact: Fact, uid: str, series: Mapping[str, Any], place: Mapping[str, Any]) -> Instance:
    modality, body = _object(series.get("modality")), _object(series.get("bodySite"))
    number = place.get("number")
    return Instance(
        study=fact,
        study_uid=uid,
        series_uid=str(series["uid"]),
        uid=str(place["uid"]),
        modality=_text(modality.get("code")),
        body_part=_text(body.get("display")) or _text(body.get("code")),
        number=str(number) if isinstance(number, int) and 0 <= number < _NUMBER_MAX else None,
        title=_text(place.get("title")) or _text(series.get("description")),
    )


_NUMBER_MAX = 1_000_000


def _objects(value: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    items = value.get(name)
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
