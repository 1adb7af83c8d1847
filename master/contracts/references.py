"""Contract `references`, version 1: releases, who stands behind them, and which value is effective for what.

A manufacturer submits, a laboratory tests, others endorse; once the policy of the release is fulfilled it counts, at
once or from the block or time that it names, until a newer one takes its place or it is revoked. What is kept stands
in `master.contracts.references_records`, policies in `references_policy`, effects in `references_effect`; what others
look up is in `references_lookup`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from master.contracts import membership
from master.contracts.context import (
    EVENT_SUBJECT_CHARACTERS_MAX,
    OK,
    Context,
    Contract,
    Reads,
    Refused,
    bytes_argument,
    check_arguments,
    digest_argument,
)
from master.contracts.parameters import BLOCKS_AHEAD_MAX, TIME_AHEAD_MS_MAX
from master.contracts.references_effect import (
    TOOK_EFFECT,
    WAS_REVOKED,
    Told,
    add_claims,
    approve,
    check_rivals,
    conflicts,
    drop_claims,
    is_crowded,
    open_block,
    release_value,
    revoke,
    tell,
    tell_untold,
    unschedule,
)
from master.contracts.references_policy import (
    ENDORSEMENT_POLICY,
    MANUFACTURER,
    Jury,
    decode_policy_change,
    missing_of,
    missing_value,
    policies_of,
    standing,
)
from master.contracts.references_records import (
    APPROVED,
    ENDORSEMENTS_MAX,
    FAIL,
    FAILED,
    NAMESPACE,
    PASS,
    PENDING,
    REVOKED,
    TESTS_MAX,
    Endorsement,
    Record,
    Revocation,
    Test,
    put_record,
    read_record,
)
from wire.cbor import Value
from wire.errors import WireError
from wire.fields import Fields
from wire.receipt import Event
from wire.release import Release, decode_release
from wire.types import Digest, sha256

__all__ = ["EFFECTIVE", "NAME", "REFERENCES", "REVOKED_EVENT", "release"]

NAME: Final = NAMESPACE
EFFECTIVE: Final = TOOK_EFFECT
REVOKED_EVENT: Final = WAS_REVOKED
CONFLICTING: Final = "conflicting-release"
_LABORATORY: Final = "laboratory"
_REGULATOR: Final = "regulator"


def submit(context: Context, args: dict[str, Value]) -> str:
    """Take a release from its manufacturer, who thereby stands behind it.

    Args:
        context: The sender must be the release's manufacturer.
        args: ``release``: canonical bytes of `wire.release.Release`.

    Returns:
        ok, or conflicting-release: others of the sender wait for one of its slots, and no dates tell which comes later.
        The event release_conflict names them.

    Raises:
        Refused: bad-args, bad-release, wrong-manufacturer, wrong-role, too-far: its date, unknown-device,
            unknown-model, already-submitted, name-taken, or too-many-waiting: as many of the sender as may be wait for
            one of its slots. Where nobody else is due, see `_endorse`.
    """
    tell_untold(context)
    check_arguments(args, ("release",))
    raw = bytes_argument(args, "release")
    try:
        release = decode_release(raw)
    except WireError as error:
        raise Refused("bad-release") from error
    if release.manufacturer != context.sender:
        raise Refused("wrong-manufacturer")
    if _role(context) != MANUFACTURER:
        raise Refused("wrong-role")
    _check_date(context, release)
    _check_target(context, release)
    digest = sha256(raw)
    name = f"name/{release.manufacturer}/{release.release}".encode("ascii")
    known = context.get(name)
    if known is not None:
        raise Refused("already-submitted" if known == digest else "name-taken")
    others = conflicts(context, release)
    if others:
        context.emit("release_conflict", digest.hex(), {"digest": digest, "with": _named(context, others)})
        return CONFLICTING
    if is_crowded(context, release):
        raise Refused("too-many-waiting")
    context.put(name, digest)
    policies: tuple[Value, ...] = tuple(
        {"kinds": list(kinds), **policy.to_value()} for kinds, policy in policies_of(context, release)
    )
    kinds = tuple(artefact.kind for artefact in release.artefacts)
    owned_since_ms = max(0, context.time_ms - membership.integer_parameter(context, "former_owner_ms"))
    record = Record(raw, PENDING, policies, owned_since_ms, claims=kinds)
    jury = Jury(context, record)
    add_claims(context, record)
    told: dict[str, Value] = {
        **release_value(release),
        "policies": list(policies),
        "missing": missing_value(missing_of(jury, record)),
    }
    tell(context, [Told("release_submitted", digest, told)])
    if standing(jury, record, context.sender, MANUFACTURER) is None:
        _endorse(context, jury, record, MANUFACTURER, None)
    else:
        put_record(context, record)
    return OK


def test(context: Context, args: dict[str, Value]) -> str:
    """Record what the sender's laboratory found: a pass is its endorsement, a failure ends the release.

    Args:
        context: The sender must be a laboratory that a policy of the release lets count.
        args: ``release``: digest of the release; ``report``: digest of the test report; ``verdict``: pass or fail.

    Raises:
        Refused: bad-args, wrong-role, unknown-release, release-failed, release-revoked, excluded, already-endorsed: the
            laboratory passed it before; already-effective: it can no longer fail, it can be revoked;
            too-many-endorsements; and see `_endorse`.
    """
    tell_untold(context)
    check_arguments(args, ("release", "report", "verdict"))
    digest, report, verdict = digest_argument(args, "release"), digest_argument(args, "report"), args["verdict"]
    if verdict not in (PASS, FAIL):
        raise Refused("bad-args")
    if _role(context) != _LABORATORY:
        raise Refused("wrong-role")
    record = _open_record(context, digest)
    jury = Jury(context, record)
    reason = standing(jury, record, context.sender, _LABORATORY)
    if reason is not None:
        raise Refused(reason)
    if verdict == PASS and _stands_behind(record, context.sender):
        raise Refused("already-endorsed")
    if verdict == FAIL and record.status not in (PENDING, APPROVED):
        raise Refused("already-effective")
    if len(record.tests) >= TESTS_MAX:
        raise Refused("too-many-endorsements")
    found = Test(context.sender, report, str(verdict), context.height)
    tested = replace(record, tests=(*record.tests, found))
    data: dict[str, Value] = {"organisation": context.sender, "report": report, "verdict": verdict}
    tell(context, [Told("release_tested", digest, data)])
    if verdict == FAIL:
        unschedule(context, record)
        put_record(context, replace(drop_claims(context, tested, tested.claims), status=FAILED))
    else:
        _endorse(context, jury, tested, _LABORATORY, report)
    return OK


def endorse(context: Context, args: dict[str, Value]) -> str:
    """Put the sender's organisation behind a release.

    Args:
        context: The sender must be an organisation whose role a policy of the release names; a manufacturer stands
            behind its own release by submitting it, a laboratory by testing it.
        args: ``release``: digest of the release; ``report``: digest of the report of a passed test that the sender
            knew, or null.

    Raises:
        Refused: bad-args, wrong-role, unknown-release, release-failed, release-revoked, already-endorsed,
            wrong-manufacturer, test-due, excluded, unknown-report; and see `_endorse`.
    """
    tell_untold(context)
    check_arguments(args, ("release", "report"))
    digest = digest_argument(args, "release")
    report = None if args["report"] is None else digest_argument(args, "report")
    role = _role(context)
    if role == "":
        raise Refused("wrong-role")
    record = _open_record(context, digest)
    if _stands_behind(record, context.sender):
        raise Refused("already-endorsed")
    if role == MANUFACTURER:
        raise Refused("wrong-manufacturer")
    jury = Jury(context, record)
    reason = standing(jury, record, context.sender, role)
    if reason is not None:
        raise Refused(reason)
    if role == _LABORATORY:
        raise Refused("test-due")
    if report is not None and not any(found.report == report and found.verdict == PASS for found in record.tests):
        raise Refused("unknown-report")
    _endorse(context, jury, record, role, report)
    return OK


def revoke_release(context: Context, args: dict[str, Value]) -> str:
    """Take a release back for good, with a reason: devices that hold its files are told apart from then on.

    Args:
        context: The sender must be the release's manufacturer, a laboratory that tested it, or a regulator.
        args: ``release``: digest of the release; ``reason``: 1..256 characters.

    Raises:
        Refused: bad-args, wrong-role, unknown-release, release-failed or release-revoked.
    """
    tell_untold(context)
    check_arguments(args, ("release", "reason"))
    digest = digest_argument(args, "release")
    try:
        reason = Fields(args, ("release", "reason"), "revoke").text("reason", characters_min=1)
    except WireError as error:
        raise Refused("bad-args") from error
    role = _role(context)
    if role not in (_LABORATORY, MANUFACTURER, _REGULATOR):
        raise Refused("wrong-role")
    record = _open_record(context, digest)
    concerned = {record.release().manufacturer, *(found.organisation for found in record.tests)}
    if role != _REGULATOR and context.sender not in concerned:
        raise Refused("wrong-role")
    tell(context, revoke(context, record, Revocation(context.sender, role, reason, context.height)))
    return OK


def follow_proposal(context: Context, event: Event) -> None:
    """Write the policy that an accepted proposal is about; it was checked in the same call."""
    if event.data["kind"] != ENDORSEMENT_POLICY:
        return
    change = decode_policy_change(event.data["body"])
    if change.policy is None:
        context.delete(change.key)
    else:
        context.put(change.key, change.policy.to_value())
    data: dict[str, Value] = {
        "device": change.device,
        "model": change.model,
        "kind": change.kind,
        "policy": None if change.policy is None else change.policy.to_value(),
        "proposal": event.data["proposal"],
    }
    context.emit("policy_changed", change.subject[:EVENT_SUBJECT_CHARACTERS_MAX], data)


def follow_report(context: Context, _event: Event) -> None:
    """Tell what the openings of blocks brought into effect, with the next report that is accepted."""
    tell_untold(context)


# ---- what other contracts read -----------------------------------------------------------------


def release(state: Reads, digest: Digest) -> Release | None:
    """Return a release that was submitted, whatever became of it."""
    record = read_record(state, digest)
    return None if record is None else record.release()


def ended(state: Reads, digest: Digest) -> str | None:
    """Return `FAILED` or `REVOKED` of a release that has ended so and never counts again; else None."""
    record = read_record(state, digest)
    return record.status if record is not None and record.status in (FAILED, REVOKED) else None


# ---- parts of the calls ------------------------------------------------------------------------


def _role(context: Context) -> str:
    """Return the role of the sender; a gateway and an operator have none."""
    return membership.role(context, context.sender) or ""


def _open_record(context: Context, digest: Digest) -> Record:
    """Return a release that has not ended.

    Raises:
        Refused: unknown-release, release-failed or release-revoked.
    """
    record = read_record(context, digest)
    if record is None:
        raise Refused("unknown-release")
    if record.status in (FAILED, REVOKED):
        raise Refused(f"release-{record.status}")
    return record


def _stands_behind(record: Record, organisation: str) -> bool:
    return any(entry.organisation == organisation for entry in record.endorsements)


def _check_date(context: Context, release: Release) -> None:
    """Refuse a date too far ahead: an approved release of one would be in others' way for as long."""
    start = release.effective_from
    latest = (context.height + BLOCKS_AHEAD_MAX, context.time_ms + TIME_AHEAD_MS_MAX)
    if start is not None and ((start.height or 0) > latest[0] or (start.time_ms or 0) > latest[1]):
        raise Refused("too-far")


def _check_target(context: Context, release: Release) -> None:
    if release.device is not None:
        if membership.device(context, release.device) is None:
            raise Refused("unknown-device")
        return
    assert release.model is not None
    if next(membership.devices_of_model(context, release.model), None) is None:
        raise Refused("unknown-model")


def _named(context: Context, others: dict[Digest, list[str]]) -> list[Value]:
    """Return what people need to know of releases that another one is in conflict with."""
    named: list[Value] = []
    for digest in sorted(others):
        record = read_record(context, digest)
        assert record is not None
        release = record.release()
        named.append(
            {
                "digest": digest,
                "release": release.release,
                "manufacturer": release.manufacturer,
                "kinds": list(others[digest]),
            }
        )
    return named


def _endorse(context: Context, jury: Jury, record: Record, role: str, report: Digest | None) -> None:
    """Add the sender to those behind a release, and let it count once nobody is missing.

    Raises:
        Refused: too-many-endorsements; conflicting-release: nobody is missing, and another approved release waits for
            one of its slots, and no dates tell which comes later; too-many-waiting: so many do.
    """
    if len(record.endorsements) >= ENDORSEMENTS_MAX:
        raise Refused("too-many-endorsements")
    entry = Endorsement(context.sender, role, context.height, report)
    endorsed = replace(record, endorsements=(*record.endorsements, entry))
    missing = missing_of(jury, endorsed)
    is_approved = endorsed.status == PENDING and not missing
    if is_approved:
        check_rivals(context, endorsed)
    data: dict[str, Value] = {
        "organisation": context.sender,
        "role": role,
        "report": report,
        "missing": missing_value(missing),
    }
    tell(context, [Told("release_endorsed", record.digest, data)])
    put_record(context, endorsed)
    if is_approved:
        tell(context, approve(context, endorsed))


REFERENCES: Final = Contract(
    name=NAME,
    version=1,
    methods={"submit": submit, "test": test, "endorse": endorse, "revoke": revoke_release},
    reactions={
        ("consistency", "report_accepted"): follow_report,
        ("governance", "proposal_accepted"): follow_proposal,
    },
    modules=(
        "master.contracts.references",
        "master.contracts.references_effect",
        "master.contracts.references_policy",
        "master.contracts.references_records",
        "rules.appraisal",
        "rules.difference",
    ),
    opening=open_block,
)
