from __future__ import annotations

import asyncio
import json
from collections.abc import MutableMapping
from typing import Any

import pytest
from starlette.routing import Route

from firmware_sim.api import BODY_BYTES_MAX, build_app
from firmware_sim.faults import CATALOGUE, OFFSET_MS_DEFAULT
from firmware_sim.fleet import Fleet
from firmware_sim.openapi import document
from firmware_sim.tamper import ACTIONS
from tests.unit.firmware_sim.bench import NOW_MS

Answer = tuple[int, str, Any]
JSON_TYPE = "application/json"


def call(fleet: Fleet, method: str, path: str, body: object = None, *, media: str = JSON_TYPE) -> Answer:
    """Send one request through the application without a socket."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent: list[MutableMapping[str, Any]] = []
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"content-type", media.encode())],
    }

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": data, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    asyncio.run(build_app(fleet)(scope, receive, send))
    headers = dict(sent[0]["headers"])
    found = b"".join(message.get("body", b"") for message in sent[1:])
    return int(sent[0]["status"]), headers[b"content-type"].decode(), json.loads(found)


def test_health_names_the_number_of_devices(fleet: Fleet) -> None:
    assert call(fleet, "GET", "/healthz") == (200, JSON_TYPE, {"status": "ok", "devices": 2})


def test_devices_list_shows_state_without_digests(fleet: Fleet) -> None:
    status, _, body = call(fleet, "GET", "/devices")
    assert status == 200
    assert [item["device"] for item in body["items"]] == ["dev-a", "dev-b"]
    assert all(item["state"] == "original" and item["fault"] is None for item in body["items"])
    assert not any("sha256" in artefact for item in body["items"] for artefact in item["artefacts"])


def test_device_shows_digests_of_its_files(fleet: Fleet) -> None:
    first = call(fleet, "GET", "/devices/dev-a")[2]["artefacts"][0]["sha256"]
    fleet.tamper(["dev-a"], {"action": "flip-byte"})
    second = call(fleet, "GET", "/devices/dev-a")[2]["artefacts"][0]["sha256"]
    assert len(first) == len(second) == 64
    assert first != second


def test_tamper_answer_says_what_and_when(fleet: Fleet) -> None:
    body = {"action": "flip-byte", "offset": 7}
    status, _, answer = call(fleet, "POST", "/devices/dev-a/tamper", body)
    assert status == 200
    assert answer["time_ms"] == NOW_MS
    assert answer["changes"][0]["offset"] == 7


def test_tamper_fleet_without_names_means_all(fleet: Fleet) -> None:
    answer = call(fleet, "POST", "/tamper", {"action": "flip-byte"})[2]
    assert [item["device"] for item in answer["changes"]] == ["dev-a", "dev-b"]
    answer = call(fleet, "POST", "/tamper", {"action": "restore", "devices": ["dev-b"]})[2]
    assert [item["device"] for item in answer["changes"]] == ["dev-b"]


def test_fault_is_set_shown_and_cleared(fleet: Fleet) -> None:
    body = {"fault": "late", "delay_ms": 9, "functions": [20, 3], "requests": 4}
    shown = {
        "fault": "late",
        "delay_ms": 9,
        "functions": [3, 20],
        "requests_left": 4,
        "offset_ms": OFFSET_MS_DEFAULT,
    }
    status, _, answer = call(fleet, "POST", "/devices/dev-a/fault", body)
    changes = [{"device": "dev-a", "fault": "late"}]
    assert (status, answer) == (200, {"time_ms": NOW_MS, "device": "dev-a", "fault": shown, "changes": changes})
    assert call(fleet, "GET", "/devices/dev-a")[2]["fault"] == shown
    assert call(fleet, "POST", "/devices/dev-a/fault", {"action": "clear"})[2]["fault"] is None
    assert fleet.device("dev-a").fault is None


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/devices/dev-x/tamper", {"action": "restore"}, 404, "unknown-device"),
        ("/devices/dev-x/fault", {"action": "clear"}, 404, "unknown-device"),
        ("/devices/dev-a/tamper", {"action": "melt"}, 400, "bad-request"),
        ("/devices/dev-a/tamper", b"{", 400, "bad-request"),
        ("/devices/dev-a/tamper", b"[" * 60_000, 400, "bad-request"),
        ("/devices/dev-a/tamper", b"\xff", 400, "bad-request"),
        ("/devices/dev-a/tamper", {"action": "swap", "with": "dev-x"}, 404, "unknown-device"),
        ("/devices/dev-a/tamper", {"action": "truncate", "size": 4_000_000}, 409, "refused"),
        ("/devices/dev-a/tamper", b" " * (BODY_BYTES_MAX + 1), 413, "http-413"),
        ("/tamper", {"action": "restore", "devices": ["dev-x"]}, 404, "unknown-device"),
        ("/tamper", {"action": "restore", "devices": "dev-a"}, 400, "bad-request"),
        ("/tamper", [1], 400, "bad-request"),
        ("/devices/dev-a/fault", {"action": "mend"}, 400, "bad-request"),
        ("/devices/dev-a/fault", {"fault": "gone"}, 400, "bad-request"),
        ("/devices/dev-a/fault", {"fault": "busy", "functions": ["20"]}, 400, "bad-request"),
        ("/devices/dev-a/fault", {"fault": "busy", "functions": [True]}, 400, "bad-request"),
        ("/devices/dev-a/fault", {"fault": "busy", "functions": [200]}, 400, "bad-request"),
        ("/devices/dev-a/fault", {"fault": "late", "delay_ms": 0}, 400, "bad-request"),
        ("/devices/dev-a/fault", {"action": "clear", "fault": "busy"}, 400, "bad-request"),
        ("/nowhere", {}, 404, "http-404"),
        ("/devices", {}, 405, "http-405"),
    ],
)
def test_bad_request_gets_a_problem_document(fleet: Fleet, path: str, body: object, status: int, code: str) -> None:
    found, media, answer = call(fleet, "POST", path, body)
    assert (found, media) == (status, "application/problem+json")
    assert answer["type"] == f"urn:gridwitness:problem:{code}"
    assert answer["status"] == status
    assert answer["detail"]
    assert fleet.describe("dev-a")["state"] == "original"


def test_body_that_is_not_called_json_is_refused(fleet: Fleet) -> None:
    body = {"action": "flip-byte"}
    status, _, answer = call(fleet, "POST", "/devices/dev-a/tamper", body, media="text/plain")
    assert (status, answer["detail"]) == (415, "send application/json")
    assert fleet.describe("dev-a")["state"] == "original"


def test_openapi_describes_exactly_the_routes(fleet: Fleet) -> None:
    described = call(fleet, "GET", "/openapi.json")[2]
    routes = {
        (route.path, method.lower())
        for route in build_app(fleet).routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    assert {(path, method) for path, item in described["paths"].items() for method in item} == routes


def test_openapi_names_every_action_and_fault() -> None:
    paths = document()["paths"]
    media = paths["/devices/{device}/tamper"]["post"]["requestBody"]["content"][JSON_TYPE]
    actions = [item["properties"]["action"]["const"] for item in media["schema"]["oneOf"]]
    assert actions == list(ACTIONS)
    media = paths["/devices/{device}/fault"]["post"]["requestBody"]["content"][JSON_TYPE]
    assert media["schema"]["properties"]["fault"]["enum"] == sorted(CATALOGUE)
