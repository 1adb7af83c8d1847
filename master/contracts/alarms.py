"""Alarms of the contract `consistency`: what evidence does to them. `alarm_actions` has what people do.

There is one alarm per device and cause, with the artefacts concerned inside; its life is the table of `alarm_states`.
Whatever happens to it is told by an event that carries the whole alarm and who did it.

State
  alarm/DEVICE/CAUSE            the newest alarm of a device and cause, closed ones too
  gateway_alarm/GATEWAY/CAUSE   the same of a gateway, for causes that concern no device
  flood/AREA/CAUSE              the group that the next alarm of the area and cause may join
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from master.contracts import membership
from master.contracts.alarm_states import (
    ACKNOWLEDGE,
    ANSWERED,
    APPEAR,
    CHANGE,
    CLOSE,
    CLOSED,
    OF_GATEWAYS,
    PRESENT,
    RAISED,
    RETURN,
    SHELVE,
    STATES,
    UNSHELVE,
    moved,
)
from master.contracts.context import Context, Reads
from master.contracts.findings import finding_value
from rules.appraisal import Finding
from rules.severity import SEVERITIES, severity
from wire import cbor
from wire.cbor import Value
from wire.fields import Fields
from wire.genesis import Station
from wire.types import Digest, sha256

Record = dict[str, Value]
"""An alarm as it stands in the state."""
EVENTS: Final[Mapping[str, str]] = {
    APPEAR: "alarm_raised",
    CHANGE: "alarm_changed",
    RETURN: "alarm_returned",
    ACKNOWLEDGE: "alarm_acknowledged",
    SHELVE: "alarm_shelved",
    UNSHELVE: "alarm_unshelved",
    CLOSE: "alarm_closed",
}
"""Event type by move."""
FLOOD: Final = "alarm_flood"
"""Event type: a group has grown to a flood."""

# names stand as in the bytes: what is in order already is encoded in a third of the time
_RECORD: Final = (
    "count",
    "group",
    "shelf",
    "state",
    "closed",
    "present",
    "alarm_id",
    "severity",
    "artefacts",
    "raised_ms",
    "opening_tx",
    "acknowledged",
    "raised_height",
)
_EVENT: Final = (
    *("by", "area", "move", "cause", "count", "group", "shelf", "state", "action", "closed", "device", "reason"),
    *("gateway", "present", "station", "alarm_id", "severity", "artefacts", "raised_ms", "from_state", "opening_tx"),
    *("acknowledged", "organisation", "raised_height"),
)
_GROUP: Final = ("group", "first_ms", "alarms")
_ARTEFACTS_MAX: Final = 8
_ID_BYTES: Final = 16
_NOBODY: Final[Mapping[str, Value]] = dict.fromkeys(("by", "organisation", "reason", "action"))
"""Who made a move that evidence made."""


class Site:
    """A gateway, and what the alarms of one call about it have in common: it is read when the first one needs it.

    Args:
        state: Of the call.
        gateway: Its id; it is registered.
    """

    def __init__(self, state: Reads, gateway: str) -> None:
        self._state = state
        self.gateway = gateway

    @cached_property
    def station(self) -> Station:
        """Where the gateway is."""
        found = membership.gateway(self._state, self.gateway)
        assert found is not None
        station = membership.station(self._state, found.station)
        assert station is not None
        return station

    @cached_property
    def severities(self) -> Mapping[str, str]:
        """Those that the consortium gives to causes."""
        return membership.alarm_severities(self._state)

    @cached_property
    def flood(self) -> tuple[int, int]:
        """How many alarms are a flood, and in how many milliseconds."""
        names = ("alarm_flood_alarms", "alarm_flood_ms")
        alarms, time_ms = (membership.integer_parameter(self._state, name) for name in names)
        return alarms, time_ms


@dataclass(frozen=True, slots=True)
class Place:
    """What an alarm is about."""

    device: str | None
    """None: the gateway itself."""
    site: Site
    cause: str

    @property
    def subject(self) -> str:
        """Id of the device or gateway that it is about."""
        return self.site.gateway if self.device is None else self.device


def alarm_id(subject: str, cause: str, opening_tx: Digest) -> str:
    """Return the id of an alarm: 32 hex digits of SHA-256 over the CBOR array [subject, cause, opening tx]."""
    return sha256(cbor.encode([subject, cause, opening_tx]))[:_ID_BYTES].hex()


def update(context: Context, site: Site, device: str, causes: Mapping[str, list[Value]]) -> None:
    """Bring the alarms of a device to what was found: raise, change or return them.

    A closed alarm is over: its cause, when it is there again, opens another one.

    Args:
        context: The running call.
        site: Of the gateway that reads it.
        device: Id of the device.
        causes: Findings, as `finding_value` returns them, by cause; a cause that is not in it is not present.
    """
    prefix = key_of(device, "")
    known = dict(context.scan(prefix))
    for cause in sorted({*causes, *(key[len(prefix) :].decode("ascii") for key in known)}):
        stored = known.get(prefix + cause.encode("ascii"))
        record = None if stored is None else decode(stored, context.time_ms)
        _follow(context, Place(device, site, cause), record, causes.get(cause, []))


def raise_missed(context: Context, site: Site, device: str, causes: Mapping[str, list[Value]]) -> None:
    """Raise and return at once what evidence found that arrived after newer evidence.

    A cause that has an open alarm already is left as it is.
    """
    for cause in sorted(causes):
        record = load(context, device, cause)
        if record is None or record["state"] == CLOSED:
            place = Place(device, site, cause)
            opened = _open(context, place, causes[cause])
            make_move(context, place, opened, RETURN, {})


def happened(context: Context, gateway: str, finding: Finding) -> None:
    """Raise or change the alarm of a gateway: something happened once, and nothing takes it back.

    The same finding again changes nothing; the alarm lists the newest eight.
    """
    place = Place(None, Site(context, gateway), finding.verdict)
    record = load(context, gateway, finding.verdict)
    artefact: Value = finding_value(finding)
    if record is None or record["state"] == CLOSED:
        if record is None or artefact not in _artefacts(record):
            _open(context, place, [artefact])
    elif artefact not in _artefacts(record):
        make_move(context, place, record, CHANGE, {"artefacts": [*_artefacts(record), artefact][-_ARTEFACTS_MAX:]})


def load(context: Context, subject: str, cause: str) -> Record | None:
    """Return the newest alarm of a device or gateway and a cause, without a shelf that has ended."""
    stored = context.get(key_of(subject, cause))
    return None if stored is None else decode(stored, context.time_ms)


def make_move(
    context: Context,
    place: Place,
    record: Record,
    move: str,
    changes: Mapping[str, Value],
    by: Mapping[str, Value] = _NOBODY,
) -> None:
    """Store an alarm after an allowed move, and tell it.

    Args:
        context: The running call.
        place: What the alarm is about.
        record: As it stands.
        move: One that `moved` allows.
        changes: Fields that the move sets.
        by: Who made it: by, organisation, reason, action.
    """
    before = str(record["state"])
    state = moved(place.cause, before, move)
    assert state is not None
    after = {**record, "state": state, "present": (before if state == CLOSED else state) in PRESENT, **changes}
    if move in (APPEAR, CHANGE):
        after["count"] = count_of(record) + 1
        after["severity"] = _severity(place, _artefacts(after))
        if after["artefacts"] != record["artefacts"]:
            after["shelf"] = None  # what nobody had seen when it was put away is not hidden
    if state not in (*ANSWERED, CLOSED):
        after["acknowledged"] = None
    _save(context, place, after, move, {"from_state": before, **by})


def count_of(record: Mapping[str, Value]) -> int:
    """Return how often an alarm was raised or changed."""
    count = record["count"]
    assert isinstance(count, int)
    return count


def key_of(subject: str, cause: str) -> bytes:
    """Return the key of an alarm in the state; without a cause, what the keys of a device's alarms start with."""
    table = "gateway_alarm" if cause in OF_GATEWAYS else "alarm"
    return f"{table}/{subject}/{cause}".encode("ascii")


def _follow(context: Context, place: Place, record: Record | None, found: list[Value]) -> None:
    """Bring one alarm to what was found of its cause, nothing included."""
    if record is None or record["state"] == CLOSED:
        if found and not (record is not None and record["present"] and record["artefacts"] == found):
            _open(context, place, found)
        elif not found and record is not None and record["present"]:
            context.put(key_of(place.subject, place.cause), {**record, "present": False})
    elif found and record["state"] not in PRESENT:
        make_move(context, place, record, APPEAR, {"artefacts": found})
    elif found and record["artefacts"] != found:
        make_move(context, place, record, CHANGE, {"artefacts": found})
    elif not found and record["state"] in PRESENT:
        make_move(context, place, record, RETURN, {})


def _open(context: Context, place: Place, found: list[Value]) -> Record:
    """Open an alarm and tell it."""
    name = alarm_id(place.subject, place.cause, context.tx_id)
    group, is_flood = _join_group(context, place, name)
    record: Record = {
        "count": 1,
        "group": group["group"],
        "shelf": None,
        "state": RAISED,
        "closed": None,
        "present": True,
        "alarm_id": name,
        "severity": _severity(place, found),
        "artefacts": found,
        "raised_ms": context.time_ms,
        "opening_tx": context.tx_id,
        "acknowledged": None,
        "raised_height": context.height,
    }
    _save(context, place, record, APPEAR, {"from_state": None, **_NOBODY})
    if is_flood:
        context.emit(FLOOD, str(group["group"]), {"cause": place.cause, **group})
    return record


def _join_group(context: Context, place: Place, name: str) -> tuple[Record, bool]:
    """Return the group of a new alarm, and whether it has grown to a flood by it.

    Alarms of one cause in one area belong together when they open at most ``alarm_flood_ms`` after the first of them.
    """
    key = f"flood/{place.site.station.area}/{place.cause}".encode("ascii")
    flood_alarms, flood_ms = place.site.flood
    stored = context.get(key)
    group: Record = {"group": name, "alarms": 1, "first_ms": context.time_ms}
    if stored is not None:
        fields = Fields(stored, _GROUP, "consistency.flood")
        first_ms = fields.integer("first_ms")
        if context.time_ms - first_ms <= flood_ms:
            group = {"group": fields.text("group"), "alarms": fields.integer("alarms") + 1, "first_ms": first_ms}
    context.put(key, group)
    return group, group["alarms"] == flood_alarms


def _save(context: Context, place: Place, record: Record, move: str, told: Mapping[str, Value]) -> None:
    context.put(key_of(place.subject, place.cause), record)
    site = place.site
    whole: dict[str, Value] = {
        **record,
        "device": place.device,
        "gateway": site.gateway,
        "station": site.station.id,
        "area": site.station.area,
        "cause": place.cause,
        "move": move,
        **told,
    }
    context.emit(EVENTS[move], place.subject, {name: whole[name] for name in _EVENT})


def _severity(place: Place, found: Sequence[Value]) -> str:
    artefacts = [one for one in found if isinstance(one, dict)]
    concerned = [(str(one["kind"]), None if one["method"] is None else str(one["method"])) for one in artefacts]
    return severity(place.cause, concerned, place.site.severities)


def _artefacts(record: Mapping[str, Value]) -> list[Value]:
    artefacts = record["artefacts"]
    assert isinstance(artefacts, list)
    return artefacts


def decode(value: Value, time_ms: int) -> Record:
    """Return an alarm of the state as it is at a block time: without a shelf that has ended."""
    fields = Fields(value, _RECORD, "consistency.alarm")
    fields.choice("state", STATES)
    fields.choice("severity", SEVERITIES)
    fields.sequence("artefacts", _ARTEFACTS_MAX)
    record = {name: fields.raw(name) for name in _RECORD}
    shelf = record["shelf"]
    if isinstance(shelf, dict) and Fields(shelf, shelf, "consistency.alarm.shelf").integer("until_ms") <= time_ms:
        record["shelf"] = None
    return record
