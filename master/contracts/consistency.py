"""Contract `consistency`, version 1: evidence of gateways -> verdicts about devices -> alarms.

A report whose items did not change writes the gateway's last report and nothing else. A release that becomes
effective has the devices that it concerns appraised anew from their stored items, in the same transaction.

State of the namespace
  gateway/GATEWAY               the newest report, by device
  pair/GATEWAY/BOOT/SEQ         digest of the evidence accepted under that pair, the newest `evidence_window` of them
  device/DEVICE                 the item that counts and its verdicts
  item/DEVICE/DIGEST            the newest items of a device, whole
  counters/GATEWAY              which numbers of its evidence were accepted (`rules.gaps`)
  due, due/END/DEVICE           devices that a work order excuses until END, and the first END
  alarm/..., gateway_alarm/..., flood/...   see `master.contracts.alarms`
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Final

from master.contracts import alarm_actions, alarms, gateways, membership, orders, references
from master.contracts.alarms import Site
from master.contracts.context import (
    OK,
    Context,
    Contract,
    Refused,
    bytes_argument,
    check_arguments,
)
from master.contracts.findings import causes_of, finding_value, finding_values, verdict_data
from master.contracts.references_lookup import KnownValues
from rules.appraisal import (
    ALTERED,
    IDENTITY_CHANGED,
    INCOMPLETE,
    MISFILLED,
    MISMATCH,
    Appraisal,
    Fill,
    Nameplate,
    Window,
    altered_between,
    altered_finding,
    appraise,
)
from wire.cbor import Value
from wire.errors import WireError
from wire.evidence import Entry, Evidence, Item, decode_evidence, decode_item
from wire.fields import Fields
from wire.genesis import Device
from wire.receipt import EVENTS_MAX, OUTCOME_BYTES_MAX, Event
from wire.types import Digest

NAME: Final = "consistency"
ITEMS_MAX: Final = 4
"""Items of a device that are kept whole, so that a gateway may name one by its digest."""
LATE_CAUSES: Final[tuple[str, ...]] = (IDENTITY_CHANGED, INCOMPLETE, MISFILLED, MISMATCH)
"""Causes that evidence may still bring up after newer evidence: what was right then is not among them."""
DUE_MAX: Final = 8
"""Devices whose work order is over that one report brings up to date."""
TOLD_EVENTS_MAX: Final = EVENTS_MAX // 2
TOLD_BYTES_MAX: Final = OUTCOME_BYTES_MAX // 4 * 3
"""Of events, past which a release that takes effect or is revoked leaves further devices to their next reports."""
_DUE: Final = b"due"
_TIME_BYTES: Final = 8
_RECORD: Final = ("item", "items", "clock_trusted", "altered", "findings", "reference_changes", "window")
_FINDINGS_MAX: Final = 8
_Work = tuple[Window | None, Fill | None]
"""The work order inside whose time a device is, and who filled it last."""


def report(context: Context, args: dict[str, Value]) -> str:
    """Take a gateway's evidence, appraise what changed, and raise, change or return alarms.

    Args:
        context: The sender must be the gateway that the evidence names.
        args: ``evidence``: canonical bytes of `wire.evidence.Evidence`.

    Returns:
        ok; duplicate when this evidence was accepted before; conflict when another one was, under its boot and seq.

    Raises:
        Refused: bad-args, bad-evidence, wrong-gateway, unknown-gateway, future-block, unknown-device, foreign-device,
            too-old, or unknown-item: an item is named by its digest alone and must be carried whole.
    """
    check_arguments(args, ("evidence",))
    raw = bytes_argument(args, "evidence")
    try:
        evidence = decode_evidence(raw)
    except WireError as error:
        raise Refused("bad-evidence") from error
    if evidence.gateway != context.sender:
        raise Refused("wrong-gateway")
    if membership.gateway(context, evidence.gateway) is None:
        raise Refused("unknown-gateway")
    if evidence.block.height >= context.height:
        raise Refused("future-block")
    devices, evidence = _devices(context, evidence)
    newest = gateways.newest_report(context, evidence.gateway)
    answer = gateways.accept(context, newest, evidence, raw)
    if answer != OK:
        return answer
    late = gateways.take(context, newest, evidence)
    trusted = _clock_trusted(context, evidence)
    desk = _Desk(context)
    for device, entry in zip(devices, evidence.devices, strict=True):
        if entry.item_digest is None:
            _appraise_unread(desk, device)
        elif entry.device in late:
            _appraise_late(desk, device, entry)
        else:
            _appraise_entry(desk, device, entry, trusted=trusted)
    _enforce(desk)
    return OK


def follow_release(context: Context, event: Event) -> None:
    """Appraise anew the devices that a release concerns, once it is effective or revoked.

    Of a model with more than ``reappraise_devices_max`` devices, or with more to tell than one outcome holds, the rest
    follow with their next report, as all do when the release came into effect in an earlier block, by its date.
    """
    if event.data.get("effective_height", context.height) != context.height:
        return
    target = Fields(event.data["target"], ("device", "model"), f"{event.type}.target")
    if target.is_null("device"):
        limit = membership.integer_parameter(context, "reappraise_devices_max")
        names = list(islice(membership.devices_of_model(context, target.text("model")), limit))
    else:
        names = [target.identifier("device")]
    desk = _Desk(context)
    for name in names:
        events, size = context.told()
        if events > TOLD_EVENTS_MAX or size > TOLD_BYTES_MAX:
            break
        _appraise_anew(desk, name)


def follow_work(context: Context, event: Event) -> None:
    """Appraise a device anew whose work order was approved or closed, or that somebody signed for having filled."""
    name = event.data["device"]
    assert isinstance(name, str)
    _appraise_anew(_Desk(context), name)


def follow_retirement(context: Context, event: Event) -> None:
    """End what is going on about a device that has retired; its alarms are left to people to close."""
    name, gateway = str(event.data["device"]), str(event.data["gateway"])
    alarms.update(context, Site(context, gateway), name, {})
    gateways.forget(context, gateway, name)


class _Desk:
    """A call that appraises devices, and what these have in common: it is read once.

    Args:
        context: Of the call; it changes neither reference values nor members.
    """

    __slots__ = ("_sites", "context", "known")

    def __init__(self, context: Context) -> None:
        self.context = context
        self.known = KnownValues(context)
        self._sites: dict[str, Site] = {}

    def site(self, gateway: str) -> Site:
        """Return where a gateway is, for alarms."""
        if gateway not in self._sites:
            self._sites[gateway] = Site(self.context, gateway)
        return self._sites[gateway]


def _appraise_anew(desk: _Desk, name: str) -> None:
    context = desk.context
    device, record = membership.device(context, name), _record(context, name)
    if device is None or record.item is None:
        return
    item = _stored_item(context, name, record.item)
    assert item is not None
    _conclude(desk, device, record, item, orders.of_device(context, name, context.time_ms), item_changed=False)


def _enforce(desk: _Desk) -> None:
    """Appraise anew what a work order excused that is over, a few devices with each report of any gateway.

    There is no timer: a block without a report changes no verdict (docs/adr/0017). While nothing is due this reads one
    entry.
    """
    context = desk.context
    first_ms = context.get(_DUE)
    if not isinstance(first_ms, int) or first_ms >= context.time_ms:
        return
    over = [key for key, _ in islice(context.scan(_DUE + b"/"), DUE_MAX) if _due_ms(key) < context.time_ms]
    for key in over:
        context.delete(key)
        name = _due_device(key)
        if _record(context, name).window is not None:
            _appraise_anew(desk, name)
    for key, _ in islice(context.scan(_DUE + b"/"), 1):
        context.put(_DUE, _due_ms(key))
        return
    context.delete(_DUE)


def _excuse(context: Context, device: str, until_ms: int) -> None:
    """Remember that a device is to be appraised anew after a time."""
    context.put(_due_key(until_ms, device), device)
    first_ms = context.get(_DUE)
    if not isinstance(first_ms, int) or until_ms < first_ms:
        context.put(_DUE, until_ms)


class _Record:
    """What the ledger keeps of one device."""

    __slots__ = ("altered", "clock_trusted", "findings", "item", "items", "reference_changes", "window")

    def __init__(self, value: Value | None) -> None:
        self.item: Digest | None = None
        """Digest of the item that counts."""
        self.items: tuple[Digest, ...] = ()
        """Digests of the items that are kept, newest first."""
        self.clock_trusted = True
        self.altered: str | None = None
        """What the revision counter said when this item came, if it told of more than the content."""
        self.findings: list[Value] = []
        self.reference_changes = 0
        """How often its reference values had changed when it was appraised last."""
        self.window: Digest | None = None
        """Work order inside whose time the findings were made."""
        if value is not None:
            fields = Fields(value, _RECORD, "consistency.device")
            self.item = fields.digest("item")
            self.items = tuple(entry for entry in fields.sequence("items", ITEMS_MAX) if isinstance(entry, bytes))
            self.clock_trusted = fields.raw("clock_trusted") is True
            self.altered = None if fields.is_null("altered") else fields.text("altered")
            self.findings = fields.sequence("findings", _FINDINGS_MAX)
            self.reference_changes = fields.integer("reference_changes")
            self.window = None if fields.is_null("window") else fields.digest("window")

    def to_value(self) -> dict[str, Value]:
        """Return the state value."""
        return {
            "item": self.item,
            "items": list(self.items),
            "window": self.window,
            "altered": self.altered,
            "findings": self.findings,
            "clock_trusted": self.clock_trusted,
            "reference_changes": self.reference_changes,
        }


def _devices(context: Context, evidence: Evidence) -> tuple[list[Device], Evidence]:
    """Return the devices of evidence, and the evidence without those that have retired: nothing comes of them."""
    found = [_device(context, evidence, entry) for entry in evidence.devices]
    devices = [device for device in found if device is not None]
    if len(devices) < len(found):
        entries = tuple(entry for entry, device in zip(evidence.devices, found, strict=True) if device is not None)
        evidence = replace(evidence, devices=entries)
    return devices, evidence


def _device(context: Context, evidence: Evidence, entry: Entry) -> Device | None:
    """Return a device of a gateway, None when it has retired since."""
    known = device = membership.device(context, entry.device)
    if device is None:
        retired = membership.retired_device(context, entry.device)
        known = None if retired is None else retired[0]
    if known is None:
        raise Refused("unknown-device")
    if known.gateway != evidence.gateway:
        raise Refused("foreign-device")
    return device


def _clock_trusted(context: Context, evidence: Evidence) -> bool:
    return membership.clock_policy(context) == "bench" or evidence.clock.grade == "synchronised"


def _appraise_entry(desk: _Desk, device: Device, entry: Entry, *, trusted: bool) -> None:
    context = desk.context
    record = _record(context, device.id)
    item_changed = record.item != entry.item_digest
    work = window, _ = orders.of_device(context, device.id, context.time_ms)
    same_window = record.window == (None if window is None else window.order)
    same_references = record.reference_changes == desk.known.change_count(device.id, device.model)
    if not item_changed and record.clock_trusted == trusted and same_window and same_references:
        return
    item = _item(context, entry)
    record.clock_trusted = trusted
    if item_changed:
        # an approved work order says that it will be changed
        record.altered = None if window is not None else _altered(context, device, record, item)
        assert entry.item_digest is not None
        _keep_item(context, device.id, record, item, entry.item_digest)
    _conclude(desk, device, record, item, work, item_changed=item_changed)


def _appraise_unread(desk: _Desk, device: Device) -> None:
    """Let a device whose gateway has not read it yet follow its reference values and work orders all the same."""
    context, record = desk.context, _record(desk.context, device.id)
    if record.item is None:
        return
    is_older = record.reference_changes != desk.known.change_count(device.id, device.model)
    if is_older or (record.window is not None and orders.of_device(context, device.id, context.time_ms)[0] is None):
        _appraise_anew(desk, device.id)


def _altered(context: Context, device: Device, record: _Record, item: Item) -> str | None:
    """Tell what the device's counter says; most have none, and the item before is not looked at."""
    if item.revision is None or record.item is None:
        return None
    return altered_between(_stored_item(context, device.id, record.item), item)


def _appraise_late(desk: _Desk, device: Device, entry: Entry) -> None:
    context = desk.context
    work = orders.of_device(context, device.id, context.time_ms)
    appraisal = _appraise(desk, device, _item(context, entry), work)
    causes = causes_of(appraisal, finding_values(appraisal), clock_trusted=True)
    missed = {cause: causes[cause] for cause in LATE_CAUSES if cause in causes}
    alarms.raise_missed(context, desk.site(device.gateway), device.id, missed)


def _conclude(desk: _Desk, device: Device, record: _Record, item: Item, work: _Work, *, item_changed: bool) -> None:
    """Appraise an item, keep the findings in the device's record, and tell what changed."""
    context, (window, _) = desk.context, work
    appraisal = _appraise(desk, device, item, work)
    found = finding_values(appraisal)
    record.window = None if window is None else window.order
    if window is not None:
        _excuse(context, device.id, window.until_ms)
    before, record.findings = record.findings, [*found]
    record.reference_changes = desk.known.change_count(device.id, device.model)
    if record.altered is not None:
        record.findings.append(finding_value(altered_finding(record.altered)))
    context.put(_device_key(device.id), record.to_value())
    if item_changed or record.findings != before:
        until_ms = None if window is None else window.until_ms
        context.emit("verdict_changed", device.id, verdict_data(device, record.item, item, appraisal, found, until_ms))
    causes = causes_of(appraisal, found, clock_trusted=record.clock_trusted)
    if record.altered is not None:
        causes[ALTERED] = record.findings[-1:]
    alarms.update(context, desk.site(device.gateway), device.id, causes)


def _appraise(desk: _Desk, device: Device, item: Item, work: _Work) -> Appraisal:
    return appraise(
        Nameplate(device.model, device.serial),
        item,
        desk.known.slots(device.id, device.model),
        partial(desk.known.find_owner, device.id, device.model),
        *work,
    )


def _item(context: Context, entry: Entry) -> Item:
    assert entry.item_digest is not None
    item = entry.item if entry.item is not None else _stored_item(context, entry.device, entry.item_digest)
    if item is None:
        raise Refused("unknown-item")
    return item


def _stored_item(context: Context, device: str, digest: Digest) -> Item | None:
    value = context.get(_item_key(device, digest))
    return None if value is None else decode_item(value)


def _keep_item(context: Context, device: str, record: _Record, item: Item, digest: Digest) -> None:
    """Make an item the one that counts, and forget the oldest when there are too many."""
    items = (digest, *(known for known in record.items if known != digest))
    if digest not in record.items:
        context.put_encoded(_item_key(device, digest), item.encode())
    for old in items[ITEMS_MAX:]:
        context.delete(_item_key(device, old))
    record.item, record.items = digest, items[:ITEMS_MAX]


def _record(context: Context, device: str) -> _Record:
    return _Record(context.get(_device_key(device)))


def _device_key(device: str) -> bytes:
    return b"device/" + device.encode("ascii")


def _due_key(until_ms: int, device: str) -> bytes:
    return _DUE + b"/" + until_ms.to_bytes(_TIME_BYTES, "big") + b"/" + device.encode("ascii")


def _due_ms(key: bytes) -> int:
    return int.from_bytes(key[len(_DUE) + 1 :][:_TIME_BYTES], "big")


def _due_device(key: bytes) -> str:
    return key[len(_DUE) + _TIME_BYTES + 2 :].decode("ascii")


def _item_key(device: str, digest: Digest) -> bytes:
    return b"item/" + device.encode("ascii") + b"/" + digest


CONSISTENCY: Final = Contract(
    name=NAME,
    version=1,
    methods={
        "report": report,
        "acknowledge-alarm": alarm_actions.acknowledge,
        "close-alarm": alarm_actions.close,
        "shelve-alarm": alarm_actions.shelve,
        "unshelve-alarm": alarm_actions.unshelve,
    },
    reactions={
        (membership.NAMESPACE, "device_retired"): follow_retirement,
        (orders.NAME, "filled"): follow_work,
        (orders.NAME, "work_approved"): follow_work,
        (orders.NAME, "work_closed"): follow_work,
        (references.NAME, references.EFFECTIVE): follow_release,
        (references.NAME, references.REVOKED_EVENT): follow_release,
    },
    modules=(
        "master.contracts.alarm_actions",
        "master.contracts.alarm_states",
        "master.contracts.alarms",
        "master.contracts.consistency",
        "master.contracts.findings",
        "master.contracts.gateways",
        "master.contracts.orders",
        "master.contracts.read_orders",
        "master.contracts.references",
        "master.contracts.references_effect",
        "master.contracts.references_lookup",
        "master.contracts.references_policy",
        "master.contracts.references_records",
        "rules.appraisal",
        "rules.difference",
        "rules.gaps",
        "rules.places",
        "rules.severity",
    ),
)
