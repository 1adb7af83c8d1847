"""All devices of a scenario, listening; the in-process face for tests.

fleet = Fleet(load_scenario(path), base=path.parent)
addresses = await fleet.start()
fleet.tamper(["sc-lakeside-1"], {"action": "flip-byte", "offset": 1000})
await fleet.stop()
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from firmware_sim.contents import Artefact
from firmware_sim.device import Device
from firmware_sim.errors import BadRequestError, ScenarioError
from firmware_sim.fields import Fields
from firmware_sim.modbus.faults import (
    DELAY_MS_DEFAULT,
    DELAY_MS_MAX,
    OFFLINE,
    REQUESTS_MAX,
    Fault,
)
from firmware_sim.modbus.server import ModbusServer
from firmware_sim.scenario import Scenario, build_places
from firmware_sim.tamper import Bench, Change, tamper
from kit.clock import SystemClock
from kit.config import HostPort

_CLOCK = SystemClock()


class Fleet:
    """The devices of one scenario and their servers."""

    def __init__(
        self,
        scenario: Scenario,
        *,
        base: Path,
        clock_ms: Callable[[], int] = _CLOCK.now_ms,
    ) -> None:
        """Load all releases; nothing listens yet.

        Args:
            scenario: A checked scenario.
            base: Where relative release folders of later requests start.
            clock_ms: Drives measurements and time stamps.

        Raises:
            ScenarioError: A release is for another device or model.
            ReleaseError: A release folder is not complete.
        """
        self.name = scenario.scenario.name
        self.clock_ms = clock_ms
        self.bench = Bench(build_places(scenario, clock_ms), base)
        self.addresses: dict[str, HostPort] = {}
        self._servers = {name: ModbusServer(place.device) for name, place in self.bench.places.items()}

    async def start(self) -> Mapping[str, HostPort]:
        """Listen with every device.

        Returns:
            The address of each device, with the port that was found for 0.

        Raises:
            ScenarioError: An address cannot be bound; whatever listened is closed again.
        """
        for name, server in self._servers.items():
            listen = self.bench.places[name].listen
            try:
                self.addresses[name] = HostPort(*await server.start(listen.host, listen.port))
            except OSError as error:
                await self.stop()
                raise ScenarioError(f"device {name} cannot listen on {listen}: {error}") from error
        return self.addresses

    async def stop(self) -> None:
        """Stop listening."""
        for server in self._servers.values():
            await server.stop()

    def device(self, name: str) -> Device:
        """Find a device.

        Raises:
            UnknownDeviceError: There is none of that name.
        """
        return self.bench.device(name)

    def tamper(self, names: Sequence[str], body: object) -> list[Change]:
        """Change files; see ``firmware_sim.tamper.tamper``."""
        return tamper(self.bench, names, body)

    def set_fault(self, name: str, fault: Fault | None) -> None:
        """Set a fault on a device, or clear it; ``offline`` drops its connections at once.

        Raises:
            UnknownDeviceError: There is no device of that name.
        """
        self.device(name).set_fault(fault)
        if fault is not None and fault.kind == OFFLINE:
            self._servers[name].drop_connections()

    def describe(self, name: str, *, digests: bool = False) -> dict[str, Any]:
        """Describe a device as the control port shows it.

        Args:
            name: The device.
            digests: With the SHA-256 of each file; for the person at the bench, no reference.

        Raises:
            UnknownDeviceError: There is no device of that name.
        """
        device = self.device(name)
        address = self.addresses.get(name)
        tampered = device.contents != device.baseline
        return {
            "device": name,
            "host": None if address is None else address.host,
            "port": None if address is None else address.port,
            "unit_id": device.unit_id,
            **asdict(device.identity),
            "revision": device.revision,
            "state": "tampered" if tampered else "original",
            "fault": None if device.fault is None else describe_fault(device.fault, device.hits_left),
            "artefacts": [_describe_artefact(item, digests=digests) for item in device.contents.artefacts.values()],
            "counters": asdict(device.counters),
        }


def _describe_artefact(item: Artefact, *, digests: bool) -> dict[str, Any]:
    """Describe one file."""
    shown: dict[str, Any] = {
        "kind": item.kind,
        "version": item.version,
        "size_bytes": len(item.content),
        "declared_bytes": item.declared_bytes,
        "first_file": item.first_file,
    }
    if digests:
        shown["sha256"] = hashlib.sha256(item.content).hexdigest()
    return shown


def describe_fault(fault: Fault, hits_left: int | None) -> dict[str, Any]:
    """Describe a fault as the control port shows it."""
    return {
        "fault": fault.kind,
        "delay_ms": fault.delay_ms,
        "functions": sorted(fault.functions),
        "requests_left": hits_left,
    }


def read_fault(body: object) -> Fault | None:
    """Read the body of a fault request.

    Args:
        body: ``{"action": "set", "fault": NAME, ...}`` or ``{"action": "clear"}``.

    Returns:
        The fault to set, or None to clear.

    Raises:
        BadRequestError: A member is missing, wrong or unknown.
    """
    fields = Fields(body)
    action = fields.text("action", "set")
    if action == "clear":
        fields.done()
        return None
    if action != "set":
        raise BadRequestError(f"action is {action!r}, expected set or clear")
    kind = fields.text("fault")
    delay_ms = fields.integer("delay_ms", 1, DELAY_MS_MAX, DELAY_MS_DEFAULT)
    functions = frozenset(fields.list_of("functions", int))
    requests = fields.optional_integer("requests", 1, REQUESTS_MAX)
    fields.done()
    try:
        return Fault(kind, delay_ms, functions, requests)
    except ValueError as error:
        raise BadRequestError(str(error)) from error
