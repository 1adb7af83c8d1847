from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.wire.samples import ARTEFACT, EVIDENCE, ITEM, SETTINGS, TIME_MS
from wire import cbor
from wire.errors import CborError, FormatError
from wire.evidence import METHODS_WORD, Artefact, Entry, Item, decode_evidence, decode_item, word_bytes
from wire.merkle import tree_head
from wire.types import EVIDENCE_BYTES_MAX, sha256

READ, UNREACHABLE, NEVER_READ = EVIDENCE.devices


def value() -> dict[str, Any]:
    decoded = cbor.decode(EVIDENCE.encode())
    assert isinstance(decoded, dict)
    return decoded


def refuse(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        decode_evidence(cbor.encode(changed))


def with_artefact(**changes: object) -> Item:
    return replace(ITEM, artefacts=(replace(ARTEFACT, **changes),))  # type: ignore[arg-type]


def spoken(method: str, word: bytes = bytes.fromhex("9f8a6c01"), size: int = 0) -> Artefact:
    raw = word_bytes(method, word)
    digest, root = sha256(raw), tree_head([raw])
    return replace(ARTEFACT, size=size, read_size=0, sha256=digest, chunk_root=root, method=method, word=word)


SPOKEN = spoken("vendor-checksum", size=1)


# holds EV-1
def test_evidence_round_trips() -> None:
    assert decode_evidence(EVIDENCE.encode()) == EVIDENCE
    assert decode_evidence(EVIDENCE.encode()).encode() == EVIDENCE.encode()


def test_evidence_item_keeps_the_bytes_that_it_was_read_from_and_a_changed_one_has_its_own() -> None:
    (read,) = (entry.item for entry in decode_evidence(EVIDENCE.encode()).devices if entry.item is not None)
    assert read == ITEM
    assert read.encode() == ITEM.encode() == cbor.encode(ITEM.to_value())
    changed = replace(read, revision=9)
    assert changed.encode() == replace(ITEM, revision=9).encode() != read.encode()
    assert changed.digest() == sha256(changed.encode())


# holds EV-1 EV-3 EV-4 EV-5
@pytest.mark.parametrize(
    ("path", "changed", "reason"),
    [
        ("gateway", "GW", "evidence.gateway"),
        ("boot", 0, "evidence.boot"),
        ("boot", True, "evidence.boot"),
        ("seq", 0, "evidence.seq"),
        ("seq", None, "evidence.seq"),
        ("clock", None, "evidence.clock: a NoneType stands where a map is due"),
        ("clock.time_ms", -1, "evidence.clock.time_ms"),
        ("clock.source", "sundial", "evidence.clock.source"),
        ("clock.offset_ms", 2**62 + 1, "evidence.clock.offset_ms"),
        ("clock.grade", "good", "evidence.clock.grade"),
        ("clock.more", 1, "field 'more' is unknown"),
        ("block.height", -1, "evidence.block.height"),
        ("block.digest", bytes(31), "evidence.block.digest"),
        ("block.digest", None, "evidence.block.digest"),
        ("devices", {}, "evidence.devices"),
        ("devices", [], "at least one device is due"),
        ("more", 1, "field 'more' is unknown"),
    ],
)
def test_evidence_field_out_of_range_is_refused(path: str, changed: object, reason: str) -> None:
    evidence = value()
    *parents, name = path.split(".")
    target = evidence
    for parent in parents:
        target = target[parent]
    target[name] = changed
    refuse(evidence, reason)


# holds EV-4
def test_evidence_clock_of_unknown_offset_round_trips() -> None:
    evidence = replace(EVIDENCE, clock=replace(EVIDENCE.clock, source="system", offset_ms=None, grade="unknown"))
    assert decode_evidence(evidence.encode()) == evidence


# holds EV-2
def test_evidence_of_64_devices_is_accepted_and_of_65_refused() -> None:
    entries = tuple(replace(NEVER_READ, device=f"d-{number:02}") for number in range(65))
    assert len(decode_evidence(replace(EVIDENCE, devices=entries[:64]).encode()).devices) == 64
    with pytest.raises(FormatError, match="at most 64 entries"):
        replace(EVIDENCE, devices=entries).encode()


# holds EV-2
@pytest.mark.parametrize("devices", [(UNREACHABLE, READ), (READ, READ), ()])
def test_evidence_devices_out_of_order_or_none_are_refused(devices: tuple[Entry, ...]) -> None:
    with pytest.raises(FormatError, match=r"evidence\.devices: (not sorted or not unique|at least one)"):
        replace(EVIDENCE, devices=devices).encode()


# holds EV-1
def test_evidence_past_48_kib_is_refused() -> None:
    fat = replace(ITEM, identity=replace(ITEM.identity, model="\u00e4" * 256))
    entries = tuple(Entry(f"d-{number:02}", "read", 0, 0, fat.digest(), fat) for number in range(64))
    with pytest.raises(CborError, match=f"longer than the {EVIDENCE_BYTES_MAX} allowed"):
        replace(EVIDENCE, devices=entries).encode()


# holds EV-6
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": "asleep"}, "status: one of"),
        ({"device": "SPS"}, "no identifier"),
        ({"read_from_ms": None}, "read_from_ms"),
        ({"read_to_ms": None}, "read_to_ms"),
        ({"item": None, "item_digest": None}, "all given or all null"),
        ({"item": None, "item_digest": None, "read_from_ms": None}, "all given or all null"),
        ({"item": None, "item_digest": None, "read_to_ms": None}, "all given or all null"),
        ({"item": None, "item_digest": None, "read_from_ms": None, "read_to_ms": None}, "needs an item_digest"),
        ({"item_digest": b"short"}, "32..32 bytes"),
        ({"more": 1}, "field 'more' is unknown"),
    ],
)
def test_evidence_entry_that_contradicts_itself_is_refused(changes: dict[str, Any], reason: str) -> None:
    evidence = value()
    evidence["devices"][0] |= changes
    refuse(evidence, reason)


# holds EV-6
@pytest.mark.parametrize("status", ["unreachable", "protocol-error"])
def test_evidence_entry_of_a_failed_read_keeps_what_was_read_before(status: str) -> None:
    evidence = replace(EVIDENCE, devices=(replace(READ, status=status),))
    assert decode_evidence(evidence.encode()) == evidence


# holds EV-7
@pytest.mark.parametrize("digest", [sha256(b"another item"), None])
def test_evidence_item_of_another_digest_is_refused(digest: bytes | None) -> None:
    with pytest.raises(FormatError, match="its digest is not item_digest"):
        replace(EVIDENCE, devices=(replace(READ, item_digest=digest),)).encode()


# holds EV-7 EV-13
def test_evidence_item_digest_stands_still_while_only_read_times_move() -> None:
    later = replace(READ, read_from_ms=TIME_MS + 10_000, read_to_ms=TIME_MS + 11_000)
    decoded = decode_evidence(replace(EVIDENCE, devices=(later,)).encode())
    assert decoded.devices[0].item_digest == READ.item_digest == ITEM.digest() == sha256(cbor.encode(ITEM.to_value()))


# holds EV-8
@pytest.mark.parametrize("artefacts", [(SETTINGS, ARTEFACT), (ARTEFACT, ARTEFACT)])
def test_evidence_artefacts_out_of_order_or_of_one_kind_are_refused(artefacts: tuple[Artefact, ...]) -> None:
    with pytest.raises(FormatError, match=r"item.artefacts: not sorted or not unique"):
        decode_item(replace(ITEM, artefacts=artefacts).to_value())


# holds EV-8
def test_evidence_item_without_artefacts_and_identity_round_trips() -> None:
    bare = Item(replace(ITEM.identity, vendor="", product="", revision="", serial="", model=""), ())
    assert decode_item(bare.to_value()) == bare


# holds EV-8 EV-9
@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (replace(ITEM, identity=replace(ITEM.identity, serial="a\x07")), "item.identity.serial: .*control character"),
        (replace(ITEM, identity=replace(ITEM.identity, vendor="x" * 257)), "item.identity.vendor"),
        (with_artefact(kind="manual"), "item.artefacts.kind"),
        (with_artefact(method="hearsay"), "item.artefacts.method"),
        (with_artefact(name="\n"), "item.artefacts.name"),
        (with_artefact(version="x" * 257), "item.artefacts.version"),
        (with_artefact(size=-1), "item.artefacts.size"),
        (with_artefact(read_size=-1), "item.artefacts.read_size"),
        (with_artefact(sha256=b""), "item.artefacts.sha256"),
        (with_artefact(chunk_root=b""), "item.artefacts.chunk_root"),
        (with_artefact(read_from_ms=-1), "item.artefacts.read_from_ms"),
    ],
)
def test_evidence_item_field_out_of_range_is_refused(item: Item, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        decode_item(item.to_value())


# holds EV-8
def test_evidence_item_with_four_artefacts_is_refused() -> None:
    with pytest.raises(FormatError, match="at most 3 entries"):
        decode_item(replace(ITEM, artefacts=(ARTEFACT,) * 4).to_value())


# holds EV-10
@pytest.mark.parametrize(
    ("errors", "reason"),
    [
        (("unstable", "bad-size"), "errors: not sorted or not unique"),
        (("unstable", "unstable"), "errors: not sorted or not unique"),
        (("tired",), "errors: 'tired' is unknown"),
        (("Tired",), "errors: 'Tired' is no identifier"),
        (("bad-size",) * 4, "at most 3 entries"),
    ],
)
def test_evidence_error_codes_of_another_kind_or_order_are_refused(errors: tuple[str, ...], reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        decode_item(with_artefact(errors=errors).to_value())


# holds EV-11
@pytest.mark.parametrize(
    "artefact",
    [
        replace(ARTEFACT, size=0, read_size=0),
        replace(ARTEFACT, read_size=5, errors=("short-read",)),
        replace(ARTEFACT, read_size=0, errors=("bad-size",)),
        replace(ARTEFACT, errors=("unstable",)),
        spoken("vendor-checksum", size=262_144),
        spoken("version-string", size=0),
    ],
)
def test_evidence_sizes_that_fit_each_other_are_accepted(artefact: Artefact) -> None:
    item = replace(ITEM, artefacts=(artefact,))
    assert decode_item(item.to_value()) == item


# holds EV-11
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"read_size": ARTEFACT.size + 1}, "above the declared size"),
        ({"errors": ("short-read",)}, "and yet all 262144 bytes were read"),
        ({"read_size": ARTEFACT.size - 1}, "no error says why"),
        ({"read_size": 0, "method": "record-read"}, "no error says why"),
        ({"read_size": 0, "method": "relayed-file"}, "no error says why"),
    ],
)
def test_evidence_sizes_that_contradict_each_other_are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        decode_item(with_artefact(**changes).to_value())


# holds EV-12
def test_evidence_read_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(FormatError, match=r"item\.artefacts\.read_to_ms: .* is before read_from_ms"):
        decode_item(with_artefact(read_to_ms=ARTEFACT.read_from_ms - 1).to_value())
    with pytest.raises(FormatError, match=r"evidence\.devices\.read_to_ms: .* is before read_from_ms"):
        replace(EVIDENCE, devices=(replace(READ, read_to_ms=TIME_MS - 1),)).encode()
    instant = with_artefact(read_to_ms=ARTEFACT.read_from_ms)
    assert decode_item(instant.to_value()) == instant


# holds EV-1
def test_evidence_whose_fields_have_other_types_than_its_bytes_is_not_encoded() -> None:
    with pytest.raises(FormatError, match="another type"):
        replace(EVIDENCE, devices=list(EVIDENCE.devices)).encode()  # type: ignore[arg-type]


# holds EV-9 EV-14
@pytest.mark.parametrize("method", METHODS_WORD)
@pytest.mark.parametrize("word", [b"\x00", b"3.1.4", bytes(256)])
def test_evidence_of_a_devices_word_round_trips_and_shows_the_word(method: str, word: bytes) -> None:
    item = replace(ITEM, artefacts=(spoken(method, word),))
    decoded = decode_item(cbor.decode(cbor.encode(item.to_value())))
    assert decoded == item
    assert decoded.artefacts[0].word == word
    assert word_bytes(method, word) == cbor.encode({"method": method, "word": word})


# holds EV-14
@pytest.mark.parametrize(
    ("artefact", "reason"),
    [
        (replace(SPOKEN, read_size=1), "vendor-checksum reads no content, and yet 1 bytes"),
        (replace(SPOKEN, word=b""), r"word: 1\.\.256 bytes"),
        (spoken("vendor-checksum", bytes(257)), r"word: 1\.\.256 bytes"),
        (replace(SPOKEN, word=None), "field 'word' is missing"),
        (replace(SPOKEN, sha256=sha256(b"firmware")), "are not those of the word"),
        (replace(SPOKEN, chunk_root=sha256(b"firmware")), "are not those of the word"),
        (replace(SPOKEN, sha256=b""), "artefacts.sha256: 32..32 bytes"),
        (replace(SPOKEN, method="version-string"), "are not those of the word"),
        (replace(SPOKEN, method="full-file"), "field 'word' is unknown"),
        (replace(ARTEFACT, word=b"9f8a"), "field 'word' is unknown"),
    ],
)
def test_evidence_of_a_word_that_contradicts_itself_is_refused(artefact: Artefact, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        decode_item(replace(ITEM, artefacts=(artefact,)).to_value())


# holds EV-14
def test_evidence_word_of_one_method_is_none_of_another() -> None:
    first, second = (spoken(method, b"3.1.4") for method in METHODS_WORD)
    assert first.sha256 != second.sha256
    assert first.sha256 != sha256(b"3.1.4")


# holds EV-16
@pytest.mark.parametrize("revision", [0, 7, 2**63 - 1])
def test_evidence_item_of_a_revision_counter_round_trips(revision: int) -> None:
    item = replace(ITEM, revision=revision)
    assert decode_item(cbor.decode(cbor.encode(item.to_value()))) == item
    assert item.digest() != ITEM.digest()
    assert "revision" not in ITEM.to_value()


# holds EV-16
@pytest.mark.parametrize("revision", [None, -1, True, "7"])
def test_evidence_revision_that_is_none_is_refused(revision: object) -> None:
    with pytest.raises(FormatError, match=r"item\.revision: an integer"):
        decode_item({**ITEM.to_value(), "revision": revision})


# holds EV-17
def test_evidence_that_answers_a_read_order_carries_its_nonce() -> None:
    answer = replace(EVIDENCE, nonce=sha256(b"nonce"))
    assert decode_evidence(answer.encode()) == answer
    assert "nonce" not in value()


# holds EV-17
@pytest.mark.parametrize("nonce", [None, b"", bytes(31), bytes(33), "x", 7])
def test_evidence_with_a_nonce_that_is_none_is_refused(nonce: object) -> None:
    refuse({**value(), "nonce": nonce}, "evidence.nonce")
