"""Contract `orders`, version 1: work orders, who filled what, and orders to read a device now.

A work order plans a release for one device and a time for it. Whoever is responsible for the device asks, another
organisation approves; inside its time what a change passes through is `pending`, after it the verdict is what it is.
Whoever fills a program in signs a record. An inspection orders a gateway to read; the order is open until evidence with
its nonce tells of every device that it names (`read_orders`).

State of the namespace, beside that of `read_orders`
  work/ID                one work order; its id is that of the transaction that asked for it
  device/DEVICE          the approved work orders of a device that are not over, and the newest fill

Normative: docs/spec/orders.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from master.contracts import membership, read_orders, references
from master.contracts.context import (
    OK,
    Context,
    Contract,
    Reads,
    Refused,
    check_arguments,
    digest_argument,
)
from master.contracts.read_orders import check_person
from rules.appraisal import Fill, Window
from rules.places import has_place
from wire.cbor import Value
from wire.fields import Fields, is_plain
from wire.genesis import Device
from wire.types import IDENTIFIER_PATTERN, Digest

NAME: Final = read_orders.NAME
APPROVER_ROLES: Final = ("dispatch-centre", "sub-centre")
"""Roles that approve for the owners in their jurisdiction."""
_REGULATOR: Final = "regulator"
REQUESTED: Final = "requested"
APPROVED: Final = "approved"
CLOSED: Final = "closed"
WINDOWS_MAX: Final = 8
"""Approved work orders of one device that are not over."""
REASON_CHARACTERS_MAX: Final = 256
_WORK: Final = (
    "device",
    "organisation",
    "account",
    "release",
    "release_name",
    "contents",
    "from_ms",
    "to_ms",
    "approver",
    "reason",
    "state",
)
_WINDOW: Final = ("order", "organisation", "digest", "release", "from_ms", "to_ms", "contents")
_FILL: Final = ("record", "account", "organisation", "order", "release", "time_ms")
_DEVICE: Final = ("windows", "fill")


# ---- work orders ------------------------------------------------------------------------------


def open_work(context: Context, args: dict[str, Value]) -> str:
    """Ask for a time in which a release is filled into a device; its id is that of the transaction.

    Args:
        context: The sender's organisation owns the device, or is an agency above its owner.
        args: ``device``; ``release``: digest of the planned release, which need not be effective yet; ``from_ms`` and
            ``to_ms``: first and last block time; ``approver``: organisation that is to approve; ``reason``: text.

    Raises:
        Refused: bad-args, unknown-device, not-yours, unknown-release, release-failed, release-revoked, wrong-target,
            bad-window, wrong-approver: the one who asks, or one without a say over the owner.
    """
    check_arguments(args, ("device", "release", "from_ms", "to_ms", "approver", "reason"))
    device = _device(context, args["device"])
    owner = membership.organisation_of_device(context, device.id)
    check_person(context)
    if owner is None or not _is_responsible(context, context.organisation, owner):
        raise Refused("not-yours")
    digest = digest_argument(args, "release")
    release = references.release(context, digest)
    if release is None:
        raise Refused("unknown-release")
    _check_not_ended(context, digest)
    if release.device != device.id and (release.device is not None or release.model != device.model):
        raise Refused("wrong-target")
    from_ms, to_ms = _window(context, args)
    approver, reason = args["approver"], args["reason"]
    if not isinstance(approver, str) or not isinstance(reason, str):
        raise Refused("bad-args")
    if len(reason) > REASON_CHARACTERS_MAX or not is_plain(reason):
        raise Refused("bad-args")
    if IDENTIFIER_PATTERN.fullmatch(approver) is None or approver == context.organisation:
        raise Refused("wrong-approver")
    _check_approver(context, approver, owner)
    record: dict[str, Value] = {
        "device": device.id,
        "organisation": context.organisation,
        "account": context.sender,
        "release": digest,
        "release_name": release.release,
        "contents": {artefact.kind: artefact.sha256 for artefact in release.artefacts},
        "from_ms": from_ms,
        "to_ms": to_ms,
        "approver": approver,
        "reason": reason,
        "state": REQUESTED,
    }
    context.put(_work_key(context.tx_id), record)
    told = {name: record[name] for name in _WORK if name not in ("contents", "state")}
    context.emit("work_requested", device.id, {"order": context.tx_id, **told})
    return OK


def approve(context: Context, args: dict[str, Value]) -> str:
    """Approve a work order, as the organisation that it names.

    Args:
        context: Of the approver.
        args: ``order``: its id.

    Raises:
        Refused: bad-args, unknown-order, unknown-device, not-yours, not-requested, over, release-failed,
            release-revoked; wrong-approver: it is
            another, or has no say any more over who owns the device now; wrong-owner: who asked is not responsible for
            it any more; too-many-orders of this device by who asked.
    """
    check_arguments(args, ("order",))
    order = digest_argument(args, "order")
    work = _work(context, order)
    check_person(context)
    if work.text("approver") != context.organisation:
        raise Refused("wrong-approver")
    if work.text("state") != REQUESTED:
        raise Refused("not-requested")
    if work.integer("to_ms") < context.time_ms:
        raise Refused("over")
    _check_not_ended(context, work.digest("release"))
    device = work.text("device")
    owner = membership.organisation_of_device(context, device)
    if owner is None:
        raise Refused("unknown-device")
    if not _is_responsible(context, work.text("organisation"), owner):
        raise Refused("wrong-owner")
    _check_approver(context, context.organisation, owner)
    windows, fill = _of_device(context, device)
    windows = [entry for entry in windows if _end_ms(entry) >= context.time_ms]
    asker = work.text("organisation")
    own = sum(1 for entry in windows if entry["organisation"] == asker)
    if not has_place(own, len(windows), WINDOWS_MAX):
        raise Refused("too-many-orders")
    window: dict[str, Value] = {
        "order": order,
        "organisation": asker,
        "digest": work.digest("release"),
        "release": work.text("release_name"),
        "from_ms": work.integer("from_ms"),
        "to_ms": work.integer("to_ms"),
        "contents": work.raw("contents"),
    }
    _put_device(context, device, [*windows, window], fill)
    _set_state(context, order, work, APPROVED)
    context.emit("work_approved", device, {"order": order, "device": device, "by": context.organisation})
    return OK


def close_work(context: Context, args: dict[str, Value]) -> str:
    """End a work order before its time: who asked for it, who approves it, and who owns the device now.

    Args:
        context: Of one of them.
        args: ``order``: its id.

    Raises:
        Refused: bad-args, unknown-order, not-yours, closed.
    """
    check_arguments(args, ("order",))
    order = digest_argument(args, "order")
    work = _work(context, order)
    check_person(context)
    device = work.text("device")
    sides = (work.text("organisation"), work.text("approver"), membership.organisation_of_device(context, device))
    if context.organisation not in sides:
        raise Refused("not-yours")
    if work.text("state") == CLOSED:
        raise Refused("closed")
    windows, fill = _of_device(context, device)
    _put_device(context, device, [entry for entry in windows if entry["order"] != order], fill)
    _set_state(context, order, work, CLOSED)
    context.emit("work_closed", device, {"order": order, "device": device, "by": context.organisation})
    return OK


def fill(context: Context, args: dict[str, Value]) -> str:
    """Say, signed, that a release was filled into a device under a work order.

    Args:
        context: An account of the device's owner or of the release's manufacturer.
        args: ``device``; ``release``: digest; ``order``: id of the work order.

    Raises:
        Refused: bad-args, unknown-device, unknown-order, wrong-device, wrong-release, not-approved, outside-window,
            not-yours.
    """
    check_arguments(args, ("device", "release", "order"))
    device = _device(context, args["device"])
    order, digest = digest_argument(args, "order"), digest_argument(args, "release")
    work = _work(context, order)
    check_person(context)
    if work.text("device") != device.id:
        raise Refused("wrong-device")
    if work.digest("release") != digest:
        raise Refused("wrong-release")
    if work.text("state") != APPROVED:
        raise Refused("not-approved")
    if not work.integer("from_ms") <= context.time_ms <= work.integer("to_ms"):
        raise Refused("outside-window")
    release = references.release(context, digest)
    assert release is not None, "it was there when the order was opened"
    if context.organisation not in (membership.organisation_of_device(context, device.id), release.manufacturer):
        raise Refused("not-yours")
    record: dict[str, Value] = {
        "record": context.tx_id,
        "account": context.sender,
        "organisation": context.organisation,
        "order": order,
        "release": release.release,
        "time_ms": context.time_ms,
    }
    windows, _ = _of_device(context, device.id)
    _put_device(context, device.id, windows, record)
    context.emit("filled", device.id, {"device": device.id, **record})
    return OK


# ---- what others read -------------------------------------------------------------------------


def of_device(state: Reads, device: str, time_ms: int) -> tuple[Window | None, Fill | None]:
    """Return the work order inside whose time a device is, and the newest record of a fill.

    Of several work orders that which ends last counts; none counts whose release failed or was revoked (AP-7). Only the
    releases of those that are inside their time are looked up.
    """
    windows, record = _of_device(state, device)
    now = [entry for entry in windows if _begin_ms(entry) <= time_ms <= _end_ms(entry)]
    for entry in sorted(now, key=_end_ms, reverse=True):
        digest = entry["digest"]
        assert isinstance(digest, bytes)
        if references.ended(state, digest) is None:
            return _as_window(entry), _as_fill(record)
    return None, _as_fill(record)


# ---- state ------------------------------------------------------------------------------------


def _is_responsible(context: Context, organisation: str, owner: str) -> bool:
    return organisation == owner or membership.is_under(context, owner, organisation)


def _check_approver(context: Context, approver: str, owner: str) -> None:
    """Refuse an approver without a say over a device's owner (OR-1).

    Raises:
        Refused: wrong-approver.
    """
    role = membership.role(context, approver)
    has_say = role in APPROVER_ROLES and membership.is_under(context, owner, approver)
    if approver != owner and membership.parent(context, owner) is None:
        has_say |= role == membership.SUPER_NODE
        if membership.role(context, owner) == membership.SUPER_NODE:
            # there may be no other super node
            has_say |= role == _REGULATOR and not membership.is_under(context, approver, owner)
    if not has_say:
        raise Refused("wrong-approver")


def _check_not_ended(context: Context, release: Digest) -> None:
    """Refuse a release that nobody should fill in any more.

    Raises:
        Refused: release-failed, release-revoked.
    """
    reason = references.ended(context, release)
    if reason is not None:
        raise Refused(f"release-{reason}")


def _device(context: Context, name: Value) -> Device:
    if not isinstance(name, str) or IDENTIFIER_PATTERN.fullmatch(name) is None:
        raise Refused("bad-args")
    device = membership.device(context, name)
    if device is None:
        raise Refused("unknown-device")
    return device


def _window(context: Context, args: Mapping[str, Value]) -> tuple[int, int]:
    from_ms, to_ms = args["from_ms"], args["to_ms"]
    if type(from_ms) is not int or type(to_ms) is not int:
        raise Refused("bad-args")
    longest_ms = membership.integer_parameter(context, "work_window_ms_max")
    ahead_ms = membership.integer_parameter(context, "work_ahead_ms_max")
    if not (0 <= from_ms < to_ms <= from_ms + longest_ms and context.time_ms < to_ms <= context.time_ms + ahead_ms):
        raise Refused("bad-window")
    return from_ms, to_ms


def _work(context: Context, order: Digest) -> Fields:
    value = context.get(_work_key(order))
    if value is None:
        raise Refused("unknown-order")
    return Fields(value, _WORK, "orders.work")


def _set_state(context: Context, order: Digest, work: Fields, state: str) -> None:
    context.put(_work_key(order), {**{name: work.raw(name) for name in _WORK}, "state": state})


def _of_device(state: Reads, device: str) -> tuple[list[dict[str, Value]], dict[str, Value] | None]:
    value = state.namespace(NAME).get(b"device/" + device.encode("ascii"))
    if value is None:
        return [], None
    fields = Fields(value, _DEVICE, "orders.device")
    windows = [entry for entry in fields.sequence("windows", WINDOWS_MAX) if isinstance(entry, dict)]
    return windows, None if fields.is_null("fill") else fields.mapping("fill")


def _put_device(
    context: Context, device: str, windows: list[dict[str, Value]], record: dict[str, Value] | None
) -> None:
    kept: list[Value] = [*windows]
    context.put(b"device/" + device.encode("ascii"), {"windows": kept, "fill": record})


def _begin_ms(window: Mapping[str, Value]) -> int:
    value = window["from_ms"]
    assert isinstance(value, int)
    return value


def _end_ms(window: Mapping[str, Value]) -> int:
    value = window["to_ms"]
    assert isinstance(value, int)
    return value


def _as_window(value: dict[str, Value]) -> Window:
    fields = Fields(value, _WINDOW, "orders.window")
    contents = {kind: digest for kind, digest in fields.mapping("contents").items() if isinstance(digest, bytes)}
    return Window(fields.digest("order"), fields.text("release"), fields.integer("to_ms"), contents)


def _as_fill(value: dict[str, Value] | None) -> Fill | None:
    if value is None:
        return None
    fields = Fields(value, _FILL, "orders.fill")
    return Fill(
        record=fields.digest("record"),
        account=fields.identifier("account"),
        organisation=fields.identifier("organisation"),
        order=fields.digest("order"),
        release=fields.text("release"),
        time_ms=fields.integer("time_ms"),
    )


def _work_key(order: Digest) -> bytes:
    return b"work/" + order


ORDERS: Final = Contract(
    name=NAME,
    version=1,
    methods={
        "open": open_work,
        "approve": approve,
        "close": close_work,
        "fill": fill,
        "inspect": read_orders.inspect,
    },
    reactions={("consistency", "report_accepted"): read_orders.follow_report},
    modules=(
        "master.contracts.orders",
        "master.contracts.read_orders",
        "master.contracts.references",
        "rules.appraisal",
        "rules.difference",
        "rules.places",
    ),
)
