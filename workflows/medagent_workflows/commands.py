# SPDX-License-Identifier: Apache-2.0
"""The commands over records: what happened, and the database. Each opens what it needs and says what to do next."""

import getpass
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice

from rich.console import Console
from rich.table import Table
from rich.text import Text

from medagent.canonical import public_json
from medagent.log.verify import LogReport, Tampering
from medagent.settings import Settings
from medagent.store import AuditedEvent, upgrade
from medagent_workflows.checkpoints import upgrade_checkpoints
from medagent_workflows.rendering.accesses import gathered, told, types
from medagent_workflows.streams import emit, terminal
from medagent_workflows.wiring import Services, open_services

_PROGRESS_AFTER = 2.0  # seconds: what is quicker needs no progress


def audit_list(*, limit: int, as_json: bool) -> None:
    """Lists audit events, the newest first. For people, calls to an EHR in a row are one line, and count as one."""
    with open_services() as services:
        if as_json:
            events = services.store.audit_events(services.settings.tenant, limit=limit)
            emit(public_json([_event(event) for event in events], indent=True) + b"\n")
            return
        rows = list(islice(gathered(_newest(services)), limit))
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", style="dim")
    table.add_column(overflow="fold")
    for row in rows:
        _add_row(table, row)
    with terminal() as console:
        console.print(table if rows else "No event is recorded yet. Try: medagent demo")


def _newest(services: Services) -> Iterator[AuditedEvent]:
    """Every event, the newest first, page by page as they are asked for."""
    page: list[AuditedEvent] = services.store.audit_events(services.settings.tenant)
    while page:
        yield from page
        page = services.store.audit_events(services.settings.tenant, before=page[-1])


def _add_row(table: Table, events: tuple[AuditedEvent, ...]) -> None:
    """What happened, when, by whom, and under which id to look closer."""
    newest, oldest = events[0], events[-1]
    header = newest.header
    index = "unsealed" if newest.index is None else str(newest.index)
    when = header.occurred_at[:19].replace("T", " ")
    about = header.dossier or header.request or ""
    others = f"back to {oldest.header.id}  " if len(events) > 1 else ""
    table.add_row(Text(index), Text(f"{when} UTC  {types(events)}  {header.actor}"))
    table.add_row("", Text(f"{header.id}  {others}{about}", style="dim"))


def audit_show(event_id: str, *, as_json: bool) -> None:
    """Writes one event with its decrypted payload."""
    with open_services() as services:
        event, body = services.store.audit_event(event_id, services.settings.tenant, actor())
        services.store.seal()
    if as_json:
        emit(public_json({**_event(event), "body": body}, indent=True) + b"\n")
        return
    said: Mapping[str, object] = told(body) or {"body": body}
    entries = {**_event(event), **said}
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
        services.store.keep_checkpoint_again(services.settings.tenant, actor())
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


def actor() -> str:
    """The account that runs the command."""
    try:
        return f"command-line:{getpass.getuser()}"
    except (KeyError, OSError):  # a container may run under a number that has no name
        return f"command-line:uid-{os.getuid()}"


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
