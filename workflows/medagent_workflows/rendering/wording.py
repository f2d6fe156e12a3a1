# SPDX-License-Identifier: Apache-2.0
"""Sentences about a whole run: how it ended, what became of the model's part, why something was held back."""

from collections.abc import Mapping

from medagent.records import Dossier, Finding, ModelRef, OutcomeKind, Reason, ReasoningEnd, Suppressed
from medagent.sentences import OUTCOME
from medagent_workflows.rendering.pieces import plain

_HELD_BACK = {
    "already": "done, ordered or declined already",
    "failed_verification": "dropped, because what was drafted did not pass every check of its sources",
    "incomplete": "undecided, because the source was not read completely",
    "limit": "beyond the number that one page shows",
}


_ALONE = "what follows is the guideline engine's alone."
_ENDS: Mapping[ReasoningEnd, str] = {
    "abstained": f"The model had nothing to add; {_ALONE}",
    "disagreed": f"The model's samples did not agree, so nothing of them is shown; {_ALONE}",
    "unavailable": f"The model did not take part: its server gave no answer; {_ALONE}",
    "deadline": f"The model was not done in time; {_ALONE}",
    "too_long": f"The model did not take part: the chart is more than it can take in; {_ALONE}",
    "refused": f"The model did not take part: its server refused the request; {_ALONE}",
    "invalid_output": f"What the model wrote could not be used; {_ALONE}",
}
_NOTHING_FOUND = f"The model abstained: it found nothing in the chart to answer from; {_ALONE}"
_NOTHING_STANDS = f"Nothing that the model drafted passed every check of its sources; {_ALONE}"
_QUESTION_SHOWN = 300  # characters; who asked more knows it, and the dossier has it
_REVISION_SHOWN = 12  # characters; a commit is known by fewer


def model_name(model: ModelRef) -> str:
    """The model as people know it: name, revision, adapter. A server may give any text as a name."""
    revision = f" {model.revision[:_REVISION_SHOWN]}" if model.revision else " (revision unknown)"
    adapter = f" with adapter {model.adapter}" if model.adapter else ""
    return plain(f"the model {model.name}{revision}{adapter}")


def model_sentence(dossier: Dossier) -> str | None:
    """Why there is nothing of the model's, where one was to take part. None: there is something, or none was."""
    reasoning = dossier.reasoning
    if reasoning is None or any(one.author == "model" for one in dossier.recommendations):
        return None
    if reasoning.ended == "drafted":
        return _NOTHING_STANDS if dossier.considerations else _ENDS["abstained"]
    if reasoning.ended == "abstained" and reasoning.detail == "missing_evidence":
        return _NOTHING_FOUND
    return _ENDS[reasoning.ended]


def question_sentence(dossier: Dossier) -> str | None:
    """What was asked, and where no model took it up, that. None: nothing was."""
    question = dossier.request.question
    if question is None:
        return None
    asked = plain(" ".join(question.split()))
    asked = asked if len(asked) <= _QUESTION_SHOWN else f"{asked[:_QUESTION_SHOWN]}…"
    alone = "" if dossier.reasoning is not None else " (recorded; no model took it up)"
    return f"Asked: “{asked}”{alone}"


def outcome_sentence(dossier: Dossier) -> str:
    """How the run ended, in one line."""
    if dossier.outcome is OutcomeKind.OFFERED:
        of_engine = [one.display for one in dossier.recommendations if one.author == "engine"]
        cards, lines = of_engine.count("card"), of_engine.count("line")
        noted = len(of_engine) < len(dossier.recommendations)
        if not of_engine and dossier.drafts:
            return "For review: only what the model noted; all that rules put forward was held back, see there."
        if not of_engine:
            return "For review: only what the model noted; no rule of the pack put anything forward."
        return (
            f"Offered: {cards} for review"
            + (f", {lines} more in one line" if lines else "")
            + ("; beside them what the model noted" if noted else "")
        )
    if dossier.reason is Reason.WITHHELD:
        return "No recommendation: every option is withheld for this patient; see what was held back."
    if dossier.reasoning is not None and not dossier.drafts and model_sentence(dossier) != _ENDS["abstained"]:
        return "No recommendation: no rule of the pack put anything forward, and nothing came of the model."
    if dossier.reason is not None:
        return f"No recommendation: {OUTCOME[dossier.reason.value]}"
    return "Nothing due: no rule of the pack asks for anything. This is no all-clear."


def checks_sentence(findings: tuple[Finding, ...]) -> str:
    """What the verifier's checks came to. Empty is no pass: where nothing was drafted, nothing was checked."""
    if not findings:
        return "none made: nothing was drafted"
    failed = [finding for finding in findings if not finding.passed]
    if not failed:
        return f"{len(findings)} made, all passed"
    of_model = {finding.proposition for finding in failed if finding.rule is None}
    statements = f"{len(of_model)} {'statement' if len(of_model) == 1 else 'statements'}"
    said = f"; {statements} of the model did not hold and are not shown" if of_model else ""
    return f"{len(findings)} made, {len(failed)} failed{said.replace(' are ', ' is ') if len(of_model) == 1 else said}"


def suppressed_because(one: Suppressed) -> str:
    """Why something was held back, with its title where it had got that far."""
    if one.recommendation is None:
        return _HELD_BACK.get(one.reason, one.reason)
    reason = _HELD_BACK.get(one.reason, one.reason)
    if one.reason == "withheld":
        reason = " ".join(one.recommendation.warnings)
    return f"{one.recommendation.title}: {reason}"
