"""Talk to the control port of a running simulator."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from firmware_sim.errors import BadRequestError, RefusedError, UnknownDeviceError
from firmware_sim.scenario import CONTROL_DEFAULT
from kit.exitcodes import DataError, UnreachableError, UsageError
from kit.files import read_bounded

CONTROL_VARIABLE = "GRIDWITNESS_SIM_CONTROL"
STATE_BYTES_MAX = 4 * 1024 * 1024
_TIMEOUT_S = 10
_REFUSALS: dict[int, type[Exception]] = {
    400: BadRequestError,
    404: UnknownDeviceError,
    409: RefusedError,
}

Json = dict[str, Any]


def find_control(url: str | None, state_file: Path | None, environ: Mapping[str, str]) -> str:
    """Decide which control port is meant: URL, state file, environment, default, in this order.

    Raises:
        StorageError: The state file is too large.
        OSError: The state file cannot be read: no simulator runs with it.
        DataError: The state file is none.
    """
    if url is not None:
        return url
    if state_file is not None:
        text = read_bounded(state_file, bytes_max=STATE_BYTES_MAX)
        try:
            return str(json.loads(text)["control"])
        except (ValueError, LookupError, TypeError) as error:
            raise DataError(f"{state_file} is no state file of a simulator") from error
    return environ.get(CONTROL_VARIABLE, f"http://{CONTROL_DEFAULT}")


class Control:
    """A running simulator, seen from the outside."""

    def __init__(self, url: str) -> None:
        """Remember where it is; nothing is sent yet.

        Args:
            url: Such as ``http://127.0.0.1:8470``.

        Raises:
            UsageError: No HTTP URL.
        """
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"control is {url!r}, expected a URL such as http://{CONTROL_DEFAULT}")
        self._url = url.rstrip("/")

    def devices(self) -> Json:
        """List all devices."""
        return self._call("GET", "/devices")

    def device(self, name: str) -> Json:
        """Show one device."""
        return self._call("GET", f"/devices/{quote(name, safe='')}")

    def tamper(self, name: str, body: Json) -> Json:
        """Change the files of one device."""
        return self._call("POST", f"/devices/{quote(name, safe='')}/tamper", body)

    def tamper_fleet(self, body: Json) -> Json:
        """Do one action on several devices."""
        return self._call("POST", "/tamper", body)

    def fault(self, name: str, body: Json) -> Json:
        """Set or clear the fault of a device."""
        return self._call("POST", f"/devices/{quote(name, safe='')}/fault", body)

    def _call(self, method: str, path: str, body: Json | None = None) -> Json:
        """Send one request.

        Raises:
            UnreachableError: Nobody answers.
            BadRequestError, UnknownDeviceError, RefusedError: As the simulator says.
            DataError: The answer is not a simulator's.
        """
        try:
            answer = requests.request(method, self._url + path, json=body, timeout=_TIMEOUT_S)
        except requests.RequestException as error:
            hint = "start one with 'gridwitness-sim up', or name another with --control"
            raise UnreachableError(f"no simulator answers at {self._url}; {hint}") from error
        try:
            found = answer.json()
        except ValueError as error:
            raise DataError(f"{self._url} does not answer as a simulator does") from error
        if not isinstance(found, dict):
            raise DataError(f"{self._url} does not answer as a simulator does")
        if not answer.ok:
            detail = str(found.get("detail", f"HTTP status {answer.status_code}"))
            raise _REFUSALS.get(answer.status_code, DataError)(detail)
        return found
