"""All devices of a scenario, listening; the in-process face for tests.

fleet = Fleet(load_scenario(path), base=path.parent)
addresses = await fleet.start()
fleet.tamper(["sc-lakeside-1"], {"action": "flip-byte", "offset": 1000})
await fleet.stop()
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from firmware_sim.contents import Artefact
from firmware_sim.device import Device
from firmware_sim.errors import BadRequestError, RefusedError, ReleaseError, ScenarioError, UnknownDeviceError
from firmware_sim.events import Timeline
from firmware_sim.faults import CATALOGUE, Fault
from firmware_sim.fields import Fields
from firmware_sim.protocols import PROTOCOLS, Member, Server
from firmware_sim.scenario import Port, Scenario, TlsTable, build_places, ports_of
from firmware_sim.tamper import Bench, Change, tamper
from firmware_sim.tls import server_context
from kit.clock import SystemClock
from kit.config import HostPort
from kit.logs import get_logger

_log = get_logger("firmware_sim.fleet")
_CLOCK = SystemClock()
_FAULT_ACTIONS = {"set": "fault", "clear": "clear-fault"}


class Fleet:
    """The devices of one scenario and their servers."""

    def __init__(
        self,
        scenario: Scenario,
        *,
        base: Path,
        clock_ms: Callable[[], int] = _CLOCK.now_ms,
        monotonic_ms: Callable[[], int] = _CLOCK.monotonic_ms,
    ) -> None:
        """Load all releases; nothing listens yet.

        Args:
            scenario: A checked scenario.
            base: Where relative release folders of later requests start.
            clock_ms: Drives measurements, restarts and time stamps.
            monotonic_ms: Drives the timeline.

        Raises:
            ScenarioError: A release is for another device or model.
            ReleaseError: A release folder is not complete.
            ConfigurationError: A certificate cannot be used.
        """
        self.name = scenario.scenario.name
        self.clock_ms = clock_ms
        self.bench = Bench(build_places(scenario, clock_ms), base)
        self.addresses: dict[str, HostPort] = {}
        self.timeline = Timeline(scenario.events)
        self._monotonic_ms = monotonic_ms
        self._started_ms = monotonic_ms()
        self._ports = ports_of(scenario)
        self._behind: dict[str, list[str]] = {port: [] for port in self._ports}
        for name, place in self.bench.places.items():
            self._behind[place.port].append(name)
        contexts: dict[TlsTable, ssl.SSLContext] = {}
        self._servers = {name: self._open(port, contexts) for name, port in self._ports.items()}

    async def start(self) -> Mapping[str, HostPort]:
        """Listen with every device.

        Returns:
            The address of each device, with the port that was found for 0.

        Raises:
            ScenarioError: An address cannot be bound; whatever listened is closed again.
        """
        for name, server in self._servers.items():
            listen = self._ports[name].listen
            try:
                address = HostPort(*await server.start(listen.host, listen.port))
            except OSError as error:
                await self.stop()
                raise ScenarioError(f"{name} cannot listen on {listen}: {error}") from error
            for device in self._behind[name]:
                self.addresses[device] = address
        self._started_ms = self._monotonic_ms()
        return self.addresses

    def _open(self, port: Port, contexts: dict[TlsTable, ssl.SSLContext]) -> Server:
        """Make the server of one port; devices with the same certificate share what was read."""
        places = [self.bench.places[name] for name in self._behind[port.name]]
        members = [Member(place.device, place.options) for place in places]
        context = None
        if port.tls is not None:
            context = contexts.get(port.tls)
            if context is None:
                context = contexts[port.tls] = server_context(port.tls)
        return PROTOCOLS[port.protocol].open(members, context)

    async def stop(self) -> None:
        """Stop listening."""
        for server in self._servers.values():
            await server.stop()

    @property
    def elapsed_ms(self) -> int:
        """Milliseconds since the devices began to listen."""
        return self._monotonic_ms() - self._started_ms

    def run_due(self) -> int | None:
        """Let every event of the timeline happen that is due; one that is refused is noted and left.

        Returns:
            Milliseconds until the next one, or None when there is none left.
        """
        elapsed_ms = self.elapsed_ms
        while (due := self.timeline.take(elapsed_ms)) is not None:
            try:
                self.tamper(due.table.names(self.bench.places), due.table.body())
            except (BadRequestError, RefusedError, ReleaseError, UnknownDeviceError) as error:
                due.refused += 1
                due.last_error = str(error)
                _log.warning("event_refused", action=due.table.action, reason=str(error))
        next_ms = self.timeline.next_ms
        return None if next_ms is None else max(next_ms - elapsed_ms, 0)

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
        """Set a fault on a device, or clear it; see ``firmware_sim.device.Device.set_fault``.

        Raises:
            UnknownDeviceError: There is no device of that name.
        """
        self.device(name).set_fault(fault)

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
            "protocol": device.protocol,
            "unit_id": device.unit_id,
            **asdict(device.identity),
            "revision": device.revision,
            "revision_counter": device.revision_counter,
            "active_group": device.contents.active_group,
            "groups": len(device.contents.groups),
            "clock_offset_ms": device.clock_offset_ms,
            "reachable": device.reachable,
            "state": "tampered" if tampered else "original",
            "fault": None if device.fault is None else describe_fault(device.fault, device.hits_left),
            "artefacts": [
                _describe_artefact(device, item, digests=digests) for item in device.contents.artefacts.values()
            ],
            "counters": asdict(device.counters),
        }


def _describe_artefact(device: Device, item: Artefact, *, digests: bool) -> dict[str, Any]:
    """Describe one file."""
    shown: dict[str, Any] = {
        "kind": item.kind,
        "version": item.version,
        "size_bytes": len(item.content),
        "declared_bytes": item.declared_bytes,
        "checksum": f"{device.checksum(item.kind):08x}",
    }
    if digests:
        shown["sha256"] = hashlib.sha256(item.content).hexdigest()
    return shown


def describe_fault(fault: Fault, hits_left: int | None) -> dict[str, Any]:
    """Describe a fault as the control port shows it."""
    return {
        "fault": fault.kind,
        "delay_ms": fault.hold_ms,
        "functions": sorted(fault.functions),
        "requests_left": hits_left,
        "offset_ms": fault.offset_ms,
    }


def describe_catalogue() -> list[dict[str, Any]]:
    """Show the fault catalogue as the control port does."""
    return [
        {
            "fault": name,
            "about": entry.about,
            "changes": entry.changes,
            "protocols": list(entry.protocols),
            "verdict": entry.verdict,
            "action": dict(entry.action),
            "condition": entry.condition,
            "delay_ms": entry.delay_ms,
            "requests": entry.requests,
        }
        for name, entry in CATALOGUE.items()
    ]


def fault_action(body: object) -> dict[str, Any]:
    """Read the body of a fault request as an action.

    Args:
        body: ``{"action": "set", "fault": NAME, ...}`` or ``{"action": "clear"}``.

    Raises:
        BadRequestError: The action is another one.
    """
    fields = Fields(body)
    action = fields.text("action", "set")
    if action not in _FAULT_ACTIONS:
        raise BadRequestError(f"action is {action!r}, expected set or clear")
    return {**fields.rest(), "action": _FAULT_ACTIONS[action]}
