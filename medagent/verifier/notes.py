# SPDX-License-Identifier: Apache-2.0
"""How a check is written down."""

from medagent.errors import MedAgentError
from medagent.records import Finding
from medagent.verifier.slices import Refused


def finding(step: str, proposition: str, rule: str | None, detail: str) -> Finding:
    """A finding has passed where there is nothing to say."""
    return Finding(check=step, proposition=proposition, rule=rule, passed=not detail, detail=detail)


def noted(step: str, proposition: str, rule: str | None, error: MedAgentError | None = None) -> Finding:
    """A check that passed, or why it did not. A refusal knows its step; what other errors say is ours as well, but only
    a refusal is written to be kept."""
    if isinstance(error, Refused):
        return finding(error.step, proposition, rule, error.detail)
    return finding(step, proposition, rule, "" if error is None else type(error).__name__)
