"""Talk to the control port of a running simulator."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from firmware_sim.errors import BadRequestError, RefusedError, UnknownDeviceError
from firmware_sim.scenario import CONTROL_DEFAULT
from kit.exitcodes import DataError, GridwitnessError, UnreachableError
from kit.files import read_bounded
from kit.http import NodeClient, NodeProblemError

CONTROL_VARIABLE = "GRIDWITNESS_SIM_CONTROL"
STATE_BYTES_MAX = 4 * 1024 * 1024
_TIMEOUT_S = 10
_REFUSALS: dict[int, type[GridwitnessError]] = {
    400: BadRequestError,
    404: UnknownDeviceError,
    409: RefusedError,
}

Json = dict[str, Any]


def find_control(url: str | None, state_file: Path | None, environ: Mapping[str, str]) -> str:
    """Decide which control port is meant: URL, state file, environment, default, in this order.

    Raises:
        StorageError: The state file is too large.
        UnreachableError: There is no state file: no simulator runs with it.
        OSError: The state file cannot be read.
        DataError: The state file is none.
    """
    if url is not None:
        return url
    if state_file is not None:
        try:
            text = read_bounded(state_file, bytes_max=STATE_BYTES_MAX)
        except FileNotFoundError as error:
            hint = "start one with 'gridwitness-sim up SCENARIO --state-file FILE'"
            raise UnreachableError(f"no simulator runs with the state file {state_file}; {hint}") from error
        try:
            return str(json.loads(text)["control"])
        except (ValueError, LookupError, TypeError) as error:
            raise DataError(f"{state_file} is no state file of a simulator") from error
    return environ.get(CONTROL_VARIABLE, f"http://{CONTROL_DEFAULT}")


class Control:
    """A running simulator, seen from the outside.

    Every call raises:
        UnreachableError: Nobody answers.
        BadRequestError, UnknownDeviceError, RefusedError: As the simulator says.
        DataError: The answer is not a simulator's.
    """

    def __init__(self, url: str) -> None:
        """Remember where it is; nothing is sent yet.

        Args:
            url: Such as ``http://127.0.0.1:8470``.

        Raises:
            UsageError: No HTTP URL.
        """
        self._client = NodeClient([url], _TIMEOUT_S)

    def devices(self) -> Json:
        """List all devices."""
        return self._get("/devices")

    def device(self, name: str) -> Json:
        """Show one device."""
        return self._get(f"/devices/{quote(name, safe='')}")

    def tamper(self, name: str, body: Json) -> Json:
        """Change the files of one device."""
        return self._post(f"/devices/{quote(name, safe='')}/tamper", body)

    def tamper_fleet(self, body: Json) -> Json:
        """Do one action on several devices."""
        return self._post("/tamper", body)

    def fault(self, name: str, body: Json) -> Json:
        """Set or clear the fault of a device."""
        return self._post(f"/devices/{quote(name, safe='')}/fault", body)

    def _get(self, path: str) -> Json:
        """Read."""
        try:
            return self._client.get_json(path)
        except (NodeProblemError, UnreachableError) as error:
            raise self._explained(error) from error

    def _post(self, path: str, body: Json) -> Json:
        """Ask for a change."""
        try:
            data = json.dumps(body).encode()
            return self._client.post_cbor(path, data, content_type="application/json")
        except (NodeProblemError, UnreachableError) as error:
            raise self._explained(error) from error

    def _explained(self, error: NodeProblemError | UnreachableError) -> GridwitnessError:
        """Put what went wrong into the simulator's own words."""
        if isinstance(error, UnreachableError):
            hint = "start one with 'gridwitness-sim up', or name another with --control"
            return UnreachableError(f"no simulator answers at {self._client.node}; {hint}")
        refusal = _REFUSALS.get(error.status)
        return error if refusal is None else refusal(error.detail)
