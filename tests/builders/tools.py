# SPDX-License-Identifier: Apache-2.0
"""Tools asked over charts in a few words: `asked("list_labs", context_of(resources), analyte="hba1c")`."""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from PIL import Image

from builders import fhir
from builders.chart import ZONE, open_chart
from builders.fhir import Json
from builders.screening import pack_of
from medagent.chart import Chart
from medagent.evidence import ImageRef
from medagent.images import ImageSource
from medagent_tools.guidelines.pack import Pack
from medagent_tools.seam import ToolContext, ToolResult
from medagent_tools.toolbox import ALL_TOOLS

_ROOT = "1.2.826.0.1.3680043.8.498"
STUDY_UID, SERIES_UID, IMAGE_UID = f"{_ROOT}.1", f"{_ROOT}.2", f"{_ROOT}.3"


@dataclass(frozen=True, slots=True)
class Pictures:
    """Images by SOP instance UID and frame."""

    frames: Mapping[tuple[str, int], bytes] = field(default_factory=dict)

    def pixels(self, image: ImageRef) -> bytes | None:
        """A rendered frame."""
        return self.frames.get((image.instance, image.frame))


def context_of(
    *resources: Json, pack: Pack | None = None, images: ImageSource | None = None, **options: Any
) -> ToolContext:
    """What a run binds. `options`: see `open_chart`."""
    return context_over(open_chart(resources, **options), pack, images)


def context_over(chart: Chart, pack: Pack | None = None, images: ImageSource | None = None) -> ToolContext:
    """What a run binds over a chart that is there."""
    return ToolContext(chart=chart, pack=pack or pack_of(), time_zone=ZONE.key, images=images)


def asked(name: str, context: ToolContext, **arguments: Any) -> ToolResult:
    """What a tool answers, its arguments checked as a model's are."""
    tool = ALL_TOOLS[name]
    result: ToolResult = tool.run(tool.arguments.model_validate(arguments), context)
    return result


def texts(result: ToolResult) -> list[str]:
    """The lines without the readings that they rest on."""
    return [line.text for line in result.lines if not line.text.startswith("Reading: ")]


def all_text(result: ToolResult) -> str:
    """Everything that a model would read of it."""
    return "\n".join((result.heading, *(line.text for line in result.lines)))


def named_ids(result: ToolResult) -> Iterator[str]:
    """Every id that a line names."""
    return (name for line in result.lines for name in line.evidence)


def note(text: str, **fields: Any) -> Json:
    """A DocumentReference that carries this text."""
    data = b64encode(text.encode()).decode()
    return fhir.document_reference({"contentType": "text/plain", "data": data}, **fields)


def study(*uids: str, uid: str | None = STUDY_UID, title: str | None = None, **fields: Any) -> Json:
    """An ImagingStudy with one series of these images; `uid` None: it does not state its own."""
    identifier = None if uid is None else [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}]
    instances: Iterable[Json] = (
        {"uid": name, "sopClass": {"code": "urn:oid:1.2.840.10008.5.1.4.1.1.2"}, "number": number, "title": title}
        for number, name in enumerate(uids or (IMAGE_UID,), start=1)
    )
    series = {
        "uid": SERIES_UID,
        "modality": {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "CT"},
        "bodySite": {"system": fhir.SNOMED, "code": "51185008", "display": "Chest"},
        "instance": [{key: said for key, said in one.items() if said is not None} for one in instances],
    }
    return fhir.imaging_study(identifier=identifier, series=[series], **fields)


def png(columns: int = 64, rows: int = 48, mode: str = "L", kind: str = "PNG", **options: Any) -> bytes:
    """A small picture with a slope of greys."""
    picture = Image.linear_gradient("L").resize((columns, rows)).convert(mode)
    out = BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()
