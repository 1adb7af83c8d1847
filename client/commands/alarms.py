"""gridwitness alarms and devices: what the ledger says of the devices now, and as it changes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Final

import typer

from client.node import Item, Listing, listing
from client.options import JsonOption, NodeOption
from client.output import show_listing, when
from kit.exitcodes import exit_code_of
from kit.http import NodeClient
from kit.terminal import Terminal, print_json
from wire.evidence import KINDS

ALARM_EVENTS: Final = ("alarm_raised", "alarm_changed", "alarm_returned")

app = typer.Typer(no_args_is_help=True, help="List and watch alarms.")
devices_app = typer.Typer(no_args_is_help=True, help="List devices and their verdicts.")


@app.command("list")
def list_alarms(
    node: NodeOption,
    state: Annotated[str | None, typer.Option("--state", help="Only those that are raised, or returned.")] = None,
    device: Annotated[str | None, typer.Option("--device", help="Only those of one device.")] = None,
    *,
    json: JsonOption = False,
) -> int:
    """List alarms.

    The exit code ORs what the raised ones found: 1 artefact without a slot, 2 missing, 4 changed (mismatch, misfilled,
    superseded, incomplete, altered, identity changed), 8 unknown reference, 16 stale or the ledger stands still. 0: no
    alarm is raised.

    Example: gridwitness alarms list --node http://localhost:8080
    """
    with NodeClient([node]) as client:
        found = listing(client, "/v1/alarms", {"state": state, "device": device})
    show_listing(
        Terminal(as_json=json),
        ("alarm", "device", "station", "cause", "state", "raised", "files"),
        found,
        lambda item: (
            item["alarm_id"],
            item["device"],
            item["station"],
            item["cause"],
            item["state"],
            when(item["raised_ms"]),
            [str(entry["kind"]) + _where(entry) for entry in item["artefacts"]],
        ),
        empty="no alarms",
    )
    causes = [str(item["cause"]) for item in found.items if item["state"] == "raised"]
    return exit_code_of([*causes, *_age_finding(found)])


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
    """Show alarms as they are raised, changed and returned; a broken connection is resumed without a gap.

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
        typer.Option("--state", help="match, alarm, unknown_reference, unreachable, stale or never_read."),
    ] = None,
    gateway: Annotated[str | None, typer.Option("--gateway", help="Only those behind one gateway.")] = None,
    *,
    json: JsonOption = False,
) -> int:
    """List devices and the verdicts on their files.

    The exit code ORs the verdicts: 1 artefact without a slot, 2 missing, 4 changed (mismatch, misfilled, superseded,
    incomplete, altered, identity changed), 8 unknown reference, 16 stale, never read or the ledger stands
    still; 69 if a device is unreachable and nothing else was found. 0: every device matches.

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
            *(item["verdicts"].get(kind) for kind in KINDS),
            when(item["read_from_ms"]),
            when(item["read_to_ms"]),
        ),
        empty="no devices",
    )
    return exit_code_of([*(verdict for item in found.items for verdict in findings(item)), *_age_finding(found)])


def findings(device: Item) -> Sequence[str]:
    """Name what a device's row says beside a match."""
    words = [str(verdict) for verdict in device["verdicts"].values()]
    state = str(device["state"])
    if state in {"unreachable", "stale", "unknown_reference"}:
        words.append(state)
    elif state == "never_read":
        words.append("stale")
    return words


def _say_aside(sentence: str) -> None:
    """Tell on stderr, so that the alarms on stdout stay alone."""
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()


def _age_finding(found: Listing) -> Sequence[str]:
    return ["stale"] if found.ledger_stale else []


def _where(entry: Item) -> str:
    """Say where an artefact differs, if its gateway could name it."""
    return f": {entry['detail']}" if entry.get("difference") else ""


def _sentence(kind: str, document: Item) -> str:
    data = document.get("data", {})
    what = kind.removeprefix("alarm_")
    files = ", ".join(f"{entry['kind']} {entry['verdict']}{_where(entry)}" for entry in data.get("artefacts", ()))
    return (
        f"{when(document.get('time_ms'))} {data.get('device')}: {data.get('cause')} {what}"
        f"{f' ({files})' if files else ''}, alarm {data.get('alarm_id')}"
    )
