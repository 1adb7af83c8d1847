"""What people do with alarms: acknowledge, close, shelve and unshelve them, each signed by an account.

Whoever acts names the alarm as it was seen: its id and count. An alarm that has changed since is not acted on, so that
nobody acknowledges what nobody has seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from master.contracts import alarms, membership
from master.contracts.alarm_states import ACKNOWLEDGE, CLOSE, OF_GATEWAYS, SHELVE, UNSHELVE, moved
from master.contracts.alarms import Place, Record, Site
from master.contracts.context import OK, Context, Refused, check_arguments
from wire.cbor import Value
from wire.errors import FormatError
from wire.fields import Fields

UNDER_INVESTIGATION: Final = "under-investigation"
CLOSING_REASONS: Final = (
    "approved-change",
    "communication-fault",
    "configuration-error",
    "device-replaced",
    "equipment-fault",
    "reference-error",
    "tampering",
    "test",
    "wrong-file",
)
"""What an alarm turned out to be: one of these closes it."""
REASONS: Final = (*CLOSING_REASONS, UNDER_INVESTIGATION)
"""What an alarm may be taken for when it is acknowledged."""
DISPATCH_CENTRE: Final = "dispatch-centre"
_SEEN: Final = ("subject", "cause", "alarm", "count", "action")
"""Arguments of every call: the alarm as its caller saw it, and what is being done about it."""


def acknowledge(context: Context, args: dict[str, Value]) -> str:
    """Take note of an alarm: what it is taken for, and what is being done about it.

    Args:
        context: The sender must be allowed to act on alarms of the device or gateway; see `_permit`.
        args: ``subject`` (device, or gateway for causes of gateways), ``cause``, ``alarm`` (its id) and ``count`` as
            they were seen, ``reason`` (one of `REASONS`), ``action`` (text of 1..256 characters).

    Raises:
        Refused: bad-args, unknown-alarm, not-permitted, other-alarm, changed-since or wrong-state.
    """
    seen = _Seen.of(context, args, "reason")
    note = seen.note(context, _reason(args, REASONS))
    return seen.move(context, ACKNOWLEDGE, {"acknowledged": _stamped(context, note)}, note)


def close(context: Context, args: dict[str, Value]) -> str:
    """End an acknowledged alarm whose cause is gone, or that tells of something past.

    Args:
        context: As for `acknowledge`.
        args: As for `acknowledge`; ``reason`` is one of `CLOSING_REASONS`.

    Raises:
        Refused: bad-args, unknown-alarm, not-permitted, other-alarm, changed-since, or wrong-state: the cause is there
            still, or nobody has acknowledged the alarm.
    """
    seen = _Seen.of(context, args, "reason")
    note = seen.note(context, _reason(args, CLOSING_REASONS))
    return seen.move(context, CLOSE, {"closed": _stamped(context, note), "shelf": None}, note)


def shelve(context: Context, args: dict[str, Value]) -> str:
    """Put an alarm away until a time; it comes back by itself, and wants to be acknowledged again then.

    It comes back earlier when it says more than it said when it was put away.

    Args:
        context: As for `acknowledge`.
        args: ``subject``, ``cause``, ``alarm``, ``count``, ``action`` as for `acknowledge`, and ``until_ms``: block
            time, at most ``alarm_shelf_ms_max`` ahead.

    Raises:
        Refused: bad-args, unknown-alarm, not-permitted, other-alarm, changed-since, shelved, bad-time or wrong-state.
    """
    seen = _Seen.of(context, args, "until_ms")
    until_ms = args["until_ms"]
    if type(until_ms) is not int:
        raise Refused("bad-args")
    if seen.record["shelf"] is not None:
        raise Refused("shelved")
    if not 0 < until_ms - context.time_ms <= membership.integer_parameter(context, "alarm_shelf_ms_max"):
        raise Refused("bad-time")
    note = seen.note(context, None)
    return seen.move(context, SHELVE, {"shelf": {**_stamped(context, note), "until_ms": until_ms}}, note)


def unshelve(context: Context, args: dict[str, Value]) -> str:
    """Take an alarm off its shelf before the shelf ends.

    Args:
        context: As for `acknowledge`.
        args: ``subject``, ``cause``, ``alarm``, ``count``, ``action`` as for `acknowledge`.

    Raises:
        Refused: bad-args, unknown-alarm, not-permitted, other-alarm, changed-since or not-shelved.
    """
    seen = _Seen.of(context, args)
    if seen.record["shelf"] is None:
        raise Refused("not-shelved")
    return seen.move(context, UNSHELVE, {"shelf": None}, seen.note(context, None))


@dataclass(frozen=True, slots=True)
class _Seen:
    """An alarm that a caller may act on and has seen as it is."""

    place: Place
    record: Record
    action: str

    @classmethod
    def of(cls, context: Context, args: dict[str, Value], *more: str) -> _Seen:
        """Find the alarm that a call names; ``more`` are its arguments beside those of every call."""
        check_arguments(args, (*_SEEN, *more))
        fields = Fields(args, (*_SEEN, *more), "alarm")
        try:
            subject, alarm, count = fields.identifier("subject"), fields.text("alarm"), fields.integer("count", 1)
            cause, action = fields.text("cause"), fields.text("action", characters_min=1)
        except FormatError as error:
            raise Refused("bad-args") from error
        place = _place(context, subject, cause)
        record = None if place is None else alarms.load(context, subject, cause)
        if place is None or record is None:
            raise Refused("unknown-alarm")
        _permit(context, place)
        if record["alarm_id"] != alarm:
            raise Refused("other-alarm")
        if record["count"] != count:
            raise Refused("changed-since")
        return cls(place, record, action)

    def note(self, context: Context, reason: str | None) -> dict[str, Value]:
        """Return who acts, why and how."""
        return {
            "by": context.sender,
            "organisation": context.organisation,
            "reason": reason,
            "action": self.action,
        }

    def move(self, context: Context, move: str, changes: Mapping[str, Value], note: Mapping[str, Value]) -> str:
        """Make the move if the alarm's state allows it."""
        if moved(self.place.cause, str(self.record["state"]), move) is None:
            raise Refused("wrong-state")
        alarms.make_move(context, self.place, self.record, move, changes, note)
        return OK


def _place(context: Context, subject: str, cause: str) -> Place | None:
    if not cause.isascii():
        return None
    if cause in OF_GATEWAYS:
        return None if membership.gateway(context, subject) is None else Place(None, Site(context, subject), cause)
    device, retired = membership.device(context, subject), membership.retired_device(context, subject)
    if device is None and retired is not None:
        device = retired[0]
    return None if device is None else Place(subject, Site(context, device.gateway), cause)


def _owner(context: Context, place: Place) -> str | None:
    """Return whose alarm it is: of a device that has retired, its last owner's, wherever its gateway went."""
    retired = None if place.device is None else membership.retired_device(context, place.device)
    return membership.organisation_of_gateway(context, place.site.gateway) if retired is None else retired[1]


def _permit(context: Context, place: Place) -> None:
    """Let the owner's people act, those of agencies above it, and the dispatch centre's; never a gateway.

    Raises:
        Refused: not-permitted.
    """
    acting = context.organisation
    owner = _owner(context, place)
    is_person = membership.gateway(context, context.sender) is None
    if not is_person or not membership.is_active(context, acting, context.time_ms):
        raise Refused("not-permitted")
    if acting == owner or membership.role(context, acting) == DISPATCH_CENTRE:
        return
    if owner is None or not membership.is_under(context, owner, acting):
        raise Refused("not-permitted")


def _reason(args: Mapping[str, Value], allowed: tuple[str, ...]) -> str:
    reason = args["reason"]
    if not isinstance(reason, str) or reason not in allowed:
        raise Refused("bad-args")
    return reason


def _stamped(context: Context, note: Mapping[str, Value]) -> dict[str, Value]:
    return {**note, "time_ms": context.time_ms, "height": context.height, "tx": context.tx_id}
