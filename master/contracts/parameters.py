"""Parameters of the ledger, their defaults and ranges. On-chain data, set by the genesis file, changed by vote."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rules.severity import SEVERITIES
from wire.cbor import Value
from wire.errors import FormatError
from wire.genesis import ROLES

DAY_MS: Final = 86_400_000
TIME_AHEAD_MS_MAX: Final = 3653 * DAY_MS
"""How far ahead of block time a date may lie that nothing else bounds: ten years."""
BLOCKS_AHEAD_MAX: Final = 10_000_000
"""How far ahead a height may lie that nothing else bounds: at a block per second 115 days."""
VERSIONS_AHEAD_MAX: Final = 16
"""How many versions of a contract an upgrade may step over and bring, so that the numbers never run out at once."""


@dataclass(frozen=True, slots=True)
class IntegerParameter:
    """A whole number with its unit in the name of the parameter."""

    default: int
    low: int
    high: int


def weight_parameter(role: str) -> str:
    """Return the name of the parameter that holds the weight of a role."""
    return f"weight_{role.replace('-', '_')}"


_WEIGHTS: Final[Mapping[str, int]] = {
    "dispatch-centre": 4,
    "sub-centre": 2,
    "regulator": 2,
    "laboratory": 1,
    "manufacturer": 1,
    "grid-company": 1,
    "trading-centre": 1,
}
"""Roles whose organisations vote on proposals unless the ledger says otherwise."""

INTEGERS: Final[Mapping[str, IntegerParameter]] = {
    # widest distance between block time and a voter's clock
    "skew_ms": IntegerParameter(1000, 100, DAY_MS),
    # age of the last completed read at which a device counts as stale
    "stale_ms": IntegerParameter(1_800_000, 1000, 365 * DAY_MS),
    # how far ahead of block time valid_until_ms may lie
    # at least what gateways sign with, so that no vote cuts them off
    "tx_valid_ms_max": IntegerParameter(7 * DAY_MS, 900_000, 365 * DAY_MS),
    "block_bytes_max": IntegerParameter(1_048_576, 65_536, 4_194_304),
    "block_interval_ms": IntegerParameter(20, 0, 60_000),
    "heartbeat_ms": IntegerParameter(30_000, 100, 3_600_000),
    # after how many blocks nodes write a snapshot of the state
    "snapshot_blocks": IntegerParameter(1000, 8, 1_000_000),
    # devices of a model that are appraised anew in the transaction that makes a release effective or revokes it
    "reappraise_devices_max": IntegerParameter(256, 1, 1024),
    # accepted evidence per gateway that the ledger remembers to tell a repeat from a conflict
    "evidence_window": IntegerParameter(4096, 16, 65_536),
    # share of the validators' organisations that must be in favour of a change of validators, rounded up
    "validator_votes_percent": IntegerParameter(67, 51, 100),
    # how far ahead of block time the deadline of such a change may lie
    "validator_deadline_ms_max": IntegerParameter(30 * DAY_MS, 60_000, 365 * DAY_MS),
    # how long an organisation proposes none after one of its own failed, so that it cannot keep others from proposing
    "validator_wait_ms": IntegerParameter(DAY_MS, 0, 365 * DAY_MS),
    # longest time that one work order may be open, and how far ahead of block time it may end
    "work_window_ms_max": IntegerParameter(30 * DAY_MS, 60_000, 365 * DAY_MS),
    "work_ahead_ms_max": IntegerParameter(120 * DAY_MS, 60_000, 730 * DAY_MS),
    # shortest time between two read orders to one gateway, and how far ahead the deadline of one may lie
    "inspect_interval_ms": IntegerParameter(10_000, 0, DAY_MS),
    "inspect_deadline_ms_max": IntegerParameter(DAY_MS, 1000, 30 * DAY_MS),
    # how old, in blocks, the state may be that a joiner shows; and how long who left may still follow
    "ready_blocks_max": IntegerParameter(100, 2, 1000),
    # how far ahead of block time the end of an alarm's shelf may lie
    "alarm_shelf_ms_max": IntegerParameter(7 * DAY_MS, 60_000, 365 * DAY_MS),
    # alarms of one cause and area belong together that open at most so long after the first of them
    "alarm_flood_ms": IntegerParameter(600_000, 1000, DAY_MS),
    # from so many on, such a group is called a flood
    "alarm_flood_alarms": IntegerParameter(10, 2, 1000),
    # days after which a device must have been verified anew; NERC CIP-010 asks for 35
    "baseline_days_max": IntegerParameter(35, 1, 3650),
    # share of all weights (of the data centres, for corrections) that must be in favour of a proposal, rounded up
    "parameters_votes_percent": IntegerParameter(67, 51, 100),
    "upgrade_votes_percent": IntegerParameter(67, 51, 100),
    "correction_votes_percent": IntegerParameter(67, 51, 100),
    "policy_votes_percent": IntegerParameter(67, 51, 100),
    # how long before a release is submitted who gave up a device that it is for still counts as its owner
    "former_owner_ms": IntegerParameter(90 * DAY_MS, 0, 3650 * DAY_MS),
    # how far ahead of block time the deadline of a proposal may lie
    "proposal_deadline_ms_max": IntegerParameter(30 * DAY_MS, 60_000, 365 * DAY_MS),
    # proposals that may be open at a time, of one organisation and in all
    "proposals_each_max": IntegerParameter(4, 1, 16),
    "proposals_open_max": IntegerParameter(64, 1, 256),
    # how many blocks there must be between the vote that decides an upgrade and the block from which it runs
    "upgrade_blocks_min": IntegerParameter(10, 2, 1_000_000),
    # weight of the vote of an organisation by its role; one role keeps some, or no vote could ever decide again
    **{
        weight_parameter(role): IntegerParameter(_WEIGHTS.get(role, 0), int(role == "dispatch-centre"), 1000)
        for role in ROLES
    },
    # bytes of new blobs that one organisation may bring to the ledger per UTC day of block time
    "blob_day_bytes_max": IntegerParameter(1_073_741_824, 0, 1_099_511_627_776),
    # applications for membership that may wait at a time, and for how long each
    "applications_max": IntegerParameter(256, 1, 4096),
    "application_wait_ms": IntegerParameter(90 * DAY_MS, 60_000, 3650 * DAY_MS),
    # how long a new key waits that takes the place of an organisation's lost ones, so that who lost none can object
    "key_recovery_wait_ms": IntegerParameter(3 * DAY_MS, 0, 90 * DAY_MS),
    # share of the data centres that must be in favour of such a key
    "recovery_votes_percent": IntegerParameter(67, 51, 100),
}
CLOCK_POLICIES: Final = ("bench", "synchronised")
"""bench: any clock will do. synchronised: evidence of a clock that is not graded so is alarmed as clock_untrusted."""
CLOCK_POLICY_DEFAULT: Final = "bench"
ENDORSER_ROLES_DEFAULT: Final = ("laboratory", "manufacturer", "regulator")
OWNER_OF_DEVICE: Final = "owner-of-device"
SAME_ORGANISATION: Final = "same-organisation"
UNDER_JURISDICTION: Final = "under-jurisdiction-of-target"
RELATIONS: Final = (OWNER_OF_DEVICE, SAME_ORGANISATION, UNDER_JURISDICTION)
"""Relations of a party to what a release is for, in which it may be kept from endorsing it."""
SUPER_ONLY_DEFAULT: Final = ("membership.admit",)
"""Calls, "contract.method", that organisations with the role dispatch-centre alone may make."""
SUPER_ONLY_MAX: Final = 64
VOTING: Final = ("governance.vote", "validators.vote")
"""Calls that nobody may keep for the super node: its vote alone decides nothing, so nothing would ever change again."""
_ACT: Final = re.compile(r"[a-z0-9-]{1,64}\.[a-z0-9-]{1,64}", re.ASCII)
ALARM_SEVERITIES_MAX: Final = 32
_SEVERITY_OF_CAUSE: Final = re.compile(rf"([a-z_]{{1,64}}) (?:{'|'.join(SEVERITIES)})", re.ASCII)


def defaults() -> dict[str, Value]:
    """Return every parameter with the value that it has while nobody sets it."""
    return {
        **{name: limits.default for name, limits in INTEGERS.items()},
        "clock_policy": CLOCK_POLICY_DEFAULT,
        "endorser_excluded": [],
        "endorser_roles": list(ENDORSER_ROLES_DEFAULT),
        "super_only": list(SUPER_ONLY_DEFAULT),
        "alarm_severities": [],
    }


def check_parameters(parameters: Mapping[str, Value]) -> None:
    """Refuse parameters that this software does not know or that are out of range.

    Raises:
        FormatError: Names the parameter and what is due.
    """
    for name in sorted(parameters):
        value = parameters[name]
        if name in INTEGERS:
            limits = INTEGERS[name]
            if type(value) is not int or not limits.low <= value <= limits.high:
                raise FormatError(f"parameter {name}: an integer {limits.low}..{limits.high} is due")
        elif name == "clock_policy":
            if value not in CLOCK_POLICIES:
                raise FormatError(f"parameter clock_policy: one of {', '.join(CLOCK_POLICIES)} is due")
        elif name == "endorser_roles":
            _check_roles(value)
        elif name == "endorser_excluded":
            _check_relations(value)
        elif name == "super_only":
            _check_acts(value)
        elif name == "alarm_severities":
            _check_severities(value)
        else:
            raise FormatError(f"parameter {name}: unknown")


def _check_roles(value: Value) -> None:
    if not isinstance(value, list | tuple) or any(role not in ROLES for role in value):
        raise FormatError("parameter endorser_roles: a list of roles is due")
    roles = [str(role) for role in value]
    if "manufacturer" not in roles or roles != sorted(set(roles)):
        raise FormatError("parameter endorser_roles: sorted, unique and with manufacturer, who submits")


def _check_relations(value: Value) -> None:
    if not isinstance(value, list | tuple) or any(name not in RELATIONS for name in value):
        raise FormatError(f"parameter endorser_excluded: a list of {', '.join(RELATIONS)} is due")
    names = [str(name) for name in value]
    if names != sorted(set(names)):
        raise FormatError("parameter endorser_excluded: sorted and unique")


def _check_acts(value: Value) -> None:
    if not isinstance(value, list | tuple) or len(value) > SUPER_ONLY_MAX:
        raise FormatError(f"parameter super_only: a list of at most {SUPER_ONLY_MAX} calls is due")
    acts = [str(act) for act in value]
    if not all(map(_ACT.fullmatch, acts)) or acts != sorted(set(acts)):
        raise FormatError("parameter super_only: calls such as membership.admit, sorted and unique, are due")
    if not set(VOTING).isdisjoint(acts):
        raise FormatError(f"parameter super_only: {' and '.join(VOTING)} are for all who have a vote")


def _check_severities(value: Value) -> None:
    if not isinstance(value, list | tuple) or len(value) > ALARM_SEVERITIES_MAX:
        raise FormatError(f"parameter alarm_severities: a list of at most {ALARM_SEVERITIES_MAX} texts is due")
    found = [_SEVERITY_OF_CAUSE.fullmatch(str(entry)) for entry in value]
    causes = [match[1] for match in found if match is not None]
    if len(causes) < len(value) or causes != sorted(set(causes)):
        raise FormatError("parameter alarm_severities: texts such as 'superseded high', a cause once, are due, sorted")
