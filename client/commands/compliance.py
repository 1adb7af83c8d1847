"""gridwitness compliance: which device was verified when, against the limit that the consortium set."""

from __future__ import annotations

import csv
import io
from json import dumps as encode_json
from pathlib import Path
from typing import Annotated, Final

import typer

from client.node import Item, Listing, listing
from client.options import JsonOption, NodeOption
from client.outfiles import ForceOption, check_out, write_out
from client.output import show_listing, when
from kit.exitcodes import UsageError, exit_code_of
from kit.http import NodeClient
from kit.terminal import Terminal

STATUSES: Final = ("compliant", "overdue", "never_verified")

app = typer.Typer(no_args_is_help=True, help="Report when devices were verified last, and export that.")

StationOption = Annotated[str | None, typer.Option("--station", help="Only devices of one station.")]
StatusOption = Annotated[str | None, typer.Option("--status", help=f"Only devices that are {', '.join(STATUSES)}.")]


@app.command("list")
def list_compliance(
    node: NodeOption, station: StationOption = None, status: StatusOption = None, *, json: JsonOption = False
) -> int:
    """List the days since each device was verified last: every artefact matched its reference value.

    Exit code 16 when a device was verified longer ago than the on-chain parameter baseline_days_max (35) or never, or
    the ledger stands still.

    Example: gridwitness compliance list --status overdue --node http://localhost:8080
    """
    found = _fetch(node, station, status)
    show_listing(
        Terminal(as_json=json),
        ("device", "station", "model", "status", "days", "of", "verified", "by", "due", "transaction"),
        found,
        lambda item: (
            item["device"],
            item["station"],
            item["model"],
            item["status"],
            item["days"],
            item["days_max"],
            when(item["baseline_ms"]),
            item["baseline_method"],
            when(item["due_ms"]),
            item["baseline_tx"],
        ),
        empty="no devices",
    )
    return _exit_code(found)


@app.command()
def export(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write: NAME.csv or NAME.json.")],
    node: NodeOption,
    station: StationOption = None,
    status: StatusOption = None,
    *,
    force: ForceOption = False,
    json: JsonOption = False,
) -> int:
    """Write the report to a file, as CSV or JSON by the name's end; each line names the transaction that proves it.

    The exit code is that of 'compliance list'.

    Example: gridwitness compliance export --out compliance.csv --node http://localhost:8080
    """
    kind = out.suffix.lower()
    if kind not in (".csv", ".json"):
        raise UsageError(f"{out} is neither .csv nor .json; name the form by the end of the file's name")
    check_out(out, force=force)
    found = _fetch(node, station, status)
    write_out(out, _csv(found.items) if kind == ".csv" else _json(found), force=force)
    late = sum(1 for item in found.items if item["status"] != "compliant")
    shown: Item = {"file": str(out), "devices": len(found.items), "not_compliant": late}
    Terminal(as_json=json).show(
        shown, lambda: [f"{out}: {len(found.items)} devices, {late} of them not verified within the limit"]
    )
    return _exit_code(found)


def _fetch(node: str, station: str | None, status: str | None) -> Listing:
    if status is not None and status not in STATUSES:
        raise UsageError(f"--status {status!r} is not known; it is one of {', '.join(STATUSES)}")
    with NodeClient([node]) as client:
        return listing(client, "/v1/compliance", {"station": station, "status": status})


def _exit_code(found: Listing) -> int:
    late = found.ledger_stale or any(item["status"] != "compliant" for item in found.items)
    return exit_code_of(["stale"] if late else [])


def _csv(items: tuple[Item, ...]) -> bytes:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(items[0]) if items else ["device"])
    writer.writeheader()
    writer.writerows(items)
    return file.getvalue().encode()


def _json(found: Listing) -> bytes:
    value = {"items": found.items, "head_age_ms": found.head_age_ms, "ledger_stale": found.ledger_stale}
    return encode_json(value, indent=2, sort_keys=True).encode() + b"\n"
