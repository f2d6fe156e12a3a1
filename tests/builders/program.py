# SPDX-License-Identifier: Apache-2.0
"""The installed command in processes of its own, on records of its own."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

PROGRAM = Path(sys.executable).with_name("medagent")
SAMPLES = Path(str(files("medagent_workflows") / "samples"))
AS_OF = "2026-06-30"

Ended = subprocess.CompletedProcess[str]


@dataclass(frozen=True, slots=True)
class Program:
    """Runs `medagent` with its records in `home`."""

    home: Path

    def environment(self, **variables: str) -> dict[str, str]:
        """Of this process, without settings of whoever runs the tests."""
        own = {name: text for name, text in os.environ.items() if not name.startswith("MEDAGENT_")}
        return {**own, "MEDAGENT_HOME": str(self.home), "COLUMNS": "100", "NO_COLOR": "1", **variables}

    def run(self, *arguments: str | Path, **variables: str) -> Ended:
        """One command to its end."""
        return subprocess.run(  # noqa: S603 - our own program, arguments of our own tests
            [PROGRAM, *map(str, arguments)],
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=300,
            env=self.environment(**variables),
            check=False,
        )

    def start(self, *arguments: str | Path, **variables: str) -> subprocess.Popen[bytes]:
        """One command that goes on by itself."""
        return subprocess.Popen(  # noqa: S603 - our own program, arguments of our own tests
            [PROGRAM, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment(**variables),
        )

    def count(self, query: str) -> int:
        """The single number that a query of the database gives."""
        with closing(sqlite3.connect(self.home / "medagent.db")) as connection:
            (number,) = connection.execute(query).fetchone()
        return int(number)


def recommend_sample(name: str, *more: str | Path) -> tuple[str | Path, ...]:
    """The arguments that run one of the samples as of their day."""
    return ("recommend", "--fhir", SAMPLES / f"{name}.json", "--as-of", AS_OF, *more)


HALF_RECORDED = {
    "a dossier without its request": (
        "SELECT count(*) FROM dossiers WHERE request_id NOT IN (SELECT id FROM requests)"
    ),
    "a request without its event": (
        "SELECT count(*) FROM requests AS r WHERE 1 <> (SELECT count(*) FROM audit_events AS e "
        "WHERE e.type = 'request_recorded' AND e.request = r.id)"
    ),
    "a dossier without its event": (
        "SELECT count(*) FROM dossiers AS d WHERE 1 <> (SELECT count(*) FROM audit_events AS e "
        "WHERE e.type = 'outcome_recorded' AND e.dossier = d.id)"
    ),
    "an event without its dossier": (
        "SELECT count(*) FROM audit_events WHERE type = 'outcome_recorded' AND dossier NOT IN (SELECT id FROM dossiers)"
    ),
    "an event without its request": (
        "SELECT count(*) FROM audit_events WHERE type = 'request_recorded' AND request NOT IN (SELECT id FROM requests)"
    ),
    "a recommendation without its dossier": (
        "SELECT count(*) FROM recommendations WHERE dossier_id NOT IN (SELECT id FROM dossiers)"
    ),
}
"""What must never be found in the database, each as a query that counts it."""


def half_recorded(program: Program) -> list[str]:
    """What of `HALF_RECORDED` there is."""
    return [what for what, query in HALF_RECORDED.items() if program.count(query)]
