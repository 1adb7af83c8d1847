from __future__ import annotations

from dataclasses import replace

import pytest

from rules.appraisal import (
    IDENTITY_CHANGED,
    VERDICTS,
    Appraisal,
    Finding,
    Nameplate,
    Owner,
    Slot,
    appraise,
)
from rules.fingerprint import fingerprint
from rules.table import RULES
from wire.difference import Difference
from wire.evidence import Artefact, Identity, Item
from wire.types import Digest, sha256

PLATE = Nameplate("SC-2", "s-1")
IDENTITY = Identity("maker", "SC", "1.0", "s-1", "SC-2")
EXPECTED = b"what the laboratory tested"
OWNERS = {
    sha256(b"old"): Owner(own=True, target="model 'SC-2'", kind="firmware", release="r-0"),
    sha256(b"other"): Owner(own=False, target="device dev-2", kind="firmware", release="r-7"),
}


def find_owner(kind: str, digest: Digest) -> Owner | None:
    assert kind == "firmware"
    return OWNERS.get(digest)


def slot(content: bytes = EXPECTED) -> Slot:
    return Slot(len(content), sha256(content))


def artefact(content: bytes, **changes: object) -> Artefact:
    digest = fingerprint(content)
    made = Artefact(
        "firmware", "f.bin", "1", digest.size, digest.size, digest.sha256, digest.chunk_root, "full-file", 1, 2, ()
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def appraised(*artefacts: Artefact, identity: Identity = IDENTITY, **slots: Slot) -> Appraisal:
    return appraise(PLATE, Item(identity, artefacts), slots, find_owner)


def only(appraisal: Appraisal) -> Finding:
    (finding,) = appraisal.artefacts
    return finding


# holds AP-1
@pytest.mark.parametrize(
    ("read", "verdict", "detail"),
    [
        (artefact(EXPECTED), "match", None),
        (artefact(EXPECTED[:-1] + b"!"), "mismatch", None),
        (artefact(b"shorter"), "mismatch", f"7 bytes where {len(EXPECTED)} are expected"),
        (artefact(b"wobbly", errors=("unstable",)), "mismatch", "two reads in a row never agreed"),
        (artefact(EXPECTED, errors=("unstable",)), "mismatch", "two reads in a row never agreed"),
        (artefact(b"old", errors=("unstable",)), "mismatch", "two reads in a row never agreed"),
        (artefact(b"old"), "superseded", "it is of release r-0"),
        (artefact(b"other"), "misfilled", "it is the firmware of device dev-2, release r-7"),
        (artefact(b"old", size=9, errors=("short-read",)), "incomplete", "3 of 9 bytes could be read"),
        # content that matches, of a file that claims to go on
        (artefact(EXPECTED, size=99, errors=("short-read",)), "incomplete", "26 of 99 bytes could be read"),
        # a checksum is not a truncated file
        (artefact(b"", size=99, method="vendor-checksum"), "mismatch", "99 bytes where 26 are expected"),
        (artefact(EXPECTED, size=99, read_size=0, method="vendor-checksum"), "match", None),
        (
            artefact(b"", size=99, method="vendor-checksum", word=b"\x9f\x8a"),
            "mismatch",
            "the device says 9f8a by vendor-checksum",
        ),
    ],
)
def test_appraise_artefact_with_a_slot_gives_the_verdict(read: Artefact, verdict: str, detail: str | None) -> None:
    finding = only(appraised(read, firmware=slot()))
    assert finding == Finding("firmware", verdict, sha256(EXPECTED), read.sha256, detail)
    assert verdict in VERDICTS


def test_appraise_artefact_without_a_slot_is_unknown_reference() -> None:
    finding = only(appraised(artefact(b"old")))
    assert finding == Finding("firmware", "unknown_reference", None, sha256(b"old"), None)


def test_appraise_slot_without_an_artefact_is_missing() -> None:
    finding = only(appraised(firmware=slot()))
    assert finding == Finding("firmware", "missing", sha256(EXPECTED), None, None)


def test_appraise_many_kinds_sorts_the_findings_by_kind() -> None:
    strategy = artefact(EXPECTED, kind="strategy")
    findings = appraised(strategy, strategy=slot(), firmware=slot(), settings=slot()).artefacts
    assert [(finding.kind, finding.verdict) for finding in findings] == [
        ("firmware", "missing"),
        ("settings", "missing"),
        ("strategy", "match"),
    ]


def test_appraise_identity_as_on_the_nameplate_finds_nothing() -> None:
    assert appraised().identity is None
    assert appraise(Nameplate("", ""), Item(IDENTITY, ()), {}, find_owner).identity is None


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"serial": "s-9"}, "serial 's-9' where 's-1' is expected"),
        ({"model": "XR"}, "model 'XR' where 'SC-2' is expected"),
        ({"serial": ""}, "serial '' where 's-1' is expected"),
        ({"serial": "x" * 65}, f"serial '{'x' * 64}' where 's-1' is expected"),
        ({"serial": "2", "model": "1"}, "model '1' where 'SC-2' is expected, serial '2' where 's-1' is expected"),
    ],
)
def test_appraise_identity_other_than_the_nameplate_is_identity_changed(changes: dict[str, str], detail: str) -> None:
    finding = appraised(identity=replace(IDENTITY, **changes)).identity
    assert finding == Finding("identity", IDENTITY_CHANGED, None, None, detail)


def test_appraise_identity_with_another_revision_or_vendor_finds_nothing() -> None:
    identity = replace(IDENTITY, revision="2.0", vendor="other", product="other")
    assert appraised(identity=identity).identity is None


def test_rules_table_names_every_rule_once() -> None:
    assert RULES["appraisal", 1] is appraise
    assert RULES["fingerprint", 1] is fingerprint
    assert all(version >= 1 for _, version in RULES)


def differing(reference: bytes, unit: str, *numbers: int, count: int | None = None) -> Difference:
    return Difference(sha256(reference), unit, len(numbers) if count is None else count, numbers)


# holds IT-2
@pytest.mark.parametrize(
    ("read", "verdict", "detail"),
    [
        (artefact(EXPECTED[:-1] + b"!", difference=differing(EXPECTED, "chunks", 0)), "mismatch", "bytes 0..25 differ"),
        (
            artefact(b"!", difference=differing(EXPECTED, "chunks", 0)),
            "mismatch",
            "1 bytes where 26 are expected; bytes 0..25 differ",
        ),
        (
            artefact(b"old", difference=differing(EXPECTED, "items", 3)),
            "superseded",
            "it is of release r-0; item 3 differs",
        ),
    ],
)
def test_appraise_difference_from_the_value_that_counts_is_named(read: Artefact, verdict: str, detail: str) -> None:
    finding = only(appraised(read, firmware=slot()))
    assert (finding.verdict, finding.detail, finding.difference) == (verdict, detail, read.difference)


# holds IT-2
def test_appraise_difference_from_another_value_says_nothing() -> None:
    read = artefact(b"!", difference=differing(b"another release", "chunks", 0))
    finding = only(appraised(read, firmware=slot()))
    assert finding == Finding(
        "firmware", "mismatch", sha256(EXPECTED), read.sha256, "1 bytes where 26 are expected", None
    )
