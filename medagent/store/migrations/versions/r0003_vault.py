# SPDX-License-Identifier: Apache-2.0
"""The vault: launches under way, sessions and tokens, and who is about to replace one of them.

Unlike records, its rows are replaced and deleted: they are secrets for a while, and no part of any dossier.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TENANT, _KIND, _KEY, _INSTANT = sa.String(64), sa.String(16), sa.String(200), sa.String(27)


def upgrade() -> None:
    """Creates the vault and its claims. What is append-only stays so."""
    op.create_table(
        "vault_secrets",
        *_own(),
        sa.Column("expires_at", _INSTANT, nullable=False),
        sa.Column("key_id", sa.String(32), nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "kind", "key"),
    )
    op.create_index("vault_secrets_in_time", "vault_secrets", ["tenant", "expires_at"])
    op.create_table(
        "vault_claims",
        *_own(),
        sa.Column("expires_at", _INSTANT, nullable=False),
        sa.Column("holder", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "kind", "key"),
    )
    op.create_index("vault_claims_in_time", "vault_claims", ["tenant", "expires_at"])


def _own() -> tuple[sa.Column[str] | sa.Column[int], ...]:
    return (
        sa.Column("tenant", _TENANT, nullable=False),
        sa.Column("schema_version", sa.Integer, nullable=False),
        sa.Column("kind", _KIND, nullable=False),
        sa.Column("key", _KEY, nullable=False),
    )
