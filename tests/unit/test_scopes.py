# SPDX-License-Identifier: Apache-2.0
"""What a launch granted, as it was written: both versions of the grammar, and whatever is neither."""

from random import Random
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medagent.errors import UsageError
from medagent.scopes import BY_ID, READING, Grant, Scope, parsed

LAB = (("category", "http://terminology.hl7.org/CodeSystem/observation-category|laboratory"),)
VITAL = (("category", "http://terminology.hl7.org/CodeSystem/observation-category|vital-signs"),)


def written(*narrowed: tuple[str, str], scope: str = "patient/Observation.rs") -> str:
    return f"{scope}?{urlencode(narrowed)}"


# Grammar.


# standards: 12
@pytest.mark.parametrize(
    ("text", "letters"),
    [
        pytest.param("patient/Observation.rs", "rs", id="reading in version 2"),
        pytest.param("patient/Observation.cruds", "cruds", id="everything in version 2"),
        pytest.param("patient/Observation.cud", "cud", id="writing in version 2"),
        pytest.param("patient/Observation.s", "s", id="one letter"),
        pytest.param("patient/Observation.read", "rs", id="reading in version 1"),
        pytest.param("patient/Observation.write", "cud", id="writing in version 1"),
        pytest.param("patient/Observation.*", "cruds", id="everything in version 1"),
    ],
)
def test_a_scope_of_either_version_allows(text: str, letters: str) -> None:
    assert parsed(text) == Scope("patient", "Observation", frozenset(letters))


# standards: 12
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("patient/Observation.dus", id="letters out of order"),
        pytest.param("patient/Observation.sr", id="reading out of order"),
        pytest.param("patient/Observation.rr", id="a letter twice"),
        pytest.param("patient/Observation.rx", id="a letter of neither version"),
        pytest.param("patient/Observation.", id="no letter"),
        pytest.param("patient/Observation", id="no dot"),
        pytest.param("patient/Observation.rs.rs", id="two of them"),
        pytest.param("patient/Observation.READ", id="capitals"),
        pytest.param("patient/observation.rs", id="a type in small letters"),
        pytest.param("patient/*Observation.rs", id="a star and more"),
        pytest.param("patient/Obs*.rs", id="the beginning of a type"),
        pytest.param("practitioner/Observation.rs", id="a context that does not exist"),
        pytest.param("/Observation.rs", id="no context"),
        pytest.param(" patient/Observation.rs", id="a space before"),
        pytest.param("patient/Observation.rs\n", id="a line end after"),
        pytest.param("patient/Observation.rs?", id="a query that is empty"),
        pytest.param("patient/Observation.rs?category", id="a parameter without a value"),
        pytest.param("patient/Observation.rs?category=", id="a parameter whose value is empty, which narrows nothing"),
        pytest.param("patient/Observation.rs?=laboratory", id="a value without a parameter"),
        pytest.param("patient/Observation.rs?category=%ff", id="a value that is no text"),
        pytest.param("patient/Observation.read?category=laboratory", id="a query of version 2 in version 1"),
        pytest.param("patient/Observation.*?category=laboratory", id="a query of version 2 in version 1's everything"),
        pytest.param("patient/Observation.rs?a=b c", id="a space in the query"),
        pytest.param("openid", id="one that is not for resources"),
        pytest.param("launch/patient", id="one of the launch"),
        pytest.param("", id="nothing"),
    ],
)
def test_what_is_no_scope_for_resources_grants_nothing(text: str) -> None:
    assert parsed(text) is None
    assert Grant.of([text]).scopes == ()


# Grants.


# standards: 11, 12
@pytest.mark.parametrize(
    ("granted", "reading"),
    [
        pytest.param([], None, id="nothing"),
        pytest.param(["patient/Condition.rs"], None, id="another type"),
        pytest.param(["patient/Observations.rs"], None, id="a type that is longer"),
        pytest.param(["patient/Observation.cud"], None, id="writing alone"),
        pytest.param(["patient/Observation.r"], None, id="reading without searching"),
        pytest.param(["patient/Observation.r", "patient/Observation.s"], ((),), id="its letters one by one"),
        pytest.param(["patient/*.rs"], ((),), id="every type"),
        pytest.param(["patient/*.read"], ((),), id="every type in version 1"),
        pytest.param(["patient/*.r", "user/Observation.s"], ((),), id="letters of the type and of every type"),
        pytest.param(["user/Observation.rs"], ((),), id="the user's patients, of whom the run knows one"),
        pytest.param(["system/*.cruds"], ((),), id="the system's patients, of whom the run knows one"),
        pytest.param([written(*LAB)], (LAB,), id="a part of the type"),
        pytest.param([written(*LAB), written(*VITAL)], (LAB, VITAL), id="two parts: what meets either"),
        pytest.param([written(*VITAL), written(*LAB)], (LAB, VITAL), id="two parts, in any order"),
        pytest.param([written(*LAB, ("status", "final"))], ((*LAB, ("status", "final")),), id="two conditions of one"),
        pytest.param([written(*LAB), "patient/Observation.rs"], ((),), id="a part, and all of it"),
        pytest.param([written(*LAB), "patient/Observation.cud"], (LAB,), id="a part to read, all of it to write"),
        pytest.param(
            [written(*LAB, scope="patient/Observation.r"), written(*VITAL, scope="patient/Observation.s")],
            None,
            id="reading of one part, searching of another",
        ),
        pytest.param(
            [written(*LAB, scope="patient/Observation.s"), "patient/Observation.r"], (LAB,), id="searching of a part"
        ),
        pytest.param([written(*LAB, scope="patient/*.rs")], (LAB,), id="a part of every type"),
    ],
)
def test_several_scopes_are_one_grant(granted: list[str], reading: object) -> None:
    assert Grant.of(granted).reading("Observation") == reading


def test_what_is_only_read_by_its_id_needs_no_search() -> None:
    grant = Grant.of(["patient/Patient.r"])
    assert grant.reading("Patient", BY_ID) == ((),)
    assert grant.reading("Patient") is None


@pytest.mark.parametrize(
    ("needed", "covered"),
    [
        pytest.param(("patient/Observation.rs",), True, id="one that was granted"),
        pytest.param(("patient/Observation.rs", "patient/Condition.rs"), True, id="one of which a part was granted"),
        pytest.param(("patient/Observation.rs", "patient/Procedure.rs"), False, id="one of two that was not granted"),
        pytest.param((), True, id="none"),
    ],
)
def test_needs_are_covered(needed: tuple[str, ...], covered: bool) -> None:
    grant = Grant.of(["patient/Observation.rs", "patient/Condition.rs?category=problem-list-item"])
    assert grant.covers(needed) is covered


def test_a_need_that_is_no_scope_is_our_fault() -> None:
    with pytest.raises(UsageError, match="is no SMART scope"):
        Grant(()).covers(["Observation"])


# Properties.

LETTERS = "cruds"
CONTEXTS = st.sampled_from(["patient", "user", "system"])
TYPES = st.sampled_from(["Observation", "Condition", "*"])
WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6)
NARROWED = st.lists(st.tuples(WORDS, WORDS), max_size=2).map(lambda pairs: tuple(sorted(pairs)))
SCOPES = st.builds(Scope, CONTEXTS, TYPES, st.frozensets(st.sampled_from(LETTERS), min_size=1), NARROWED)


@settings(max_examples=200)
@given(SCOPES)
def test_a_scope_that_is_written_is_read_again(scope: Scope) -> None:
    assert parsed(scope.text) == scope


@settings(max_examples=300)
@given(st.text(alphabet="patienuserym/*.OCcrudsw?=&|% ", max_size=40))
def test_any_text_is_a_scope_or_none(text: str) -> None:
    scope = parsed(text)
    assert scope is None or (scope.may <= set(LETTERS) and scope.may)


@settings(max_examples=200)
@given(st.lists(SCOPES, max_size=5), SCOPES)
def test_a_further_scope_never_takes_anything_away(scopes: list[Scope], further: Scope) -> None:
    before, after = Grant(tuple(scopes)).reading("Observation"), Grant((*scopes, further)).reading("Observation")
    assert before is None or (after is not None and (after == ((),) or set(before) <= set(after)))


@settings(max_examples=200)
@given(st.lists(SCOPES, max_size=5))
def test_a_grant_is_what_its_scopes_say_each_by_its_letters(scopes: list[Scope]) -> None:
    """All of a type may be read only where unnarrowed scopes give every letter; a part of it only where the scopes of
    this part, with those of the whole, do."""
    own = [scope for scope in scopes if scope.type in ("*", "Observation")]

    def letters(*narrowings: object) -> set[str]:
        return {letter for scope in own if scope.narrowed in narrowings for letter in scope.may}

    parts = {scope.narrowed for scope in own if letters((), scope.narrowed) >= READING}
    expected = ((),) if letters(()) >= READING else tuple(sorted(parts)) or None
    assert Grant(tuple(scopes)).reading("Observation") == expected


@settings(max_examples=100)
@given(st.lists(SCOPES, max_size=5), st.randoms(use_true_random=False))
def test_the_order_of_scopes_never_counts(scopes: list[Scope], random: Random) -> None:
    shuffled = list(scopes)
    random.shuffle(shuffled)
    assert Grant(tuple(shuffled)).reading("Condition") == Grant(tuple(scopes)).reading("Condition")
