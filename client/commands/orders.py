"""gridwitness orders: planned changes of devices, who filled what in, and orders to read a device now."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import typer

from client.names import meant, require_target
from client.node import Item, Outcome, items, listing, octets
from client.options import JsonOption, NodeOption
from client.output import short, show_listing, when
from client.releases import read_release
from client.times import time_ms
from client.ways import Way, signed, signed_and_waited
from kit.exitcodes import DataError, TryAgainError, UsageError
from kit.http import NodeClient
from kit.terminal import Terminal
from wire import cbor
from wire.types import EVIDENCE_DEVICES_MAX

CONTRACT: Final = "orders"
HOURS_DEFAULT: Final = 4.0
ANSWER_S_DEFAULT: Final = 300.0
_HOUR_MS: Final = 3_600_000
_NONCE_BYTES: Final = 32
_POLL_S: Final = 0.5
_ID: Final = re.compile(r"[0-9a-f]{8,64}", re.ASCII)
_WORDS: Final[Mapping[str, str]] = {
    "closed": "the work order was ended before",
    "not-requested": "it was approved or closed before; see 'gridwitness orders list'",
    "not-yours": "only an account of the organisation that is responsible may do this, and no gateway",
    "release-failed": "the release failed a test; nobody should fill it in",
    "release-revoked": "the release was revoked; see 'gridwitness refs show'",
    "wrong-target": "the release is for another device or model",
    "wrong-approver": "a dispatch centre or sub-centre approves that did not ask and that the owner stands under; for "
    "devices of a dispatch centre another one does, or a regulator that does not stand under it",
    "wrong-owner": "the device has moved to an owner for whom who asked is not responsible; ask anew",
    "bad-window": "it must end in the future, last no longer than work_window_ms_max and end within work_ahead_ms_max",
    "wrong-device": "the work order is for another device; see 'gridwitness orders list'",
    "wrong-release": "the work order plans another release; see 'gridwitness orders list'",
    "not-approved": "nobody has approved the work order yet, or it was closed",
    "outside-window": "the time of the work order has not begun, or is over",
    "too-soon": "the gateway got an order a moment ago; wait inspect_interval_ms",
    "too-many-orders": "too many orders are open; wait for their end or close some",
    "wrong-role": "the gateway's owner, a dispatch centre, sub-centre, regulator or auditor orders a read",
    "foreign-device": "a device that was named is not behind this gateway",
}

app = typer.Typer(no_args_is_help=True, help="Plan changes of devices, sign for fills, and have devices read now.")

OrderArgument = Annotated[str, typer.Argument(metavar="ORDER", help="Id of the work order, or how it begins.")]


@app.command("open")
@signed
def open_work(
    device: Annotated[str, typer.Argument(help="Device that is to be changed.")],
    release: Annotated[str, typer.Argument(help="Name or digest of the planned release.")],
    way: Way,
    approver: Annotated[str, typer.Option("--approver", metavar="ID", help="Organisation that is to approve it.")],
    begin: Annotated[
        str, typer.Option("--from", metavar="TIME", help="Begin, such as 2026-11-23T16:00Z; now if not given.")
    ] = "",
    hours: Annotated[float, typer.Option("--hours", min=0.02, help="How long it lasts.")] = HOURS_DEFAULT,
    reason: Annotated[str, typer.Option("--reason", help="Why, in a few words.")] = "",
) -> None:
    """Ask for a time in which a release is filled into a device.

    Once approved, what a change passes through is pending during that time instead of a mismatch; after it the verdict
    counts again. A file of another device is misfilled at any time.

    Example: gridwitness orders open linden-sc-1 linden-sc-1-2-5-0 --approver sub-east --hours 2 --key acme-grid.key
    """
    from_ms = time.time_ns() // 1_000_000 if not begin else time_ms(begin, "--from")
    with way.client() as client:
        found = _release(client, release)
        require_target(client, device, None)
        args: dict[str, cbor.Value] = {
            "device": device,
            "release": octets(found, "digest"),
            "from_ms": from_ms,
            "to_ms": from_ms + round(hours * _HOUR_MS),
            "approver": approver,
            "reason": reason,
        }
        outcome = way.call(client, CONTRACT, "open", args, _WORDS)
    _show(way, outcome, {"order": outcome.tx, "device": device, "release": str(found["release"])})


@app.command()
@signed
def approve(
    order: OrderArgument,
    way: Way,
) -> None:
    """Approve a work order, as the organisation that it names.

    Example: gridwitness orders approve 3f0c9a12 --key sub-east.key --node http://localhost:8080
    """
    _decide("approve", order, way)


@app.command()
@signed
def close(
    order: OrderArgument,
    way: Way,
) -> None:
    """End a work order before its time: the verdict of its device counts again at once.

    Example: gridwitness orders close 3f0c9a12 --key acme-grid.key --node http://localhost:8080
    """
    _decide("close", order, way)


@app.command("list")
def list_work(
    node: NodeOption,
    device: Annotated[str | None, typer.Option("--device", help="Only those of one device.")] = None,
    state: Annotated[
        str | None, typer.Option("--state", help="requested, approved, open, over, closed or lapsed.")
    ] = None,
    *,
    json: JsonOption = False,
) -> None:
    """List work orders, newest first.

    Example: gridwitness orders list --state open --node http://localhost:8080
    """
    with NodeClient([node]) as client:
        found = listing(client, "/v1/work-orders", {"device": device, "state": state})
    show_listing(
        Terminal(as_json=json),
        ("order", "device", "release", "from", "to", "state", "asked by", "approver", "filled by"),
        found,
        lambda item: (
            short(item["id"]),
            item["device"],
            item["release_name"],
            when(item["from_ms"]),
            when(item["to_ms"]),
            item["state"],
            item["organisation"],
            item["approver"],
            [fill["account"] for fill in item["fills"]],
        ),
        empty="no work orders",
    )


@app.command()
@signed
def fill(
    order: OrderArgument,
    way: Way,
    files: Annotated[
        Path | None,
        typer.Option("--files", metavar="FOLDER", help="What you fill in: sign only if it is the planned release."),
    ] = None,
) -> None:
    """Sign for filling the planned release into the device of a work order.

    Should the device then be read with another device's file, the verdict names this record.

    Example: gridwitness orders fill 3f0c9a12 --files releases/linden-sc-1-2-5-0 --key erna.key --sender acme-grid
    """
    with way.client() as client:
        found = _order(client, order)
        if files is not None:
            _compare(client, files, found)
        args: dict[str, cbor.Value] = {
            "device": str(found["device"]),
            "release": octets(found, "release"),
            "order": octets(found, "id"),
        }
        outcome = way.call(client, CONTRACT, "fill", args, _WORDS)
    about = {"record": outcome.tx, "order": str(found["id"]), "device": str(found["device"])}
    _show(way, outcome, {**about, "release": str(found["release_name"])})


@app.command()
@signed_and_waited
def inspect(
    gateway: Annotated[str, typer.Argument(help="Gateway that is to read.")],
    way: Way,
    device: Annotated[
        list[str] | None, typer.Option("--device", help="Only this device; repeat it. All of the gateway otherwise.")
    ] = None,
    within: Annotated[
        float, typer.Option("--within", metavar="SECONDS", min=10, help="By when an answer is due.")
    ] = ANSWER_S_DEFAULT,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Until the answer is in the ledger.")] = False,
) -> None:
    """Order a gateway to read devices now; its evidence carries the order's nonce.

    The gateway obeys only what the ledger proves to have taken. With --wait exit code 75 says that it did not answer in
    time; 'gridwitness orders inspections' shows it as unanswered.

    Example: gridwitness orders inspect gw-linden --wait --key office.key --node http://localhost:8080
    """
    with way.client() as client:
        names = sorted(set(device or ())) or _devices(client, gateway)
        args: dict[str, cbor.Value] = {
            "gateway": gateway,
            "devices": [*names],
            "nonce": secrets.token_bytes(_NONCE_BYTES),
            "deadline_ms": time.time_ns() // 1_000_000 + round(within * 1000),
        }
        outcome = way.call(client, CONTRACT, "inspect", args, _WORDS)
        answers = _await_answers(client, outcome.tx, within) if wait else None
    about = {"order": outcome.tx, "gateway": gateway, "devices": ", ".join(names)}
    shown = "" if answers is None else ", ".join(_answers(answers))
    _show(way, outcome, {**about, **({"answers": shown} if wait else {})})


@app.command()
def inspections(
    node: NodeOption,
    gateway: Annotated[str | None, typer.Option("--gateway", help="Only those to one gateway.")] = None,
    state: Annotated[str | None, typer.Option("--state", help="open, answered or unanswered.")] = None,
    *,
    json: JsonOption = False,
) -> None:
    """List read orders, newest first; unanswered are those whose time is past.

    Example: gridwitness orders inspections --state unanswered --node http://localhost:8080
    """
    with NodeClient([node]) as client:
        found = listing(client, "/v1/inspections", {"gateway": gateway, "state": state})
    show_listing(
        Terminal(as_json=json),
        ("order", "gateway", "ordered by", "ordered", "due", "state", "answered", "waiting"),
        found,
        lambda item: (
            short(item["id"]),
            item["gateway"],
            item["organisation"],
            when(item["ordered_ms"]),
            when(item["deadline_ms"]),
            item["state"],
            _answers(item["answers"]),
            item["waiting"],
        ),
        empty="no read orders",
    )


def _decide(method: str, order: str, way: Way) -> None:
    with way.client() as client:
        found = _order(client, order)
        args: dict[str, cbor.Value] = {"order": octets(found, "id")}
        outcome = way.call(client, CONTRACT, method, args, _WORDS)
    _show(way, outcome, {"order": str(found["id"]), "device": str(found["device"])})


def _release(client: NodeClient, text: str) -> Item:
    known = items(client, "/v1/references", {})
    found = [item for item in known if text in (item["digest"], item["release"])]
    if len(found) != 1:
        what = "no release" if not found else f"{len(found)} releases"
        nearest = "" if found else meant(text, (str(item["release"]) for item in known))
        raise DataError(
            f"the ledger holds {what} {text}{nearest}; see 'gridwitness refs list', and name it by its digest"
        )
    return found[0]


def _order(client: NodeClient, text: str) -> Item:
    """Find the one work order whose id begins so."""
    if _ID.fullmatch(text) is None:
        raise UsageError(f"{text!r} is no id of a work order; expected 8 to 64 hex digits")
    found = [item for item in items(client, "/v1/work-orders", {}) if str(item["id"]).startswith(text)]
    if len(found) != 1:
        what = "no work order" if not found else f"{len(found)} work orders"
        raise DataError(f"there is {what} {text}; see 'gridwitness orders list'")
    return found[0]


def _compare(client: NodeClient, folder: Path, order: Item) -> None:
    """Refuse to sign for files that are not the planned release."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is no release folder")
    planned = _release(client, str(order["release"]))
    own = read_release(folder, str(planned["manufacturer"])).digest().hex()
    if own != planned["digest"]:
        raise DataError(
            f"{folder} is not the planned release {planned['release']}: its digest is {own}; do not fill it in"
        )


def _devices(client: NodeClient, gateway: str) -> list[str]:
    names = sorted(str(item["device"]) for item in items(client, "/v1/devices", {"gateway": gateway}))
    if not names:
        raise DataError(f"there is no device behind {gateway}; see 'gridwitness devices list'")
    if len(names) > EVIDENCE_DEVICES_MAX:
        raise UsageError(f"{gateway} has {len(names)} devices; name at most {EVIDENCE_DEVICES_MAX} with --device")
    return names


def _answers(answers: Item) -> list[str]:
    """Say how the read of each device ended; a read that began before the order is no answer to it."""
    return [
        f"{name} {one['status']}" + (" before the order" if one["status"] == "read" and not one["read_after"] else "")
        for name, one in sorted(answers.items())
    ]


def _await_answers(client: NodeClient, order: str, within_s: float) -> Item:
    """Wait until every device of a read order was told of.

    Raises:
        TryAgainError: The gateway did not answer in time.
    """
    until_s = time.monotonic() + within_s
    while True:
        item = client.get_json(f"/v1/inspections/{order}")
        if item.get("state") == "answered":
            answers: Item = item["answers"]
            return answers
        if time.monotonic() >= until_s:
            waiting = ", ".join(map(str, item.get("waiting", ())))
            raise TryAgainError(f"no answer about {waiting} after {within_s:g} s; see 'gridwitness orders inspections'")
        time.sleep(_POLL_S)


def _show(way: Way, outcome: Outcome, about: dict[str, str]) -> None:
    what = ", ".join(f"{name} {value}" for name, value in about.items())
    way.terminal().show({**about, **outcome.to_json()}, lambda: [f"{what}: {outcome.said()}"])
