"""A consortium with a jurisdiction tree, and people who act on its alarms."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.contracts.reports import entry, evidence, item, make_effective, release, send
from tests.unit.ledger.worlds import Done, World, key_of, make_genesis
from wire import cbor
from wire.cbor import Value
from wire.evidence import Item
from wire.genesis import AccountKey, Device, Genesis, Organisation

PEOPLE = ("agency", "agency-2", "sub")
ACTION = "the file is read again"


def jurisdiction(parameters: dict[str, Value] | None = None, devices: tuple[Device, ...] | None = None) -> Genesis:
    """Return dispatch > sub > agency > grid, who owns the stations, and agency-2 beside agency."""
    genesis = make_genesis(parameters, devices)
    parents = {"grid": "agency", "sub": "dispatch", "agency": "sub", "agency-2": "sub"}
    roles = {"agency": "agency", "agency-2": "agency", "sub": "sub-centre"}
    organisations = [
        *(replace(one, parent=parents.get(one.id)) for one in genesis.organisations),
        *(Organisation(name, roles[name], parents[name]) for name in PEOPLE),
    ]
    keys = [*genesis.keys, *(AccountKey(key_of(name).verify_key.encode(), name, name) for name in PEOPLE)]
    return replace(
        genesis,
        organisations=tuple(sorted(organisations, key=lambda one: one.id)),
        keys=tuple(sorted(keys, key=lambda one: one.key)),
    )


class Watch:
    """A ledger with an effective release for the model, gateways that report and people who answer."""

    def __init__(
        self,
        parameters: dict[str, Value] | None = None,
        devices: tuple[Device, ...] | None = None,
        world: type[World] = World,
    ) -> None:
        self.world = world(jurisdiction(parameters, devices))
        make_effective(self.world, release())
        self.seq = 0

    def read(self, content: Item, device: str = "dev-1", gateway: str = "gw-1") -> Done:
        """Report that a device was read."""
        self.seq += 1
        now_ms = self.world.head.time_ms
        line = entry(device, content, read_from_ms=now_ms, read_to_ms=now_ms)
        return send(self.world, evidence(line, gateway=gateway, pair=(1, self.seq)))

    def conflict(self) -> Done:
        """Report two different pieces of evidence under one pair."""
        self.read(item())
        return send(self.world, evidence(entry("dev-2", item(f"s-{self.seq}")), pair=(1, self.seq)))

    def alarm(self, subject: str = "dev-1", cause: str = "mismatch") -> dict[str, Value]:
        """Return an alarm as it stands in the state."""
        table = "gateway_alarm" if cause == "evidence_conflict" else "alarm"
        raw = self.world.state.get("consistency", f"{table}/{subject}/{cause}".encode())
        assert raw is not None
        found = cbor.decode(raw)
        assert isinstance(found, dict)
        return found

    def act(
        self, method: str, by: str = "grid", subject: str = "dev-1", cause: str = "mismatch", **changes: Value
    ) -> Done:
        """Act on an alarm as it stands; ``changes`` replace arguments, None takes one away."""
        alarm = self.alarm(subject, cause)
        args: dict[str, Value] = {
            "subject": subject,
            "cause": cause,
            "alarm": alarm["alarm_id"],
            "count": alarm["count"],
            "action": ACTION,
        }
        if method in ("acknowledge-alarm", "close-alarm"):
            args["reason"] = "wrong-file"
        if method == "shelve-alarm":
            args["until_ms"] = self.world.head.time_ms + 60_000
        args = {name: value for name, value in {**args, **changes}.items() if value is not None}
        return self.world.call(by, "consistency", method, args)
