# SPDX-License-Identifier: Apache-2.0
"""What the verifier is given: whoever drafts names what the draft rests on, and nothing of it is taken from there.

Facts, readings, bytes and names come from the chart, rules, value sets, gates and kept texts from the pack. What is
calculated, images and passages are taken as they are named: the verifier computes the first anew, looks for the second
in the resource that tells of them, and for the third in the kept text.
"""

from collections.abc import Iterable, Iterator

from medagent.chart import Chart
from medagent.evidence import Calculation, Fact, ImageRef, Passage, Reading
from medagent.evidence_set import AnyEvidence, EvidenceSet
from medagent_tools.guidelines.engine import Screening
from medagent_tools.guidelines.pack import Pack


def gathered(
    chart: Chart, pack: Pack, screening: Screening, time_zone: str, further: Iterable[AnyEvidence] = ()
) -> EvidenceSet:
    """The evidence behind a screening, and `further` evidence that a model's draft names, from its sources. Raises
    ChartError for what the chart never gave out."""
    patient = chart.patient_fact()
    named = {one.id: one for one in (*further, *screening.evidence.items.values())}
    made = [one for name in sorted(named) for one in _from_sources(chart, pack, named[name])]
    items: dict[str, AnyEvidence] = {one.id: one for one in (*made, patient)}
    readings = [item for item in items.values() if isinstance(item, Reading)]
    listings = {reading.listing: chart.listing(reading.listing) for reading in readings}
    hashes = {item.source.sha256 for item in items.values() if isinstance(item, Fact | ImageRef)}
    hashes.update(digest for listing in listings.values() for digest in listing)
    hashes.update(digest for used in tuple(hashes) for digest in chart.consulted(used))
    return EvidenceSet(
        patient=chart.patient,
        as_of=chart.as_of,
        time_zone=time_zone,
        past=chart.past,
        items=items,
        slices={digest: chart.slice_of(digest) for digest in sorted(hashes)},
        listings=dict(sorted(listings.items())),
        rules={rule.id: rule for rule in pack.rules},
        value_sets=pack.value_sets,
        gates=pack.gates,
        texts=pack.texts,
        patient_names=chart.patient_names,
    )


def _from_sources(chart: Chart, pack: Pack, item: AnyEvidence) -> Iterator[AnyEvidence]:
    """The item as its source has it. With a calculation come the facts that it names as its inputs."""
    match item:
        case Fact():
            yield chart.fact(item.id)
        case Reading():
            yield chart.read(item.query, pack.value_sets)
        case Calculation():
            yield item
            yield from (chart.fact(name) for name in item.inputs.values())
        case ImageRef() | Passage():
            yield item
