"""Where devices are: behind gateways in stations, until they move, which both sides say, or retire (MB-12 on)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, islice
from typing import Final

from master.contracts import access_records, member_owners, membership
from master.contracts.access_records import MOVED_GRANTS_MAX
from master.contracts.context import OK, Context, Refused
from master.contracts.member_keys import move_keys
from master.contracts.member_state import (
    add_key,
    bad_arguments,
    check_fresh_key,
    check_organisation,
    check_signature,
    reason_of,
    signature_of,
)
from wire.cbor import Value
from wire.fields import Fields
from wire.genesis import Device
from wire.membership import register_bytes

DEVICE: Final = "device"
GATEWAY: Final = "gateway"
KINDS: Final = (DEVICE, GATEWAY)
DEVICES_SHOWN_MAX: Final = 256
"""Devices of a gateway that moves, in the event that tells of it; further ones keep their former station in lists. To
another owner no more move at once."""
AGENCY: Final = "agency"
"""Its light node has no devices."""


def add_station(context: Context, args: dict[str, Value]) -> str:
    """Register ``station`` in ``area``, owned by the calling organisation.

    Raises:
        Refused: bad-args; not-an-organisation; taken.
    """
    with bad_arguments():
        fields = Fields(args, ("station", "area"), "args")
        station, area = fields.identifier("station"), fields.identifier("area")
    check_organisation(context)
    if membership.station(context, station) is not None:
        raise Refused("taken")
    record: dict[str, Value] = {"area": area, "organisation": context.organisation}
    context.put(f"station/{station}".encode("ascii"), record)
    context.emit("station_added", station, {"station": station, **record})
    return OK


def add_gateway(context: Context, args: dict[str, Value]) -> str:
    """Register ``gateway`` in a ``station`` of the calling organisation, with its ``key`` and that key's ``signature``.

    Raises:
        Refused: bad-args; not-an-organisation; not-yours: the station; taken; key-in-use; bad-signature.
    """
    with bad_arguments():
        fields = Fields(args, ("gateway", "station", "key", "signature"), "args")
        name, station = fields.identifier("gateway"), fields.identifier("station")
        key, signature = fields.digest("key"), signature_of(fields, "signature")
    check_organisation(context)
    place = membership.station(context, station)
    if place is None or place.organisation != context.organisation:
        raise Refused("not-yours")
    if membership.is_account(context, name):
        raise Refused("taken")
    check_fresh_key(context, key)
    check_signature(key, register_bytes(context.chain, context.organisation, name, key), signature)
    context.put(f"gateway/{name}".encode("ascii"), {"station": station})
    context.emit("gateway_added", name, {"gateway": name, "station": station})
    add_key(context, key, name, context.organisation)
    return OK


def add_device(context: Context, args: dict[str, Value]) -> str:
    """Register ``device`` behind a ``gateway`` of the calling organisation, as its nameplate says.

    Raises:
        Refused: bad-args; not-an-organisation; not-yours: the gateway; no-devices-here; taken, or was once.
    """
    with bad_arguments():
        fields = Fields(args, (DEVICE, GATEWAY, "vendor", "model", "serial"), "args")
        device = Device(
            fields.identifier(DEVICE),
            fields.identifier(GATEWAY),
            fields.text("vendor"),
            fields.text("model"),
            fields.text("serial"),
        )
    check_organisation(context)
    if membership.organisation_of_gateway(context, device.gateway) != context.organisation:
        raise Refused("not-yours")
    _check_devices_allowed(context, context.organisation)
    if membership.device(context, device.id) is not None or membership.retired_device(context, device.id) is not None:
        raise Refused("taken")
    _put_device(context, device)
    member_owners.gain(context, device.model, context.organisation)
    context.emit("device_added", device.id, {DEVICE: device.id, **_nameplate(device)})
    return OK


def retire_device(context: Context, args: dict[str, Value]) -> str:
    """Take ``device`` out of use for good, with a ``reason`` for people; what was found of it stays to be read.

    Raises:
        Refused: bad-args; not-an-organisation; unknown-device; not-yours.
    """
    with bad_arguments():
        fields = Fields(args, (DEVICE, "reason"), "args")
        name, reason = fields.identifier(DEVICE), reason_of(fields)
    check_organisation(context)
    device = membership.device(context, name)
    if device is None:
        raise Refused("unknown-device")
    if membership.organisation_of_gateway(context, device.gateway) != context.organisation:
        raise Refused("not-yours")
    _close_offer(context, DEVICE, name, context.get(_binding_entry(DEVICE, name)), "withdrawn")
    context.delete(f"device/{name}".encode("ascii"))
    context.delete(f"behind/{device.gateway}/{name}".encode("ascii"))
    context.delete(membership.model_entry(device.model, name))
    member_owners.lose(context, name, device.model, context.organisation)
    end: dict[str, Value] = {"organisation": context.organisation, "reason": reason}
    context.put(membership.retired_device_entry(name), {**_nameplate(device), **end, "height": context.height})
    context.emit("device_retired", name, {DEVICE: name, GATEWAY: device.gateway, **end})
    return OK


def bind(context: Context, args: dict[str, Value]) -> str:
    """Move the ``kind`` (device or gateway) called ``id`` to the gateway or station ``to``: one side's word.

    Who owns where it is and who owns where it goes both say so, in any order; the second one's call moves it. Where
    both are one organisation, one call does.

    Raises:
        Refused: bad-args; not-an-organisation; unknown-device; unknown-gateway; unknown-station; not-yours: neither
            side is; already-there; no-devices-here; too-many-devices, too-many-grants: more than may go to another
            owner at once; offered: this side has said so already; offered-elsewhere: its owner's word is for another
            place or owner, and only the owner takes that back.
    """
    kind, name, to = _binding_arguments(args)
    check_organisation(context)
    sides = _sides(context, kind, name, to)
    if context.organisation not in sides:
        raise Refused("not-yours")
    _check_move(context, kind, name, to, sides[1])
    if sides[0] != sides[1]:
        _check_handing_over(context, [name] if kind == DEVICE else membership.devices_behind(context, name))
    offer = context.get(_binding_entry(kind, name))
    # a word is for the other side as it was: not for whoever owns the gateway by now that takes the device
    said_by = offer["by"] if isinstance(offer, dict) and (offer["to"], offer["sides"]) == (to, [*sides]) else None
    if said_by == context.organisation:
        raise Refused("offered")
    if sides[0] != sides[1] and said_by is None:
        if isinstance(offer, dict) and offer["by"] == sides[0] != context.organisation:
            raise Refused("offered-elsewhere")
        context.put(_binding_entry(kind, name), {"to": to, "by": context.organisation, "sides": [*sides]})
        data: dict[str, Value] = {"kind": kind, "id": name, "to": to, "by": context.organisation}
        context.emit("move_offered", name, data)
        return OK
    _close_offer(context, kind, name, offer, "done")
    _move(context, kind, name, to, sides)
    return OK


def unbind(context: Context, args: dict[str, Value]) -> str:
    """Withdraw the offer to move the ``kind`` called ``id`` to ``to``; who made it may, and who owns what it is about.

    Raises:
        Refused: bad-args; not-an-organisation; no-offer; not-yours.
    """
    kind, name, to = _binding_arguments(args)
    check_organisation(context)
    offer = context.get(_binding_entry(kind, name))
    if not isinstance(offer, dict) or offer["to"] != to:
        raise Refused("no-offer")
    if context.organisation not in (offer["by"], _owner(context, kind, name)):
        raise Refused("not-yours")
    _close_offer(context, kind, name, offer, "withdrawn")
    return OK


def _binding_arguments(args: dict[str, Value]) -> tuple[str, str, str]:
    with bad_arguments():
        fields = Fields(args, ("kind", "id", "to"), "args")
        return fields.choice("kind", KINDS), fields.identifier("id"), fields.identifier("to")


def _owner(context: Context, kind: str, name: str) -> str | None:
    if kind == DEVICE:
        return membership.organisation_of_device(context, name)
    return membership.organisation_of_gateway(context, name)


def _sides(context: Context, kind: str, name: str, to: str) -> tuple[str, str]:
    """Return who owns where it is, and who owns where it goes."""
    now = _owner(context, kind, name)
    if now is None:
        raise Refused(f"unknown-{kind}")
    if kind == DEVICE:
        then = membership.organisation_of_gateway(context, to)
        if then is None:
            raise Refused("unknown-gateway")
        return now, then
    place = membership.station(context, to)
    if place is None:
        raise Refused("unknown-station")
    return now, place.organisation


def _check_move(context: Context, kind: str, name: str, to: str, owner: str) -> None:
    if kind == DEVICE:
        device = membership.device(context, name)
        assert device is not None
        if device.gateway == to:
            raise Refused("already-there")
        _check_devices_allowed(context, owner)
        return
    gateway = membership.gateway(context, name)
    assert gateway is not None
    if gateway.station == to:
        raise Refused("already-there")
    if next(membership.devices_behind(context, name), None) is not None:
        _check_devices_allowed(context, owner)


def _check_handing_over(context: Context, devices: Iterable[str]) -> None:
    """Refuse to hand over more devices, or ones with more grants (which end), than one call may."""
    moved = list(islice(devices, DEVICES_SHOWN_MAX + 1))
    if len(moved) > DEVICES_SHOWN_MAX:
        raise Refused("too-many-devices")
    granted = chain.from_iterable(access_records.open_grants(context, device) for device in moved)
    if sum(1 for _ in islice(granted, MOVED_GRANTS_MAX + 1)) > MOVED_GRANTS_MAX:
        raise Refused("too-many-grants")


def _check_devices_allowed(context: Context, organisation: str) -> None:
    member = membership.member(context, organisation)
    if member is not None and member.role == AGENCY:
        raise Refused("no-devices-here")


def _move(context: Context, kind: str, name: str, to: str, sides: tuple[str, str]) -> None:
    former, owner = sides
    if former != owner:
        _hand_over(context, [name] if kind == DEVICE else [*membership.devices_behind(context, name)], former, owner)
    data: dict[str, Value] = {kind: name, "to": to, "organisation": owner, "former": former}
    if kind == DEVICE:
        before = membership.device(context, name)
        assert before is not None
        context.delete(f"behind/{before.gateway}/{name}".encode("ascii"))
        _put_device(context, Device(name, to, before.vendor, before.model, before.serial))
    else:
        context.put(f"gateway/{name}".encode("ascii"), {"station": to})
        move_keys(context, name, owner)
        data["devices"] = list(islice(membership.devices_behind(context, name), DEVICES_SHOWN_MAX))
    context.emit(f"{kind}_moved", name, data)


def _hand_over(context: Context, devices: list[str], former: str, owner: str) -> None:
    for name in devices:
        device = membership.device(context, name)
        assert device is not None
        member_owners.lose(context, name, device.model, former)
        member_owners.gain(context, device.model, owner)


def _put_device(context: Context, device: Device) -> None:
    context.put(f"device/{device.id}".encode("ascii"), _nameplate(device))
    context.put(f"behind/{device.gateway}/{device.id}".encode("ascii"), value=True)
    context.put(membership.model_entry(device.model, device.id), device.gateway)


def _nameplate(device: Device) -> dict[str, Value]:
    return {name: getattr(device, name) for name in (GATEWAY, "vendor", "model", "serial")}


def _close_offer(context: Context, kind: str, name: str, offer: Value | None, reason: str) -> None:
    if isinstance(offer, dict):
        context.delete(_binding_entry(kind, name))
        context.emit("offer_closed", name, {"kind": kind, "id": name, "reason": reason})


def _binding_entry(kind: str, name: str) -> bytes:
    return f"binding/{kind}/{name}".encode("ascii")
