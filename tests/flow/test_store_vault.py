# SPDX-License-Identifier: Apache-2.0
"""The vault at rest: what lies in the database, under which key, and what somebody who can write there gains."""

import base64
import logging
import stat
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from builders.store import TENANT, Records, record
from builders.vault import CANARY, StandingClock, open_vault

from medagent.errors import IntegrityError, SettingsError
from medagent.settings import Settings
from medagent.store.token_keys import TokenKeys
from medagent.vault import Kind

OLD, NEW = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
CLOCK = StandingClock()
LATER = CLOCK.after(600)


# standards: 15
def test_no_file_holds_a_secret_in_the_clear(tmp_path: Path) -> None:
    with open_vault(Records(tmp_path), CLOCK) as vault:
        vault.put("session", "key-1", CANARY * 100, LATER)
        written = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert any(path.name.startswith("medagent.db") for path in written)
        assert [path.name for path in written if CANARY in path.read_bytes()] == []


def test_the_key_is_generated_for_its_owner_alone(tmp_path: Path) -> None:
    with open_vault(Records(tmp_path)):
        pass
    path = tmp_path / "keys" / "tokens.keys"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(base64.b64decode(path.read_text())) == 32
    assert path.read_text() != (tmp_path / "keys" / "encryption.key").read_text()


def test_of_processes_that_start_at_once_one_generates_the_key(tmp_path: Path) -> None:
    settings = Settings.load(home=tmp_path)
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: TokenKeys.open(settings), range(8)))
    assert len({key.newest.key_id for key in keys}) == 1


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    with open_vault(Records(tmp_path)):
        (tmp_path / "keys" / "tokens.keys").chmod(0o640)
    with pytest.raises(SettingsError, match=r"Other users may read or write the key file .*tokens\.keys"):
        TokenKeys.open(Settings.load(home=tmp_path))


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param(CANARY.decode(), id="is no base64"),
        pytest.param(base64.b64encode(CANARY).decode(), id="is too short"),
        pytest.param(f"{OLD},{CANARY.decode()}", id="has a second key that is none"),
        pytest.param(",", id="names none"),
    ],
)
def test_what_is_no_key_is_refused_without_being_quoted(tmp_path: Path, keys: str) -> None:
    path = tmp_path / "tokens.keys"
    path.write_text(keys.replace(",", "\n"))
    path.chmod(0o600)
    for origin, settings in (
        ("MEDAGENT_TOKEN_KEYS", Settings.load(home=tmp_path, token_keys=keys)),
        (f"The file {path}", Settings.load(home=tmp_path, token_key_file=path)),
    ):
        with pytest.raises(SettingsError, match=f"{origin} .*32 bytes in base64") as refusal:
            TokenKeys.open(settings)
        told = "".join(traceback.format_exception(refusal.value))
        assert CANARY.decode() not in told
        assert OLD not in told


# standards: 15
class TestRotation:
    """A new key is named first; the old one is taken out when what it encrypted has ended."""

    def test_reads_what_the_old_key_encrypted_and_writes_under_the_new_one(self, records: Records) -> None:
        with open_vault(records, CLOCK, token_keys=OLD) as vault:
            vault.put("session", "before", CANARY, LATER)
        with open_vault(records, CLOCK, token_keys=f"{NEW}, {OLD}") as vault:
            assert vault.get("session", "before") == CANARY
            vault.put("session", "after", b"another", LATER)
        with open_vault(records, CLOCK, token_keys=NEW) as vault:
            assert vault.get("session", "after") == b"another"

    def test_may_go_on_in_one_process_while_another_has_the_old_key_first(self, records: Records) -> None:
        with (
            open_vault(records, CLOCK, token_keys=f"{OLD},{NEW}") as behind,
            open_vault(records, CLOCK, token_keys=f"{NEW},{OLD}") as ahead,
        ):
            ahead.put("session", "key-1", CANARY, LATER)
            assert behind.get("session", "key-1") == CANARY
            behind.put("session", "key-1", b"another", LATER)
            assert ahead.take("session", "key-1") == b"another"

    def test_ends_what_was_encrypted_under_a_key_that_is_taken_out(
        self, records: Records, caplog: pytest.LogCaptureFixture
    ) -> None:
        with open_vault(records, CLOCK, token_keys=OLD) as vault:
            vault.put("session", "key-1", CANARY, LATER)
            key_id = vault.keys.newest.key_id
        with open_vault(records, CLOCK, token_keys=NEW) as vault, caplog.at_level(logging.WARNING):
            assert vault.get("session", "key-1") is None
        assert caplog.messages == [f"vault_key_unknown kind=session key_id={key_id}"]

    def test_by_a_line_at_the_top_of_the_key_file(self, tmp_path: Path) -> None:
        records = Records(tmp_path)
        with open_vault(records, CLOCK) as vault:
            vault.put("session", "before", CANARY, LATER)
        path = tmp_path / "keys" / "tokens.keys"
        path.write_text(f"{NEW}\n{path.read_text()}\n")
        with open_vault(records, CLOCK) as vault:
            assert vault.get("session", "before") == CANARY
            vault.put("session", "after", CANARY, LATER)
        with open_vault(records, CLOCK, token_keys=NEW) as vault:
            assert vault.get("session", "after") == CANARY


@pytest.mark.parametrize(
    ("change", "kind", "key"),
    [
        pytest.param("key = 'key-2'", "session", "key-2", id="moved to another key"),
        pytest.param("kind = 'client_token'", "client_token", "key-1", id="made another kind"),
        pytest.param("expires_at = '2999-01-01T00:00:00.000000Z'", "session", "key-1", id="made to live longer"),
        pytest.param("tenant = 'other'", "session", "key-1", id="given to another tenant"),
    ],
)
def test_a_row_that_was(records: Records, change: str, kind: Kind, key: str) -> None:
    with open_vault(records, CLOCK) as vault:
        vault.put("session", "key-1", CANARY, LATER)
    records.execute(f"UPDATE vault_secrets SET {change}")  # noqa: S608 - an attack is SQL
    tenant = "other" if "tenant" in change else TENANT
    with open_vault(records, CLOCK, tenant=tenant) as vault:
        with pytest.raises(
            IntegrityError, match=rf"vault_secrets, one of the kind {kind}: its encrypted bytes"
        ) as refusal:
            vault.get(kind, key)
        assert key not in str(refusal.value)
        with pytest.raises(IntegrityError):
            vault.take(kind, key)
        assert vault.take(kind, key) is None


def test_a_vault_and_its_keys_print_no_key(tmp_path: Path) -> None:
    with open_vault(Records(tmp_path), token_keys=OLD) as vault:
        told = f"{vault!r} {vault} {vault.keys!r} {vault.keys.newest!r} {Settings.load(token_keys=OLD)!r}"
    assert OLD not in told
    assert repr(bytes([1]) * 4)[2:-1] not in told


# standards: 49
def test_what_comes_and_goes_in_the_vault_leaves_the_log_as_it_is(records: Records) -> None:
    with records.open() as store:
        record(store)
        vault = store.vault(TENANT)
        vault.put("session", "key-1", CANARY, LATER)
        vault.claim("session", "key-1", "holder", LATER)
        store.seal()
        before = store.verify(TENANT)
        vault.put("session", "key-1", b"another", LATER)
        vault.delete("session", "key-1")
        after = store.verify(TENANT)
    assert before.ok
    assert after == before
