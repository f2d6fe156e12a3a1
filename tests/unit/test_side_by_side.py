# SPDX-License-Identifier: Apache-2.0
"""What is fetched side by side: all of it, or the first error as itself."""

import asyncio

import pytest

from medagent.errors import AuditError, IntegrityError, MedAgentError
from medagent_fhir.retrieval import side_by_side


async def given(number: int, error: MedAgentError | None = None) -> int:
    await asyncio.sleep(0.001 * (5 - number))
    if error is not None:
        raise error
    return number


def test_results_stand_in_the_order_of_asking() -> None:
    assert asyncio.run(side_by_side([given(number) for number in range(5)])) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "error", [AuditError("full"), IntegrityError("changed")], ids=["not recorded", "tampered with"]
)
def test_an_error_of_ours_comes_out_as_itself_and_ends_the_others(error: MedAgentError) -> None:
    """So that whoever runs MedAgent is told in one line."""
    ended: list[str] = []

    async def endless() -> int:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("endless")
        return 0

    with pytest.raises(type(error)) as raised:
        asyncio.run(side_by_side([endless(), given(1, error)]))
    assert raised.value is error
    assert ended == ["endless"]
