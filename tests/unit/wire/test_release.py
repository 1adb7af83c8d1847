from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.wire.samples import RELEASE
from wire import cbor
from wire.errors import CborError, FormatError
from wire.release import ITEMS_MAX, RELEASE_BYTES_MAX, EffectiveFrom, Items, Reference, decode_release
from wire.types import sha256

FIRMWARE, STRATEGY = RELEASE.artefacts


# holds RL-1 RL-2 RL-4
def test_release_round_trips() -> None:
    for_device = replace(RELEASE, device="sps-1", model=None)
    assert decode_release(RELEASE.encode()) == RELEASE
    assert decode_release(for_device.encode()) == for_device
    assert RELEASE.digest() == sha256(RELEASE.encode())
    assert for_device.digest() != RELEASE.digest()


# holds RL-1 RL-2 RL-3
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"release": "SC 9000"}, "release.release"),
        ({"manufacturer": ""}, "release.manufacturer"),
        ({"device": "sps-1"}, "either a device or a model"),
        ({"model": None}, "either a device or a model"),
        ({"model": ""}, "release.target.model: text of 1..256"),
        ({"model": "a\n"}, "control character"),
        ({"model": None, "device": "SPS"}, "release.target.device"),
        ({"artefacts": ()}, "at least one is due"),
        ({"artefacts": (STRATEGY, FIRMWARE)}, "not sorted or not unique"),
        ({"artefacts": (FIRMWARE, FIRMWARE)}, "not sorted or not unique"),
        ({"artefacts": (FIRMWARE,) * 4}, "at most 3 entries"),
        ({"artefacts": (replace(FIRMWARE, kind="manual"),)}, "release.artefacts.kind"),
        ({"artefacts": (replace(FIRMWARE, size=-1),)}, "release.artefacts.size"),
        ({"artefacts": (replace(FIRMWARE, sha256=b""),)}, "release.artefacts.sha256"),
        ({"artefacts": (replace(FIRMWARE, chunk_root=b""),)}, "release.artefacts.chunk_root"),
        ({"artefacts": (replace(FIRMWARE, name="\x1b"),)}, "release.artefacts.name"),
        ({"artefacts": (replace(FIRMWARE, version="1" * 257),)}, "release.artefacts.version"),
        ({"artefacts": [FIRMWARE]}, "another type"),
    ],
)
def test_release_field_out_of_range_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        replace(RELEASE, **changes).encode()


# holds RL-5
@pytest.mark.parametrize("start", [EffectiveFrom(1, None), EffectiveFrom(None, 1_800_000_000_000)])
def test_release_of_a_date_round_trips(start: EffectiveFrom) -> None:
    dated = replace(RELEASE, effective_from=start)
    assert decode_release(dated.encode()) == dated
    assert dated.digest() != RELEASE.digest()


# holds RL-5
@pytest.mark.parametrize(
    "start",
    [EffectiveFrom(None, None), EffectiveFrom(1, 1), EffectiveFrom(0, None), EffectiveFrom(None, 0)],
)
def test_release_of_two_dates_or_of_none_is_refused(start: EffectiveFrom) -> None:
    with pytest.raises(FormatError, match=r"release\.effective_from"):
        replace(RELEASE, effective_from=start).encode()


# holds RL-5
@pytest.mark.parametrize(
    ("first", "second", "holds"),
    [
        (EffectiveFrom(1, None), EffectiveFrom(2, None), True),
        (EffectiveFrom(None, 2), EffectiveFrom(None, 1), True),
        (EffectiveFrom(1, None), EffectiveFrom(1, None), False),
        (EffectiveFrom(1, None), EffectiveFrom(None, 2), False),
        (EffectiveFrom(1, None), None, False),
    ],
)
def test_dates_are_comparable_in_one_unit(first: EffectiveFrom, second: EffectiveFrom | None, *, holds: bool) -> None:
    assert first.is_comparable(second) == holds


@pytest.mark.parametrize(
    ("start", "block", "holds"),
    [
        (EffectiveFrom(7, None), (7, 0), True),
        (EffectiveFrom(7, None), (6, 9), False),
        (EffectiveFrom(None, 9), (0, 9), True),
        (EffectiveFrom(None, 9), (9, 8), False),
    ],
)
def test_date_has_come_with_the_first_block_not_before_it(
    start: EffectiveFrom, block: tuple[int, int], *, holds: bool
) -> None:
    assert start.has_come(*block) == holds


# holds RL-1
def test_release_past_its_length_is_refused() -> None:
    with pytest.raises(CborError, match="longer than the 32768 allowed"):
        decode_release(bytes(RELEASE_BYTES_MAX + 1))


# holds RL-1
def test_release_with_a_field_more_is_refused() -> None:
    value = cbor.decode_map(RELEASE.encode())
    with pytest.raises(FormatError, match="field 'approved' is unknown"):
        decode_release(cbor.encode({**value, "approved": True}))


# holds IT-3
@pytest.mark.parametrize("count", [1, ITEMS_MAX])
def test_release_items_round_trip(count: int) -> None:
    release = replace(RELEASE, artefacts=(FIRMWARE, replace(STRATEGY, items=Items("xml", count, sha256(b"root")))))
    assert decode_release(release.encode()) == release
    without = replace(RELEASE, artefacts=(FIRMWARE, replace(STRATEGY, items=None)))
    assert decode_release(without.encode()) == without


# holds IT-3
@pytest.mark.parametrize(
    ("artefact", "reason"),
    [
        (replace(FIRMWARE, items=STRATEGY.items), "firmware has none"),
        (replace(STRATEGY, items=Items("CSV", 1, bytes(32))), "release.artefacts.items.format"),
        (replace(STRATEGY, items=Items("csv", 0, bytes(32))), "release.artefacts.items.count"),
        (replace(STRATEGY, items=Items("csv", ITEMS_MAX + 1, bytes(32))), "release.artefacts.items.count"),
        (replace(STRATEGY, items=Items("csv", 1, bytes(31))), "release.artefacts.items.root"),
    ],
)
def test_release_items_out_of_range_are_refused(artefact: Reference, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        replace(RELEASE, artefacts=(artefact,)).encode()
