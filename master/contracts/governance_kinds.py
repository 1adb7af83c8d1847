"""What can be proposed: who checks it, who decides it, and with which share. A new kind is one line in `KINDS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from master.contracts import membership, validator_records
from master.contracts.context import EVENT_SUBJECT_CHARACTERS_MAX, Context, Reads
from master.contracts.corrections import CORRECTION, check_correction, decode_wanted
from master.contracts.member_keys import KEY_RECOVERY, check_recovery
from master.contracts.membership_decisions import PARAMETERS, UPGRADE, check_upgrade, check_values, decode_upgrade
from master.contracts.parameters import weight_parameter
from master.contracts.references_policy import ENDORSEMENT_POLICY, check_policy_change, policy_subject
from wire.cbor import Value
from wire.genesis import ROLES

VOTERS_MAX: Final = 4096
"""Organisations that can have a say in one decision; further ones, by role and name, have none."""

Body = Mapping[str, Value]
Electorate = Callable[[Reads], dict[str, int]]
"""Whose votes decide: organisation -> weight of its vote, 1 or more. A suspended one has no vote and weighs as before:
else whoever suspends the others would decide alone."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of proposal."""

    check: Callable[[Context, Body], None]
    """Refuses a body that could not be carried out now; asked when it is proposed and again when it is decided."""
    electorate: Electorate
    percent: str
    """Parameter with the share of all weights that must be in favour."""
    subject: Callable[[Body], str]
    """What it is about, in a few words; of a checked body."""


def by_role(state: Reads) -> dict[str, int]:
    """Return the organisations whose role has a weight."""
    found: dict[str, int] = {}
    for role in ROLES:
        weight = membership.integer_parameter(state, weight_parameter(role))
        if weight:
            names = membership.members_of_role(state, role)
            found.update(dict.fromkeys(islice(names, VOTERS_MAX - len(found)), weight))
    return found


def by_data_centre(state: Reads) -> dict[str, int]:
    """Return the data centres, which are the organisations that run a validator, one vote each."""
    return {record.member: 1 for record in validator_records.records(state)}


def _names_of_values(body: Body) -> str:
    values = body["values"]
    assert isinstance(values, dict)
    return ", ".join(sorted(values))


def _names_of_code(body: Body) -> str:
    return ", ".join(f"{entry.name} {entry.version}" for entry in decode_upgrade(dict(body)).code)


def _name_of_target(body: Body) -> str:
    target = decode_wanted(dict(body)).target
    return target.tx.hex() if target.tx is not None else f"{target.namespace} {(target.key or b'').hex()}"


def _name_of_organisation(body: Body) -> str:
    return str(body["organisation"])


KINDS: Final[Mapping[str, Kind]] = {
    PARAMETERS: Kind(check_values, by_role, "parameters_votes_percent", _names_of_values),
    UPGRADE: Kind(check_upgrade, by_role, "upgrade_votes_percent", _names_of_code),
    ENDORSEMENT_POLICY: Kind(check_policy_change, by_role, "policy_votes_percent", policy_subject),
    CORRECTION: Kind(check_correction, by_data_centre, "correction_votes_percent", _name_of_target),
    KEY_RECOVERY: Kind(check_recovery, by_data_centre, "recovery_votes_percent", _name_of_organisation),
}


def subject_of(kind: str, body: Body) -> str:
    """Return what a checked proposal is about, at most 256 characters."""
    return KINDS[kind].subject(body)[:EVENT_SUBJECT_CHARACTERS_MAX]
