"""Read orders of the contract `orders`, version 1: a gateway is to read devices now (docs/spec, clauses OR-4, OR-5).

State of the namespace, beside that of `orders`
  inspection/NONCE       one read order, and which of its devices no answer told of yet
  gateway/GATEWAY        when each organisation gave its newest read order, and which are open
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from master.contracts import membership
from master.contracts.context import OK, Context, Reads, Refused, check_arguments, digest_argument
from rules.places import has_place
from wire.cbor import Value
from wire.evidence import OFFSET_MS_MAX
from wire.fields import Fields
from wire.receipt import Event
from wire.types import EVIDENCE_DEVICES_MAX, IDENTIFIER_PATTERN, Digest

NAME: Final = "orders"
INSPECTOR_ROLES: Final = ("auditor", "dispatch-centre", "regulator", "sub-centre")
INSPECTIONS_MAX: Final = 8
"""Open read orders of one gateway."""
ORDERERS_MAX: Final = 64
"""Organisations of which it is remembered when they gave a gateway a read order."""
_INSPECTION: Final = ("order", "gateway", "waiting", "time_ms", "deadline_ms", "height")
_ANSWER: Final = ("nonce", "ahead_ms", "seen_height")
_READ: Final = "read"
_GATEWAY: Final = ("newest_ms", "open")
_OPEN: Final = ("nonce", "order", "organisation", "deadline_ms")


def inspect(context: Context, args: dict[str, Value]) -> str:
    """Order a gateway to read devices now.

    Args:
        context: An account of the gateway's owner, of a dispatch centre, a sub-centre, a regulator or an auditor.
        args: ``gateway``; ``devices``: 1..64 of its devices, ascending; ``nonce``: 32 bytes that nobody can guess,
            which the answer carries; ``deadline_ms``: block time by which an answer is due.

    Raises:
        Refused: bad-args, not-yours, wrong-role, unknown-gateway, foreign-device, bad-deadline,
            nonce-used; too-soon after the organisation's last order to this gateway; too-many-orders of it are open.
    """
    check_arguments(args, ("gateway", "devices", "nonce", "deadline_ms"))
    gateway, nonce, deadline_ms = args["gateway"], digest_argument(args, "nonce"), args["deadline_ms"]
    devices = _devices(args["devices"])
    if not isinstance(gateway, str) or IDENTIFIER_PATTERN.fullmatch(gateway) is None or type(deadline_ms) is not int:
        raise Refused("bad-args")
    if membership.gateway(context, gateway) is None:
        raise Refused("unknown-gateway")
    check_person(context)
    is_owner = membership.organisation_of_gateway(context, gateway) == context.organisation
    if not is_owner and membership.role(context, context.organisation) not in INSPECTOR_ROLES:
        raise Refused("wrong-role")
    for name in devices:
        device = membership.device(context, name)
        if device is None or device.gateway != gateway:
            raise Refused("foreign-device")
    if not 0 < deadline_ms - context.time_ms <= membership.integer_parameter(context, "inspect_deadline_ms_max"):
        raise Refused("bad-deadline")
    if context.get(_inspection_key(nonce)) is not None:
        raise Refused("nonce-used")
    newest_ms, listed = _of_gateway(context, gateway)
    interval_ms = membership.integer_parameter(context, "inspect_interval_ms")
    newest_ms = {name: last_ms for name, last_ms in newest_ms.items() if context.time_ms - last_ms < interval_ms}
    if context.organisation in newest_ms:
        raise Refused("too-soon")
    listed = [entry for entry in listed if entry.integer("deadline_ms") >= context.time_ms]
    own = sum(1 for entry in listed if entry.identifier("organisation") == context.organisation)
    if len(newest_ms) >= ORDERERS_MAX or not has_place(own, len(listed), INSPECTIONS_MAX):
        raise Refused("too-many-orders")
    told: dict[str, Value] = {"order": context.tx_id, "gateway": gateway, "deadline_ms": deadline_ms}
    made: dict[str, Value] = {"time_ms": context.time_ms, "height": context.height}
    context.put(_inspection_key(nonce), {**told, "waiting": [*devices], **made})
    who: dict[str, Value] = {"account": context.sender, "organisation": context.organisation}
    entry: dict[str, Value] = {
        "nonce": nonce,
        "order": context.tx_id,
        "organisation": context.organisation,
        "deadline_ms": deadline_ms,
    }
    newest_ms[context.organisation] = context.time_ms
    _put_gateway(context, gateway, newest_ms, [*map(_plain, listed), entry])
    context.emit("inspection_ordered", gateway, {**told, **who, "nonce": nonce, "devices": [*devices]})
    return OK


def follow_report(context: Context, event: Event) -> None:
    """Note which devices of a read order an answer tells of; close the order when none is left.

    A device that could be read is left until a read of it is told that began after the order (OR-6).
    """
    if event.data["answer"] is None:
        return
    answer = Fields(event.data["answer"], _ANSWER, "report_accepted.answer")
    nonce = answer.digest("nonce")
    value = context.get(_inspection_key(nonce))
    if value is None:
        return
    order = Fields(value, _INSPECTION, "orders.inspection")
    gateway, waiting = order.identifier("gateway"), order.sequence("waiting", EVIDENCE_DEVICES_MAX)
    if gateway != event.data["gateway"]:
        return
    found: dict[str, dict[str, Value]] = {}
    for part in (event.data["devices"], event.data["late"]):
        assert isinstance(part, list)
        found |= {str(entry["device"]): entry for entry in part if isinstance(entry, dict)}
    since_ms = _first_read_ms(context, order, answer)
    answered: dict[str, Value] = {}
    left: list[Value] = []
    for name in waiting:
        entry = found.get(str(name))
        if entry is None:
            left.append(name)
            continue
        was_read, from_ms = entry["status"] == _READ, entry["read_from_ms"]
        is_after = was_read and since_ms is not None and isinstance(from_ms, int) and from_ms >= since_ms
        answered[str(name)] = {"status": entry["status"], "read_after": is_after}
        if was_read and not is_after:
            left.append(name)
    if not answered:
        return
    context.put(_inspection_key(nonce), {**{name: order.raw(name) for name in _INSPECTION}, "waiting": left})
    if not left:
        newest_ms, listed = _of_gateway(context, gateway)
        _put_gateway(context, gateway, newest_ms, [_plain(entry) for entry in listed if entry.raw("nonce") != nonce])
    told: dict[str, Value] = {"order": order.digest("order"), "gateway": gateway, "evidence_tx": context.tx_id}
    context.emit("inspection_answered", gateway, {**told, "answered": answered, "left": left})


def _first_read_ms(context: Context, order: Fields, answer: Fields) -> int | None:
    """Return from when on a read counts for an order, by the clock of the gateway that answers; None: none of it does.

    Block times run up to skew_ms ahead of true time, and a clock that is right may be behind by as much.
    """
    if answer.integer("seen_height") < order.integer("height"):
        return None
    tolerance_ms = 2 * membership.integer_parameter(context, "skew_ms")
    return order.integer("time_ms") + answer.integer("ahead_ms", -OFFSET_MS_MAX) - tolerance_ms


def open_inspections(state: Reads, gateway: str, time_ms: int) -> tuple[Digest, ...]:
    """Return the transactions of a gateway's read orders that are still to be answered, oldest first."""
    _, listed = _of_gateway(state, gateway)
    return tuple(entry.digest("order") for entry in listed if entry.integer("deadline_ms") >= time_ms)


def gateways_with_orders(state: Reads) -> Iterator[str]:
    """Yield the gateways that have open read orders, past their deadline or not; it reads all gateways' entries."""
    prefix = b"gateway/"
    for key, value in state.namespace(NAME).scan(prefix):
        if Fields(value, _GATEWAY, "orders.gateway").sequence("open", INSPECTIONS_MAX):
            yield key[len(prefix) :].decode("ascii")


def check_person(context: Context) -> None:
    """Refuse a gateway, behind whose signature stands no person."""
    if context.sender != context.organisation and membership.operator(context, context.sender) is None:
        raise Refused("not-yours")


def _devices(value: Value) -> list[str]:
    if not isinstance(value, list) or not 1 <= len(value) <= EVIDENCE_DEVICES_MAX:
        raise Refused("bad-args")
    names = [name for name in value if isinstance(name, str) and IDENTIFIER_PATTERN.fullmatch(name) is not None]
    if names != value or sorted(set(names)) != names:
        raise Refused("bad-args")
    return names


def _of_gateway(state: Reads, gateway: str) -> tuple[dict[str, int], list[Fields]]:
    """Return the block time of the newest read order by organisation, where that is not long ago, and the open ones."""
    value = state.namespace(NAME).get(b"gateway/" + gateway.encode("ascii"))
    if value is None:
        return {}, []
    fields = Fields(value, _GATEWAY, "orders.gateway")
    listed = [Fields(entry, _OPEN, "orders.gateway.open") for entry in fields.sequence("open", INSPECTIONS_MAX)]
    newest_ms = fields.mapping("newest_ms")
    return {name: last_ms for name, last_ms in newest_ms.items() if isinstance(last_ms, int)}, listed


def _put_gateway(context: Context, gateway: str, newest_ms: Mapping[str, int], listed: list[Value]) -> None:
    context.put(b"gateway/" + gateway.encode("ascii"), {"newest_ms": dict(newest_ms), "open": listed})


def _plain(entry: Fields) -> dict[str, Value]:
    return {name: entry.raw(name) for name in _OPEN}


def _inspection_key(nonce: bytes) -> bytes:
    return b"inspection/" + nonce
