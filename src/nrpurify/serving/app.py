"""The application: routes, their description, and the page."""

from __future__ import annotations

import asyncio
import base64
import logging
import mimetypes
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette._utils import get_route_path
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Match
from starlette.staticfiles import StaticFiles

import nrpurify
from nrpurify.core.opening import set_pixel_limit
from nrpurify.core.registry import near_matches
from nrpurify.serving.answers import Attacked, Limits, Models, Predicted, Purified, PurifierInfo
from nrpurify.serving.attack import read_eps
from nrpurify.serving.describe import UPLOAD, problems
from nrpurify.serving.engine import Engine
from nrpurify.serving.envelope import Envelope, request_id
from nrpurify.serving.events import EventStream
from nrpurify.serving.metrics import Metrics
from nrpurify.serving.problems import RequestError
from nrpurify.serving.service import Service, in_time, seconds_since
from nrpurify.serving.settings import ServeSettings
from nrpurify.serving.uploads import MEDIA_TYPES

mimetypes.add_type("image/webp", ".webp")  # Python 3.11 does not know it
_LOGGER = logging.getLogger("nrpurify.serving")
PUBLIC = ("", "/", "/healthz", "/readyz", "/openapi.json")
"""Paths that need no token, beside the files of the page; the first leads to the second."""
_ABOUT = (
    "Purifies images: the network in front of a vision model that makes adversarial examples "
    "harmless to attackers who do not know of it."
)

PurifierName = Annotated[
    str | None, Query(description="One of /v1/purifiers; by default the first.", examples=["fast"])
]


def create_app(
    settings: ServeSettings,
    *,
    token: str | None = None,
    engine: Engine | None = None,
    on_failure: Callable[[BaseException], None] | None = None,
) -> FastAPI:
    """The application that ``nrpurify serve`` runs, for any ASGI server.

    Models are loaded when the server starts it; until then requests get 503.

    Args:
        settings: Models and limits.
        token: Bearer token that all paths ask for, but the page's and :data:`PUBLIC`; None for
            none.
        engine: Models that are loaded already.
        on_failure: Called if the models cannot be loaded.
    """
    metrics = Metrics()
    service = Service(settings, metrics)
    service.engine = engine
    set_pixel_limit(settings.max_pixels)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        def loaded(task: asyncio.Task[None]) -> None:
            if task.cancelled():
                return
            if (error := task.exception()) is None:
                _LOGGER.info("the models are loaded")
                return
            _LOGGER.error("the models cannot be loaded: %s", error)
            if on_failure is not None:
                on_failure(error)

        async with service.running(lambda: Engine(settings)) as loading:
            loading.add_done_callback(loaded)
            yield

    app = FastAPI(
        title=settings.title,
        description=_ABOUT,
        version=nrpurify.__version__,
        lifespan=lifespan,
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
    )
    app.state.service = service
    folder = Path(str(resources.files("nrpurify.serving"))) / "page"
    page = {f"/{file.relative_to(folder).as_posix()}" for file in folder.rglob("*")}
    app.state.page = {*page, "/"}
    app.add_middleware(Envelope, metrics=metrics, token=token, public={*PUBLIC, *page})
    app.add_exception_handler(RequestError, _on_problem)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    _add_probes(app, service)
    _add_images(app, service)
    if settings.attack:
        _add_attack(app, service)
    app.mount("/", StaticFiles(directory=folder, html=True), name="page")
    return app


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return error.to_response(request_id(request.scope))


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path, status = request.url.path[:80], error.status_code
    if status in (404, 405):  # of the page, which gets every request that meets no route
        other = Match.PARTIAL in {route.matches(request.scope)[0] for route in request.app.routes}
        in_page = status == 405 and get_route_path(request.scope) in request.app.state.page
        status = 405 if other or in_page else 404
    details = {
        404: f"there is nothing at {path!r}; /openapi.json lists what there is",
        405: f"{path!r} does not take {request.method[:10]}; /openapi.json lists what it takes",
    }
    problem = RequestError(status, details.get(status, str(error.detail)))
    answer = problem.to_response(request_id(request.scope))
    answer.headers.update(error.headers or {})
    return answer


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    name = first["loc"][-1]
    problem = RequestError(422, f"{name} is {str(first.get('input'))[:40]!r}: {first['msg']}")
    return problem.to_response(request_id(request.scope))


def _check_parameters(request: Request) -> None:
    """Refuse a parameter that the route does not have, whose default would apply unnoticed."""
    names = [field.alias for field in request.scope["route"].dependant.query_params]
    for name in request.query_params:
        if name not in names:
            near = near_matches(name, names)
            raise RequestError(422, f"there is no parameter {name[:60]!r} here; {near}")


_KNOWN_PARAMETERS = [Depends(_check_parameters)]


def _add_probes(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", tags=["operation"], summary="Whether the process answers")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get(
        "/readyz",
        tags=["operation"],
        summary="Whether the models are loaded and an image has passed",
        responses=problems(503),
    )
    async def readyz() -> dict[str, str]:
        _ = service.loaded
        return {"status": "ready"}

    @app.get("/metrics", tags=["operation"], summary="Metrics in Prometheus's text format")
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=service.metrics.content_type)

    @app.get("/v1/purifiers", tags=["models"], summary="The purifiers of this server")
    async def purifiers() -> list[PurifierInfo]:
        return [one.info for one in service.loaded.purifiers.values()]

    @app.get("/v1/models", tags=["models"], summary="All models of this server, and its limits")
    async def models() -> Models:
        own, engine = service.settings, service.loaded
        return Models(
            title=own.title,
            version=nrpurify.__version__,
            purifiers=[one.info for one in engine.purifiers.values()],
            victims=[one.info for one in engine.victims.values()],
            limits=Limits(
                max_bytes=own.max_bytes,
                max_pixels=own.max_pixels,
                media_types=list(MEDIA_TYPES),
                attack=own.attack,
                max_eps=own.max_eps,
                max_steps=own.max_steps,
                attack_side=own.attack_side,
            ),
        )


def _add_images(app: FastAPI, service: Service) -> None:
    png = {"description": "The purified image.", "content": {"image/png": {}}}

    @app.post(
        "/v1/purify",
        tags=["images"],
        summary="Purify an image",
        response_model=Purified,
        responses={200: png, **problems(401, 408, 413, 415, 422, 503, 504)},
        openapi_extra=UPLOAD,
        dependencies=_KNOWN_PARAMETERS,
    )
    async def purify(request: Request, purifier: PurifierName = None) -> Response:
        """Answers a PNG file; with `Accept: application/json` the file in base64 and more.

        The header `X-Gate` of a PNG answer has the gate's share, where there is a gate.
        Transparency is kept.
        """
        name, begun = known(purifier, service.settings.purifiers, "purifier"), time.perf_counter()
        found = await service.purify(request, name)
        headers = {"X-Purifier": quote(name)}  # headers are latin-1
        if found.gate is not None:
            headers["X-Gate"] = f"{found.gate:g}"
        if not _wants_json(request):
            return Response(found.png, media_type="image/png", headers=headers)
        answer = Purified(
            image=base64.b64encode(found.png).decode(),
            width=found.width,
            height=found.height,
            purifier=name,
            gate=found.gate,
            seconds=seconds_since(begun),
        )
        return JSONResponse(answer.model_dump(), headers=headers)

    @app.post(
        "/v1/predict",
        tags=["images"],
        summary="What a victim predicts behind a purifier",
        responses=problems(401, 408, 413, 415, 422, 503, 504),
        openapi_extra=UPLOAD,
        dependencies=_KNOWN_PARAMETERS,
    )
    async def predict(
        request: Request,
        victim: Annotated[
            str | None, Query(description="One of /v1/models; by default the first.")
        ] = None,
        purifier: Annotated[
            str | None,
            Query(description="As for /v1/purify; `none` shows the victim the image as sent."),
        ] = None,
    ) -> Predicted:
        """The victim sees the purified image rounded to 8 bits, resized as a whole."""
        own, begun = service.settings, time.perf_counter()
        name = None if purifier == "none" else known(purifier, own.purifiers, "purifier")
        found, gate = await service.predict(request, known(victim, own.victims, "victim"), name)
        return Predicted(
            **found.model_dump(), purifier=name, gate=gate, seconds=seconds_since(begun)
        )


def _add_attack(app: FastAPI, service: Service) -> None:
    own = service.settings

    @app.post(
        "/v1/attack",
        tags=["images"],
        summary="Attack an image with SSP, purify it, and compare what victims predict",
        response_model=Attacked,
        responses={
            200: {"content": {"text/event-stream": {}}},
            **problems(401, 408, 413, 415, 422, 503, 504),
        },
        openapi_extra=UPLOAD,
        dependencies=_KNOWN_PARAMETERS,
    )
    async def attack(
        request: Request,
        eps: Annotated[str, Query(description="Budget.", examples=["16/255"])] = "16/255",
        steps: Annotated[int, Query(ge=1, description="Iterations.")] = 10,
        purifier: PurifierName = None,
        victim: Annotated[
            list[str] | None,
            Query(description="May be given several times; by default all, empty for none."),
        ] = None,
    ) -> Response:
        """With `Accept: text/event-stream` the answer is a stream of events.

        `progress` events come while it runs, then one `result` or one `problem`. To stop an
        attack, close the connection.
        """
        budget = read_eps(eps, own)
        if steps > own.max_steps:
            raise RequestError(422, f"steps is {steps}; this server takes {own.max_steps} at most")
        name = known(purifier, own.purifiers, "purifier")
        chosen = list(own.victims) if victim is None else [one for one in victim if one]
        victims = [known(one, own.victims, "victim") for one in dict.fromkeys(chosen)]
        job = await service.begin_attack(
            request, eps=budget, steps=steps, purifier=name, victims=victims
        )
        if "text/event-stream" in request.headers.get("accept", ""):
            return EventStream(job, request_id(request.scope))
        found = await in_time(request, job.task, own.attack_seconds + 1)
        return JSONResponse(found.model_dump())


def known(name: str | None, names: Any, kind: str) -> str:
    """A name of the server's, by default its first.

    Raises:
        RequestError: 422, with the names that there are.
    """
    if not names:
        raise RequestError(422, f"this server has no {kind}; start it with --{kind} NAME")
    if name is None:
        return str(next(iter(names)))
    if name not in names:
        listed = ", ".join(names)
        raise RequestError(422, f"there is no {kind} {name[:60]!r} here; expected one of {listed}")
    return name


def _wants_json(request: Request) -> bool:
    accepted = request.headers.get("accept", "")
    return "application/json" in accepted and "image/png" not in accepted
