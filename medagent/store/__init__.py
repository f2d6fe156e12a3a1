# SPDX-License-Identifier: Apache-2.0
"""The records: requests, dossiers, evidence and the audit log in a database. Importing it loads SQLAlchemy."""

from medagent.store.audit import AuditedEvent, EventFilter
from medagent.store.engine import postgresql_arguments
from medagent.store.migrate import Upgrade, upgrade
from medagent.store.records import RecordedOutcome, RecordedRecommendation
from medagent.store.store import Store, Transaction

__all__ = [
    "AuditedEvent",
    "EventFilter",
    "RecordedOutcome",
    "RecordedRecommendation",
    "Store",
    "Transaction",
    "Upgrade",
    "postgresql_arguments",
    "upgrade",
]
