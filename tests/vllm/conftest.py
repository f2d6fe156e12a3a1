# SPDX-License-Identifier: Apache-2.0
"""A real vLLM server for the tests that ask for one.

    pytestmark = [pytest.mark.vllm, ONE_AT_A_TIME]

    @pytest.mark.parametrize("vllm_server", ["qwen3_vl"], indirect=True)
    def test_something(vllm_server: VllmServer) -> None: ...

pytest sorts tests by this parameter, so each model is started once in a run, and never two at a time.
"""

from collections.abc import Iterator

import pytest
from builders.vllm_server import ABSENT, Environment, VllmServer, vllm_environment


@pytest.fixture(scope="session")
def environment() -> Environment:
    """What `make vllm` made; skips where it did not run."""
    found = vllm_environment()
    if found is None:
        pytest.skip(ABSENT)
    return found


@pytest.fixture(scope="session")
def vllm_server(request: pytest.FixtureRequest, environment: Environment) -> Iterator[VllmServer]:
    """A server of the model that the test's parameter names, or, of a tuple, with further flags."""
    model, *more = (request.param,) if isinstance(request.param, str) else request.param
    with VllmServer(environment, model, more=more) as server:
        yield server
