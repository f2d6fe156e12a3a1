# SPDX-License-Identifier: Apache-2.0
"""What of a type is part of a narrowed grant (standards: 12)."""

import pytest

from medagent.canonical import public_json
from medagent.scopes import parsed
from medagent_fhir.narrowings import checkable, granted

SYSTEM = "http://terminology.hl7.org/CodeSystem/observation-category"
RESULT = {"category": [{"coding": [{"system": SYSTEM, "code": "laboratory"}]}], "status": "final"}


def meets(query: str) -> bool:
    scope = parsed(f"patient/Observation.rs?{query}")
    assert scope is not None
    return checkable(scope.narrowed) and granted(public_json(RESULT), [scope.narrowed])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param(f"category={SYSTEM}|laboratory", True, id="system and code"),
        pytest.param("category=laboratory", True, id="a code of any system"),
        pytest.param(f"category={SYSTEM}|", True, id="any code of a system"),
        pytest.param("category=vital-signs,laboratory", True, id="one of several"),
        pytest.param("category=laboratory&status=final", True, id="both of two"),
        pytest.param("category=laboratory&status=amended", False, id="one of two"),
        pytest.param("category=laboratory&category=vital-signs", False, id="one of two of a name"),
        pytest.param("category=|laboratory", False, id="a code without system"),
        pytest.param("category=urn:x|laboratory", False, id="a code of another system"),
        pytest.param("category=Laboratory", False, id="in other capitals"),
        pytest.param("category=lab", False, id="the beginning of a code"),
        pytest.param("category=*", False, id="a star"),
        pytest.param(r"category=vital\,laboratory", False, id="one code with a comma in it"),
        pytest.param("category:not=vital-signs", False, id="a modifier"),
        pytest.param("Category=laboratory", False, id="another name"),
        pytest.param("category=laboratory&_has:x=y", False, id="a parameter that nobody can check"),
        pytest.param("code=laboratory", False, id="an element that is not there"),
    ],
)
def test_a_resource_is_granted_only_where_it_certainly_meets_the_query(query: str, expected: bool) -> None:
    assert meets(query) is expected
