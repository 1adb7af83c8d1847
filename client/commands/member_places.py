"""gridwitness members: stations, gateways and devices, and their moves."""

from __future__ import annotations

import enum
from typing import Annotated, Final

import typer

from client.members import CONTRACT, call, owner_of, send
from client.newkeys import read_new_key
from client.node import items, state_value
from client.options import JsonOption, NewKeyOption, NodeOption
from client.output import show_items
from client.ways import Way, signed
from kit.http import NodeClient
from kit.terminal import Terminal
from wire import cbor
from wire.membership import REGISTER


class Kind(enum.StrEnum):
    """What can move."""

    DEVICE = "device"
    GATEWAY = "gateway"


_GOES_TO: Final = {Kind.DEVICE: "gateway", Kind.GATEWAY: "station"}
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
    new_key: NewKeyOption,
    way: Way,
) -> None:
    """Register a gateway with its key in a station of your organisation.

    Example: gridwitness members add-gateway gw-linden --station linden --new-key gw-linden.word --key grid-company.key
    --node http://localhost:8080
    """
    with way.client() as client:
        new = read_new_key(new_key, client, way, gateway, REGISTER)
        args: dict[str, cbor.Value] = {
            "gateway": gateway,
            "station": station,
            "key": new.public,
            "signature": new.signature,
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

    The answer says whether it has moved, or whose word is missing.

    Example: gridwitness members bind device sps-7 --to gw-aspen --key grid-company.key --node http://localhost:8080
    """
    with way.client() as client:
        outcome = call(client, way, "bind", {"kind": kind.value, "id": thing, "to": to})
        told = {} if way.no_wait else _after_word(client, kind, thing, to)
    way.show("bind", outcome, told)


def _after_word(client: NodeClient, kind: Kind, thing: str, to: str) -> dict[str, str | None]:
    """Return whether a thing has moved once a side has said so, and else whose word is missing.

    Raises:
        DataError: The node tells something else.
    """
    offer = state_value(client, CONTRACT, f"binding/{kind.value}/{thing}")
    if not isinstance(offer, dict):
        return {"move": "done", "missing": None}
    sides = (owner_of(client, kind.value, thing), owner_of(client, _GOES_TO[kind], to))
    missing = sorted({side for side in sides if side not in (None, offer.get("by"))})
    return {"move": "offered", "missing": ", ".join(missing)}


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
