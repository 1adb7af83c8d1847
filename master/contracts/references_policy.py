"""Endorsement policies: how many of which roles must stand behind a release, and who is too close to it to count.

A policy is data of the ledger. The one that is about most goes first: that of a target and kind, of a target, of a
kind, of all. A device's target comes before its model's. Where none was set, the parameters endorser_roles and
endorser_excluded make one (docs/spec, clauses RF-3 to RF-5).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from master.contracts import member_owners, membership
from master.contracts.context import Context, Reads, Refused
from master.contracts.parameters import OWNER_OF_DEVICE, RELATIONS, SAME_ORGANISATION, UNDER_JURISDICTION
from master.contracts.references_records import (
    NAMESPACE,
    Endorsement,
    Record,
    device_target,
    model_target,
)
from wire.cbor import Value
from wire.errors import FormatError
from wire.evidence import KINDS
from wire.fields import Fields
from wire.genesis import ROLES
from wire.release import Release
from wire.types import check_ascending

ENDORSEMENT_POLICY: Final = "endorsement-policy"
"""Kind of proposals that change a policy."""
MANUFACTURER: Final = "manufacturer"
COUNT_MAX: Final = 16
"""Organisations of one role that a policy may ask for."""
DUE_MAX: Final = 64
"""Organisations that a policy may ask for in all."""
_POLICY: Final = ("roles", "endorsements_due", "excluded")
_BODY: Final = ("target", "kind", "policy")


@dataclass(frozen=True, slots=True)
class Policy:
    """Who must stand behind a release: k of n, with a least number of each role."""

    roles: tuple[tuple[str, int], ...]
    """(role, least number of its organisations), sorted: 0 for a role that may endorse and need not."""
    endorsements_due: int
    """Organisations of these roles that are due in all, at least the sum of the least numbers, 1..64."""
    excluded: tuple[str, ...]
    """Relations to a release in which a party does not count, of `RELATIONS`, sorted."""

    def to_value(self) -> dict[str, Value]:
        """Return the policy as a CBOR map."""
        return {
            "roles": [{"role": role, "count": count} for role, count in self.roles],
            "endorsements_due": self.endorsements_due,
            "excluded": list(self.excluded),
        }


def decode_policy(value: object) -> Policy:
    """Read a policy.

    Raises:
        FormatError: A field is missing, unknown or out of range, or nobody could ever fulfil it.
    """
    fields = Fields(value, _POLICY, "policy")
    roles = []
    for entry in fields.sequence("roles", len(ROLES)):
        row = Fields(entry, ("role", "count"), "policy.roles")
        roles.append((row.choice("role", ROLES), row.integer("count", 0, COUNT_MAX)))
    check_ascending((role for role, _ in roles), "policy.roles")
    excluded = tuple(str(entry) for entry in fields.sequence("excluded", len(RELATIONS)))
    check_ascending(excluded, "policy.excluded")
    if not set(excluded) <= set(RELATIONS):
        raise FormatError(f"policy.excluded: of {', '.join(RELATIONS)} are due")
    due = fields.integer("endorsements_due", 1, DUE_MAX)
    least = sum(count for _, count in roles)
    if due < least:
        raise FormatError(f"policy.endorsements_due: the roles alone ask for {least}")
    # of all manufacturers, only the one who submitted the release stands behind it
    makers = dict(roles).get(MANUFACTURER, 0)
    if makers > (0 if SAME_ORGANISATION in excluded else 1):
        raise FormatError("policy.roles: the release's own manufacturer is the only one who may endorse it")
    if not any(role != MANUFACTURER for role, _ in roles) and due > makers:
        raise FormatError("policy.roles: nobody could fulfil it")
    return Policy(tuple(roles), due, excluded)


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """What an accepted proposal does to the policies."""

    device: str | None
    model: str | None
    """Set when it is about one device or model; None with ``device`` for all."""
    kind: str | None
    """Artefact kind, None for all."""
    policy: Policy | None
    """None: the entry is removed, and what is about more goes for it."""

    @property
    def key(self) -> bytes:
        """Key of the state entry."""
        target = b""
        if self.device is not None:
            target = device_target(self.device)
        elif self.model is not None:
            target = model_target(self.model)
        return policy_key(target, self.kind or "")

    @property
    def subject(self) -> str:
        """What it is about, for people."""
        target = "all devices"
        if self.device is not None:
            target = f"device {self.device}"
        elif self.model is not None:
            target = f"model {self.model}"
        return f"{self.kind or 'all kinds'} of {target}"


def decode_policy_change(body: object) -> PolicyChange:
    """Read the body of a proposal: ``target`` {device, model} or null, ``kind`` or null, ``policy`` or null.

    Raises:
        FormatError: It is something else.
    """
    fields = Fields(body, _BODY, "endorsement policy")
    device = model = None
    if not fields.is_null("target"):
        row = Fields(fields.raw("target"), ("device", "model"), "endorsement policy.target")
        if row.is_null("device") == row.is_null("model"):
            raise FormatError("endorsement policy.target: either a device or a model is due")
        if row.is_null("device"):
            model = row.text("model", characters_min=1)
        else:
            device = row.identifier("device")
    kind = None if fields.is_null("kind") else fields.choice("kind", KINDS)
    policy = None if fields.is_null("policy") else decode_policy(fields.raw("policy"))
    return PolicyChange(device, model, kind, policy)


def check_policy_change(_context: Context, body: Mapping[str, Value]) -> None:
    """Refuse the body of a proposal that is no change of a policy.

    Raises:
        Refused: bad-body.
    """
    try:
        decode_policy_change(dict(body))
    except FormatError:
        raise Refused("bad-body") from None


def policy_subject(body: Mapping[str, Value]) -> str:
    """Return what a checked change of a policy is about, for people."""
    return decode_policy_change(dict(body)).subject


def policy_key(target: bytes, kind: str) -> bytes:
    """Return the key of the state entry of a policy; an empty target or kind stands for all."""
    return b"policy/" + target + b"/" + kind.encode("ascii")


def default_policy(state: Reads) -> Policy:
    """Return the policy that the parameters make."""
    roles, excluded = membership.endorser_roles(state), membership.endorser_excluded(state)
    counts = tuple((role, 0 if role == MANUFACTURER and SAME_ORGANISATION in excluded else 1) for role in roles)
    return Policy(counts, max(1, sum(count for _, count in counts)), excluded)


def policies_of(state: Reads, release: Release) -> tuple[tuple[tuple[str, ...], Policy], ...]:
    """Return (artefact kinds, the policy that they are under) of a release, in the order of its artefacts."""
    found: dict[Policy, list[str]] = {}
    for artefact in release.artefacts:
        found.setdefault(_policy_of(state, release, artefact.kind), []).append(artefact.kind)
    return tuple((tuple(kinds), policy) for policy, kinds in found.items())


def _policy_of(state: Reads, release: Release, kind: str) -> Policy:
    entries = state.namespace(NAMESPACE)
    for key in _keys(state, release, kind):
        value = entries.get(key)
        if value is not None:
            return decode_policy(value)
    return default_policy(state)


def _keys(state: Reads, release: Release, kind: str) -> Iterator[bytes]:
    targets = []
    model = release.model
    if release.device is not None:
        targets.append(device_target(release.device))
        device = membership.device(state, release.device)
        model = None if device is None else device.model
    if model is not None:
        targets.append(model_target(model))
    for target in targets:
        yield policy_key(target, kind)
        yield policy_key(target, "")
    yield policy_key(b"", kind)
    yield policy_key(b"", "")


class Jury:
    """Tells who counts for one release, by what the ledger says of members and devices now.

    Who gave up a device not long before the release was submitted, or since, stays its owner here: else a device could
    be handed over for the time of the vote, and its owner judge what is its own.

    Args:
        state: For membership's read functions.
        record: Of the release that is judged.
    """

    __slots__ = ("_release", "_since_ms", "_state")

    def __init__(self, state: Reads, record: Record) -> None:
        self._state = state
        self._release = record.release()
        self._since_ms = record.owned_since_ms

    def relation(self, policy: Policy, organisation: str) -> str | None:
        """Return the relation for which a policy excludes an organisation, None when it may count."""
        return next((name for name in policy.excluded if self._is_related(name, organisation)), None)

    def missing(self, policy: Policy, endorsements: Sequence[Endorsement]) -> dict[str | None, int]:
        """Return how many organisations are missing by role; under None, how many of any of the policy's roles."""
        asked = dict(policy.roles)
        present: Counter[str] = Counter()
        for entry in endorsements:
            if entry.role in asked and self.counts(policy, entry):
                present[entry.role] += 1
        missing: dict[str | None, int] = {
            role: count - present[role] for role, count in policy.roles if present[role] < count
        }
        rest = policy.endorsements_due - present.total() - sum(missing.values())
        return {**missing, None: rest} if rest > 0 else missing

    def counts(self, policy: Policy, entry: Endorsement) -> bool:
        """Tell whether an endorsement counts: its organisation still has its role, and no excluded relation."""
        is_member = membership.role(self._state, entry.organisation) == entry.role
        return is_member and self.relation(policy, entry.organisation) is None

    def _is_related(self, relation: str, organisation: str) -> bool:
        if relation == SAME_ORGANISATION:
            return organisation == self._release.manufacturer
        if relation == OWNER_OF_DEVICE:
            return self._is_owner(organisation)
        assert relation == UNDER_JURISDICTION
        return any(map(self._is_owner, membership.agencies_above(self._state, organisation)))

    def _is_owner(self, organisation: str) -> bool:
        """Tell whether an organisation owns a device that the release is for, or gave one up not long ago."""
        device = self._release.device
        if device is None:
            model = str(self._release.model)
            return member_owners.owns_model(self._state, model, organisation, self._since_ms)
        is_now = membership.organisation_of_device(self._state, device) == organisation
        return is_now or member_owners.has_left(self._state, device, organisation, self._since_ms)


def standing(jury: Jury, record: Record, organisation: str, role: str) -> str | None:
    """Return why an organisation cannot stand behind a release, None when it can.

    Returns:
        wrong-role when no policy of the release has the role; excluded when those that have it exclude the party.
    """
    asking = [policy for _, policy in policies_in(record) if role in dict(policy.roles)]
    if not asking:
        return "wrong-role"
    return None if any(jury.relation(policy, organisation) is None for policy in asking) else "excluded"


def policies_in(record: Record) -> tuple[tuple[tuple[str, ...], Policy], ...]:
    """Return (artefact kinds, policy) as a release had them when it was submitted."""
    found = []
    for entry in record.policies:
        fields = Fields(entry, ("kinds", *_POLICY), "references.release.policies")
        kinds = tuple(str(kind) for kind in fields.sequence("kinds", len(KINDS)))
        found.append((kinds, decode_policy({name: fields.raw(name) for name in _POLICY})))
    return tuple(found)


def missing_of(jury: Jury, record: Record) -> dict[str | None, int]:
    """Return how many organisations are missing by role so that all policies of a release are fulfilled."""
    missing: dict[str | None, int] = {}
    for _, policy in policies_in(record):
        for role, count in jury.missing(policy, record.endorsements).items():
            missing[role] = max(count, missing.get(role, 0))
    return missing


def missing_value(missing: Mapping[str | None, int]) -> list[Value]:
    """Return what is missing as a CBOR array, by role; a null role stands for any of the policy's."""
    return [{"role": role, "count": missing[role]} for role in sorted(missing, key=lambda role: role or "~")]
