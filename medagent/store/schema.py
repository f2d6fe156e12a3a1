# SPDX-License-Identifier: Apache-2.0
"""The tables, as the code uses them. `migrations/` creates them; a test compares the two.

Tenant and schema version stand in every row, the tenant in every unique key. Rows are only ever added, but for
`unsealed_events`, which is the sealer's queue, and the vault, whose secrets end (`CHANGING`). No column holds patient
data in the clear: bodies are encrypted, a patient is found by a keyed index. Instants are RFC 3339 texts of fixed
width, which sort alike in every database.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)

ROW_SCHEMA = 1
"""Version of the rows that this code writes. Rows of an older one are read by a reader that is kept, not migrated."""

APPEND_ONLY = (
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

CHANGING = ("unsealed_events", "vault_secrets", "vault_claims")
"""The tables whose rows are replaced or deleted. None of them is evidence."""

metadata = MetaData()

_ID, _TENANT, _INSTANT, _HASH, _KEY = String(200), String(64), String(27), String(64), String(32)


def _own() -> tuple[Column[str], Column[int]]:
    return Column("tenant", _TENANT, nullable=False), Column("schema_version", Integer, nullable=False)


requests = Table(
    "requests",
    metadata,
    *_own(),
    Column("id", _ID, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("patient_index", _HASH, nullable=False),
    Column("key_id", _KEY, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant", "id"),
)

dossiers = Table(
    "dossiers",
    metadata,
    *_own(),
    Column("id", _ID, nullable=False),
    Column("request_id", _ID, nullable=False),
    Column("outcome", String(32), nullable=False),
    Column("reason", String(64)),
    Column("as_of", _INSTANT, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("patient_index", _HASH, nullable=False),
    Column("sha256", _HASH, nullable=False),
    Column("key_id", _KEY, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant", "id"),
    UniqueConstraint("tenant", "request_id", name="one_dossier_per_request"),
    ForeignKeyConstraint(["tenant", "request_id"], ["requests.tenant", "requests.id"]),
    Index("dossiers_of_patient", "tenant", "patient_index"),
)

recommendations = Table(
    "recommendations",
    metadata,
    *_own(),
    Column("dossier_id", _ID, nullable=False),
    Column("id", _ID, nullable=False),
    Column("rule", _ID),
    Column("guideline", _ID),
    Column("edition", _ID),
    Column("urgency", String(16), nullable=False),
    PrimaryKeyConstraint("tenant", "dossier_id", "id"),
    ForeignKeyConstraint(["tenant", "dossier_id"], ["dossiers.tenant", "dossiers.id"]),
    Index("recommendations_of_guideline", "tenant", "guideline", "edition"),
)

evidence_bytes = Table(
    "evidence_bytes",
    metadata,
    *_own(),
    Column("sha256", _HASH, nullable=False),
    Column("key_id", _KEY, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant", "sha256"),
)

# What happened to the calls of a run, in its order: a call is intended, attempted again, concluded.
journal = Table(
    "journal",
    metadata,
    *_own(),
    Column("request_id", _ID, nullable=False),
    Column("position", Integer, nullable=False),
    Column("call_key", _ID, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("number", Integer, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("sha256", _HASH, nullable=False),
    Column("key_id", _KEY, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant", "request_id", "position"),
    UniqueConstraint("tenant", "request_id", "call_key", "kind", "number", name="one_conclusion_per_call"),
    ForeignKeyConstraint(["tenant", "request_id"], ["requests.tenant", "requests.id"]),
)

audit_events = Table(
    "audit_events",
    metadata,
    *_own(),
    Column("id", _ID, nullable=False),
    Column("occurred_at", _INSTANT, nullable=False),
    Column("type", String(64), nullable=False),
    Column("actor", _ID, nullable=False),
    Column("request", _ID),
    Column("dossier", _ID),
    Column("patient_index", _HASH),
    Column("commitment", _HASH, nullable=False),
    Column("key_id", _KEY, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant", "id"),
    Index("audit_events_in_time", "tenant", "occurred_at", "id"),
    Index("audit_events_of_patient", "tenant", "patient_index"),
)

unsealed_events = Table(
    "unsealed_events",
    metadata,
    *_own(),
    Column("event_id", _ID, nullable=False),
    PrimaryKeyConstraint("tenant", "event_id"),
)

log_entries = Table(
    "log_entries",
    metadata,
    *_own(),
    Column("tree_index", BigInteger, nullable=False),
    Column("event_id", _ID, nullable=False),
    Column("tree_size", BigInteger, nullable=False),
    Column("leaf_hash", LargeBinary(32), nullable=False),
    PrimaryKeyConstraint("tenant", "tree_index"),
    UniqueConstraint("tenant", "event_id", name="one_entry_per_event"),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    *_own(),
    Column("tree_size", BigInteger, nullable=False),
    Column("root", LargeBinary(32), nullable=False),
    Column("frontier", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
    PrimaryKeyConstraint("tenant", "tree_size"),
)

keys = Table(
    "keys",
    metadata,
    *_own(),
    Column("purpose", String(32), nullable=False),
    Column("key_id", _KEY, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    PrimaryKeyConstraint("tenant", "purpose", "key_id"),
)

vault_secrets = Table(
    "vault_secrets",
    metadata,
    *_own(),
    Column("kind", String(16), nullable=False),
    Column("key", _ID, nullable=False),
    Column("expires_at", _INSTANT, nullable=False),
    Column("key_id", _KEY, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant", "kind", "key"),
    Index("vault_secrets_in_time", "tenant", "expires_at"),
)

# Who is about to replace a secret, which need not be there yet.
vault_claims = Table(
    "vault_claims",
    metadata,
    *_own(),
    Column("kind", String(16), nullable=False),
    Column("key", _ID, nullable=False),
    Column("expires_at", _INSTANT, nullable=False),
    Column("holder", _ID, nullable=False),
    PrimaryKeyConstraint("tenant", "kind", "key"),
    Index("vault_claims_in_time", "tenant", "expires_at"),
)
