"""The child process that serves one IED: ``python -m firmware_sim.mms.child``.

It alone of the simulator loads libiec61850 (C, GPLv3). The first line on its standard input is the model, each further
line a change, all as JSON; each is answered by one line, ``{"ok": true}`` or ``{"error": TEXT}``. It ends with its
input. Files are served from a folder that the simulator fills.

    {"port": 10102, "ied": "BAY1", "instance": "LD0", "folder": "/tmp/x", "identity": ["V", "M", "1.0"],
     "groups": 2, "active": 1, "attributes": [["LLN0.NamPlt.swRev", "DC", "text", "1.0"], ...]}
    {"active": 2, "attributes": [["GAPC1.Set001.setMag.f", "SG", "float", 49.0]]}
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from typing import Any, Final, TypeAlias

import pyiec61850.pyiec61850 as library

_PR_SET_PDEATHSIG: Final = 1
_TYPES: Final = {
    "text": library.IEC61850_VISIBLE_STRING_255,
    "integer": library.IEC61850_INT32,
    "float": library.IEC61850_FLOAT32,
    "boolean": library.IEC61850_BOOLEAN,
}
_ROOT: Final = "LLN0"

Line: TypeAlias = dict[str, Any]
Pointer: TypeAlias = Any
"""What the binding gives for a pointer of C."""


class Ied:
    """One served IED with one logical device.

    Args:
        line: The model.
    """

    def __init__(self, line: Line) -> None:
        self._model = library.IedModel_create(line["ied"])
        self._device = library.LogicalDevice_create(line["instance"], self._model)
        self._nodes: dict[str, Any] = {}
        self._attributes: dict[tuple[str, str], Any] = {}
        self._domain = f"{line['ied']}{line['instance']}"
        names = [name.partition(".")[0] for name, *_ in line["attributes"]]
        for node in dict.fromkeys((_ROOT, *names)):
            self._nodes[node] = library.LogicalNode_create(node, self._device)
        for name, constraint, kind, _ in line["attributes"]:
            self._make(name, constraint, kind)
        self._block = None
        if line["groups"]:
            self._block = library.SettingGroupControlBlock_create(self._nodes[_ROOT], line["active"], line["groups"])
        self._server = library.IedServer_create(self._model)
        library.IedServer_setLocalIpAddress(self._server, "127.0.0.1")
        library.IedServer_setFilestoreBasepath(self._server, f"{line['folder']}/")
        library.IedServer_setServerIdentity(self._server, *line["identity"])
        self._update(line["attributes"])
        library.IedServer_start(self._server, line["port"])
        if not library.IedServer_isRunning(self._server):
            raise OSError(f"port {line['port']} cannot be served")

    def change(self, line: Line) -> None:
        """Take other values, and another active group, as one step."""
        if self._block is not None and "active" in line:
            library.IedServer_changeActiveSettingGroup(self._server, self._block, line["active"])
        self._update(line["attributes"])

    def _make(self, name: str, constraint: str, kind: str) -> None:
        """Make an attribute and what it stands in, unless it is there."""
        code = getattr(library, f"IEC61850_FC_{constraint}")
        node, data, *inner = name.split(".")
        self._object(node, data)
        for depth, part in enumerate(inner, start=1):
            path = f"{node}.{data}.{'.'.join(inner[:depth])}"
            if (path, constraint) in self._attributes:
                continue
            parent = self._parent(f"{node}.{data}", inner[: depth - 1], code)
            of_type = _TYPES[kind] if depth == len(inner) else library.IEC61850_CONSTRUCTED
            made = library.DataAttribute_create(part, parent, of_type, code, 0, 0, 0)
            self._attributes[path, constraint] = made

    def _object(self, node: str, data: str) -> None:
        if f"{node}.{data}" not in self._nodes:
            parent = library.toModelNode(self._nodes[node])
            self._nodes[f"{node}.{data}"] = library.DataObject_create(data, parent, 0)

    def _parent(self, data: str, inner: list[str], code: int) -> Pointer:
        """Return a data object or attribute as the node that the library wants."""
        found = library.toModelNode(self._nodes[data])
        for part in inner:  # the binding casts no attribute to a node, but finds it as one
            found = library.ModelNode_getChildWithFc(found, part, code)
        return found

    def _update(self, attributes: list[list[Any]]) -> None:
        library.IedServer_lockDataModel(self._server)
        try:
            for name, constraint, kind, value in attributes:
                attribute = self._attributes[name, constraint]
                match kind:
                    case "text":
                        library.IedServer_updateVisibleStringAttributeValue(self._server, attribute, value)
                    case "integer":
                        library.IedServer_updateInt32AttributeValue(self._server, attribute, value)
                    case "float":
                        library.IedServer_updateFloatAttributeValue(self._server, attribute, value)
                    case _:
                        library.IedServer_updateBooleanAttributeValue(self._server, attribute, value)
        finally:
            library.IedServer_unlockDataModel(self._server)


def main() -> int:
    """Serve until the input ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # what the library prints is no answer
    ied: Ied | None = None
    for text in sys.stdin:
        line = json.loads(text)
        try:
            if ied is None:
                ied = Ied(line)
            else:
                ied.change(line)
        except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
            answers.write(json.dumps({"error": f"{type(error).__name__}: {error}"}) + "\n")
            continue
        answers.write('{"ok": true}\n')
    os._exit(0)  # the library's threads need no farewell


if __name__ == "__main__":
    raise SystemExit(main())
