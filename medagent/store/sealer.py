# SPDX-License-Identifier: Apache-2.0
"""The sealer: gives unsealed events their place in the log and signs a checkpoint.

Writers never touch the tree; they put the event's id into a queue in their own transaction. So a transaction that
commits late is sealed later instead of being lost, and writers do not wait for each other's hashes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, and_, bindparam, delete, func, insert, select

from medagent.errors import IntegrityError
from medagent.log.checkpoint import Checkpoint, Signer, open_checkpoint
from medagent.log.leaf import EventHeader, leaf
from medagent.log.tree import Frontier, leaf_hash
from medagent.store.audit import header_of
from medagent.store.engine import alone, writing
from medagent.store.kept_checkpoint import KeptCheckpoint
from medagent.store.schema import ROW_SCHEMA, audit_events, checkpoints, log_entries, unsealed_events

BATCH_EVENTS = 5_000  # events per transaction: writers wait for about half a second at most


@dataclass(frozen=True, slots=True)
class Sealer:
    """Seals the log of one tenant. Any number may run: the database lets one at a time do it."""

    engine: Engine
    signer: Signer
    tenant: str
    kept: KeptCheckpoint
    may_keep_anew: bool = False
    """The kept checkpoint was lost, and somebody answers for it: see `Store.keep_checkpoint_again`."""

    def seal(self) -> Checkpoint | None:
        """Seals all that waits; returns the newest checkpoint, or None if nothing waited."""
        newest = None
        while (sealed := self._seal_batch()) is not None:
            newest = sealed
        return newest

    def _seal_batch(self) -> Checkpoint | None:
        """One transaction.

        Steps: (1) the tree so far is the one that the last checkpoint attests; (2) it continues the checkpoint that
        is kept outside; (3) the oldest events that wait get the next indexes; (4) the tree that contains them is
        signed; (5) all is committed, and only then (6) kept outside. A crash before (5) leaves the events waiting,
        one before (6) is made good here the next time.
        """
        with writing(self.engine) as connection:
            alone(connection, "log", self.tenant)
            frontier, note = self._last(connection)  # (1)
            self._continues_kept(connection, frontier)  # (2)
            waiting = self._waiting(connection)
            checkpoint = None
            if waiting:
                frontier = self._append(connection, frontier, waiting)  # (3)
                checkpoint = Checkpoint(self.signer.name, frontier.size, frontier.root())
                note = self.signer.sign(checkpoint)  # (4)
                self._record(connection, frontier, note)
        if note is not None:  # (5) is behind us
            self.kept.write(note, self.signer.verifier_key)  # (6)
        return checkpoint

    def _last(self, connection: Connection) -> tuple[Frontier, str | None]:
        query = select(checkpoints).where(checkpoints.c.tenant == self.tenant)
        row = connection.execute(query.order_by(checkpoints.c.tree_size.desc()).limit(1)).mappings().one_or_none()
        if row is None:
            return Frontier(), None
        checkpoint = open_checkpoint(row["note"], self.signer.verifier_key)
        frontier = Frontier.from_bytes(row["tree_size"], row["frontier"])
        if (checkpoint.size, checkpoint.root) != (frontier.size, frontier.root()):
            raise IntegrityError(
                f"checkpoints {row['tree_size']}: its row contradicts its signed text; nothing is signed on top of it"
            )
        return frontier, row["note"]

    def _continues_kept(self, connection: Connection, frontier: Frontier) -> None:
        kept = self.kept.checkpoint(self.signer.verifier_key)
        if kept is None:
            self._refuse_lost(connection)
            return
        if kept.size > frontier.size:
            raise IntegrityError(
                f"The log has {frontier.size} sealed entries, but {self.kept.path} attests {kept.size}: "
                "its end was cut off; nothing is signed"
            )
        query = select(checkpoints.c.root).where(
            checkpoints.c.tenant == self.tenant, checkpoints.c.tree_size == kept.size
        )
        if connection.scalar(query) != kept.root:
            raise IntegrityError(
                f"The checkpoint of size {kept.size} is not the one kept in {self.kept.path}: "
                "the log was rewritten; nothing is signed"
            )

    def _refuse_lost(self, connection: Connection) -> None:
        """After the first checkpoint, whose keeping a crash may have cut off, a missing file has been removed."""
        query = select(func.count()).select_from(checkpoints).where(checkpoints.c.tenant == self.tenant)
        if not self.may_keep_anew and (connection.scalar(query) or 0) > 1:
            raise IntegrityError(
                f"The kept checkpoint {self.kept.path} is gone, so nobody can tell whether the log's end was cut off; "
                "nothing is signed. Restore it from a copy, or run: medagent audit keep"
            )

    def _waiting(self, connection: Connection) -> Sequence[EventHeader]:
        same = and_(unsealed_events.c.tenant == audit_events.c.tenant, unsealed_events.c.event_id == audit_events.c.id)
        query = (
            select(audit_events)
            .join(unsealed_events, same)
            .where(unsealed_events.c.tenant == self.tenant)
            .order_by(audit_events.c.occurred_at, audit_events.c.id)
            .limit(BATCH_EVENTS)
        )
        return [header_of(row) for row in connection.execute(query).mappings()]

    def _append(self, connection: Connection, frontier: Frontier, waiting: Sequence[EventHeader]) -> Frontier:
        size = frontier.size + len(waiting)
        hashes = [
            leaf_hash(leaf(header, index=index, tree_size=size))
            for index, header in enumerate(waiting, start=frontier.size)
        ]
        own = {"tenant": self.tenant, "schema_version": ROW_SCHEMA, "tree_size": size}
        rows = [
            {**own, "tree_index": index, "event_id": header.id, "leaf_hash": digest}
            for index, (header, digest) in enumerate(zip(waiting, hashes, strict=True), start=frontier.size)
        ]
        connection.execute(insert(log_entries), rows)
        taken = and_(unsealed_events.c.tenant == self.tenant, unsealed_events.c.event_id == bindparam("taken"))
        connection.execute(delete(unsealed_events).where(taken), [{"taken": header.id} for header in waiting])
        return frontier.extend(hashes)

    def _record(self, connection: Connection, frontier: Frontier, note: str) -> None:
        row = {
            "tenant": self.tenant,
            "schema_version": ROW_SCHEMA,
            "tree_size": frontier.size,
            "root": frontier.root(),
            "frontier": frontier.to_bytes(),
            "note": note,
        }
        connection.execute(insert(checkpoints), row)


def newest_note(connection: Connection, tenant: str) -> str | None:
    """The last signed checkpoint of a tenant's log."""
    query = select(checkpoints.c.note).where(checkpoints.c.tenant == tenant)
    return connection.scalar(query.order_by(checkpoints.c.tree_size.desc()).limit(1))
