"""Who may use the broker, as the state of the ledger says: its access list and what its authority revoked. Pure.

The broker knows a client by the common name of its certificate: a gateway's is its id, a full node's `node_user`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from master.contracts import membership, validator_records
from master.contracts.context import Reads
from master.contracts.member_state import certificates
from wire.topics import DOWN, UP, GatewayTopic, filter_of, host_topic, node_user

_HEADING: Final = (
    "# Written by gridwitness-node broker-files from the state of the ledger; changes by hand are lost.",
    "# Each gateway writes under its own topic alone; full nodes answer all of them.",
)
_HOSTS: Final = host_topic("x").removesuffix("x") + "+"


@dataclass(frozen=True, slots=True)
class BrokerList:
    """What one state says of the broker's clients."""

    gateways: int
    """That may use the broker."""
    nodes: int
    shut_out: tuple[str, ...]
    """Gateways that may not, by id: suspended, without a key, or named like a full node."""
    lines: tuple[str, ...]
    """Of Mosquitto's acl_file."""
    revoked: dict[bytes, bool]
    """Certificates, framed like DER, that count no more; True when one is held back by a suspension."""


def broker_list(state: Reads, time_ms: int) -> BrokerList:
    """Return who may use the broker after a block (docs/spec, clauses MQ-7 and MQ-8).

    Args:
        state: After the block.
        time_ms: Its block time. It ends suspensions; nothing else here has a date.
    """
    members = [record.member for record in validator_records.records(state)]
    users = {node_user(member) for member in members}
    lines, count, shut_out = list(_HEADING), 0, []
    for gateway, station in membership.gateways(state):
        if gateway.id in users or not _may_report(state, gateway.id, time_ms):
            shut_out.append(gateway.id)
            continue
        count += 1
        topics = {kind: GatewayTopic(station.area, station.id, gateway.id, kind) for kind in (*UP, DOWN)}
        lines += ["", f"user {gateway.id}", *(f"topic write {topics[kind]}" for kind in UP)]
        lines += [f"topic read {topics[DOWN]}", f"topic read {_HOSTS}"]
    for member in members:
        lines += ["", f"user {node_user(member)}", *(f"topic read {filter_of(kind)}" for kind in UP)]
        lines += [f"topic write {filter_of(DOWN)}", f"topic write {host_topic(member)}", f"topic read {_HOSTS}"]
    return BrokerList(count, len(members), tuple(shut_out), tuple(lines), dict(_revoked(state, time_ms)))


def _may_report(state: Reads, gateway: str, time_ms: int) -> bool:
    has_key = next(iter(membership.keys_of(state, gateway)), None) is not None
    return has_key and not membership.is_suspended(state, gateway, time_ms)


def _revoked(state: Reads, time_ms: int) -> Iterator[tuple[bytes, bool]]:
    for found in certificates(state):
        if found.revoked_height is not None:
            yield found.certificate, False
        elif _is_held(state, found.account, time_ms):
            yield found.certificate, True


def _is_held(state: Reads, account: str, time_ms: int) -> bool:
    """Tell whether an account is suspended, or its organisation is and it is an operator of it."""
    owner = membership.operator(state, account)
    accounts = (account,) if owner is None else (account, owner)
    return any(membership.is_suspended(state, name, time_ms) for name in accounts)
