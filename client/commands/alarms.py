"""gridwitness alarms and devices: what the ledger says of them now, and as it changes; `alarm_actions` answers."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Annotated, Final
from urllib.parse import quote

import typer

from client.node import Item, Listing, items, listing
from client.options import JsonOption, NodeOption
from client.output import duration, lines_of, short, show_listing, show_rows, when
from kit.exitcodes import UsageError, exit_code_of
from kit.http import NodeClient, NodeProblemError
from kit.terminal import Terminal, print_json
from wire.evidence import KINDS, METHODS

ALARM_EVENTS: Final = (
    "alarm_raised",
    "alarm_changed",
    "alarm_returned",
    "alarm_acknowledged",
    "alarm_shelved",
    "alarm_unshelved",
    "alarm_closed",
)
_NOT_FOUND: Final = 404

app = typer.Typer(no_args_is_help=True, help="List and watch alarms; acknowledge, shelve and close them.")
devices_app = typer.Typer(no_args_is_help=True, help="List devices and their verdicts.")

_BEGINNING: Final = re.compile(r"[0-9a-f]{8,31}", re.ASCII)
AlarmArgument = Annotated[
    str, typer.Argument(metavar="ALARM", help="Id of the alarm: its 32 hex digits, or the first 8 or more.")
]


@app.command("list")
def list_alarms(
    node: NodeOption,
    state: Annotated[
        str | None,
        typer.Option(
            "--state",
            help="raised, acknowledged, returned, returned_acknowledged, shelved or closed.",
        ),
    ] = None,
    device: Annotated[str | None, typer.Option("--device", help="Only those of one device.")] = None,
    severity: Annotated[str | None, typer.Option("--severity", help="low, medium, high or critical.")] = None,
    group: Annotated[str | None, typer.Option("--group", help="Only those of one group; see 'alarms groups'.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Closed ones, too.")] = False,
    json: JsonOption = False,
) -> int:
    """List alarms that nobody has closed.

    The exit code ORs the causes that are present, acknowledged or not: 1 artefact without a slot, 2 missing, 4 changed
    (mismatch, misfilled, superseded, incomplete, altered, identity changed, evidence that contradicts itself),
    8 unknown reference, 16 stale or the ledger stands still. 0: no cause of an alarm is present.

    Example: gridwitness alarms list --node http://localhost:8080
    """
    phase = None if everything or state == "closed" else "open"
    filters = {"state": state, "device": device, "severity": severity, "group": group, "phase": phase}
    with NodeClient([node]) as client:
        found = listing(client, "/v1/alarms", filters)
        if not found.items and device is not None:
            require_device(client, device)
    show_listing(
        Terminal(as_json=json),
        ("alarm", "about", "station", "cause", "severity", "state", "count", "raised", "files"),
        found,
        lambda item: (
            item["alarm_id"],
            about(item),
            item["station"],
            item["cause"],
            item["severity"],
            _state(item),
            item["count"],
            when(item["raised_ms"]),
            [str(entry["kind"]) + _where(entry) for entry in item["artefacts"]],
        ),
        empty="no alarms",
    )
    causes = [str(item["cause"]) for item in found.items if item["phase"] == "open" and item["present"]]
    return exit_code_of([*causes, *_age_finding(found)])


@app.command()
def show(alarm: AlarmArgument, node: NodeOption, *, json: JsonOption = False) -> None:
    """Show an alarm and everything that ever happened to it: who did what, when, why, in which transaction.

    Example: gridwitness alarms show 5f0c... --node http://localhost:8080
    """
    with NodeClient([node]) as client:
        item = fetch(client, alarm)
        alarm = str(item["alarm_id"])
        past = items(client, "/v1/alarm-transitions", {"alarm": alarm})
    terminal = Terminal(as_json=json)
    if json:
        print_json({"alarm": item, "history": list(past)})
        return
    about_it = {
        "alarm": alarm,
        "about": about(item),
        "station": item["station"],
        "cause": item["cause"],
        "severity": item["severity"],
        "state": _state(item),
        "raised": when(item["raised_ms"]),
        "count": item["count"],
        "files": ", ".join(_finding(entry) for entry in item["artefacts"]),
    }
    for line in lines_of(about_it):
        terminal.say(line)
    show_rows(
        terminal,
        ("when", "what", "state", "by", "reason", "action", "block", "transaction"),
        [
            (
                when(entry["time_ms"]),
                entry["move"] if entry["until_ms"] is None else f"{entry['move']} until {when(entry['until_ms'])}",
                entry["state"],
                entry["by"],
                entry["reason"],
                entry["action"],
                entry["height"],
                short(entry["tx"]),
            )
            for entry in reversed(past)
        ],
    )


@app.command()
def groups(
    node: NodeOption,
    *,
    floods: Annotated[bool, typer.Option("--floods", help="Only those that are large enough to be a flood.")] = False,
    json: JsonOption = False,
) -> None:
    """List groups of alarms that opened within minutes, of one cause in one area; 'alarms list --group' has each.

    Example: gridwitness alarms groups --floods --node http://localhost:8080
    """
    with NodeClient([node]) as client:
        found = listing(client, "/v1/alarm-groups", {"kind": "flood" if floods else None})
    show_listing(
        Terminal(as_json=json),
        ("group", "kind", "cause", "area", "station", "severity", "alarms", "open", "unacknowledged", "first", "last"),
        found,
        lambda item: (
            item["group_id"],
            item["kind"],
            item["cause"],
            item["area"],
            item["station"] or "several",
            item["severity"],
            item["alarms"],
            item["open"],
            item["unacknowledged"],
            when(item["first_ms"]),
            when(item["last_ms"]),
        ),
        empty="no floods" if floods else "no alarms",
    )


@app.command()
def figures(
    node: NodeOption,
    period: Annotated[str, typer.Option("--period", help="YYYY-MM in UTC, or all.")] = "all",
    *,
    json: JsonOption = False,
) -> None:
    """Say how many alarms there were, and the mean time until people acknowledged and closed them.

    Example: gridwitness alarms figures --period 2027-01 --node http://localhost:8080
    """
    with NodeClient([node]) as client:
        found = listing(client, "/v1/alarm-figures", {"period": period})
    show_listing(
        Terminal(as_json=json),
        ("of", "name", "opened", "acknowledged", "mean", "longest", "closed", "mean to clear", "longest to clear"),
        found,
        lambda item: (
            item["scope"],
            item["name"],
            item["opened"],
            item["acknowledged"],
            duration(item["acknowledge_ms_mean"]),
            duration(item["acknowledge_ms_max"]),
            item["closed"],
            duration(item["clear_ms_mean"]),
            duration(item["clear_ms_max"]),
        ),
        empty=f"no alarms in {period}" if period != "all" else "no alarms",
    )


@app.command()
def watch(
    node: Annotated[
        list[str],
        typer.Option(
            "--node",
            metavar="URL",
            envvar="GRIDWITNESS_URL",
            help="Full node; repeat it to name others to fall back on.",
        ),
    ],
    after: Annotated[
        str,
        typer.Option(
            "--after",
            metavar="HEIGHT-INDEX",
            help="Begin behind this event, or behind this block; 0 begins with the ledger.",
        ),
    ] = "",
    until: Annotated[
        int | None, typer.Option("--until", metavar="N", min=1, help="End after so many events, for scripts.")
    ] = None,
    *,
    json: JsonOption = False,
) -> None:
    """Show alarms as evidence and people move them; a broken connection is resumed without a gap.

    While no node answers, stderr says so.

    With --json one object a line: {"id", "type", "data"...}; pass the last id to --after to go on from there.

    Example: gridwitness alarms watch --node http://localhost:8080
    """
    terminal = Terminal(as_json=json)
    seen = 0
    with NodeClient(node) as client:
        for event in client.events(after=after, unreachable_ms_max=None, told=_say_aside):
            if event.type not in ALARM_EVENTS:
                continue
            document = event.json()
            if json:
                print_json({"id": event.id, **document})
            else:
                terminal.say(_sentence(event.type, document))
            seen += 1
            if seen == until:
                return


@devices_app.command("list")
def list_devices(
    node: NodeOption,
    state: Annotated[
        str | None,
        typer.Option(
            "--state",
            help="match, alarm, pending, window_over, unknown_reference, unreachable, stale, never_read or retired.",
        ),
    ] = None,
    gateway: Annotated[str | None, typer.Option("--gateway", help="Only those behind one gateway.")] = None,
    *,
    json: JsonOption = False,
) -> int:
    """List devices and the verdicts on their files.

    The exit code ORs the verdicts: 1 artefact without a slot, 2 missing, 4 changed (mismatch, misfilled, superseded,
    incomplete, altered, identity changed), 8 unknown reference, 16 stale, never read, past its work order or the ledger
    stands still; 69 if a device is unreachable and nothing else was found. 0: every device matches.

    Example: gridwitness devices list --node http://localhost:8080 --state alarm
    """
    with NodeClient([node]) as client:
        found = listing(client, "/v1/devices", {"state": state, "gateway": gateway})
    show_listing(
        Terminal(as_json=json),
        ("device", "station", "model", "state", *KINDS, "oldest read", "last read"),
        found,
        lambda item: (
            item["device"],
            item["station"],
            item["model"],
            item["state"],
            *(_verdict(item, kind) for kind in KINDS),
            when(item["read_from_ms"]),
            when(item["read_to_ms"]),
        ),
        empty="no devices",
    )
    return exit_code_of([*(verdict for item in found.items for verdict in findings(item)), *_age_finding(found)])


@devices_app.command("history")
def device_history(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="Id of the device.")],
    node: NodeOption,
    *,
    json: JsonOption = False,
) -> None:
    """List every appraisal of a device that found something else than the one before it, newest first.

    Example: gridwitness devices history sps-01 --node http://localhost:8080
    """
    with NodeClient([node]) as client:
        found = listing(client, "/v1/verdicts", {"device": device})
        if not found.items:
            require_device(client, device)
    show_listing(
        Terminal(as_json=json),
        ("when", *KINDS, "what", "block", "transaction"),
        found,
        lambda item: (
            when(item["time_ms"]),
            *(_verdict(item, kind) for kind in KINDS),
            [f"{entry['kind']}: {entry['detail']}" for entry in item["artefacts"] if entry["detail"]],
            item["height"],
            short(item["tx"]),
        ),
        empty="no report has named it yet",
    )


def findings(device: Item) -> Sequence[str]:
    """Name what a device's row says beside a match; of a retired one nothing counts any more."""
    if device["state"] == "retired":
        return ()
    words = [str(verdict) for verdict in device["verdicts"].values()]
    state = str(device["state"])
    if state in {"unreachable", "stale", "unknown_reference"}:
        words.append(state)
    elif state in {"never_read", "window_over"}:
        words.append("stale")
    return words


def require_device(client: NodeClient, device: str) -> None:
    """Refuse a device that the ledger does not know.

    Raises:
        UsageError: There is none of that id.
    """
    try:
        client.get_json(f"/v1/devices/{quote(device, safe='')}")
    except NodeProblemError as error:
        if error.status != _NOT_FOUND:
            raise
        raise UsageError(
            f"the ledger at {client.node} has no device {device!r}; see 'gridwitness devices list'"
        ) from error


def fetch(client: NodeClient, alarm: str) -> Item:
    """Return the alarm of an id, or the one whose id begins so.

    Raises:
        UsageError: There is none of that id, or several begin so.
    """
    if _BEGINNING.fullmatch(alarm) is not None:
        found = [item for item in items(client, "/v1/alarms", {}) if str(item["alarm_id"]).startswith(alarm)]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(f"{len(found)} alarms begin with {alarm}: {', '.join(str(x['alarm_id']) for x in found)}")
    try:
        return client.get_json(f"/v1/alarms/{quote(alarm, safe='')}")
    except NodeProblemError as error:
        if error.status != _NOT_FOUND:
            raise
        raise UsageError(
            f"the ledger at {client.node} has no alarm {alarm!r}; see 'gridwitness alarms list'"
        ) from error


def about(alarm: Item) -> str:
    """Name the device or gateway that an alarm is about."""
    device = alarm.get("device")
    return f"gateway {alarm['gateway']}" if device is None else str(device)


def _state(alarm: Item) -> str:
    if alarm["state"] != "shelved":
        return str(alarm["state"])
    return f"shelved until {when(alarm['shelf']['until_ms'])}"


def _verdict(device: Item, kind: str) -> str | None:
    """Return a verdict, and beside it how what was read was obtained where the whole file was not read."""
    verdict = device["verdicts"].get(kind)
    method = next((entry.get("method") for entry in device.get("artefacts", ()) if entry.get("kind") == kind), None)
    return verdict if verdict is None or method in (None, METHODS[0]) else f"{verdict} ({method})"


def _say_aside(sentence: str) -> None:
    """Tell on stderr, so that the alarms on stdout stay alone."""
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()


def _age_finding(found: Listing) -> Sequence[str]:
    return ["stale"] if found.ledger_stale else []


def _where(entry: Item) -> str:
    """Say where an artefact differs, if its gateway could name it."""
    return f": {entry['detail']}" if entry.get("difference") else ""


def _finding(entry: Item) -> str:
    return f"{entry['kind']} {entry['verdict']}{_where(entry)}"


def _sentence(kind: str, document: Item) -> str:
    data = document.get("data", {})
    what = kind.removeprefix("alarm_")
    files = ", ".join(_finding(entry) for entry in data.get("artefacts", ()))
    by = "" if data.get("by") is None else f" by {data['by']}: {data.get('action')}"
    return (
        f"{when(document.get('time_ms'))} {about(data)}: {data.get('cause')} {what}{by}"
        f"{f' ({files})' if files else ''}, alarm {data.get('alarm_id')}"
    )
