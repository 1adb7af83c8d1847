"""Items of setting lists, their salt, and release packages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from client.releases import read_folder, read_release
from kit.exitcodes import DataError
from kit.releasefolder import ensure_salt
from rules.items.model import CONTENT_BYTES_MAX
from rules.items.root import items_of
from rules.items.table import read_items
from rules.package import Part, decode_package
from tests.unit.client.nodes import FakeNode, call
from tests.unit.client.releases import MANIFEST, NODE, accept, listed
from wire.release import decode_release
from wire.tx import open_tx

# --- items and packages

SETTINGS = b"number,name,value,unit\n17,UFLS stage 1 frequency,49.00,Hz\n18,UFLS stage 1 delay,0.15,s\n"


@pytest.fixture
def listing(folder: Path) -> Path:
    """A release folder with a setting list in the place of the strategy table."""
    manifest = MANIFEST.replace('"strategy"', '"settings"').replace("strategy.csv", "settings.csv")
    (folder / "release.toml").write_text(manifest)
    (folder / "settings.csv").write_bytes(SETTINGS)
    return folder


def test_submit_makes_a_salt_once_and_sends_the_root_of_the_items(listing: Path, key: str, node: FakeNode) -> None:
    accept(node)
    assert call("refs", "submit", str(listing), "--key", key, *NODE) == 0
    salt = (listing / "release.salt").read_text()
    assert (listing / "release.salt").stat().st_mode & 0o777 == 0o600
    release = open_tx(node.posted[0][1]).tx.args["release"]
    assert isinstance(release, bytes)
    firmware, settings = decode_release(release).artefacts
    assert firmware.items is None
    assert settings.items == items_of(read_items(SETTINGS), bytes.fromhex(salt))
    assert bytes.fromhex(salt) not in release
    assert call("refs", "submit", str(listing), "--key", key, *NODE) == 0
    assert (listing / "release.salt").read_text() == salt
    assert open_tx(node.posted[1][1]).tx.args["release"] == release


def test_submit_of_a_list_that_is_not_understood_says_so_and_goes_on(
    folder: Path, key: str, node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    accept(node)
    assert call("refs", "submit", str(folder), "--key", key, *NODE, "--json") == 0
    (note,) = json.loads(capsys.readouterr().out)["notes"]
    assert note.startswith("strategy.csv has no items: line 1 is no heading of 2..64 names; it is fingerprinted")


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ('format = "registers"', 65, "settings.csv is not what release.toml says: 87 bytes are no whole registers"),
        ('format = "toml"', 65, "the format toml is not known here"),
        ('format = "CSV"', 78, "format"),
        ('format = "csv"\nchecksum = "00"', 78, "a format is for the file of a setting list or strategy table"),
    ],
)
def test_submit_of_a_list_in_another_format_than_named_is_refused(
    line: str, code: int, said: str, listing: Path, key: str, node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = (listing / "release.toml").read_text()
    (listing / "release.toml").write_text(manifest.replace('kind = "settings"', f'kind = "settings"\n{line}'))
    assert call("refs", "submit", str(listing), "--key", key, *NODE) == code
    assert said in capsys.readouterr().err
    assert not node.posted


def test_release_folder_names_the_format_of_registers(listing: Path) -> None:
    manifest = (listing / "release.toml").read_text()
    (listing / "release.toml").write_text(
        manifest.replace('kind = "settings"', 'kind = "settings"\nformat = "registers"')
    )
    (listing / "settings.csv").write_bytes(b"\x13\x24\x00\x0f")
    ensure_salt(listing)
    items = read_release(listing, "alder").artefacts[1].items
    assert items is not None
    assert (items.format, items.count) == ("registers", 2)


def test_release_folder_of_a_list_that_is_too_long_has_no_items(listing: Path) -> None:
    ensure_salt(listing)
    (listing / "settings.csv").write_bytes(SETTINGS + b"\n" * CONTENT_BYTES_MAX)
    found = read_folder(listing, "alder")
    assert found.package.release.artefacts[1].items is None
    assert "more than 262144 bytes" in found.notes[0]
    assert decode_package(found.package.encode()) == found.package


def test_release_folder_with_a_damaged_salt_is_refused(listing: Path) -> None:
    (listing / "release.salt").write_text("00" * 31)
    with pytest.raises(DataError, match="holds no salt: 64 hex digits are due"):
        read_release(listing, "alder")


def test_endorse_of_a_copy_without_the_salt_says_what_is_missing(
    listing: Path, key: str, node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    ensure_salt(listing)
    node.answers["/v1/references"] = {"items": [listed(listing)], "next": None}
    (listing / "release.salt").unlink()
    assert call("refs", "endorse", "linden-sc-1-2-4-0", "--key", key, *NODE, "--files", str(listing)) == 65
    assert "it lacks the manufacturer's release.salt" in capsys.readouterr().err
    assert not node.posted


def test_package_holds_items_salt_and_chunks_of_the_release(
    listing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GRIDWITNESS_URL", raising=False)
    salt, out = ensure_salt(listing), tmp_path / "linden.package"
    assert call("refs", "package", str(listing), "--out", str(out), "--manufacturer", "alder", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    package = decode_package(out.read_bytes())
    assert out.stat().st_mode & 0o777 == 0o600
    assert (package.release, package.salt) == (read_release(listing, "alder"), salt)
    assert package.parts[1].items == read_items(SETTINGS)
    assert len(package.parts[0].chunks or ()) == 3
    assert shown["digest"] == package.release.digest().hex()
    assert shown["items"] == {"firmware": 0, "settings": 2}
    assert call("refs", "package", str(listing), "--out", str(out), "--force") == 64
    assert "--manufacturer" in capsys.readouterr().err


def test_package_is_compared_with_the_release_of_the_ledger(
    listing: Path, tmp_path: Path, node: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    ensure_salt(listing)
    out = tmp_path / "linden.package"
    node.answers["/v1/references"] = {"items": [listed(listing, status="effective")], "next": None}
    assert call("refs", "package", str(listing), "--out", str(out), "--force", *NODE) == 0
    assert "effective; firmware 0 items, settings 2 items" in capsys.readouterr().out
    out.unlink()
    (listing / "settings.csv").write_bytes(SETTINGS.replace(b"49.00", b"48.50"))
    assert call("refs", "package", str(listing), "--out", str(out), "--force", *NODE) == 65
    assert not out.exists()


def test_package_of_a_devices_word_has_no_chunks(listing: Path) -> None:
    manifest = (listing / "release.toml").read_text()
    (listing / "release.toml").write_text(manifest.replace('kind = "settings"', 'kind = "settings"\nchecksum = "9f8a"'))
    ensure_salt(listing)
    found = read_folder(listing, "alder")
    assert found.package.parts[1] == Part("settings", None, None)
    assert decode_package(found.package.encode()) == found.package
