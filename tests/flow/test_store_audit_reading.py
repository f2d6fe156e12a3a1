# SPDX-License-Identifier: Apache-2.0
"""Reading the audit log: page by page, by type, subject, patient and time."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from builders.store import NOON, PATIENT, TENANT, Records, record

from medagent.errors import IntegrityError
from medagent.store import EventFilter, Store


@pytest.fixture
def store(records: Records) -> Iterator[Store]:
    """A store with three finished requests of six seconds each: two events about keys, six about requests."""
    with records.open() as opened:
        for number in (1, 2, 3):
            record(opened, number)
        opened.seal()
        yield opened


def test_pages_are_complete_and_without_repetition(store: Store) -> None:
    everything = store.audit_events(TENANT)
    assert len(everything) == 8
    assert [one.index for one in everything] == list(range(7, -1, -1))
    paged, before = [], None
    while page := store.audit_events(TENANT, before=before, limit=3):
        paged += page
        before = page[-1]
    assert paged == everything


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        pytest.param(EventFilter(type="outcome_recorded"), 3, id="by type"),
        pytest.param(EventFilter(request="request-2"), 2, id="by request"),
        pytest.param(EventFilter(dossier="dossier-2"), 1, id="by dossier"),
        pytest.param(EventFilter(since=NOON + timedelta(seconds=13)), 2, id="since an instant"),
        pytest.param(EventFilter(until=NOON + timedelta(seconds=1)), 2, id="until before an instant"),
        pytest.param(EventFilter(type="outcome_recorded", request="request-1"), 1, id="by both"),
        pytest.param(EventFilter(type="unheard_of"), 0, id="by a type that nobody wrote"),
    ],
)
def test_filters(store: Store, wanted: EventFilter, count: int) -> None:
    assert len(store.audit_events(TENANT, wanted)) == count


def test_everything_about_a_patient_is_found(store: Store) -> None:
    mine = EventFilter(patient_index=store.patient_index(PATIENT, TENANT))
    assert len(store.audit_events(TENANT, mine)) == 6
    other = EventFilter(patient_index=store.patient_index("Patient/another", TENANT))
    assert store.audit_events(TENANT, other) == []


def test_another_tenant_sees_nothing(store: Store) -> None:
    assert store.audit_events("other") == []


def test_an_event_whose_payload_was_changed_is_not_shown(store: Store, records: Records) -> None:
    event = store.audit_events(TENANT)[0].header.id
    records.attack(f"UPDATE audit_events SET actor = 'somebody' WHERE id = '{event}'")  # noqa: S608 - an attack is SQL
    with pytest.raises(IntegrityError, match=f"audit_events {event}: "):
        store.audit_event(event, TENANT, "reviewer")
