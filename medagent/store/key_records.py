# SPDX-License-Identifier: Apache-2.0
"""Which keys the records were written under: recorded with the first of them, and compared at each start.

A process with other keys would write what nobody else can read, and sign what nobody else can verify.
"""

from sqlalchemy import Connection, Engine, insert, select

from medagent.clock import Clock, instant_text
from medagent.errors import SettingsError
from medagent.settings import Settings
from medagent.store.audit import append_event
from medagent.store.engine import alone, describe, writing
from medagent.store.keys import Keys
from medagent.store.schema import ROW_SCHEMA
from medagent.store.schema import keys as keys_rows

RecordedKey = tuple[str, str, str]
"""Tenant, purpose and id of a key."""


def recorded_keys(connection: Connection) -> set[RecordedKey]:
    """Every key that anything was recorded under."""
    rows = connection.execute(select(keys_rows)).mappings().all()
    return {(row["tenant"], row["purpose"], row["key_id"]) for row in rows}


def refuse_other_keys(engine: Engine, keys: Keys, recorded: set[RecordedKey], settings: Settings) -> None:
    """Raises SettingsError that says which key to restore."""
    for tenant, purpose, key_id in sorted(recorded):
        present = keys.ids(tenant).get(purpose)
        if present != key_id:
            source = f"MEDAGENT_{purpose.upper()}_KEY_FILE, now {_key_file(settings, purpose)}"
            raise SettingsError(
                f"The {purpose} key {present} is not the key {key_id} that {describe(engine)} was written under: "
                f"restore that key ({source})"
            )


def _key_file(settings: Settings, purpose: str) -> str:
    if purpose == "encryption" and settings.encryption_key is not None:
        return "overruled by MEDAGENT_ENCRYPTION_KEY"
    return str(settings.encryption_key_file if purpose == "encryption" else settings.signing_key_file)


def register_keys(engine: Engine, keys: Keys, settings: Settings, clock: Clock) -> None:
    """Records which keys these are, unless another process was faster: on another machine, maybe with other keys."""
    tenant = settings.tenant
    with writing(engine) as connection:
        alone(connection, "keys")
        recorded = recorded_keys(connection)
        refuse_other_keys(engine, keys, recorded, settings)
        if any(tenant == one for one, _, _ in recorded):
            return
        at = instant_text(clock.now())
        for purpose, key_id in keys.ids(tenant).items():
            row = {"tenant": tenant, "schema_version": ROW_SCHEMA, "purpose": purpose, "key_id": key_id}
            connection.execute(insert(keys_rows), {**row, "created_at": at})
            append_event(
                connection,
                keys.cipher,
                tenant=tenant,
                type="key_registered",
                actor="medagent",
                occurred_at=at,
                body={"purpose": purpose, "key_id": key_id},
            )
