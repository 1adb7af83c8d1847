"""The control port of the test bench, over HTTP.

Only people and test programs talk to it. It has no way to reach an agent.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from firmware_sim.errors import BadRequestError, RefusedError, UnknownDeviceError
from firmware_sim.fields import Fields
from firmware_sim.fleet import Fleet, describe_catalogue, describe_fault, fault_action
from firmware_sim.openapi import document
from firmware_sim.tamper import Change

BODY_BYTES_MAX = 64 * 1024
PROBLEM_TYPE = "application/problem+json"

_STATUS: dict[type[Exception], tuple[int, str]] = {
    BadRequestError: (400, "bad-request"),
    UnknownDeviceError: (404, "unknown-device"),
    RefusedError: (409, "refused"),
}

Endpoint = Callable[[Request], Awaitable[Response]]


def problem(status: int, code: str, detail: str) -> Response:
    """Build an error answer.

    Source: RFC 9457.
    """
    body = {
        "type": f"urn:gridwitness:problem:{code}",
        "title": code.replace("-", " "),
        "status": status,
        "detail": detail,
    }
    return JSONResponse(body, status_code=status, media_type=PROBLEM_TYPE)


async def read_json(request: Request) -> Any:  # noqa: ANN401 - any JSON value; Fields checks it
    """Read a bounded JSON body.

    Raises:
        HTTPException: 413 too large, 415 another media type.
        BadRequestError: No JSON.
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise HTTPException(415, "send application/json")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > BODY_BYTES_MAX:
            raise HTTPException(413, f"the body has more than {BODY_BYTES_MAX} bytes")
    try:
        return json.loads(bytes(body))
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"the body is not JSON: {error}") from error


class ControlApi:
    """The endpoints over one fleet."""

    def __init__(self, fleet: Fleet) -> None:
        """Serve ``fleet``."""
        self._fleet = fleet

    async def health(self, _request: Request) -> Response:
        """Answer that the process serves requests."""
        return JSONResponse({"status": "ok", "devices": len(self._fleet.bench.places)})

    async def openapi(self, _request: Request) -> Response:
        """Give the description of this port."""
        return JSONResponse(document())

    async def devices(self, _request: Request) -> Response:
        """List all devices, without digests."""
        items = [self._fleet.describe(name) for name in self._fleet.bench.places]
        return JSONResponse({"scenario": self._fleet.name, "items": items})

    async def device(self, request: Request) -> Response:
        """Show one device with the digests of its files."""
        return JSONResponse(self._fleet.describe(request.path_params["device"], digests=True))

    async def tamper_device(self, request: Request) -> Response:
        """Change the files of one device; ``swap`` changes those of two."""
        return self._tampered([request.path_params["device"]], await read_json(request))

    async def tamper_fleet(self, request: Request) -> Response:
        """Do one action on several devices, or on all; on every one of them or on none."""
        body = await read_json(request)
        names = Fields(body).list_of("devices", str) or list(self._fleet.bench.places)
        return self._tampered(names, {key: body[key] for key in body if key != "devices"})

    def _tampered(self, names: Sequence[str], body: object) -> Response:
        changes: list[Change] = self._fleet.tamper(names, body)
        answer = {"time_ms": self._fleet.clock_ms(), "changes": [dict(item) for item in changes]}
        return JSONResponse(answer)

    async def fault(self, request: Request) -> Response:
        """Set or clear the fault of a device."""
        name = request.path_params["device"]
        device = self._fleet.device(name)
        changes = self._fleet.tamper([name], fault_action(await read_json(request)))
        shown = None if device.fault is None else describe_fault(device.fault, device.hits_left)
        answer = {"time_ms": self._fleet.clock_ms(), "device": name, "fault": shown}
        return JSONResponse({**answer, "changes": [dict(item) for item in changes]})

    async def faults(self, _request: Request) -> Response:
        """List the fault catalogue."""
        return JSONResponse({"items": describe_catalogue()})

    async def timeline(self, _request: Request) -> Response:
        """Show the events of the scenario and what became of them."""
        timeline = self._fleet.timeline
        answer = {"elapsed_ms": self._fleet.elapsed_ms, "next_ms": timeline.next_ms, "items": timeline.describe()}
        return JSONResponse(answer)


async def _refused(_request: Request, error: Exception) -> Response:
    """Answer one of our own errors."""
    status, code = _STATUS[type(error)]
    return problem(status, code, str(error))


async def _http_error(_request: Request, error: Exception) -> Response:
    """Answer what the router or the body reader refused."""
    assert isinstance(error, HTTPException)
    answer = problem(error.status_code, f"http-{error.status_code}", error.detail)
    answer.headers.update(error.headers or {})
    return answer


def build_app(fleet: Fleet) -> Starlette:
    """Build the application of the control port."""
    api = ControlApi(fleet)
    table: tuple[tuple[str, str, Endpoint], ...] = (
        ("GET", "/healthz", api.health),
        ("GET", "/openapi.json", api.openapi),
        ("GET", "/faults", api.faults),
        ("GET", "/timeline", api.timeline),
        ("GET", "/devices", api.devices),
        ("GET", "/devices/{device}", api.device),
        ("POST", "/devices/{device}/tamper", api.tamper_device),
        ("POST", "/devices/{device}/fault", api.fault),
        ("POST", "/tamper", api.tamper_fleet),
    )
    routes = [Route(path, endpoint, methods=[method]) for method, path, endpoint in table]
    handlers: dict[Any, Any] = dict.fromkeys(_STATUS, _refused)
    handlers[HTTPException] = _http_error
    return Starlette(routes=routes, exception_handlers=handlers)
