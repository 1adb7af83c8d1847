"""gridwitness members: stations, gateways and devices, and their moves."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from client.members import call, chain_of, first_word, send
from client.node import items
from client.options import JsonOption, NodeOption
from client.output import show_items
from client.ways import Way, signed
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


@signed
def add_station(
    station: Annotated[str, typer.Argument(help="Id of the station.")],
    area: Annotated[str, typer.Option("--area", help="Its area, an identifier.")],
    way: Way,
) -> None:
    """Register a station of your organisation.

    Example: gridwitness members add-station linden --area east --key grid-company.key --node http://localhost:8080
    """
    send("add-station", {"station": station, "area": area}, way)


@signed
def add_gateway(
    gateway: Annotated[str, typer.Argument(help="Id of the gateway, which is its account.")],
    station: Annotated[str, typer.Option("--station", metavar="ID", help="Station of your organisation.")],
    new_key: Annotated[Path, typer.Option("--new-key", metavar="FILE", help="NAME.key of the gateway's key.")],
    way: Way,
) -> None:
    """Register a gateway with its key in a station of your organisation.

    Example: gridwitness members add-gateway gw-linden --station linden --new-key gw-linden.key --key grid-company.key
    --node http://localhost:8080
    """
    new = load_signing_key(new_key)
    with way.client() as client:
        signature = first_word(new, chain_of(client), way, gateway)
        args: dict[str, cbor.Value] = {
            "gateway": gateway,
            "station": station,
            "key": new.public,
            "signature": signature,
        }
        outcome = call(client, way, "add-gateway", args)
    way.show("add-gateway", outcome, {"gateway": gateway, "kid": new.kid.hex()})


@signed
def add_device(
    device: Annotated[str, typer.Argument(help="Id of the device.")],
    gateway: Annotated[str, typer.Option("--gateway", metavar="ID", help="Gateway of your organisation.")],
    vendor: Annotated[str, typer.Option("--vendor", help="As its nameplate says.")],
    model: Annotated[str, typer.Option("--model", help="As its nameplate says.")],
    serial: Annotated[str, typer.Option("--serial", help="As its nameplate says.")],
    way: Way,
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
    send("add-device", args, way)


@signed
def retire_device(
    device: Annotated[str, typer.Argument(help="Id of the device.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, for people.")],
    way: Way,
) -> None:
    """Take a device of your organisation out of use for good; its id is never used again, its past can be read.

    Example: gridwitness members retire-device sps-7 --reason 'replaced by sps-8' --key grid-company.key
    --node http://localhost:8080
    """
    send("retire-device", {"device": device, "reason": reason}, way)


@signed
def bind(
    kind: KindArgument,
    thing: ThingArgument,
    to: ToOption,
    way: Way,
) -> None:
    """Say that a device or gateway moves, as who owns where it is or where it goes; it moves when both have said so.

    Example: gridwitness members bind device sps-7 --to gw-aspen --key grid-company.key --node http://localhost:8080
    """
    send("bind", {"kind": kind.value, "id": thing, "to": to}, way)


@signed
def unbind(
    kind: KindArgument,
    thing: ThingArgument,
    to: ToOption,
    way: Way,
) -> None:
    """Take back an offer to move a device or gateway, or turn it down.

    Example: gridwitness members unbind device sps-7 --to gw-aspen --key grid-company.key --node http://localhost:8080
    """
    send("unbind", {"kind": kind.value, "id": thing, "to": to}, way)


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
