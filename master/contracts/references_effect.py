"""How a release comes into effect, is superseded and revoked: what the contract `references` writes for it.

Nothing here waits for a clock. A release that counts from a later block or time stands in a list; the opening of the
first block that is not before it takes it from there. An opening tells no events, so they wait for the next accepted
report, or call of this contract (docs/spec, clauses RF-6 to RF-9).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from master.contracts.context import BlockContext, Context, Refused
from master.contracts.references_records import (
    APPROVED,
    CLAIMS_MAX,
    EFFECTIVE,
    REVOKED,
    SUPERSEDED,
    Record,
    Revocation,
    SlotValue,
    awaiting_key,
    claim_key,
    content_key,
    count_change,
    effective_from_value,
    put_record,
    read_record,
    read_slot,
    slot_key,
    target_of,
)
from wire.cbor import Value
from wire.fields import Fields
from wire.release import EffectiveFrom, Reference, Release
from wire.types import Digest

TOOK_EFFECT: Final = "release_effective"
WAS_REVOKED: Final = "release_revoked"
DUE_PER_BLOCK_MAX: Final = 16
"""Releases that one block brings into effect by their date; further ones wait for the next block."""
TOLD_PER_CALL_MAX: Final = 16
"""Events of openings that one call tells."""
_DUE: Final = b"due"
_DUE_HEIGHT: Final = b"due/h/"
_DUE_TIME: Final = b"due/t/"
_UNTOLD: Final = b"untold"
_COUNTER_BYTES: Final = 8
_CLAIM: Final = ("digest", "effective_from")


@dataclass(frozen=True, slots=True)
class Told:
    """An event that is to be told of a release."""

    type: str
    digest: Digest
    data: dict[str, Value]


def tell(context: Context, events: list[Told]) -> None:
    """Emit events."""
    for event in events:
        context.emit(event.type, event.digest.hex(), {"digest": event.digest, **event.data})


def tell_untold(context: Context) -> None:
    """Emit what the openings of blocks did, the oldest first. It costs one read while there is nothing."""
    count = context.get(_UNTOLD)
    if not isinstance(count, int):
        return
    taken = list(islice(context.scan(_UNTOLD + b"/"), TOLD_PER_CALL_MAX))
    for key, value in taken:
        fields = Fields(value, ("type", "digest", "data"), "references.untold")
        tell(context, [Told(fields.text("type"), fields.digest("digest"), fields.mapping("data"))])
        context.delete(key)
    if count > len(taken):
        context.put(_UNTOLD, count - len(taken))
    else:
        context.delete(_UNTOLD)


def release_value(release: Release) -> dict[str, Value]:
    """Return what events tell of a release."""
    return {
        "release": release.release,
        "manufacturer": release.manufacturer,
        "target": {"device": release.device, "model": release.model},
        "effective_from": effective_from_value(release.effective_from),
        "artefacts": [_artefact(artefact) for artefact in release.artefacts],
    }


# ---- claims ------------------------------------------------------------------------------------


def conflicts(context: BlockContext, release: Release) -> dict[Digest, list[str]]:
    """Return the artefact kinds by digest of each release of its manufacturer that waits for a slot of this one, too.

    Two may wait for one slot when their dates tell which of them is the later one. What others merely submitted is in
    nobody's way: else whoever comes first could keep the maker of a device out.
    """
    found: dict[Digest, list[str]] = {}
    for artefact in release.artefacts:
        for digest, start in _claims(context, _own(release, artefact.kind)):
            if not _have_order(release.effective_from, start):
                found.setdefault(digest, []).append(artefact.kind)
    return found


def is_crowded(context: BlockContext, release: Release) -> bool:
    """Tell whether as many releases of its manufacturer as may be wait for one of its slots."""
    return any(len(_claims(context, _own(release, artefact.kind))) >= CLAIMS_MAX for artefact in release.artefacts)


def check_rivals(context: BlockContext, record: Record) -> None:
    """Refuse to approve a release while another approved one waits for a slot of it and no dates tell which is later.

    Raises:
        Refused: conflicting-release; too-many-waiting: as many approved ones as may be wait for one of its slots.
    """
    release = record.release()
    for kind in record.claims:
        awaiting = _claims(context, awaiting_key(target_of(release), kind))
        if not all(_have_order(release.effective_from, start) for _, start in awaiting):
            raise Refused("conflicting-release")
        if len(awaiting) >= CLAIMS_MAX:
            raise Refused("too-many-waiting")


def add_claims(context: BlockContext, record: Record) -> None:
    """Let a release wait for the slots in its ``claims``."""
    for kind in record.claims:
        _add_claim(context, _own(record.release(), kind), record)


def drop_claims(context: BlockContext, record: Record, kinds: tuple[str, ...]) -> Record:
    """Let a release wait for these slots no longer; the result is not written."""
    release = record.release()
    for kind in kinds:
        keys = [_own(release, kind)]
        if record.status == APPROVED:
            keys.append(awaiting_key(target_of(release), kind))
        for key in keys:
            _put_claims(context, key, [claim for claim in _claims(context, key) if claim[0] != record.digest])
    return replace(record, claims=tuple(kind for kind in record.claims if kind not in kinds))


def _own(release: Release, kind: str) -> bytes:
    return claim_key(target_of(release), kind, release.manufacturer)


def _have_order(first: EffectiveFrom | None, second: EffectiveFrom | None) -> bool:
    return first is not None and first.is_comparable(second)


def _add_claim(context: BlockContext, key: bytes, record: Record) -> None:
    _put_claims(context, key, [*_claims(context, key), (record.digest, record.release().effective_from)])


def _claims(context: BlockContext, key: bytes) -> list[tuple[Digest, EffectiveFrom | None]]:
    value = context.get(key)
    entries = value if isinstance(value, list) else []
    rows = (Fields(entry, _CLAIM, "references.claim") for entry in entries)
    return [(row.digest("digest"), _effective_from(row.raw("effective_from"))) for row in rows]


def _put_claims(context: BlockContext, key: bytes, claims: list[tuple[Digest, EffectiveFrom | None]]) -> None:
    if not claims:
        context.delete(key)
        return
    context.put(key, [{"digest": digest, "effective_from": effective_from_value(start)} for digest, start in claims])


def _effective_from(value: Value) -> EffectiveFrom | None:
    if value is None:
        return None
    fields = Fields(value, ("height", "time_ms"), "references.effective_from")
    if fields.is_null("height"):
        return EffectiveFrom(None, fields.integer("time_ms"))
    return EffectiveFrom(fields.integer("height"), None)


# ---- coming into effect ------------------------------------------------------------------------


def approve(context: BlockContext, record: Record) -> list[Told]:
    """Let a release count that its policy allows: now, or from the block or time that it names."""
    start = record.release().effective_from
    if start is None or start.has_come(context.height, context.time_ms):
        return take_effect(context, record)
    put_record(context, replace(record, status=APPROVED))
    for kind in record.claims:
        _add_claim(context, awaiting_key(target_of(record.release()), kind), record)
    context.put(_due_key(start, record.digest), None)
    _note_next_due(context)
    return [Told("release_approved", record.digest, {"effective_from": effective_from_value(start)})]


def take_effect(context: BlockContext, record: Record) -> list[Told]:
    """Make a release's values those of the slots that it waits for."""
    release, digest = record.release(), record.digest
    target, kinds = target_of(release), record.claims
    references = {artefact.kind: artefact for artefact in release.artefacts}
    replaced: dict[Digest, list[str]] = {}
    is_changed = False
    for kind in kinds:
        before = read_slot(context, target, kind)
        if before is not None and not before.is_revoked:
            replaced.setdefault(before.digest, []).append(kind)
        is_changed |= before is None or before.is_revoked or before.sha256 != references[kind].sha256
        _put_value(context, target, digest, references[kind])
    if is_changed:
        count_change(context, target)
    overtaken = _overtaken(context, record)
    waiting = drop_claims(context, record, kinds)
    put_record(context, replace(waiting, status=EFFECTIVE, kinds=kinds, effective_height=context.height))
    emptied = [old for old in sorted(replaced) if _give_up(context, old, replaced[old])]
    emptied += [old for old in sorted(overtaken) if _stand_back(context, old, overtaken[old])]
    data: dict[str, Value] = {
        **release_value(release),
        "kinds": list(kinds),
        "effective_height": context.height,
        "replaces": [{"digest": old, "kinds": list(replaced[old])} for old in sorted(replaced)],
    }
    superseded = [Told("release_superseded", old, {"by": digest}) for old in emptied]
    return [Told(TOOK_EFFECT, digest, data), *superseded]


def _put_value(context: BlockContext, target: bytes, digest: Digest, artefact: Reference) -> None:
    value = SlotValue(digest, artefact.size, artefact.sha256, is_revoked=False)
    context.put(slot_key(target, artefact.kind), value.to_value())
    context.put(content_key(artefact.sha256, target, artefact.kind), digest)


def _give_up(context: BlockContext, digest: Digest, kinds: list[str]) -> bool:
    """Take kinds from an older release and tell whether it is effective for none any more."""
    record = read_record(context, digest)
    assert record is not None
    kept = tuple(kind for kind in record.kinds if kind not in kinds)
    put_record(context, replace(record, kinds=kept, status=record.status if kept else SUPERSEDED))
    return not kept


def _overtaken(context: BlockContext, record: Record) -> dict[Digest, list[str]]:
    """Return the kinds by digest of each release that waits for a slot with an earlier date than this one's.

    What other manufacturers merely submitted goes on waiting.
    """
    release = record.release()
    found: dict[Digest, list[str]] = {}
    for kind in record.claims:
        own = _claims(context, _own(release, kind))
        awaiting = _claims(context, awaiting_key(target_of(release), kind))
        for digest, start in dict([*own, *awaiting]).items():
            if digest != record.digest and _is_before(start, release.effective_from):
                found.setdefault(digest, []).append(kind)
    return found


def _is_before(first: EffectiveFrom | None, second: EffectiveFrom | None) -> bool:
    # a manufacturer's releases that wait for one slot, and all approved ones, have a height, or all have a time
    assert first is not None
    assert second is not None
    return (first.height or first.time_ms or 0) < (second.height or second.time_ms or 0)


def _stand_back(context: BlockContext, digest: Digest, kinds: list[str]) -> bool:
    """Let an overtaken release wait for these slots no longer and tell whether it waits for none any more."""
    record = read_record(context, digest)
    assert record is not None
    waiting = drop_claims(context, record, tuple(kinds))
    if waiting.claims:
        put_record(context, waiting)
        return False
    unschedule(context, record)
    put_record(context, replace(waiting, status=SUPERSEDED))
    return True


# ---- revoking ----------------------------------------------------------------------------------


def revoke(context: BlockContext, record: Record, revocation: Revocation) -> list[Told]:
    """Take a release back for good, whether it waits, is effective or was."""
    unschedule(context, record)
    release, was_effective = record.release(), record.effective_height is not None
    target = target_of(release)
    for kind in record.kinds:
        slot = read_slot(context, target, kind)
        assert slot is not None
        context.put(slot_key(target, kind), replace(slot, is_revoked=True).to_value())
    left = replace(drop_claims(context, record, record.claims), status=REVOKED, kinds=(), revocation=revocation)
    put_record(context, left)
    if was_effective:
        count_change(context, target)
    data: dict[str, Value] = {
        "release": release.release,
        "target": {"device": release.device, "model": release.model},
        "organisation": revocation.organisation,
        "role": revocation.role,
        "reason": revocation.reason,
    }
    return [Told(WAS_REVOKED if was_effective else "release_withdrawn", record.digest, data)]


# ---- dates -------------------------------------------------------------------------------------


def open_block(context: BlockContext, _state_root: Digest) -> None:
    """Bring into effect what counts from this block or time on. It costs one read while there is nothing."""
    value = context.get(_DUE)
    if value is None:
        return
    fields = Fields(value, ("height", "time_ms"), "references.due")
    if not any(
        not fields.is_null(name) and fields.integer(name) <= now
        for name, now in (("height", context.height), ("time_ms", context.time_ms))
    ):
        return
    told: list[Told] = []
    for digest in list(islice(_due_now(context), DUE_PER_BLOCK_MAX)):
        record = read_record(context, digest)
        assert record is not None
        unschedule(context, record)
        told += take_effect(context, record)
    for number, event in enumerate(told):
        key = b"/".join((_UNTOLD, context.height.to_bytes(_COUNTER_BYTES, "big"), number.to_bytes(2, "big")))
        context.put(key, {"type": event.type, "digest": event.digest, "data": event.data})
    known = context.get(_UNTOLD)
    context.put(_UNTOLD, len(told) + (known if isinstance(known, int) else 0))


def unschedule(context: BlockContext, record: Record) -> None:
    """Take an approved release from the list of those that wait for their date."""
    start = record.release().effective_from
    if record.status == APPROVED and start is not None:
        context.delete(_due_key(start, record.digest))
        _note_next_due(context)


def _due_now(context: BlockContext) -> Iterator[Digest]:
    for prefix, now in ((_DUE_HEIGHT, context.height), (_DUE_TIME, context.time_ms)):
        for key, _ in context.scan(prefix):
            if _counter_of(key, prefix) > now:
                break
            yield key[len(prefix) + _COUNTER_BYTES + 1 :]


def _note_next_due(context: BlockContext) -> None:
    """Keep the first height and the first time that a release waits for where one read finds them."""
    first: dict[str, Value] = {"height": None, "time_ms": None}
    for name, prefix in (("height", _DUE_HEIGHT), ("time_ms", _DUE_TIME)):
        for key, _ in islice(context.scan(prefix), 1):
            first[name] = _counter_of(key, prefix)
    if first["height"] is None and first["time_ms"] is None:
        context.delete(_DUE)
    else:
        context.put(_DUE, first)


def _due_key(start: EffectiveFrom, digest: Digest) -> bytes:
    prefix, counter = (_DUE_TIME, start.time_ms) if start.height is None else (_DUE_HEIGHT, start.height)
    assert counter is not None
    return prefix + counter.to_bytes(_COUNTER_BYTES, "big") + b"/" + digest


def _counter_of(key: bytes, prefix: bytes) -> int:
    return int.from_bytes(key[len(prefix) : len(prefix) + _COUNTER_BYTES], "big")


def _artefact(artefact: Reference) -> dict[str, Value]:
    names = ("kind", "name", "version", "size", "sha256", "chunk_root")
    return {name: getattr(artefact, name) for name in names}
