from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace
from typing import Any

import pytest

from rules.fingerprint import fingerprint
from rules.items.root import items_of, salted_leaf
from rules.items.table import read_items, read_items_as
from rules.package import PACKAGE_BYTES_MAX, Package, Part, decode_package
from tests.unit.wire.samples import Json, vectors
from wire import cbor
from wire.errors import CborError, FormatError
from wire.merkle import tree_head
from wire.release import Reference, Release
from wire.types import sha256

GOLDEN: Json = vectors("items.json")
SALT = bytes.fromhex(GOLDEN["salt"])
FIRMWARE = bytes(range(256)) * 300
SETTINGS = bytes.fromhex(GOLDEN["files"][0]["content"])
STRATEGY = b"no items, \xff"
ITEMS = read_items(SETTINGS)


def reference(kind: str, content: bytes) -> Reference:
    digest = fingerprint(content)
    items = items_of(ITEMS, SALT) if kind == "settings" else None
    return Reference(kind, f"{kind}.bin", "1", digest.size, digest.sha256, digest.chunk_root, items)


FILES = {"firmware": FIRMWARE, "settings": SETTINGS, "strategy": STRATEGY}
RELEASE = Release("r-1", "maker", "sps-1", None, tuple(reference(kind, FILES[kind]) for kind in FILES))
PACKAGE = Package(
    RELEASE,
    SALT,
    tuple(Part(kind, fingerprint(FILES[kind]).leaves, ITEMS if kind == "settings" else None) for kind in FILES),
)


# holds IT-4 IT-5 IT-6 IT-7 IT-9
@pytest.mark.parametrize("golden", GOLDEN["files"], ids=lambda golden: golden["format"])
def test_items_golden_bytes_and_roots(golden: Json) -> None:
    found = read_items_as(golden["format"], bytes.fromhex(golden["content"]))
    assert found.format == golden["format"]
    assert [item.encode().hex() for item in found.items] == golden["items"]
    leaves = [hmac.new(SALT, bytes.fromhex(item), hashlib.sha256).digest() for item in golden["items"]]
    assert [salted_leaf(SALT, item) for item in found.items] == leaves
    root = items_of(found, SALT)
    assert (root.format, root.count, root.root) == (golden["format"], len(leaves), tree_head(leaves))
    assert root.root.hex() == golden["root"]


# holds IT-9
def test_items_root_under_another_salt_is_another() -> None:
    assert items_of(ITEMS, SALT).root != items_of(ITEMS, bytes(32)).root


# holds IT-10
def test_package_golden_bytes_are_written_and_read() -> None:
    raw = PACKAGE.encode()
    assert raw.hex() == GOLDEN["package"]["hex"]
    assert sha256(raw).hex() == GOLDEN["package"]["sha256"]
    assert decode_package(raw) == PACKAGE


# holds IT-10
def test_package_of_artefacts_that_are_not_understood_round_trips() -> None:
    bare = replace(RELEASE, artefacts=tuple(replace(entry, items=None) for entry in RELEASE.artefacts))
    package = Package(bare, SALT, tuple(Part(kind, None, None) for kind in FILES))
    assert decode_package(package.encode()) == package
    assert [(entry.kind, part.kind) for entry, part in package.artefacts()] == [(kind, kind) for kind in FILES]
    with pytest.raises(FormatError, match="another type"):
        replace(package, parts=list(package.parts)).encode()  # type: ignore[arg-type]


def value() -> dict[str, Any]:
    return cbor.decode_map(PACKAGE.encode())


def part(kind: str, /, **changes: object) -> dict[str, object]:
    artefacts = value()["artefacts"]
    return {"artefacts": [{**entry, **changes} if entry["kind"] == kind else entry for entry in artefacts]}


def item(**changes: object) -> list[object]:
    first, *others = value()["artefacts"][1]["items"]
    return [{**first, **changes}, *others]


# holds IT-10 IT-11
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"package": 2}, "package.package"),
        ({"release": b"\x00"}, "release"),
        ({"salt": bytes(31)}, "package.salt"),
        ({"salt": bytes(32)}, "the items of the settings are not those of the release"),
        ({"artefacts": []}, "0 where the release has 3"),
        ({"artefacts": value()["artefacts"][::-1]}, "strategy where the release has firmware"),
        ({"more": 1}, "field 'more' is unknown"),
        (part("firmware", kind="manual"), "artefacts.kind"),
        (part("firmware", chunks=bytes(64)), "the chunks of the firmware are not those of the release"),
        (part("firmware", chunks=b""), "the chunks of the firmware are not those of the release"),
        (part("firmware", chunks=bytes(33)), "the chunks of the firmware are not those of the release"),
        (part("firmware", chunks=bytes(32 * 1025)), "0..32768 bytes"),
        (part("strategy", items=[]), "the release has no items of the strategy"),
        (part("settings", items=None), "artefacts.items: an array"),
        (part("settings", items=[]), "items: 1..4096 are due"),
        (part("settings", items=item()[::-1]), "items: not sorted or not unique"),
        (part("settings", items=item()[:1]), "the items of the settings are not those of the release"),
        (part("settings", items=item(label="other")), "the items of the settings are not those of the release"),
        (part("settings", items=item(number=-1)), "items.number"),
        (part("settings", items=item(label="x" * 257)), "items.label"),
        (part("settings", items=item(cells=[["a"]])), "a column and a text are due"),
        (part("settings", items=item(cells=[["a", 1]])), "a column and a text are due"),
        (part("settings", items=item(cells=[["a", "1"], ["a", "2"]])), "has a column twice"),
        (part("settings", items=item(cells=[["a", "\n"]])), "control character"),
        (part("settings", items=item(cells=[["a", "1"]] * 65)), "at most 64 entries"),
        (part("settings", items=item(more=1)), "field 'more' is unknown"),
    ],
)
def test_package_that_does_not_belong_to_its_release_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        decode_package(cbor.encode({**value(), **changes}))


# holds IT-10
def test_package_past_its_length_is_refused() -> None:
    with pytest.raises(CborError, match="longer than the 4194304 allowed"):
        decode_package(bytes(PACKAGE_BYTES_MAX + 1))
