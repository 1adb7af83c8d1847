"""What others look up in the contract `references`: which values count for a device, and whose some content is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

from master.contracts.context import Reads
from master.contracts.references_records import (
    NAMESPACE,
    Record,
    changes,
    content_key,
    device_target,
    model_target,
    read_record,
    read_slot,
    target_text,
)
from rules.appraisal import Owner, Slot
from wire.evidence import KINDS
from wire.types import Digest

_NONE: Final[Mapping[str, Slot]] = {}


class KnownValues:
    """Reference values as one call sees them, which changes none: what devices have in common is read once.

    Args:
        state: Of the call.
    """

    def __init__(self, state: Reads) -> None:
        self._state = state
        self._models: dict[str, bytes] = {}
        self._changes: dict[bytes, int] = {}
        self._slots: dict[bytes, Mapping[str, Slot]] = {}
        self._records: dict[Digest, tuple[str, str, str | None]] = {}

    def change_count(self, device: str, model: str) -> int:
        """Return how often the reference values changed that a device is appraised by; it only grows."""
        return self._changes_of(device_target(device)) + self._changes_of(self._model(model))

    def slots(self, device: str, model: str) -> Mapping[str, Slot]:
        """Return the newest reference value of a device by artefact kind; its own goes before its model's."""
        own, shared = self._slots_of(device_target(device)), self._slots_of(self._model(model))
        return {**shared, **own} if own else shared

    def find_owner(self, device: str, model: str, kind: str, content: Digest) -> Owner | None:
        """Return whose reference value some content is or was, the device's own slot before all others.

        Of several others, the first by target and kind is named.
        """
        entries = self._state.namespace(NAMESPACE)
        for target in (device_target(device), self._model(model)):
            if self._changes_of(target):
                value = entries.get(content_key(content, target, kind))
                if isinstance(value, bytes):
                    return self._owner(kind, value, own=True)
        for key, value in islice(entries.scan(b"content/" + content + b"/"), 1):
            assert isinstance(value, bytes)
            return self._owner(key.rsplit(b"/", 1)[1].decode("ascii"), value, own=False)
        return None

    def _model(self, model: str) -> bytes:
        target = self._models.get(model)
        if target is None:
            target = self._models[model] = model_target(model)
        return target

    def _changes_of(self, target: bytes) -> int:
        count = self._changes.get(target)
        if count is None:
            count = self._changes[target] = changes(self._state, target)
        return count

    def _slots_of(self, target: bytes) -> Mapping[str, Slot]:
        if not self._changes_of(target):
            return _NONE  # a slot that ever had a value was counted then
        known = self._slots.get(target)
        if known is None:
            known = self._slots[target] = dict(self._read_slots(target))
        return known

    def _read_slots(self, target: bytes) -> Iterator[tuple[str, Slot]]:
        for kind in KINDS:
            value = read_slot(self._state, target, kind)
            if value is not None:
                revoked = self._told(value.digest)[2] if value.is_revoked else None
                yield kind, Slot(value.size, value.sha256, revoked)

    def _owner(self, kind: str, digest: Digest, *, own: bool) -> Owner:
        target, release, revoked = self._told(digest)
        return Owner(own, target, kind, release, revoked)

    def _told(self, digest: Digest) -> tuple[str, str, str | None]:
        """Return what a release is for and its name, for people, and who revoked it and why, if somebody did."""
        known = self._records.get(digest)
        if known is None:
            known = self._records[digest] = _told(read_record(self._state, digest))
        return known


def _told(record: Record | None) -> tuple[str, str, str | None]:
    assert record is not None
    release = record.release()
    revoked = None if record.revocation is None else record.revocation.told(release.release)
    return target_text(release), release.release, revoked
