"""What the contract `references` keeps, and how it is read.

State of the namespace
  release/DIGEST                    all about one release, see `Record`
  name/MANUFACTURER/RELEASE         digest of the release of that name
  claim/TARGET/KIND/MANUFACTURER    its releases that are to have the slot, and the block or time from which they are
  awaiting/TARGET/KIND              the same of all manufacturers' that are approved and wait for it
  slot/TARGET/KIND                  the newest reference value that was ever effective, and whether it was revoked
  content/SHA256/TARGET/KIND        whose reference value some content is or was
  changes/TARGET                    how often a slot of the target got another value or lost the one that it had
  due                               the first block and the first time from which an approved release is effective
  due/h/HEIGHT/DIGEST, due/t/MILLISECONDS/DIGEST
  untold, untold/HEIGHT/NUMBER      events of what a block's opening did, until a transaction tells them
  policy/TARGET/KIND                see `master.contracts.references_policy`
TARGET is d/DEVICE or m/SHA-256 of the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from master.contracts.context import BlockContext, Reads
from wire.cbor import Value
from wire.evidence import KINDS
from wire.fields import Fields
from wire.release import RELEASE_BYTES_MAX, EffectiveFrom, Release, decode_release
from wire.types import Digest, sha256

NAMESPACE: Final = "references"
PENDING: Final = "pending"
APPROVED: Final = "approved"
EFFECTIVE: Final = "effective"
SUPERSEDED: Final = "superseded"
REVOKED: Final = "revoked"
FAILED: Final = "failed"
STATUSES: Final = (APPROVED, EFFECTIVE, FAILED, PENDING, REVOKED, SUPERSEDED)
PASS: Final = "pass"  # noqa: S105 - a verdict, no secret
FAIL: Final = "fail"
ENDORSEMENTS_MAX: Final = 64
"""Organisations that may stand behind one release."""
TESTS_MAX: Final = 2 * ENDORSEMENTS_MAX
CLAIMS_MAX: Final = 8
"""Releases of one manufacturer that may wait for one slot, and approved ones of all."""
_POLICIES_MAX: Final = len(KINDS)
_RECORD: Final = (
    "release",
    "status",
    "policies",
    "owned_since_ms",
    "endorsements",
    "tests",
    "claims",
    "kinds",
    "effective_height",
    "revocation",
)
_SLOT: Final = ("digest", "size", "sha256", "is_revoked")


@dataclass(frozen=True, slots=True)
class Endorsement:
    """One organisation that stands behind a release."""

    organisation: str
    role: str
    """The role that it had then."""
    height: int
    report: Digest | None
    """Digest of the test report: a laboratory's own, or the one that the endorser knew."""

    def to_value(self) -> dict[str, Value]:
        """Return the endorsement as a CBOR map."""
        return {
            "organisation": self.organisation,
            "role": self.role,
            "height": self.height,
            "report": self.report,
        }


@dataclass(frozen=True, slots=True)
class Test:
    """What a laboratory found."""

    __test__ = False  # no class of tests

    organisation: str
    report: Digest
    verdict: str
    """`PASS` or `FAIL`."""
    height: int

    def to_value(self) -> dict[str, Value]:
        """Return the test as a CBOR map."""
        return {
            "organisation": self.organisation,
            "report": self.report,
            "verdict": self.verdict,
            "height": self.height,
        }


@dataclass(frozen=True, slots=True)
class Revocation:
    """Who withdrew a release, and why."""

    organisation: str
    role: str
    reason: str
    height: int

    def to_value(self) -> dict[str, Value]:
        """Return the revocation as a CBOR map."""
        return {
            "organisation": self.organisation,
            "role": self.role,
            "reason": self.reason,
            "height": self.height,
        }

    def told(self, release: str) -> str:
        """Return it in words, for people who look at a device."""
        return f"release {release} was revoked by {self.organisation} in block {self.height}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Record:
    """One release and what became of it."""

    raw: bytes
    """Canonical bytes of the release."""
    status: str
    """One of `STATUSES`."""
    policies: tuple[Value, ...]
    """{kinds, and the policy that they are under}, as the ledger had them when the release was submitted."""
    owned_since_ms: int
    """Who owns a device that it is for, or gave one up at or after this block time, counts as an owner."""
    endorsements: tuple[Endorsement, ...] = ()
    tests: tuple[Test, ...] = ()
    claims: tuple[str, ...] = ()
    """Artefact kinds whose slot it waits for."""
    kinds: tuple[str, ...] = ()
    """Artefact kinds whose reference value it gives now."""
    effective_height: int | None = None
    revocation: Revocation | None = None

    @property
    def digest(self) -> Digest:
        """Digest of the release."""
        return sha256(self.raw)

    def release(self) -> Release:
        """Decode the release."""
        return decode_release(self.raw)

    def to_value(self) -> dict[str, Value]:
        """Return the state value."""
        return {
            "release": self.raw,
            "status": self.status,
            "policies": list(self.policies),
            "owned_since_ms": self.owned_since_ms,
            "endorsements": [entry.to_value() for entry in self.endorsements],
            "tests": [entry.to_value() for entry in self.tests],
            "claims": list(self.claims),
            "kinds": list(self.kinds),
            "effective_height": self.effective_height,
            "revocation": None if self.revocation is None else self.revocation.to_value(),
        }


@dataclass(frozen=True, slots=True)
class SlotValue:
    """The newest reference value of a slot."""

    digest: Digest
    """Of the release."""
    size: int
    sha256: Digest
    is_revoked: bool
    """The release was revoked and nothing has taken its place."""

    def to_value(self) -> dict[str, Value]:
        """Return the state value."""
        return {"digest": self.digest, "size": self.size, "sha256": self.sha256, "is_revoked": self.is_revoked}


def read_record(state: Reads, digest: Digest) -> Record | None:
    """Return a release by its digest."""
    value = state.namespace(NAMESPACE).get(release_key(digest))
    return None if value is None else _decode_record(value)


def read_slot(state: Reads, target: bytes, kind: str) -> SlotValue | None:
    """Return the newest value of a slot, None when it never had one."""
    value = state.namespace(NAMESPACE).get(slot_key(target, kind))
    if value is None:
        return None
    fields = Fields(value, _SLOT, "references.slot")
    is_revoked = fields.raw("is_revoked") is True
    return SlotValue(fields.digest("digest"), fields.integer("size"), fields.digest("sha256"), is_revoked)


def count_change(context: BlockContext, target: bytes) -> None:
    """Note that a slot of a target got another value, or lost the one that it had."""
    context.put(_changes_key(target), changes(context, target) + 1)


def changes(state: Reads, target: bytes) -> int:
    """Return how often the values of a target's slots changed; 0: it never had one."""
    count = state.namespace(NAMESPACE).get(_changes_key(target))
    return count if isinstance(count, int) else 0


def _changes_key(target: bytes) -> bytes:
    return b"changes/" + target


def put_record(context: BlockContext, record: Record) -> None:
    """Write a release."""
    context.put(release_key(record.digest), record.to_value())


def target_of(release: Release) -> bytes:
    """Return what a release is for, as it stands in keys."""
    return device_target(release.device) if release.device is not None else model_target(str(release.model))


def target_text(release: Release) -> str:
    """Return what a release is for, for people."""
    return f"device {release.device}" if release.device is not None else f"model '{release.model}'"


def device_target(device: str) -> bytes:
    """Return a device as a target."""
    return b"d/" + device.encode("ascii")


def model_target(model: str) -> bytes:
    """Return all devices of a model as a target."""
    return b"m/" + sha256(model.encode())


def release_key(digest: Digest) -> bytes:
    """Return the key of a release."""
    return b"release/" + digest


def slot_key(target: bytes, kind: str) -> bytes:
    """Return the key of a slot."""
    return b"slot/" + target + b"/" + kind.encode("ascii")


def claim_key(target: bytes, kind: str, manufacturer: str) -> bytes:
    """Return the key of the releases of a manufacturer that wait for a slot."""
    return b"claim/" + target + f"/{kind}/{manufacturer}".encode("ascii")


def awaiting_key(target: bytes, kind: str) -> bytes:
    """Return the key of the approved releases that wait for their date and a slot."""
    return b"awaiting/" + target + b"/" + kind.encode("ascii")


def content_key(content: Digest, target: bytes, kind: str) -> bytes:
    """Return the key of what is known of some content in a slot."""
    return b"content/" + content + b"/" + target + b"/" + kind.encode("ascii")


def effective_from_value(start: EffectiveFrom | None) -> Value:
    """Return the block or time from which a release counts as a CBOR value; null: once it is approved."""
    return None if start is None else {"height": start.height, "time_ms": start.time_ms}


def _decode_record(value: Value) -> Record:
    fields = Fields(value, _RECORD, "references.release")
    return Record(
        raw=fields.octets("release", 1, RELEASE_BYTES_MAX),
        status=fields.choice("status", STATUSES),
        policies=tuple(fields.sequence("policies", _POLICIES_MAX)),
        owned_since_ms=fields.integer("owned_since_ms"),
        endorsements=tuple(map(_endorsement, fields.sequence("endorsements", ENDORSEMENTS_MAX))),
        tests=tuple(map(_test, fields.sequence("tests", TESTS_MAX))),
        claims=tuple(str(kind) for kind in fields.sequence("claims", len(KINDS))),
        kinds=tuple(str(kind) for kind in fields.sequence("kinds", len(KINDS))),
        effective_height=None if fields.is_null("effective_height") else fields.integer("effective_height"),
        revocation=None if fields.is_null("revocation") else _revocation(fields.raw("revocation")),
    )


def _endorsement(value: Value) -> Endorsement:
    fields = Fields(value, ("organisation", "role", "height", "report"), "references.endorsement")
    report = None if fields.is_null("report") else fields.digest("report")
    return Endorsement(fields.identifier("organisation"), fields.text("role"), fields.integer("height"), report)


def _test(value: Value) -> Test:
    fields = Fields(value, ("organisation", "report", "verdict", "height"), "references.test")
    verdict = fields.choice("verdict", (PASS, FAIL))
    return Test(fields.identifier("organisation"), fields.digest("report"), verdict, fields.integer("height"))


def _revocation(value: Value) -> Revocation:
    fields = Fields(value, ("organisation", "role", "reason", "height"), "references.revocation")
    return Revocation(
        fields.identifier("organisation"), fields.text("role"), fields.text("reason"), fields.integer("height")
    )
