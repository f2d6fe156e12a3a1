# SPDX-License-Identifier: Apache-2.0
"""What the commands do. Each opens what it needs, writes what was asked for, and says what to do next."""

import asyncio
import getpass
import os
import re
import shlex
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table
from rich.text import Text

from medagent.canonical import parse_json, public_json
from medagent.chart import AsOf, ChartSource
from medagent.clock import SystemClock
from medagent.errors import JournalError, MedAgentError, UsageError
from medagent.images import ImageSource
from medagent.intervals import end_of_day
from medagent.log.verify import LogReport, Tampering
from medagent.records import Dossier, OutcomeKind
from medagent.settings import Settings
from medagent.store import AuditedEvent, upgrade
from medagent_workflows.checkpoints import upgrade_checkpoints
from medagent_workflows.prompts import QUESTION_MAX
from medagent_workflows.recommending import Recorded
from medagent_workflows.recommending import recommend as run_request
from medagent_workflows.recommending import resume as resume_request
from medagent_workflows.rendering.document import document_json
from medagent_workflows.rendering.terminal import write_dossier
from medagent_workflows.streams import PlainConsole, emit, plain, terminal, written
from medagent_workflows.wiring import (
    Services,
    chart_source,
    image_source,
    open_models,
    open_services,
    unused_settings,
)

_PROGRESS_AFTER = 2.0  # seconds: what is quicker needs no progress
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)  # Python also reads 20260630 and 2026-W27, which nobody means here
_FILE_WIDTH = 100  # columns of text that is written to a file


def recommend(
    *,
    fhir: str,
    patient: str | None,
    as_of: str | None,
    question: str | None,
    images: Path | None,
    adapter: str | None,
    resume: str | None,
    partial: bool,
    as_json: bool,
    out: Path | None,
) -> bool:
    """Runs one request, or goes on with one, and writes its outcome; whether it abstained."""
    settings = Settings.load()
    for name in unused_settings(settings):
        sys.stderr.write(f"medagent: {name} is set, and this version does not use it\n")
    clock = SystemClock()
    asked = _Asked(patient, _moment(as_of, settings) if as_of is not None else clock.now(), question, adapter, resume)
    asked.refuse_what_is_recorded(as_of)
    asked.refuse_a_document()
    pictures = image_source(images, settings)
    source = chart_source(fhir, settings, clock, partial=partial)
    again = ["--fhir", fhir, *(["--partial"] if partial else []), *(["--images", str(images)] if images else [])]
    with open_services(settings, clock) as services, _resumable(again, resume) as begun, progress(_doing(settings)):
        recorded = asyncio.run(_run(services, source, asked, pictures, begun))
    _write(recorded, as_json=as_json, out=out)
    return recorded.dossier.outcome is OutcomeKind.ABSTAINED


def _doing(settings: Settings) -> str:
    """What goes on while the user waits, and for how long at most."""
    if settings.model_url is None:
        return "Reading the chart and screening"
    return f"Reading the chart, screening, reasoning (the model has {settings.model_seconds_max:.0f} s)"


@contextmanager
def _resumable(again: list[str], resumed: str | None) -> Iterator[Callable[[str], None]]:
    """Says how to go on with a recorded request that did not get to its outcome. Yields what is told its id."""
    open_requests = [resumed] if resumed is not None else []
    try:
        yield open_requests.append
    except JournalError:  # it cannot be resumed, and says so
        raise
    except KeyboardInterrupt:
        if open_requests:
            sys.stderr.write(
                f"\nmedagent: interrupted; what was done is on record. {_going_on(open_requests[-1], again)}\n"
            )
        raise
    except MedAgentError as error:
        if not open_requests or resumed is not None:
            raise
        raise MedAgentError(f"{str(error).rstrip('.')}. {_going_on(open_requests[-1], again)}") from error


def _going_on(request: str, again: list[str]) -> str:
    return plain(f"To go on: {shlex.join(['medagent', 'recommend', *again, '--resume', request])}")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What one call of the command asks for."""

    patient: str | None
    as_of: AsOf
    question: str | None
    adapter: str | None
    resume: str | None

    def refuse_what_is_recorded(self, as_of: str | None) -> None:
        """A resumed request has its patient, instant, question and adapter already."""
        given = {"--patient": self.patient, "--as-of": as_of, "--question": self.question, "--adapter": self.adapter}
        if self.resume is not None and any(value is not None for value in given.values()):
            named = ", ".join(name for name, value in given.items() if value is not None)
            raise UsageError(f"--resume: the request says already what {named} would say; leave that out")

    def refuse_a_document(self) -> None:
        """A model is shown no more of a question; what it is not shown cannot be answered."""
        if self.question is not None and len(self.question) > QUESTION_MAX:
            raise UsageError(f"--question: has {len(self.question):,} characters; write at most {QUESTION_MAX:,}")


async def _run(
    services: Services,
    source: ChartSource,
    asked: _Asked,
    images: ImageSource | None,
    begun: Callable[[str], None],
) -> Recorded:
    async with open_models(services, images) as models:
        if asked.adapter is not None and models is None:
            raise UsageError("--adapter: no model is configured; set MEDAGENT_MODEL_URL and MEDAGENT_MODEL")
        if asked.resume is not None:
            return await resume_request(services, source, asked.resume, models)
        return await run_request(
            services,
            source,
            patient=asked.patient,
            as_of=asked.as_of,
            actor=_actor(),
            question=asked.question,
            adapter=asked.adapter,
            models=models,
            begun=begun,
        )


def show(dossier_id: str, *, as_json: bool, out: Path | None) -> None:
    """Writes a stored run. That it was looked at is on record first."""
    with open_services() as services:
        stored = services.store.dossier(dossier_id, services.settings.tenant, _actor())
        services.store.seal()
    _write(Recorded(Dossier.model_validate(parse_json(stored)), stored), as_json=as_json, out=out)


def audit_list(*, limit: int, as_json: bool) -> None:
    """Lists audit events, the newest first."""
    with open_services() as services:
        events = services.store.audit_events(services.settings.tenant, limit=limit)
    if as_json:
        emit(public_json([_event(event) for event in events], indent=True) + b"\n")
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", style="dim")
    table.add_column(overflow="fold")
    for event in events:
        header = event.header
        index = "unsealed" if event.index is None else str(event.index)
        when = header.occurred_at[:19].replace("T", " ")
        about = header.dossier or header.request or ""
        table.add_row(Text(index), Text(f"{when} UTC  {header.type}  {header.actor}"))
        table.add_row("", Text(f"{header.id}  {about}", style="dim"))
    with terminal() as console:
        console.print(table if events else "No event is recorded yet. Try: medagent demo")


def audit_show(event_id: str, *, as_json: bool) -> None:
    """Writes one event with its decrypted payload."""
    with open_services() as services:
        event, body = services.store.audit_event(event_id, services.settings.tenant, _actor())
        services.store.seal()
    entries = {**_event(event), "body": body}
    if as_json:
        emit(public_json(entries, indent=True) + b"\n")
        return
    table = Table.grid(padding=(0, 2))
    for name, entry in entries.items():
        table.add_row(Text(name, style="dim"), Text(entry if isinstance(entry, str) else _compact(entry)))
    with terminal() as console:
        console.print(table)


def audit_verify(*, as_json: bool) -> bool:
    """Verifies everything that is stored, and writes what does not fit; whether all holds."""
    with open_services() as services, progress("Recomputing every record"):
        report = services.store.verify(services.settings.tenant)  # first of all: nothing is put right before it is seen
    if as_json:
        emit(public_json(_report(report), indent=True) + b"\n")
    else:
        with terminal() as console:
            write_report(console, report)
    return report.ok


def audit_keep() -> None:
    """Keeps the newest checkpoint again, after its file was lost."""
    with open_services() as services:
        services.store.keep_checkpoint_again(services.settings.tenant, _actor())
        folder = services.settings.checkpoint_folder
    sys.stderr.write(f"The newest checkpoint is kept in {folder} again; the log says so. Keep a copy elsewhere.\n")


def database_upgrade() -> None:
    """Brings the database to this version's schema, and says what that changed."""
    settings = Settings.load()
    changes = {
        "The records": upgrade(settings.database_url.get_secret_value()),
        "The checkpoints of runs": upgrade_checkpoints(settings),
    }
    for what, change in changes.items():
        if change is None:
            continue
        if change.before == change.after:
            sys.stderr.write(f"{what} are at this version's schema ({change.after}) already.\n")
        else:
            sys.stderr.write(f"{what} are now at schema {change.after}, before: {change.before or 'none'}.\n")


def write_report(console: Console, report: LogReport) -> None:
    """A verification for people: one line where all holds, else one line for each thing that does not."""
    if report.ok:
        assert report.checkpoint is not None
        console.print(
            f"[green]✔[/green] {report.entries} events, every record and the signed checkpoint of size "
            f"{report.checkpoint.size} agree."
        )
        if report.unsealed:
            console.print(f"  {report.unsealed} newer events wait for the next checkpoint and are not covered yet.")
        return
    if not report.entries and all(finding.kind is Tampering.UNSIGNED for finding in report.findings):
        console.print("Nothing is sealed yet, so there is nothing to attest. Try: medagent demo")
        return
    console.print(f"[bold red]✘ {len(report.findings) or 1} finding(s) in {report.entries} events:[/bold red]")
    for finding in report.findings:
        console.print(Text(f"  {finding}"))
    if report.checkpoint is None:
        console.print("  No checkpoint holds: nothing attests this log.")


@contextmanager
def progress(what: str) -> Iterator[None]:
    """Says on standard error what is going on, once it takes longer than two seconds."""
    status = Console(stderr=True).status(f"{what} …")
    timer = threading.Timer(_PROGRESS_AFTER, status.start)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        status.stop()


def _moment(text: str, settings: Settings) -> AsOf:
    if text == "latest":
        return "latest"
    try:
        if not _DAY.fullmatch(text):
            raise ValueError
        return end_of_day(date.fromisoformat(text), ZoneInfo(settings.time_zone))
    except ValueError:
        raise UsageError("--as-of: write a day as YYYY-MM-DD, or latest") from None


def _actor() -> str:
    """The account that runs the command."""
    try:
        return f"command-line:{getpass.getuser()}"
    except (KeyError, OSError):  # a container may run under a number that has no name
        return f"command-line:uid-{os.getuid()}"


def _write(recorded: Recorded, *, as_json: bool, out: Path | None) -> None:
    if as_json:
        emit(document_json(recorded.dossier, recorded.stored), out)
    elif out is not None:
        with written(out) as file:
            write_dossier(PlainConsole(file=file, width=_FILE_WIDTH), recorded.dossier)
    else:
        with terminal() as console:
            write_dossier(console, recorded.dossier)


def _event(event: AuditedEvent) -> dict[str, object]:
    present = {name: entry for name, entry in asdict(event.header).items() if entry is not None}
    return {"index": event.index, **present}


def _compact(value: object) -> str:
    return public_json(value).decode()


def _report(report: LogReport) -> dict[str, object]:
    return {
        "ok": report.ok,
        "origin": report.origin,
        "entries": report.entries,
        "unsealed": report.unsealed,
        "checkpoint": None if report.checkpoint is None else {"size": report.checkpoint.size},
        "findings": [asdict(finding) for finding in report.findings],
    }
