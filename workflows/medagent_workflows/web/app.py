# SPDX-License-Identifier: Apache-2.0
"""The web application: SMART launches, the page after one, the public keys, and whether we are up.

    GET  /                        the EHRs of the site, to launch from without one
    GET  /launch, /callback       SMART App Launch 2.2; the callback leads to the launched page
    GET  /launched/{place}        what came of the run of that launch, for the browser that launched
    POST /launched/{place}/again  reads the chart again
    POST /launched/{place}/end    forgets the session and its tokens
    GET  /.well-known/jwks.json   the keys that our client assertions are signed with
    GET  /healthz                 that this process answers

No URL holds anything of a patient, no page holds a script, and nothing of a launch is logged.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from medagent.canonical import parse_json
from medagent.errors import AuthorizationError, IntegrityError, LaunchError, MedAgentError
from medagent.records import Dossier
from medagent_fhir.smart import EhrRegistry, Launcher, SigningKeys, SmartSession
from medagent_fhir.smart.signing_keys import CACHE_CONTROL
from medagent_workflows.ehrs import launcher
from medagent_workflows.rendering.page import page_of
from medagent_workflows.web.answers import STYLE, Headers, page, problem
from medagent_workflows.web.banner import Banner, banner_of
from medagent_workflows.web.below import Below
from medagent_workflows.web.cookies import Cookies, is_place, new_browser, new_place
from medagent_workflows.web.faults import Faults
from medagent_workflows.web.runs import UNABLE, Ended, Failed, Runs, actor_of
from medagent_workflows.wiring import Services, open_models

_SEE_OTHER = 303
_log = logging.getLogger(__name__)
_LOG = "Its log says why."
_LAUNCH_AGAIN = "Open MedAgent from the patient’s chart again."


@dataclass(frozen=True, slots=True)
class Web:
    """What the application works with."""

    services: Services
    launcher: Launcher
    ehrs: EhrRegistry
    keys: SigningKeys
    public_url: str
    """Where browsers reach us, without a slash at its end."""

    @classmethod
    def of(cls, services: Services, ehrs: EhrRegistry, public_url: str) -> "Web":
        """For launches that come back to this URL."""
        keys = SigningKeys(services.settings.smart_key_folder, services.clock)
        return cls(services, launcher(services, ehrs, f"{public_url}/callback"), ehrs, keys, public_url)

    @property
    def cookies(self) -> Cookies:
        """As the public URL asks for them."""
        parts = urlsplit(self.public_url)
        return Cookies(parts.path.rstrip("/"), parts.scheme == "https")

    @property
    def origin(self) -> str:
        """What a browser names as the origin of our own pages."""
        parts = urlsplit(self.public_url)
        return f"{parts.scheme}://{parts.netloc}"


def build_app(web: Web) -> FastAPI:
    """The application. Whoever serves it runs its lifespan: models, runs and the sealing of the log belong to that."""
    pages = _Pages(web)
    app = FastAPI(title="MedAgent", docs_url=None, redoc_url=None, openapi_url=None, lifespan=pages.lifespan)
    app.router.redirect_slashes = False  # it would lead to whatever host the request names
    app.state.prefix = web.cookies.prefix
    for path, handler, method in (
        ("/", pages.start, "GET"),
        ("/launch", pages.launch, "GET"),
        ("/callback", pages.callback, "GET"),
        ("/launched/{place}", pages.launched, "GET"),
        ("/launched/{place}/again", pages.again, "POST"),
        ("/launched/{place}/end", pages.end, "POST"),
        ("/assets/page.css", pages.style, "GET"),
        ("/.well-known/jwks.json", pages.jwks, "GET"),
        ("/healthz", pages.healthz, "GET"),
    ):
        app.add_route(path, handler, methods=[method])
    app.add_exception_handler(LaunchError, _answers(400, _LAUNCH_AGAIN))
    app.add_exception_handler(AuthorizationError, _answers(502, _LAUNCH_AGAIN))
    app.add_exception_handler(MedAgentError, _unavailable)
    app.add_exception_handler(HTTPException, _not_here)
    app.add_middleware(Faults)
    app.add_middleware(Below, prefix=web.cookies.prefix)
    app.add_middleware(Headers, secure=web.cookies.secure)
    return app


class _Pages:
    """What each route answers."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self._services = web.services
        self._launcher = web.launcher
        self._cookies = web.cookies
        self._runs: Runs | None = None

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """From the first request to the last."""
        async with open_models(self._services) as models:
            self._runs = Runs(self._services, self._launcher, self._web.ehrs, models)
            sealing = asyncio.get_running_loop().create_task(_sealed(self._services))
            try:
                yield
            finally:
                await self._runs.aclose()
                sealing.cancel()
                with suppress(asyncio.CancelledError):
                    await sealing
                await asyncio.to_thread(self._services.store.seal)

    @property
    def runs(self) -> Runs:
        """Those of this process."""
        assert self._runs is not None  # the lifespan has begun
        return self._runs

    async def start(self, request: Request) -> Response:
        """The EHRs to launch from."""
        return page(request, "start.html", ehrs=tuple(self._web.ehrs))

    async def launch(self, request: Request) -> Response:
        """Sends the browser to the EHR's authorization server (standards: 1 to 6)."""
        iss, launch = (_single(request, name) for name in ("iss", "launch"))
        if iss is None:
            raise LaunchError("iss: is missing; an EHR that launches names itself")
        browser = self._cookies.browser(request) or new_browser()
        response = RedirectResponse(await self._launcher.begin(iss, launch, browser), _SEE_OTHER)
        self._cookies.name_browser(response, browser)
        return response

    async def callback(self, request: Request) -> Response:
        """Opens the session, begins its run and leads to its page: a place of ours, whatever the request says."""
        session = await self._launcher.finish(request.query_params.multi_items(), self._cookies.browser(request))
        self.runs.begin(session)
        place = new_place()
        response = RedirectResponse(self._cookies.path(place), _SEE_OTHER)
        left = session.ends_at - self._services.clock.now()
        self._cookies.open_page(response, place, session.key, int(left.total_seconds()))
        return response

    async def launched(self, request: Request) -> Response:
        """What came of the run."""
        session = await self._session(request)
        said: dict[str, Any] = {"session": session, "place": request.path_params["place"], "banner": None}
        match self.runs.state(session):
            case Failed(why=why):
                return page(request, "failed.html", why=why, **said)
            case Ended() as ended:
                return await self._outcome(request, session, ended, said)
            case "preparing":
                return page(request, "preparing.html", **said)
        return page(request, "not_begun.html", **said)

    async def _outcome(self, request: Request, session: SmartSession, ended: Ended, said: dict[str, Any]) -> Response:
        """The page of a run. In shadow nothing of it is shown, nor read (clinical: 14)."""
        if session.context.need_patient_banner:
            said["banner"] = await asyncio.to_thread(self._banner, ended)
        if ended.stage == "shadow":
            return page(request, "shadow.html", stage=ended.stage, dossier=ended.dossier, **said)
        dossier = await asyncio.to_thread(self._dossier, ended, actor_of(session))
        return page(request, "recommendations.html", page=page_of(dossier), dossier=dossier.id, **said)

    def _dossier(self, ended: Ended, actor: str) -> Dossier:
        """That it was looked at is on record first."""
        stored = self._services.store.dossier(ended.dossier, self._services.settings.tenant, actor)
        return Dossier.model_validate(parse_json(stored))

    def _banner(self, ended: Ended) -> Banner | None:
        if ended.patient_sha256 is None:
            return None
        return banner_of(self._services.store.evidence(ended.patient_sha256, self._services.settings.tenant))

    async def again(self, request: Request) -> Response:
        """Begins another run of the same launch."""
        self._refuse_other_sites(request)
        self.runs.begin(await self._session(request))
        return RedirectResponse(self._cookies.path(request.path_params["place"]), _SEE_OTHER)

    async def end(self, request: Request) -> Response:
        """Forgets the session here. What was recorded stays recorded."""
        self._refuse_other_sites(request)
        session = await self._session(request)
        self.runs.forget(session)
        await self._launcher.end(session)
        response = page(request, "ended.html")
        self._cookies.close_page(response, request.path_params["place"])
        return response

    async def _session(self, request: Request) -> SmartSession:
        key = self._cookies.session(request) if is_place(request.path_params["place"]) else None
        session = None if key is None else await self._launcher.session(key, self._cookies.browser(request))
        if session is None:
            raise HTTPException(404, "There is no launch here for this browser, or it is over.")
        return session

    def _refuse_other_sites(self, request: Request) -> None:
        """Browsers say where a form stood. What says nothing is no browser, and has the cookie all the same."""
        site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
        if site not in (None, "same-origin") or (site is None and origin not in (None, self._web.origin)):
            raise HTTPException(403, "This form stood on another site.")

    async def style(self, request: Request) -> Response:
        """The one style sheet."""
        return Response(STYLE, media_type="text/css", headers={"Cache-Control": "public, max-age=300"})

    async def jwks(self, request: Request) -> Response:
        """Public keys alone (standards: 8)."""
        keys = await asyncio.to_thread(self._web.keys.jwks)  # the first request generates them
        return JSONResponse(keys, headers={"Cache-Control": CACHE_CONTROL})

    async def healthz(self, request: Request) -> Response:
        """This process answers."""
        return JSONResponse({"status": "ok"})


def _single(request: Request, name: str) -> str | None:
    """A parameter that may stand there once."""
    values = request.query_params.getlist(name)
    if len(values) > 1:
        raise LaunchError(f"{name}: stands in the launch twice")
    return values[0] if values else None


async def _sealed(services: Services) -> None:
    """Seals the log at the site's interval, so that what is recorded is soon beyond unseen changes. Where it fails, it
    is said and tried again: the database may be away for a while."""
    while True:
        await asyncio.sleep(services.settings.seal_interval_seconds)
        try:
            await asyncio.to_thread(services.store.seal)
        except MedAgentError as error:
            _log.error("log_not_sealed error=%s: %s", type(error).__name__, error)


def _answers(status: int, advice: str) -> Callable[[Request, Exception], Response]:
    def answer(request: Request, error: Exception) -> Response:
        return problem(request, status, str(error), advice=advice)

    return answer


def _unavailable(request: Request, error: Exception) -> Response:
    """Where records, keys or settings fail. Its words are for whoever runs MedAgent: they may name files of theirs."""
    _log.error("request_failed error=%s: %s", type(error).__name__, error)
    advice = f"{_LOG} {_LAUNCH_AGAIN}" if isinstance(error, IntegrityError) else _LOG  # what is kept then is new
    return problem(request, 503, UNABLE, advice=advice)


def _not_here(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem(request, error.status_code, str(error.detail))
