# SPDX-License-Identifier: Apache-2.0
"""The keys of client assertions: public halves for EHRs, private ones for nobody, rotations that break nothing."""

import hashlib
import json
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest
from builders.vault import StandingClock
from joserfc import jws, jwt
from joserfc.jwk import ECKey, KeySet

from medagent.errors import SettingsError
from medagent_fhir.smart import SigningKeys
from medagent_fhir.smart.registry import Algorithm

WAIT = 15 * 60
PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "k", "oth"}


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def keys(tmp_path: Path, clock: StandingClock) -> SigningKeys:
    """Of curves, which are quick to make."""
    return SigningKeys(tmp_path / "keys", clock, ("ES384",))


def kids(keys: SigningKeys) -> list[str]:
    return [key["kid"] for key in keys.jwks()["keys"]]


def signs_with(keys: SigningKeys) -> str:
    return str(jws.extract_compact(keys.signed("ES384", {}).encode()).headers()["kid"])


# standards: 7
@pytest.mark.parametrize("alg", ["RS384", "ES384"])
def test_an_assertion_is_a_jwt_that_its_public_key_verifies(
    tmp_path: Path, clock: StandingClock, alg: Algorithm
) -> None:
    keys = SigningKeys(tmp_path, clock)
    assertion = keys.signed(alg, {"iss": "medagent", "aud": "https://ehr.example/token"})
    token = jwt.decode(assertion, KeySet.import_key_set(keys.jwks()), algorithms=[alg])  # type: ignore[arg-type]  # JSON
    assert token.header == {"alg": alg, "kid": token.header["kid"], "typ": "JWT"}
    assert token.header["kid"] in kids(keys)
    assert token.claims == {"iss": "medagent", "aud": "https://ehr.example/token"}


# standards: 8
def test_the_key_set_is_public_keys_alone(tmp_path: Path, clock: StandingClock) -> None:
    published = SigningKeys(tmp_path, clock).jwks()
    assert set(published) == {"keys"}
    assert {(key["kty"], key["alg"], key["use"]) for key in published["keys"]} == {
        ("RSA", "RS384", "sig"),
        ("EC", "ES384", "sig"),
    }
    assert not any(PRIVATE & set(key) for key in published["keys"])


# standards: 8
def test_a_key_is_named_by_its_thumbprint(keys: SigningKeys) -> None:
    (key,) = keys.jwks()["keys"]
    canonical = json.dumps({name: key[name] for name in ("crv", "kty", "x", "y")}, separators=(",", ":"))  # RFC 7638
    digest = urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).rstrip(b"=")
    assert key["kid"] == digest.decode()


# standards: 8
def test_a_rotation_publishes_two_keys_and_signs_with_the_new_one_once_it_is_known(
    keys: SigningKeys, clock: StandingClock
) -> None:
    (old,) = kids(keys)
    clock.go_on(WAIT)
    keys.rotate()
    new, still = kids(keys)
    assert still == old != new
    assert signs_with(keys) == old
    clock.go_on(WAIT - 1)
    assert signs_with(keys) == old
    clock.go_on(1)
    assert signs_with(keys) == new
    assert kids(keys) == [new, old]


def test_the_next_rotation_drops_the_key_before_the_current_one(keys: SigningKeys, clock: StandingClock) -> None:
    (first,) = kids(keys)
    for _ in range(2):
        clock.go_on(WAIT)
        keys.rotate()
    assert len(kids(keys)) == 2
    assert first not in kids(keys)


def test_a_rotation_waits_for_the_one_before(keys: SigningKeys, clock: StandingClock) -> None:
    keys.jwks()
    clock.go_on(WAIT)
    keys.rotate()
    before = kids(keys)
    clock.go_on(WAIT - 1)
    with pytest.raises(SettingsError, match="rotate after that"):
        keys.rotate()
    assert kids(keys) == before


def test_another_process_sees_a_rotation(keys: SigningKeys, clock: StandingClock, tmp_path: Path) -> None:
    other = SigningKeys(tmp_path / "keys", clock, ("ES384",))
    assert kids(other) == kids(keys)
    clock.go_on(WAIT)
    keys.rotate()
    assert kids(other) == kids(keys)
    clock.go_on(WAIT)
    assert signs_with(other) == signs_with(keys) == kids(keys)[0]


def test_a_key_is_for_its_owner_alone(keys: SigningKeys, tmp_path: Path) -> None:
    keys.jwks()
    (path,) = (tmp_path / "keys").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda path: path.chmod(0o640), id="others may read it"),
        pytest.param(lambda path: path.write_bytes(b"nothing of the kind"), id="no PEM"),
        pytest.param(lambda path: path.write_bytes(ECKey.generate_key("P-256").as_pem(private=True)), id="P-256"),
        pytest.param(lambda path: path.write_bytes(ECKey.generate_key("P-384").as_pem()), id="no private key"),
    ],
)
def test_a_key_that_cannot_be_right_is_refused_by_the_name_of_its_file(
    keys: SigningKeys, tmp_path: Path, clock: StandingClock, spoil: object
) -> None:
    keys.jwks()
    (path,) = (tmp_path / "keys").iterdir()
    assert callable(spoil)
    spoil(path)
    with pytest.raises(SettingsError, match="ES384-"):
        SigningKeys(tmp_path / "keys", clock, ("ES384",)).jwks()


def test_what_else_lies_in_the_folder_is_no_key(keys: SigningKeys, tmp_path: Path) -> None:
    before = kids(keys)
    (tmp_path / "keys" / "README.pem").write_text("These are keys")
    assert kids(keys) == before


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, clock: StandingClock) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="file/keys"):
        SigningKeys(tmp_path / "file" / "keys", clock, ("ES384",)).jwks()
