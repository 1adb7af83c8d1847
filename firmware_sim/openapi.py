"""The OpenAPI description of the control port; a test holds it against the routes.

May live here: one function that returns plain data. Names of faults, actions
and artefacts come from the tables that the simulator itself uses.
"""

from __future__ import annotations

from typing import Any

from firmware_sim.contents import FILE_NAMES, GROUPS_MAX
from firmware_sim.faults import CATALOGUE, DELAY_MS_MAX, OFFSET_MS_DEFAULT, OFFSET_MS_MAX, REQUESTS_MAX
from firmware_sim.tamper import ACTIONS, DOWN_MS_DEFAULT, OFFSET_MAX, SETTING_NUMBER_MAX

Json = dict[str, Any]

_KIND: Json = {"type": "string", "enum": sorted(FILE_NAMES), "default": "firmware"}
_SETTING: Json = {
    "number": {"type": "integer", "minimum": 1, "maximum": SETTING_NUMBER_MAX},
    "value": {"type": "string", "description": "Decimal text, such as 48.50; else one in its range."},
    "force": {"type": "boolean", "description": "Take a value outside the range."},
}
_RELEASE: Json = {"release": {"type": "string", "description": "Release folder; else the scenario's."}}
_DOWN: Json = {
    "down_ms": {"type": "integer", "minimum": 1, "maximum": DELAY_MS_MAX, "default": DOWN_MS_DEFAULT},
}
_FUNCTION: Json = {"type": "integer", "minimum": 1, "maximum": 127}
_FAULT: Json = {
    "fault": {"enum": sorted(CATALOGUE)},
    "delay_ms": {"type": "integer", "minimum": 1, "maximum": DELAY_MS_MAX},
    "functions": {"type": "array", "items": _FUNCTION},
    "requests": {"type": "integer", "minimum": 1, "maximum": REQUESTS_MAX},
    "offset_ms": {
        "type": "integer",
        "minimum": -OFFSET_MS_MAX,
        "maximum": OFFSET_MS_MAX,
        "default": OFFSET_MS_DEFAULT,
        "description": "For wrong-clock.",
    },
}
_PARTS: dict[str, tuple[Json, list[str]]] = {
    "flip-byte": (
        {
            "artefact": _KIND,
            "offset": {"type": "integer", "minimum": 0, "maximum": OFFSET_MAX},
            "mask": {"type": "integer", "minimum": 1, "maximum": 255, "default": 255},
            "seed": {"type": "string", "description": "Chooses the offset when none is given."},
        },
        [],
    ),
    "change-setting": (_SETTING, []),
    "change-back": (_SETTING, []),
    "swap": ({"with": {"type": "string", "description": "The other device."}}, ["with"]),
    "old-release": (_RELEASE, []),
    "truncate": (
        {"artefact": _KIND, "size": {"type": "integer", "minimum": 0, "maximum": OFFSET_MAX}},
        [],
    ),
    "restore": ({}, []),
    "switch-group": ({"group": {"type": "integer", "minimum": 1, "maximum": GROUPS_MAX}}, []),
    "restart": (_DOWN, []),
    "upgrade": ({**_RELEASE, **_DOWN}, []),
    "fault": (_FAULT, ["fault"]),
    "clear-fault": ({}, []),
}


def _action_schema(name: str) -> Json:
    properties, required = _PARTS[name]
    return {
        "type": "object",
        "properties": {"action": {"const": name}, **properties},
        "required": ["action", *required],
        "additionalProperties": False,
    }


def _fault_schema() -> Json:
    """Describe the body of a fault request; a fault that changes files takes the members of its action, too."""
    return {
        "type": "object",
        "properties": {"action": {"enum": ["set", "clear"], "default": "set"}, **_FAULT},
    }


def _operation(summary: str, *, body: Json | None = None, device: bool = False) -> Json:
    """Describe one operation; every error is a problem document."""
    problem = {"$ref": "#/components/schemas/Problem"}
    answers: Json = {
        "200": {"description": "Done", "content": {"application/json": {"schema": {"type": "object"}}}},
        "default": {
            "description": "Refused; nothing was changed",
            "content": {"application/problem+json": {"schema": problem}},
        },
    }
    operation: Json = {"summary": summary, "responses": answers}
    if device:
        operation["parameters"] = [{"name": "device", "in": "path", "required": True, "schema": {"type": "string"}}]
    if body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": body}},
        }
    return operation


def document() -> Json:
    """Give the whole description."""
    one_of: Json = {"oneOf": [_action_schema(name) for name in ACTIONS]}
    names = {"type": "array", "items": {"type": "string"}}
    fleet: Json = {
        "type": "object",
        "description": "One action as for a single device, and the devices; without them, all.",
        "properties": {"action": {"enum": list(ACTIONS)}, "devices": names},
        "required": ["action"],
    }
    members = {name: {"type": "string"} for name in ("type", "title", "detail")}
    return {
        "openapi": "3.1.0",
        "info": {"title": "gridwitness-sim control port", "version": "1"},
        "paths": {
            "/healthz": {"get": _operation("Is the simulator alive")},
            "/openapi.json": {"get": _operation("This description")},
            "/faults": {"get": _operation("The fault catalogue")},
            "/timeline": {"get": _operation("The events of the scenario and what became of them")},
            "/devices": {"get": _operation("All devices and their state")},
            "/devices/{device}": {"get": _operation("One device, with file digests", device=True)},
            "/devices/{device}/tamper": {"post": _operation("Do one action on a device", body=one_of, device=True)},
            "/devices/{device}/fault": {"post": _operation("Set or clear a fault", body=_fault_schema(), device=True)},
            "/tamper": {"post": _operation("One action on several devices", body=fleet)},
        },
        "components": {
            "schemas": {
                "Problem": {
                    "type": "object",
                    "properties": {**members, "status": {"type": "integer"}},
                }
            }
        },
    }
