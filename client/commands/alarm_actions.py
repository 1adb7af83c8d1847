"""gridwitness alarms acknowledge, close, shelve and unshelve: what people do with alarms, signed by their account."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Annotated, Final

import typer

from client.commands.alarms import AlarmArgument, about, fetch
from client.node import Item, items, submit, wait_outcome
from client.output import when
from client.ways import Way, signed, signed_and_waited
from kit.exitcodes import DataError, UsageError
from wire import cbor

CONTRACT: Final = "consistency"
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
REASONS: Final = (*CLOSING_REASONS, "under-investigation")
HOURS_DEFAULT: Final = 8.0
_AT_ONCE: Final = 100
"""Transactions of one sender that are submitted before their outcomes are waited for; a node holds at most 256."""
_UNACKNOWLEDGED: Final = ("raised", "returned")
_HOUR_MS: Final = 3_600_000
_WORDS: Final[Mapping[str, str]] = {
    "not-permitted": "the station's owner, agencies above it and the dispatch centre act on its alarms, no gateway",
    "changed-since": "it has changed while you looked; see 'gridwitness alarms show' and decide anew",
    "other-alarm": "it was closed, and another one has opened since; see 'gridwitness alarms list'",
    "shelved": "it is on a shelf already; take it off first with 'gridwitness alarms unshelve'",
    "not-shelved": "it is on no shelf",
    "bad-time": "a shelf ends after now and within the parameter alarm_shelf_ms_max",
    "unknown-alarm": "the ledger's state has no such alarm any more",
}
_WRONG_STATE: Final[Mapping[str, str]] = {
    "acknowledge": "somebody has acknowledged it already, or it is closed",
    "close": "it must be acknowledged, and its cause must be gone: correct the device, or shelve the alarm meanwhile",
    "shelve": "it waits for nothing but its close",
    "unshelve": "it is closed",
}

ReasonOption = Annotated[str, typer.Option("--reason", help=f"What it is taken for: {', '.join(REASONS)}.")]
ClosingReasonOption = Annotated[str, typer.Option("--reason", help=f"What it was: {', '.join(CLOSING_REASONS)}.")]
ActionOption = Annotated[str, typer.Option("--action", help="What is being done about it, up to 256 characters.")]


@signed
def acknowledge(
    alarm: AlarmArgument,
    reason: ReasonOption,
    action: ActionOption,
    way: Way,
) -> None:
    """Take note of an alarm as the node shows it now, signed.

    Example: gridwitness alarms acknowledge 5f0c... --reason under-investigation --action "crew on its way"
    --key grid.key --node http://localhost:8080
    """
    _check_reason(reason, REASONS)
    more: dict[str, cbor.Value] = {"reason": reason, "action": action}
    _act("acknowledge", alarm, more, way)


@signed_and_waited
def acknowledge_group(
    group: Annotated[str, typer.Argument(metavar="GROUP", help="Id of the group; see 'alarms groups'.")],
    reason: ReasonOption,
    action: ActionOption,
    way: Way,
) -> None:
    """Take note of every alarm of a group that nobody has taken note of yet, each signed as the node shows it now.

    Alarms on a shelf are left there. What has changed meanwhile is not acknowledged, and said.

    Example: gridwitness alarms acknowledge-group 5f0c... --reason reference-error --action "release is withdrawn"
    --key grid.key --node http://localhost:8080
    """
    _check_reason(reason, REASONS)
    more: dict[str, cbor.Value] = {"reason": reason, "action": action}
    refused: dict[str, str] = {}
    done = 0
    with way.client() as client:
        found = items(client, "/v1/alarms", {"group": group, "phase": "open"})
        if not found:
            raise UsageError(f"the ledger at {client.node} has no open alarm in a group {group!r}; see 'alarms groups'")
        waiting = [item for item in found if item["state"] in _UNACKNOWLEDGED]
        signer = way.signer(client)
        for start in range(0, len(waiting), _AT_ONCE):
            sent = {
                str(item["alarm_id"]): submit(client, signer.sign(CONTRACT, "acknowledge-alarm", _args(item, more)))
                for item in waiting[start : start + _AT_ONCE]
            }
            codes = {alarm: wait_outcome(client, tx, way.timeout_s).code for alarm, tx in sent.items()}
            refused |= {alarm: str(code) for alarm, code in codes.items() if code != "ok"}
            done += len(codes)
    if refused:
        alarm, code = next(iter(refused.items()))
        words = f"{code}: {_WORDS[code]}" if code in _WORDS else code
        raise DataError(f"{len(refused)} of {done} alarms were not acknowledged, the first of them {alarm}: {words}")
    shown: Item = {"group": group, "acknowledged": done, "open": len(found)}
    way.terminal().show(shown, lambda: [f"acknowledged {done} of {len(found)} open alarms of group {group}"])


@signed
def close(
    alarm: AlarmArgument,
    reason: ClosingReasonOption,
    action: ActionOption,
    way: Way,
) -> None:
    """Close an acknowledged alarm whose cause is gone, with what it was and what was done.

    Example: gridwitness alarms close 5f0c... --reason wrong-file --action "release 2.4.1 filled again"
    --key grid.key --node http://localhost:8080
    """
    _check_reason(reason, CLOSING_REASONS)
    more: dict[str, cbor.Value] = {"reason": reason, "action": action}
    _act("close", alarm, more, way)


@signed
def shelve(
    alarm: AlarmArgument,
    action: ActionOption,
    way: Way,
    hours: Annotated[float, typer.Option("--hours", min=0.01, max=8760.0, help="For how long.")] = HOURS_DEFAULT,
) -> None:
    """Put an alarm away for a time; it comes back by itself, or at once when it says more than now.

    Example: gridwitness alarms shelve 5f0c... --hours 4 --action "spare part ordered" --key grid.key
    --node http://localhost:8080
    """
    now_ms = int(dt.datetime.now(tz=dt.UTC).timestamp() * 1000)
    more: dict[str, cbor.Value] = {"until_ms": now_ms + int(hours * _HOUR_MS), "action": action}
    _act("shelve", alarm, more, way)


@signed
def unshelve(
    alarm: AlarmArgument,
    action: ActionOption,
    way: Way,
) -> None:
    """Take an alarm off its shelf.

    Example: gridwitness alarms unshelve 5f0c... --action "part has come" --key grid.key --node http://localhost:8080
    """
    _act("unshelve", alarm, {"action": action}, way)


def _act(move: str, alarm: str, more: Mapping[str, cbor.Value], way: Way) -> None:
    with way.client() as client:
        seen = fetch(client, alarm)
        words = {**_WORDS, "wrong-state": _WRONG_STATE[move]}
        outcome = way.call(client, CONTRACT, f"{move}-alarm", _args(seen, more), words)
    shown: Item = {"alarm": seen["alarm_id"], "move": move, "tx": outcome.tx, "height": outcome.height}
    way.terminal().show(shown, lambda: [_sentence(move, seen, more, shown)])


def _args(seen: Item, more: Mapping[str, cbor.Value]) -> dict[str, cbor.Value]:
    """Name an alarm as it was seen."""
    return {
        "subject": str(seen["gateway"] if seen["device"] is None else seen["device"]),
        "cause": str(seen["cause"]),
        "alarm": str(seen["alarm_id"]),
        "count": int(seen["count"]),
        **more,
    }


def _sentence(move: str, seen: Item, more: Mapping[str, cbor.Value], shown: Item) -> str:
    until = f" until {when(more['until_ms'])}" if "until_ms" in more else ""
    where = f"transaction {shown['tx']}"
    if shown["height"] is not None:
        where = f"{where}, block {shown['height']}"
    return f"{move}: {seen['cause']} of {about(seen)}{until}, {where}"


def _check_reason(reason: str, allowed: tuple[str, ...]) -> None:
    if reason not in allowed:
        raise UsageError(f"--reason {reason!r} is not known; it is one of {', '.join(allowed)}")


COMMANDS: Final = (acknowledge, acknowledge_group, close, shelve, unshelve)
"""Commands of ``gridwitness alarms`` beside those that only look."""
