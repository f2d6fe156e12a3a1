# SPDX-License-Identifier: Apache-2.0
"""The journal of a run's calls; and PostgreSQL, too, refuses to change what is append-only.

There is no way back: a downgrade would drop records that must be kept for years.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_APPEND_ONLY = (
    "requests",
    "dossiers",
    "recommendations",
    "evidence_bytes",
    "journal",
    "audit_events",
    "log_entries",
    "checkpoints",
    "keys",
)


def upgrade() -> None:
    """Creates the journal and forbids changes to what is append-only."""
    _create_journal()
    if op.get_bind().dialect.name == "sqlite":
        for action in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER journal_no_{action.lower()} BEFORE {action} ON journal "
                "BEGIN SELECT RAISE(ABORT, 'journal is append-only'); END"
            )
    else:
        _forbid_in_postgresql()


def _create_journal() -> None:
    op.create_table(
        "journal",
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("schema_version", sa.Integer, nullable=False),
        sa.Column("request_id", sa.String(200), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("call_key", sa.String(200), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("key_id", sa.String(32), nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "request_id", "position"),
        sa.UniqueConstraint("tenant", "request_id", "call_key", "kind", "number", name="one_conclusion_per_call"),
        sa.ForeignKeyConstraint(["tenant", "request_id"], ["requests.tenant", "requests.id"]),
    )


def _forbid_in_postgresql() -> None:
    """For each statement, so that one which meets no row is refused, too."""
    op.execute(
        "CREATE FUNCTION medagent_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
    )
    for table in _APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION medagent_append_only()"
        )
