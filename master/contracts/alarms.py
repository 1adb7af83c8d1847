"""Alarms of the contract `consistency`: one per device and cause, with the artefacts concerned inside.

raised -> changed -> returned -> raised again ... ; only a person closes an alarm, which this version does not offer.
State: alarm/DEVICE/CAUSE.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from master.contracts.context import Context
from rules.appraisal import Fill, Finding, Owner
from wire import cbor
from wire.cbor import Value
from wire.fields import Fields
from wire.types import Digest, sha256

RAISED: Final = "raised"
RETURNED: Final = "returned"
_STATES: Final = (RAISED, RETURNED)
_RECORD: Final = ("alarm_id", "state", "artefacts", "count", "opening_tx", "raised_ms", "raised_height")
_FILL: Final = ("record", "account", "organisation", "order", "release", "time_ms")
_ARTEFACTS_MAX: Final = 8
_ID_BYTES: Final = 16


def alarm_id(device: str, cause: str, opening_tx: Digest) -> str:
    """Return the id of an alarm: 32 hex digits of SHA-256 over the CBOR array [device, cause, opening tx]."""
    return sha256(cbor.encode([device, cause, opening_tx]))[:_ID_BYTES].hex()


def finding_value(finding: Finding) -> dict[str, Value]:
    """Return a finding as a CBOR map."""
    difference = finding.difference
    where: Value = None
    if difference is not None:
        where = {"unit": difference.unit, "count": difference.count, "numbers": list(difference.numbers)}
    return {
        "kind": finding.kind,
        "verdict": finding.verdict,
        "expected_sha256": finding.expected_sha256,
        "read_sha256": finding.read_sha256,
        "detail": finding.detail,
        "difference": where,
        "method": finding.method,
        "owner": None if finding.owner is None else _owner_value(finding.owner),
        "fill": None if finding.fill is None else _fill_value(finding.fill),
    }


def _owner_value(owner: Owner) -> dict[str, Value]:
    return {name: getattr(owner, name) for name in ("target", "kind", "release")}


def _fill_value(fill: Fill) -> dict[str, Value]:
    return {name: getattr(fill, name) for name in _FILL}


def update(context: Context, device: str, gateway: str, causes: Mapping[str, Sequence[Finding]]) -> None:
    """Bring the alarms of a device to what was found: raise, change or return them.

    Args:
        context: The running call.
        device: Id of the device.
        gateway: Gateway that reads it.
        causes: Findings by cause; a cause that is not in it is not present.
    """
    known = dict(context.scan(_prefix(device)))
    present = {_key(device, cause): cause for cause in causes}
    for key in sorted({*known, *present}):
        cause = key[len(_prefix(device)) :].decode("ascii")
        found: list[Value] = [finding_value(finding) for finding in causes.get(cause, ())]
        if key not in known:
            _save(context, "alarm_raised", device, gateway, cause, _opened(context, device, cause, found))
            continue
        record = _decode(known[key])
        if found and record["state"] == RETURNED:
            again = {**record, "state": RAISED, "artefacts": found, "count": _count(record) + 1}
            _save(context, "alarm_raised", device, gateway, cause, again)
        elif found and record["artefacts"] != found:
            changed = {**record, "artefacts": found, "count": _count(record) + 1}
            _save(context, "alarm_changed", device, gateway, cause, changed)
        elif not found and record["state"] == RAISED:
            _save(context, "alarm_returned", device, gateway, cause, {**record, "state": RETURNED})


def raise_missed(context: Context, device: str, gateway: str, causes: Mapping[str, Sequence[Finding]]) -> None:
    """Raise and return at once what evidence found that arrived after newer evidence.

    A cause that has an alarm already is left as it is.
    """
    for cause in sorted(causes):
        if context.get(_key(device, cause)) is None:
            found: list[Value] = [finding_value(finding) for finding in causes[cause]]
            record = _opened(context, device, cause, found)
            _save(context, "alarm_raised", device, gateway, cause, record)
            _save(context, "alarm_returned", device, gateway, cause, {**record, "state": RETURNED})


def _opened(context: Context, device: str, cause: str, found: list[Value]) -> dict[str, Value]:
    return {
        "alarm_id": alarm_id(device, cause, context.tx_id),
        "state": RAISED,
        "artefacts": found,
        "count": 1,
        "opening_tx": context.tx_id,
        "raised_ms": context.time_ms,
        "raised_height": context.height,
    }


def _save(context: Context, event_type: str, device: str, gateway: str, cause: str, record: dict[str, Value]) -> None:
    context.put(_key(device, cause), record)
    context.emit(event_type, device, {"device": device, "gateway": gateway, "cause": cause, **record})


def _decode(value: Value) -> dict[str, Value]:
    fields = Fields(value, _RECORD, "consistency.alarm")
    fields.choice("state", _STATES)
    fields.sequence("artefacts", _ARTEFACTS_MAX)
    return {name: fields.raw(name) for name in _RECORD}


def _count(record: Mapping[str, Value]) -> int:
    count = record["count"]
    assert isinstance(count, int)
    return count


def _prefix(device: str) -> bytes:
    return b"alarm/" + device.encode("ascii") + b"/"


def _key(device: str, cause: str) -> bytes:
    return _prefix(device) + cause.encode("ascii")
