from __future__ import annotations

from dataclasses import replace

import pytest

from rules.appraisal import (
    CLAIMS,
    IDENTITY_CHANGED,
    VERDICTS,
    Appraisal,
    Fill,
    Finding,
    Nameplate,
    Owner,
    Slot,
    Window,
    appraise,
    claim,
    is_cut_off,
)
from rules.fingerprint import fingerprint
from rules.table import RULES
from wire.difference import Difference
from wire.evidence import METHODS, Artefact, Identity, Item
from wire.types import Digest, sha256

PLATE = Nameplate("SC-2", "s-1")
IDENTITY = Identity("maker", "SC", "1.0", "s-1", "SC-2")
EXPECTED = b"what the laboratory tested"
TOLD = "release r-2 was revoked by office in block 9: a flaw"
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
        (
            artefact(b"old", size=9, errors=("short-read",)),
            "incomplete",
            "3 of 9 bytes could be read; it ends in chunk 0 of 65536 bytes",
        ),
        # content that matches, of a file that claims to go on
        (
            artefact(EXPECTED, size=99, errors=("short-read",)),
            "incomplete",
            "26 of 99 bytes could be read; it ends in chunk 0 of 65536 bytes",
        ),
        # a checksum is not a truncated file
        (artefact(b"", size=99, method="vendor-checksum"), "mismatch", "99 bytes where 26 are expected"),
        (
            artefact(EXPECTED, size=99, read_size=0, method="vendor-checksum"),
            "match",
            "by vendor-checksum: the checksum that the device names; no content was read",
        ),
        (
            artefact(b"", size=99, method="vendor-checksum", word=b"\x9f\x8a"),
            "mismatch",
            "the device says 9f8a by vendor-checksum",
        ),
    ],
)
def test_appraise_artefact_with_a_slot_gives_the_verdict(read: Artefact, verdict: str, detail: str | None) -> None:
    finding = only(appraised(read, firmware=slot()))
    owner = None if "unstable" in read.errors else OWNERS.get(read.sha256)
    expected = Finding("firmware", verdict, sha256(EXPECTED), read.sha256, detail, None, read.method)
    assert finding == replace(expected, owner=None if verdict == "incomplete" else owner)
    assert verdict in VERDICTS


# holds AP-1
@pytest.mark.parametrize(
    ("content", "verdict", "detail"),
    [
        (EXPECTED, "revoked", TOLD),
        (b"old", "superseded", "it is of release r-0"),
        (b"revoked before", "revoked", "release r-1 was revoked"),
        (b"of another", "misfilled", "it is the firmware of device dev-2, release r-7, which was revoked"),
        (b"nobody's", "mismatch", TOLD),
    ],
)
def test_appraise_artefact_of_a_slot_that_lost_its_value_expects_nothing(
    content: bytes, verdict: str, detail: str
) -> None:
    emptied = replace(slot(), revoked=TOLD)
    owners = {
        **OWNERS,
        sha256(EXPECTED): Owner(own=True, target="", kind="firmware", release="r-2", revoked=TOLD),
        sha256(b"revoked before"): Owner(
            own=True, target="", kind="firmware", release="r-1", revoked="release r-1 was revoked"
        ),
        sha256(b"of another"): replace(OWNERS[sha256(b"other")], revoked="release r-7 was revoked"),
    }
    difference = Difference(sha256(EXPECTED), "chunks", 1, (0,))
    read = artefact(content, difference=difference)
    for one in (read, artefact(content)):
        found = only(
            appraise(PLATE, Item(IDENTITY, (one,)), {"firmware": emptied}, lambda _, digest: owners.get(digest))
        )
        assert (found.verdict, found.detail, found.expected_sha256, found.difference) == (verdict, detail, None, None)
    missing = only(appraised(firmware=emptied))
    assert (missing.verdict, missing.detail, missing.expected_sha256) == ("missing", TOLD, None)


@pytest.mark.parametrize("revoked", [False, True])
def test_appraise_release_that_was_revoked_is_no_matter_of_a_work_order(*, revoked: bool) -> None:
    window = Window(sha256(b"order"), "r-2", 9, {"firmware": sha256(b"planned")})
    told = "release r-2 was revoked" if revoked else None
    owner = Owner(own=True, target="", kind="firmware", release="r-2", revoked=told)
    item = Item(IDENTITY, (artefact(b"planned"),))
    found = only(appraise(PLATE, item, {"firmware": slot()}, lambda _kind, _digest: owner, window))
    assert found.verdict == ("revoked" if revoked else "pending")


def test_appraise_artefact_without_a_slot_is_unknown_reference() -> None:
    finding = only(appraised(artefact(b"old")))
    assert finding == Finding("firmware", "unknown_reference", None, sha256(b"old"), None, method="full-file")


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
        "firmware", "mismatch", sha256(EXPECTED), read.sha256, "1 bytes where 26 are expected", None, "full-file"
    )


# what a verdict claims


# holds AP-6
@pytest.mark.parametrize("method", METHODS)
def test_verdict_claims_no_more_than_its_method_shows(method: str) -> None:
    finding = only(appraised(artefact(EXPECTED, method=method), firmware=slot()))
    assert (finding.verdict, finding.method) == ("match", method)
    assert claim(finding.verdict, finding.method) == CLAIMS[method]
    if method == "full-file":
        assert finding.detail is None
    else:
        assert finding.detail == f"by {method}: {CLAIMS[method]}"
    assert ("no content was read" in CLAIMS[method]) == (method in ("vendor-checksum", "version-string"))


# holds AP-6
def test_verdict_about_nothing_read_claims_nothing() -> None:
    finding = only(appraised(firmware=slot()))
    assert finding.method is None
    assert claim(finding.verdict, finding.method) is None


def long_file(read_bytes: int, *numbers: int, count: int, unit: str = "chunks") -> Finding:
    content = bytes(read_bytes)
    read = artefact(content, difference=Difference(bytes(32), unit, count, numbers))
    return only(appraised(read, firmware=Slot(4 * 65_536, bytes(32))))


# holds AP-1
def test_file_that_is_the_beginning_of_the_reference_is_incomplete_and_says_where_it_ends() -> None:
    finding = long_file(2 * 65_536 + 7, 2, 3, count=2)
    assert finding.verdict == "incomplete"
    assert finding.detail is not None
    assert finding.detail.startswith("the file has 131079 of 262144 bytes; it ends in chunk 2 of 65536 bytes")


# holds AP-1
@pytest.mark.parametrize(
    ("read_bytes", "numbers", "count", "unit"),
    [
        (2 * 65_536 + 7, (1, 2, 3), 3, "chunks"),  # a chunk before its end differs
        (7, (0, 1, 2, 3), 4, "chunks"),  # nothing whole is as expected
        (5 * 65_536, (4,), 1, "chunks"),  # it is longer
        (2 * 65_536 + 7, (2, 3), 2, "items"),
    ],
)
def test_file_that_is_no_beginning_of_the_reference_is_a_mismatch(
    read_bytes: int, numbers: tuple[int, ...], count: int, unit: str
) -> None:
    assert long_file(read_bytes, *numbers, count=count, unit=unit).verdict == "mismatch"


def test_is_cut_off_counts_the_chunks_that_are_not_named() -> None:
    difference = Difference(bytes(32), "chunks", 39, tuple(range(1, 17)))
    assert is_cut_off(65_536, 40 * 65_536, difference)
    assert not is_cut_off(65_536, 41 * 65_536, difference)


# inside a work order

PLANNED = b"what is to come"
WINDOW = Window(sha256(b"order"), "r-9", 99, {"firmware": sha256(PLANNED)})
FILL = Fill(sha256(b"record"), "erna", "grid", sha256(b"order"), "r-9", 77)


def inside(*artefacts: Artefact, window: Window = WINDOW, fill: Fill | None = None, **slots: Slot) -> Finding:
    return only(appraise(PLATE, Item(IDENTITY, artefacts), slots, find_owner, window, fill))


# holds AP-7
@pytest.mark.parametrize(
    ("read", "detail"),
    [
        ((artefact(PLANNED),), "it is of the planned release r-9"),
        ((artefact(b"half"),), "mismatch: 4 bytes where 26 are expected"),
        ((artefact(EXPECTED[:-1] + b"!"),), "mismatch"),
        ((artefact(b"old"),), "superseded: it is of release r-0"),
        (
            (artefact(b"ha", size=9, errors=("short-read",)),),
            "incomplete: 2 of 9 bytes could be read; it ends in chunk 0 of 65536 bytes",
        ),
        (
            (artefact(PLANNED, size=20, errors=("short-read",)),),
            "incomplete: 15 of 20 bytes could be read; it ends in chunk 0 of 65536 bytes",
        ),
        ((), "missing"),
    ],
)
def test_artefact_inside_a_work_order_is_pending_and_says_what_it_would_be(
    read: tuple[Artefact, ...], detail: str
) -> None:
    finding = inside(*read, firmware=slot())
    assert finding.verdict == "pending"
    assert finding.detail == f"inside work order {sha256(b'order').hex()[:12]}, {detail}"


# holds AP-7
def test_artefact_without_a_reference_value_is_pending_inside_a_work_order() -> None:
    assert inside(artefact(PLANNED)).verdict == "pending"
    assert inside(artefact(b"else")).verdict == "pending"


# holds AP-7
def test_artefact_that_matches_or_is_another_devices_or_of_another_kind_is_not_pending() -> None:
    assert inside(artefact(EXPECTED), firmware=slot()).verdict == "match"
    assert inside(artefact(b"other"), firmware=slot()).verdict == "misfilled"
    elsewhere = replace(WINDOW, contents={"settings": sha256(PLANNED)})
    assert inside(artefact(PLANNED), window=elsewhere, firmware=slot()).verdict == "mismatch"


# holds AP-8
def test_misfilled_artefact_names_the_record_of_who_filled_it_in() -> None:
    finding = only(appraise(PLATE, Item(IDENTITY, (artefact(b"other"),)), {"firmware": slot()}, find_owner, None, FILL))
    assert finding.fill == FILL
    assert finding.owner == OWNERS[sha256(b"other")]
    order = sha256(b"order").hex()[:12]
    assert finding.detail == (
        f"it is the firmware of device dev-2, release r-7; erna signed for filling release r-9 under work order {order}"
    )


# holds AP-8
@pytest.mark.parametrize("content", [EXPECTED, b"old", b"unheard of"])
def test_artefact_that_is_nobody_elses_names_no_fill(content: bytes) -> None:
    item = Item(IDENTITY, (artefact(content),))
    assert only(appraise(PLATE, item, {"firmware": slot()}, find_owner, None, FILL)).fill is None
