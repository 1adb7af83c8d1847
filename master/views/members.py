"""Members, applications, accounts, keys and offers to move, as the contract `membership` tells of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from master.contracts.member_places import DEVICE
from master.contracts.membership import NAMESPACE
from master.ledger.rows import EventRow
from master.views import consistency
from master.views.events import Data, broken
from master.views.member_tables import (
    ACCOUNTS,
    APPLICATIONS,
    CERTIFICATES,
    KEYS,
    MEMBERS,
    MOVES,
    NEVER_MS,
    RECOVERIES,
    STATIONS,
)
from master.views.schema import (
    Put,
    Row,
    Rows,
    Table,
    View,
)
from wire.cose import kid_of

if TYPE_CHECKING:
    from wire.genesis import Genesis

CONTRACT: Final = NAMESPACE
_FREE: Final[Row] = {"suspended_by": None, "suspension_reason": None, "suspended_until": 0}


def _start(genesis: Genesis) -> Iterable[Put]:
    for entry in genesis.organisations:
        root_key = None if entry.root_key is None else entry.root_key.hex()
        yield Put(
            MEMBERS.name,
            _member_row(entry.id, entry.role, entry.parent, root_key, ("", None, None, None, 0)),
        )
        yield _account(entry.id, "organisation", entry.id, None)
    owners = {station.id: station.organisation for station in genesis.stations}
    for station in genesis.stations:
        yield Put(STATIONS.name, {"station": station.id, "area": station.area, "organisation": station.organisation})
    for gateway in genesis.gateways:
        yield _account(gateway.id, "gateway", owners[gateway.station], gateway.station)
    for key in genesis.keys:
        yield Put(KEYS.name, _key_row(kid_of(key.key).hex(), key.key.hex(), key.sender, 0))


def _member_row(
    name: str,
    role: str,
    parent: str | None,
    root_key: str | None,
    rest: tuple[str, str | None, str | None, int | None, int],
) -> Row:
    title, data_centre, certificate, expires_ms, height = rest
    return {
        "organisation": name,
        "role": role,
        "parent": parent,
        "title": title,
        "data_centre": data_centre,
        "root_key": root_key,
        "certificate": certificate,
        "expires_ms": expires_ms,
        **_FREE,
        "due_ms": NEVER_MS if expires_ms is None else expires_ms,
        "since_height": height,
    }


def _key_row(kid: str, key: str, account: str, height: int) -> Row:
    changes: Row = {"status": "active", "since_height": height, "until_height": None, "reason": None}
    return {"kid": kid, "key": key, "account": account, **changes}


def _account(account: str, kind: str, organisation: str, station: str | None) -> Put:
    return Put(
        ACCOUNTS.name,
        {"account": account, "kind": kind, "organisation": organisation, "station": station, **_FREE},
    )


def _row(event: EventRow, rows: Rows, table: Table, key: str) -> Row:
    row = rows.row(table.name, key)
    if row is None:
        raise broken(event, f"there is no row {key} among the {table.name}")
    return row


def _changed(event: EventRow, rows: Rows, table: Table, key: str, changes: Row) -> Put:
    return Put(table.name, {**_row(event, rows, table, key), **changes})


def _applied(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del rows, genesis
    data = Data(event)
    yield Put(
        APPLICATIONS.name,
        {
            "application": data.hexadecimal("application"),
            **{name: data.text(name) for name in ("organisation", "role", "title", "data_centre")},
            "parent": data.json("parent"),
            "status": "pending",
            "until_ms": data.integer("until_ms"),
            "reviews": [],
            "missing": data.json("missing"),
            "applied_ms": event.time_ms,
            "applied_height": event.height,
            "applied_index": event.index,
        },
    )


def _reviewed(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    data = Data(event)
    application = data.hexadecimal("application")
    reviews = _row(event, rows, APPLICATIONS, application)["reviews"]
    assert isinstance(reviews, list)
    entry = {name: data.json(name) for name in ("organisation", "in_favour", "reason")}
    changes: Row = {"reviews": [*reviews, entry], "missing": data.json("missing")}
    yield _changed(event, rows, APPLICATIONS, application, changes)


def _closed(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    data = Data(event)
    yield _changed(event, rows, APPLICATIONS, data.hexadecimal("application"), {"status": data.text("reason")})


def _admitted(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del rows, genesis
    data = Data(event)
    name, parent, data_centre, expires_ms = (
        data.text("organisation"),
        data.json("parent"),
        data.json("data_centre"),
        data.json("expires_ms"),
    )
    assert parent is None or isinstance(parent, str)
    assert data_centre is None or isinstance(data_centre, str)
    assert expires_ms is None or isinstance(expires_ms, int)
    rest = (data.text("title"), data_centre, data.hexadecimal("certificate"), expires_ms, event.height)
    root_key = data.hexadecimal_or_none("root_key")
    yield Put(MEMBERS.name, _member_row(name, data.text("role"), parent, root_key, rest))
    yield _account(name, "organisation", name, None)


def _member_changed(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    """Take over what an event says of a member: its renewal, data centre, root key or newest certificate."""
    del genesis
    names = ("expires_ms", "data_centre", "root_key", "certificate")
    changes = {name: Data(event).json(name) for name in names if name in event.data}
    if "expires_ms" in changes:
        expires_ms = changes["expires_ms"]
        changes["due_ms"] = NEVER_MS if expires_ms is None else expires_ms
    if rows.row(MEMBERS.name, event.subject) is not None:
        yield _changed(event, rows, MEMBERS, event.subject, changes)


def _certificate_added(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    data = Data(event)
    row: Row = {"certificate": data.hexadecimal("certificate"), "account": data.text("account"), "status": "active"}
    free: Row = {"since_height": event.height, "until_height": None, "revoked_by": None, "reason": None}
    yield Put(CERTIFICATES.name, {**row, **free})
    yield from _member_changed(event, rows, genesis)


def _certificate_revoked(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    data = Data(event)
    changes: Row = {"status": "revoked", "until_height": event.height, "revoked_by": data.text("by")}
    changes["reason"] = data.text("reason")
    yield _changed(event, rows, CERTIFICATES, data.hexadecimal("certificate"), changes)


def _suspended(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    data = Data(event)
    until_ms = data.json("until_ms")
    changes: Row = {
        "suspended_by": data.text("by"),
        "suspension_reason": data.text("reason"),
        "suspended_until": NEVER_MS if until_ms is None else until_ms,
    }
    yield from _both(event, rows, changes)


def _resumed(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    yield from _both(event, rows, dict(_FREE))


def _both(event: EventRow, rows: Rows, changes: Row) -> Iterable[Put]:
    account = Data(event).text("account")
    yield _changed(event, rows, ACCOUNTS, account, changes)
    if rows.row(MEMBERS.name, account) is not None:
        yield _changed(event, rows, MEMBERS, account, changes)


def _operator_added(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del rows, genesis
    data = Data(event)
    yield _account(data.text("operator"), "operator", data.text("organisation"), None)


def _key_added(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del rows, genesis
    data = Data(event)
    kid, key = data.hexadecimal("kid"), data.hexadecimal("key")
    yield Put(KEYS.name, _key_row(kid, key, data.text("account"), event.height))


def _key_retired(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    data = Data(event)
    changes: Row = {"status": data.text("reason"), "until_height": event.height}
    yield _changed(event, rows, KEYS, data.hexadecimal("kid"), changes)


def _key_revoked(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    data = Data(event)
    yield _changed(event, rows, KEYS, data.hexadecimal("kid"), {"reason": data.text("reason")})


def _recovery_opened(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del rows, genesis
    data = Data(event)
    yield Put(
        RECOVERIES.name,
        {
            "organisation": data.text("organisation"),
            "key": data.hexadecimal("key"),
            "opens_ms": data.integer("opens_ms"),
            "status": "waiting",
        },
    )


def _recovery_closed(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    data = Data(event)
    yield _changed(event, rows, RECOVERIES, data.text("organisation"), {"status": data.text("reason")})


def _station_added(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del rows, genesis
    data = Data(event)
    yield Put(STATIONS.name, {name: data.text(name) for name in ("station", "area", "organisation")})


def _gateway_added(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    data = Data(event)
    station = _row(event, rows, STATIONS, data.text("station"))
    yield _account(data.text("gateway"), "gateway", str(station["organisation"]), str(station["station"]))


def _gateway_moved(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    data = Data(event)
    changes: Row = {"station": data.text("to"), "organisation": data.text("organisation")}
    yield _changed(event, rows, ACCOUNTS, data.text("gateway"), changes)
    place = _row(event, rows, STATIONS, data.text("to"))
    devices = data.json("devices")
    assert isinstance(devices, list)
    for device in devices:
        row = _row(event, rows, consistency.DEVICES, str(device))
        yield Put(consistency.DEVICES.name, {**row, "station": place["station"], "area": place["area"]})


def _place(event: EventRow, rows: Rows, gateway: str) -> Row:
    station = _row(event, rows, STATIONS, str(_row(event, rows, ACCOUNTS, gateway)["station"]))
    return {"gateway": gateway, "station": station["station"], "area": station["area"]}


def _device_added(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    data = Data(event)
    plate = {name: data.text(name) for name in ("device", "vendor", "model", "serial")}
    place = _place(event, rows, data.text("gateway"))
    yield Put(consistency.DEVICES.name, consistency.device_row({**plate, **place}))


def _device_moved(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    data = Data(event)
    row = _row(event, rows, consistency.DEVICES, data.text(DEVICE))
    yield Put(consistency.DEVICES.name, {**row, **_place(event, rows, data.text("to"))})


def _device_retired(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    data = Data(event)
    row = _row(event, rows, consistency.DEVICES, data.text(DEVICE))
    changes: Row = {"retired_ms": event.time_ms, "retirement": data.text("reason")}
    yield Put(consistency.DEVICES.name, consistency.judged({**row, **changes}))


def _offered(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del rows, genesis
    data = Data(event)
    offer = {name: data.text(name) for name in ("kind", "id", "to", "by")}
    yield Put(MOVES.name, {"thing": f"{offer['kind']}-{offer['id']}", **offer, "status": "open"})


def _offer_closed(event: EventRow, rows: Rows, genesis: Genesis) -> Iterable[Put]:
    del genesis
    data = Data(event)
    thing = f"{data.text('kind')}-{data.text('id')}"
    yield _changed(event, rows, MOVES, thing, {"status": data.text("reason")})


VIEW: Final = View(
    contract=CONTRACT,
    tables=(MEMBERS, APPLICATIONS, ACCOUNTS, KEYS, CERTIFICATES, STATIONS, MOVES, RECOVERIES),
    start=_start,
    folds={
        "member_applied": _applied,
        "application_reviewed": _reviewed,
        "application_closed": _closed,
        "member_admitted": _admitted,
        "member_renewed": _member_changed,
        "member_attached": _member_changed,
        "root_key_set": _member_changed,
        "certificate_added": _certificate_added,
        "certificate_revoked": _certificate_revoked,
        "account_suspended": _suspended,
        "account_resumed": _resumed,
        "operator_added": _operator_added,
        "key_added": _key_added,
        "key_retired": _key_retired,
        "key_revoked": _key_revoked,
        "recovery_opened": _recovery_opened,
        "recovery_closed": _recovery_closed,
        "station_added": _station_added,
        "gateway_added": _gateway_added,
        "gateway_moved": _gateway_moved,
        "device_added": _device_added,
        "device_moved": _device_moved,
        "device_retired": _device_retired,
        "move_offered": _offered,
        "offer_closed": _offer_closed,
    },
)
