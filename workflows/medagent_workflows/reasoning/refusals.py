# SPDX-License-Identifier: Apache-2.0
"""What the verifier refused, in words that a model can act on.

The verifier names propositions and evidence by ids that no model has seen. It wrote a list and was given short names,
so it is told of them by its place there and by those.
"""

import re
from collections.abc import Iterable, Mapping

from medagent.records import Finding
from medagent_workflows.reasoning.handles import Handles

_ID = re.compile(r"\b(?:claim|fact|reading|calculation|passage|image)-[a-z0-9]{26}(?:\.[\w.]*\w)?")
_SOMEWHERE = "a proposition"  # of another sample than the one that the model is shown


def told_refusals(findings: Iterable[Finding], places: Mapping[str, str], handles: Handles) -> tuple[str, ...]:
    """A line for each refusal, without ids. `places`: propositions by id, as they stand in the draft."""
    names = {evidence: handles.name(evidence) for evidence in handles.known} | dict(places)

    def plain(text: str) -> str:
        return _ID.sub(lambda found: names.get(found.group(), "an entry that was not named to you"), text)

    lines = (f"{places.get(one.proposition, _SOMEWHERE)}: {plain(one.detail)}" for one in findings)
    return tuple(dict.fromkeys(lines))
