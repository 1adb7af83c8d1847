"""Who owns devices of a model, or has owned them, and who gave a device up: kept so that nobody has to count them.

State of the namespace `membership`
  owner/SHA-256 of the model/ID   devices, left_ms: how many of the model the organisation owns; once it owns none, the
                                  block time at which it gave up the last one
  left/DEVICE/ID                  block time at which the organisation gave the device up
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from master.contracts.context import Context, Reads
from wire import cbor
from wire.fields import Fields
from wire.genesis import Genesis
from wire.types import sha256

_NAMESPACE: Final = "membership"
_OWNER: Final = ("devices", "left_ms")


def genesis_owners(genesis: Genesis) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and canonical values of the entries at height 0."""
    stations = {station.id: station.organisation for station in genesis.stations}
    owners = {gateway.id: stations[gateway.station] for gateway in genesis.gateways}
    held = Counter((device.model, owners[device.gateway]) for device in genesis.devices)
    for (model, owner), devices in held.items():
        yield owner_entry(model, owner), cbor.encode({"devices": devices, "left_ms": None})


def gain(context: Context, model: str, owner: str) -> None:
    """Note that an organisation owns one device more of a model."""
    devices, _ = _held(context, model, owner)
    context.put(owner_entry(model, owner), {"devices": devices + 1, "left_ms": None})


def lose(context: Context, device: str, model: str, owner: str) -> None:
    """Note that an organisation owns a device of a model no longer."""
    devices, _ = _held(context, model, owner)
    left_ms = context.time_ms if devices == 1 else None
    context.put(owner_entry(model, owner), {"devices": devices - 1, "left_ms": left_ms})
    context.put(_left_entry(device, owner), context.time_ms)


def owns_model(state: Reads, model: str, organisation: str, since_ms: int) -> bool:
    """Tell whether an organisation owns a device of a model, or gave up the last one at or after a block time."""
    devices, left_ms = _held(state, model, organisation)
    return devices > 0 or (left_ms is not None and left_ms >= since_ms)


def has_left(state: Reads, device: str, organisation: str, since_ms: int) -> bool:
    """Tell whether an organisation gave up a device at or after a block time, the last time that it did."""
    left_ms = state.namespace(_NAMESPACE).get(_left_entry(device, organisation))
    return isinstance(left_ms, int) and left_ms >= since_ms


def owner_entry(model: str, organisation: str) -> bytes:
    """Return the key of the state entry that says how many devices of a model an organisation owns."""
    return b"owner/" + sha256(model.encode()) + b"/" + organisation.encode("ascii")


def _held(state: Reads, model: str, owner: str) -> tuple[int, int | None]:
    value = state.namespace(_NAMESPACE).get(owner_entry(model, owner))
    if not isinstance(value, Mapping):
        return 0, None
    fields = Fields(value, _OWNER, "membership.owner")
    return fields.integer("devices"), None if fields.is_null("left_ms") else fields.integer("left_ms")


def _left_entry(device: str, organisation: str) -> bytes:
    return f"left/{device}/{organisation}".encode("ascii")
