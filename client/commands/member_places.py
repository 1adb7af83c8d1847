"""gridwitness members: stations, gateways and devices, and their moves."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from client.members import Way, call, chain_of, first_word, show
from client.node import items
from client.options import (
    TIMEOUT_S_DEFAULT,
    JsonOption,
    KeyOption,
    NodeOption,
    NoWaitOption,
    SenderOption,
    TimeoutOption,
)
from client.output import show_items
from kit.http import NodeClient
from kit.keystore import load_signing_key
from kit.terminal import Terminal
from wire import cbor


class Kind(enum.StrEnum):
    """What can move."""

    DEVICE = "device"
    GATEWAY = "gateway"


KindArgument = Annotated[Kind, typer.Argument(help="What moves.")]
ThingArgument = Annotated[str, typer.Argument(help="Its id.")]
ToOption = Annotated[str, typer.Option("--to", metavar="ID", help="Gateway of a device, station of a gateway.")]


def add_station(
    station: Annotated[str, typer.Argument(help="Id of the station.")],
    area: Annotated[str, typer.Option("--area", help="Its area, an identifier.")],
    key: KeyOption,
    node: NodeOption,
    sender: SenderOption = None,
    timeout: TimeoutOption = TIMEOUT_S_DEFAULT,
    *,
    no_wait: NoWaitOption = False,
    json: JsonOption = False,
) -> None:
    """Register a station of your organisation.

    Example: gridwitness members add-station linden --area east --key grid-company.key --node http://localhost:8080
    """
    _send("add-station", {"station": station, "area": area}, Way(key, node, sender, timeout, no_wait, json))


def add_gateway(
    gateway: Annotated[str, typer.Argument(help="Id of the gateway, which is its account.")],
    station: Annotated[str, typer.Option("--station", metavar="ID", help="Station of your organisation.")],
    new_key: Annotated[Path, typer.Option("--new-key", metavar="FILE", help="NAME.key of the gateway's key.")],
    key: KeyOption,
    node: NodeOption,
    sender: SenderOption = None,
    timeout: TimeoutOption = TIMEOUT_S_DEFAULT,
    *,
    no_wait: NoWaitOption = False,
    json: JsonOption = False,
) -> None:
    """Register a gateway with its key in a station of your organisation.

    Example: gridwitness members add-gateway gw-linden --station linden --new-key gw-linden.key --key grid-company.key
    --node http://localhost:8080
    """
    new = load_signing_key(new_key)
    way = Way(key, node, sender, timeout, no_wait, json)
    with NodeClient([node], timeout) as client:
        signature = first_word(new, chain_of(client), way, gateway)
        args: dict[str, cbor.Value] = {
            "gateway": gateway,
            "station": station,
            "key": new.public,
            "signature": signature,
        }
        outcome = call(client, way, "add-gateway", args)
    show(way, "add-gateway", outcome, {"gateway": gateway, "kid": new.kid.hex()})


def add_device(
    device: Annotated[str, typer.Argument(help="Id of the device.")],
    gateway: Annotated[str, typer.Option("--gateway", metavar="ID", help="Gateway of your organisation.")],
    vendor: Annotated[str, typer.Option("--vendor", help="As its nameplate says.")],
    model: Annotated[str, typer.Option("--model", help="As its nameplate says.")],
    serial: Annotated[str, typer.Option("--serial", help="As its nameplate says.")],
    key: KeyOption,
    node: NodeOption,
    sender: SenderOption = None,
    timeout: TimeoutOption = TIMEOUT_S_DEFAULT,
    *,
    no_wait: NoWaitOption = False,
    json: JsonOption = False,
) -> None:
    """Register a device behind a gateway of your organisation.

    Example: gridwitness members add-device sps-7 --gateway gw-linden --vendor 'Sample Vendor' --model SC-9000
    --serial SN-7 --key grid-company.key --node http://localhost:8080
    """
    args: dict[str, cbor.Value] = {
        "device": device,
        "gateway": gateway,
        "vendor": vendor,
        "model": model,
        "serial": serial,
    }
    _send("add-device", args, Way(key, node, sender, timeout, no_wait, json))


def retire_device(
    device: Annotated[str, typer.Argument(help="Id of the device.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, for people.")],
    key: KeyOption,
    node: NodeOption,
    sender: SenderOption = None,
    timeout: TimeoutOption = TIMEOUT_S_DEFAULT,
    *,
    no_wait: NoWaitOption = False,
    json: JsonOption = False,
) -> None:
    """Take a device of your organisation out of use for good; its id is never used again, its past can be read.

    Example: gridwitness members retire-device sps-7 --reason 'replaced by sps-8' --key grid-company.key
    --node http://localhost:8080
    """
    _send("retire-device", {"device": device, "reason": reason}, Way(key, node, sender, timeout, no_wait, json))


def bind(
    kind: KindArgument,
    thing: ThingArgument,
    to: ToOption,
    key: KeyOption,
    node: NodeOption,
    sender: SenderOption = None,
    timeout: TimeoutOption = TIMEOUT_S_DEFAULT,
    *,
    no_wait: NoWaitOption = False,
    json: JsonOption = False,
) -> None:
    """Say that a device or gateway moves, as who owns where it is or where it goes; it moves when both have said so.

    Example: gridwitness members bind device sps-7 --to gw-aspen --key grid-company.key --node http://localhost:8080
    """
    _send("bind", {"kind": kind.value, "id": thing, "to": to}, Way(key, node, sender, timeout, no_wait, json))


def unbind(
    kind: KindArgument,
    thing: ThingArgument,
    to: ToOption,
    key: KeyOption,
    node: NodeOption,
    sender: SenderOption = None,
    timeout: TimeoutOption = TIMEOUT_S_DEFAULT,
    *,
    no_wait: NoWaitOption = False,
    json: JsonOption = False,
) -> None:
    """Take back an offer to move a device or gateway, or turn it down.

    Example: gridwitness members unbind device sps-7 --to gw-aspen --key grid-company.key --node http://localhost:8080
    """
    _send("unbind", {"kind": kind.value, "id": thing, "to": to}, Way(key, node, sender, timeout, no_wait, json))


def moves(node: NodeOption, *, json: JsonOption = False) -> None:
    """List offers to move devices and gateways.

    Example: gridwitness members moves --node http://localhost:8080
    """
    with NodeClient([node]) as client:
        found = items(client, "/v1/moves", {})
    show_items(
        Terminal(as_json=json),
        ("kind", "id", "to", "by", "status"),
        found,
        lambda item: (item["kind"], item["id"], item["to"], item["by"], item["status"]),
        empty="no moves",
    )


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (add_station, add_gateway, add_device, retire_device, bind, unbind, moves):
        app.command(command.__name__.replace("_", "-"))(command)


def _send(method: str, args: dict[str, cbor.Value], way: Way) -> None:
    with NodeClient([way.node], way.timeout_s) as client:
        outcome = call(client, way, method, args)
    show(way, method, outcome)
