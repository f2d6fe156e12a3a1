# SPDX-License-Identifier: Apache-2.0
"""What is looked at before anything is screened, and may end the run at once (clinical: 1 to 4)."""

from dataclasses import dataclass
from datetime import timedelta
from zoneinfo import ZoneInfo

from medagent.chart import Chart
from medagent.evidence import Fact, Role
from medagent.intervals import Duration, Interval, age_at, before, instant, parse, subtract
from medagent.kleene import Truth
from medagent.records import Reason

ADULT = 18  # years: the shipped pack holds no paediatric guidance (clinical: 2)
OLD = Duration.parse("18 months")  # without a clinical entry for this long, a banner leads (clinical: 4)


@dataclass(frozen=True, slots=True)
class Threshold:
    """How a run may go on: not at all, for a reason, or with banners."""

    reason: Reason | None = None
    banners: tuple[str, ...] = ()
    old: bool = False
    """No clinical entry for 18 months before `as_of`."""


def threshold(chart: Chart, time_zone: str) -> Threshold:
    """Decides whether a chart may be screened.

    Steps: (1) deceased; (2) inactive or replaced record; (3) a child, or an age that may be a child's; (4) whole types
    that were not read; (5) old data.
    """
    patient = chart.patient_fact()
    # (1) A death after `as_of` is hidden by the chart already.
    if _deceased(patient):
        return Threshold(Reason.DECEASED, ("Deceased; no recommendations.",))
    # (2) A record that is no longer kept says nothing about today.
    active = patient.element(Role.ACTIVE)
    if active is not None and active.value is not True:
        return Threshold(Reason.OUT_OF_SCOPE, ("This patient record is inactive or was replaced; no recommendations.",))
    # (3) No calculators, no dose text and no all-clear for children.
    years = _least_age(patient, chart, ZoneInfo(time_zone))
    if years is None:
        return Threshold(
            Reason.MISSING_DATA, ("No readable date of birth: age limits cannot be applied; no recommendations.",)
        )
    if years < ADULT:
        return Threshold(Reason.OUT_OF_SCOPE, ("Under 18: this pack holds no paediatric guidance.",))
    # (4) What a server refused or was not asked for is not what is not there (clinical: 5).
    unread = _unread(chart)
    # (5) Old data still count, but the reader knows.
    if chart.newest is None:
        what = "What was read of the chart" if unread else "The chart"
        return Threshold(banners=(*unread, f"{what} holds no dated clinical entry."), old=True)
    if before(chart.newest, instant(subtract(chart.as_of, OLD))) is Truth.MET:
        what = "The newest clinical entry" + (" that was read" if unread else "")
        return Threshold(banners=(*unread, f"{what} {_age_of_chart(chart.newest, chart)}"), old=True)
    return Threshold(banners=unread)


def _unread(chart: Chart) -> tuple[str, ...]:
    """A banner, where whole types were not read, or not completely. Entries and files have more than letters."""
    types = dict.fromkeys(one.where for one in chart.skipped if one.where.isalpha())
    return (f"Not read completely: {', '.join(types)}. What would rest on that is unknown.",) if types else ()


def _deceased(patient: Fact) -> bool:
    element = patient.element(Role.DECEASED)
    return element is not None and element.value is not False


def _least_age(patient: Fact, chart: Chart, zone: ZoneInfo) -> int | None:
    element = patient.element(Role.BIRTH_DATE)
    if element is None or not isinstance(element.value, str):
        return None
    birth = parse(element.value, zone)
    return age_at(birth, chart.as_of, zone)[0] if birth.earliest <= chart.as_of else None


def _age_of_chart(newest: Interval, chart: Chart) -> str:
    months = (chart.as_of - newest.latest) // timedelta(days=30.44)
    return (
        f"is of {newest.text[:10]}, {months} months before the date asked about. "
        "What follows describes the chart as it stood then."
    )
