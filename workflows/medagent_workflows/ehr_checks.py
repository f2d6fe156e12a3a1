# SPDX-License-Identifier: Apache-2.0
"""What of an EHR works for this site, one thing after the other as a launch or a run needs it.

Every call to its FHIR server is on record like those of runs; a token is asked for anew and kept nowhere. No finding
holds a token or anything of a patient.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from medagent.errors import AuthorizationError, ChartError, SettingsError
from medagent.scopes import BY_ID, READING, Grant
from medagent.vault import Kind
from medagent_fhir.audit_events import Auditor, Parties
from medagent_fhir.authorization import Authorization, Open
from medagent_fhir.client import FhirClient
from medagent_fhir.smart import Ehr, EhrRegistry, Launcher, SigningKeys
from medagent_fhir.smart.discovery import discovered
from medagent_fhir.smart.registry import Asymmetric
from medagent_workflows.ehrs import UNREGISTERED, client_limits, smart_limits
from medagent_workflows.findings import Finding
from medagent_workflows.retrieval import plan
from medagent_workflows.wiring import Services

_ACTOR = "medagent ehr check"  # on whose behalf the calls go on record
_NOBODY = "medagent-connection-check"  # the id that a search asks for, which shall find nobody
_BY_REFERENCE = ("Patient", "Medication", "Binary")  # read by their ids alone


@dataclass(frozen=True, slots=True)
class _Check:
    name: str
    title: str
    remedy: str

    def holds(self, detail: str) -> Finding:
        return Finding(check=self.name, title=self.title, status="holds", needed=True, detail=detail)

    def fails(self, detail: str, remedy: str | None = None) -> Finding:
        return self._not("fails", detail, remedy)

    def lacks(self, detail: str, remedy: str | None = None) -> Finding:
        return self._not("lacks", detail, remedy)

    def untried(self) -> Finding:
        return Finding(check=self.name, title=self.title, status="untried", needed=True, detail="not tried")

    def _not(self, status: Literal["fails", "lacks"], detail: str, remedy: str | None) -> Finding:
        return Finding(
            check=self.name,
            title=self.title,
            status=status,
            needed=status == "fails",
            detail=detail,
            remedy=remedy or self.remedy,
        )


_ENTRY = _Check("registry", "Registry", "add it to the file of MEDAGENT_EHRS_FILE")
_CONNECTION = _Check("connection", "Connection", "check host and port; for an authority of the site give its ca_file")
_DISCOVERY = _Check("discovery", "SMART configuration", "check that issuer is its FHIR base URL, and who runs the EHR")
_PKCE = _Check("pkce", "Launch with PKCE (S256)", "launches are refused until whoever runs the EHR offers it")
_PUBLIC_URL = _Check("public_url", "Where launches come back", "set MEDAGENT_PUBLIC_URL")
_ASKED = _Check("launch_scopes", "Scopes of a launch", "add them to `scopes`, or leave them out on purpose")
_KEYS = _Check("keys", "Signing keys", "let MedAgent alone own the folder MEDAGENT_SMART_KEY_FOLDER (chmod 700)")
_TOKEN = _Check("token", "Token without a launch", "register the client, its keys and its scopes with the EHR")
_SCOPES = _Check("scopes", "Scopes granted to it", "let whoever runs the EHR grant them to this client")
_METADATA = _Check("metadata", "FHIR R4", "give the base URL of its R4 endpoint as issuer")
_TYPES = _Check("types", "Resource types", "runs go without these and say so; ask who runs the EHR")
_POST = _Check("post_search", "Search by POST", "let the EHR allow POST to _search: else its URLs name patients")
_PATIENT = _Check("patient", "One patient", "give the id of a patient whom this client may read")
_OF_SMART = (_DISCOVERY, _PKCE, _PUBLIC_URL, _ASKED, _KEYS, _TOKEN, _SCOPES)


@dataclass(frozen=True, slots=True)
class Examination:
    """Of one EHR, for one site."""

    services: Services
    ehrs: EhrRegistry
    ehr: Ehr | None
    """None: the registry has none for this URL."""
    url: str
    """FHIR base URL, without a slash at its end."""
    patient: str | None
    """`Patient/id` of the one that is read. None: nobody is."""

    async def findings(self) -> AsyncIterator[Finding]:
        """Each as it is made.

        Steps: (1) the entry of the registry; (2) somebody is there whom we trust, or the rest is not tried; (3) SMART,
        as launches need it; (4) a token of the backend service and what it may read; (5) the FHIR server.
        """
        yield self._entry()  # (1)
        connection = await self._connection()  # (2)
        yield connection
        if connection.status == "fails":
            of_smart = _OF_SMART if self.ehr is not None else ()
            of_patient = (_PATIENT,) if self.patient is not None else ()
            for check in (*of_smart, _METADATA, _TYPES, _POST, *of_patient):
                yield check.untried()
            return
        authorization: Authorization | None = Open(self.url)
        if self.ehr is not None:
            async for finding in self._smart(self.ehr):  # (3)
                yield finding
            token, authorization = await self._token(self.ehr)  # (4)
            yield token
            if self.ehr.backend is not None:
                granted = None if authorization is None else authorization.granted
                yield _SCOPES.untried() if granted is None else self._scopes(self.ehr.backend.scopes, granted)
        async for finding in self._fhir(authorization):  # (5)
            yield finding

    def _entry(self) -> Finding:
        if self.ehr is None:
            return _ENTRY.lacks("none of the site's EHRs: read only if it asks for no right, and never launched")
        return _ENTRY.holds(f"{self.ehr.name}, client {self.ehr.client_id} ({self.ehr.authentication.kind})")

    async def _connection(self) -> Finding:
        """Whether a socket opens, and whether its certificate is trusted."""
        parts, seconds = urlsplit(self.url), self.services.settings.fhir_connect_seconds
        secure = parts.scheme == "https"
        try:
            trusted = ssl.create_default_context(cafile=self._ca_file) if secure else None
            async with asyncio.timeout(seconds):
                port = parts.port or (443 if secure else 80)
                _, writer = await asyncio.open_connection(parts.hostname, port, ssl=trusted)
        except ssl.SSLCertVerificationError as error:
            return _CONNECTION.fails(f"its certificate is not trusted: {error.verify_message}")
        except TimeoutError:
            return _CONNECTION.fails(f"took no connection within {seconds:g} s")
        except OSError as error:  # what else of TLS fails is one, too
            return _CONNECTION.fails(f"cannot be reached: {error.strerror or type(error).__name__}")
        told = _told_of_tls(writer.get_extra_info("ssl_object"))
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        return _CONNECTION.holds(told)

    async def _smart(self, ehr: Ehr) -> AsyncIterator[Finding]:
        try:
            said = await discovered(ehr, smart_limits(self.services.settings))
        except AuthorizationError as error:
            yield _DISCOVERY.fails(self._plain(error))
            yield _PKCE.untried()
        else:
            yield _DISCOVERY.holds(f"tokens at {said.token_endpoint}")
            if said.authorization_endpoint is None:
                yield _PKCE.fails("no authorization_endpoint: nobody can be sent there to sign in")
            elif not said.offers_s256:
                yield _PKCE.fails("code_challenge_methods_supported does not name S256")
            else:
                yield _PKCE.holds(f"people sign in at {said.authorization_endpoint}")
        base = self.services.settings.public_url
        if base is None:
            yield _PUBLIC_URL.lacks("MEDAGENT_PUBLIC_URL is not set: launched on this machine alone")
        else:
            yield _PUBLIC_URL.holds(f"register launch {base}/launch, redirect {base}/callback")
        missing = _missing(Grant.of(ehr.scopes), self._planned)
        yield _ASKED.lacks(f"does not ask for {', '.join(missing)}") if missing else _ASKED.holds("all that runs need")
        yield self._keys(ehr)

    def _keys(self, ehr: Ehr) -> Finding:
        """Whether we can sign. Makes the keys where there are none: the EHR has to be given them before all else."""
        signs = {one.alg for one in (ehr.authentication,) if isinstance(one, Asymmetric)}
        signs |= {ehr.backend_alg} if ehr.backend is not None else set()
        if not signs:
            return _KEYS.holds("none needed: this client signs nothing")
        try:
            published = self._signing_keys.jwks()["keys"]
        except SettingsError as error:
            return _KEYS.fails(str(error))
        ids = ", ".join(f"{key['alg']} {key['kid']}" for key in published if key["alg"] in signs)
        base = self.services.settings.public_url or ""
        return _KEYS.holds(f"{ids}; medagent serve publishes them at {base}/.well-known/jwks.json")

    async def _token(self, ehr: Ehr) -> tuple[Finding, Authorization | None]:
        if ehr.backend is None:
            return _TOKEN.lacks("no backend service: it is read by launches alone", "add `backend` with scopes"), None
        limits = smart_limits(self.services.settings)
        launcher = Launcher(self.ehrs, self._signing_keys, _Forgetful(), self.services.clock, None, limits)
        try:
            authorization = await launcher.backend(ehr, self.patient or f"Patient/{_NOBODY}")
        except (AuthorizationError, SettingsError) as error:
            return _TOKEN.fails(self._plain(error)), None
        return _TOKEN.holds(f"given to client {ehr.backend_client_id}"), authorization

    def _scopes(self, asked: tuple[str, ...], granted: Grant) -> Finding:
        """Of what runs read at first, what may be read."""
        missing = _missing(granted, self._planned)
        partly = [name for name in self._planned if () not in (_reading(granted, name) or ((),))]
        told = f"; only a part of {', '.join(partly)}" if partly else ""
        if not missing:
            return _SCOPES.holds(f"all {len(self._planned)} types that runs read at first{told}")
        unasked = _missing(Grant.of(asked), missing)
        remedy = f"add to `backend.scopes`: {' '.join(f'system/{name}.rs' for name in unasked)}" if unasked else None
        return _SCOPES.fails(f"not granted: {', '.join(missing)}{told}", remedy)

    async def _fhir(self, authorization: Authorization | None) -> AsyncIterator[Finding]:
        """(1) What the server says of itself. Where there is a right: (2) a search that finds nobody, (3) one read."""
        settings = self.services.settings
        client_id = UNREGISTERED if self.ehr is None else self.ehr.backend_client_id
        right = _OfNobody(authorization or Open(self.url))
        log = self.services.store.access_log(settings.tenant)
        async with (
            Auditor(log, Parties(server=self.url, client=client_id), actor=_ACTOR) as auditor,
            FhirClient(
                right, auditor, clock=self.services.clock, limits=client_limits(settings), ca_file=self._ca_file
            ) as client,
        ):
            stated = False
            async for finding in self._stated(client):  # (1)
                stated = stated or finding.status != "fails"
                yield finding
            if self.ehr is not None and self.ehr.backend is None:
                return
            if authorization is None or not stated:
                yield _POST.untried()
                if self.patient is not None:
                    yield _PATIENT.untried()
                return
            yield await self._searched(client)  # (2)
            if self.patient is not None:
                yield await self._one_read(client, self.patient)  # (3)

    async def _stated(self, client: FhirClient) -> AsyncIterator[Finding]:
        try:
            can = await client.capabilities()
        except ChartError as error:
            yield _METADATA.fails(self._plain(error))
            yield _TYPES.untried()
            return
        if not can.stated:
            yield _METADATA.lacks("says nothing of itself that can be read: everything is tried")
            return
        yield _METADATA.holds(f"{can.fhir_version or 'no version'}, {can.software or 'of unnamed software'}")
        absent = [
            name for name in self._planned if not can.supports(name, "read" if name in _BY_REFERENCE else "search-type")
        ]
        if "Patient" in absent:
            yield _TYPES.fails("offers no Patient: without it there is no chart")
        elif absent:
            yield _TYPES.lacks(f"does not offer {', '.join(absent)}")
        else:
            yield _TYPES.holds(f"all {len(self._planned)} that runs read at first")

    async def _searched(self, client: FhirClient) -> Finding:
        try:
            async for _ in client.search("Patient", [("_id", _NOBODY)], count=1):
                break
            can = await client.capabilities()
        except ChartError as error:
            return _POST.fails(self._plain(error), "let this client search Patient (system/Patient.rs)")
        return _POST.holds("takes POST") if can.posts_searches else _POST.lacks("takes GET alone")

    async def _one_read(self, client: FhirClient, patient: str) -> Finding:
        try:
            client.bound_to(patient)
            given = await client.read("Patient", patient.removeprefix("Patient/"))
        except ChartError as error:
            return _PATIENT.fails(self._plain(error))
        return _PATIENT.holds(f"was read ({len(given.body)} bytes), which is on record")

    @property
    def _planned(self) -> tuple[str, ...]:
        """What runs read at first."""
        return ("Patient", *plan(self.services.pack, has_model=self.services.settings.model_url is not None))

    @property
    def _ca_file(self) -> Any:
        return self.services.settings.fhir_ca_file if self.ehr is None else self.ehr.ca_file

    @property
    def _signing_keys(self) -> SigningKeys:
        return SigningKeys(self.services.settings.smart_key_folder, self.services.clock)

    def _plain(self, error: Exception) -> str:
        """Its message, without the patient and without what the line says anyway."""
        told = str(error).removeprefix(f"EHR {self.ehr.name}: ") if self.ehr is not None else str(error)
        return told if self.patient is None else told.replace(self.patient, "Patient")


def _reading(grant: Grant, name: str) -> tuple[Any, ...] | None:
    return grant.reading(name, BY_ID if name in _BY_REFERENCE else READING)


def _missing(grant: Grant, names: tuple[str, ...] | list[str]) -> list[str]:
    """What of these may not be read at all."""
    return [name for name in names if _reading(grant, name) is None]


def _told_of_tls(spoken: ssl.SSLObject | None) -> str:
    if spoken is None:
        return "plain HTTP, on this machine"
    shown: dict[str, Any] = spoken.getpeercert() or {}
    return f"{spoken.version()}, its certificate holds until {shown.get('notAfter')}"


@dataclass(frozen=True, slots=True)
class _OfNobody:
    """A right without the patient that it was made for: what is asked here is about nobody, until one is read."""

    right: Authorization
    patient: None = None

    @property
    def base(self) -> str:
        return self.right.base

    @property
    def granted(self) -> Grant | None:
        return self.right.granted

    @property
    def token_id(self) -> str | None:
        return self.right.token_id

    async def token(self, refused: SecretStr | None = None) -> SecretStr | None:
        return await self.right.token(refused)


class _Forgetful:
    """A vault that keeps nothing: a check asks for a token of its own, and leaves none."""

    def put(self, kind: Kind, key: str, secret: bytes, expires_at: datetime) -> None:
        pass

    def get(self, kind: Kind, key: str) -> bytes | None:
        return None

    def take(self, kind: Kind, key: str) -> bytes | None:
        return None

    def claim(self, kind: Kind, key: str, holder: str, until: datetime) -> bool:
        return True

    def release(self, kind: Kind, key: str, holder: str) -> None:
        pass

    def delete(self, kind: Kind, key: str) -> None:
        pass
