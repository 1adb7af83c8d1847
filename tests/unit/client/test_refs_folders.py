"""Release folders: what is read of them and what is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from client.releases import bytes_in, read_release
from kit.config import ConfigProblemsError
from kit.exitcodes import DataError
from tests.unit.client.releases import FIRMWARE, MANIFEST
from wire.evidence import word_bytes
from wire.release import EffectiveFrom, decode_release
from wire.types import sha256


def test_read_release_fingerprints_the_files(folder: Path) -> None:
    pieces: list[int] = []
    release = read_release(folder, "alder", pieces.append)
    assert [entry.kind for entry in release.artefacts] == ["firmware", "strategy"]
    assert release.artefacts[0].sha256 == hashlib.sha256(FIRMWARE).digest()
    assert release.artefacts[0].size == len(FIRMWARE)
    assert (release.device, release.model, release.manufacturer) == ("linden-sc-1", None, "alder")
    assert sum(pieces) == len(FIRMWARE) + 4
    assert bytes_in(folder) == len(FIRMWARE) + 4 + len(MANIFEST)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('device = "linden-sc-1"', "", "name exactly one"),
        ('device = "linden-sc-1"', 'device = "a"\nmodel = "b"', "name exactly one"),
        ('"strategy.csv"', '"../strategy.csv"', "leads out of the folder"),
        ('kind = "strategy"', 'kind = "spell"', "kind"),
        ('kind = "strategy"', 'kind = "firmware"', "kind"),
        ('release = "linden-sc-1-2-4-0"', 'release = "Linden"', "release"),
        ("[release]", "[release]\nextra = 1", "extra"),
    ],
)
def test_read_release_wrong_manifest_is_refused_with_its_line(folder: Path, old: str, new: str, said: str) -> None:
    (folder / "release.toml").write_text(MANIFEST.replace(old, new, 1))
    with pytest.raises(ConfigProblemsError, match=said) as caught:
        read_release(folder, "alder")
    assert "release.toml:" in str(caught.value)


@pytest.mark.parametrize(
    ("line", "method", "word"),
    [
        ('checksum = "9f8a6c01"', "vendor-checksum", bytes.fromhex("9f8a6c01")),
        ("version_only = true", "version-string", b"7"),
    ],
)
def test_read_release_of_a_device_that_gives_no_file_names_what_it_must_say(
    folder: Path, line: str, method: str, word: bytes
) -> None:
    (folder / "strategy.csv").unlink()
    old = 'name = "strategy.csv"\nversion = "2.4.0"\n'
    assert old in MANIFEST
    (folder / "release.toml").write_text(MANIFEST.replace(old, f'name = "table 3/7"\nversion = "7"\n{line}\n'))
    reference = read_release(folder, "alder").artefacts[1]
    raw = word_bytes(method, word)
    assert (reference.name, reference.size) == ("table 3/7", 0)
    assert (reference.sha256, reference.chunk_root) == (sha256(raw), sha256(b"\0" + raw))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('checksum = "9f8"', "checksum"),
        ('checksum = ""', "checksum"),
        ('checksum = "9f8a"\nversion_only = true', "name one of them"),
    ],
)
def test_read_release_of_a_word_that_is_none_is_refused(folder: Path, line: str, said: str) -> None:
    (folder / "release.toml").write_text(f"{MANIFEST}\n{line}\n")
    with pytest.raises(ConfigProblemsError, match=said):
        read_release(folder, "alder")


def test_read_release_missing_file_is_refused(folder: Path) -> None:
    (folder / "strategy.csv").unlink()
    with pytest.raises(DataError, match=r"strategy\.csv is missing"):
        read_release(folder, "alder")


@pytest.mark.parametrize(
    ("line", "start"),
    [
        ("effective_height = 120", EffectiveFrom(120, None)),
        ('effective_time = "2027-01-15T09:00:00+01:00"', EffectiveFrom(None, 1_800_000_000_000)),
        ('effective_time = "2027-01-15T08:00:00.250Z"', EffectiveFrom(None, 1_800_000_000_250)),
    ],
)
def test_read_release_takes_the_date_of_the_manifest(folder: Path, line: str, start: EffectiveFrom) -> None:
    (folder / "release.toml").write_text(MANIFEST.replace("[release]", f"[release]\n{line}"))
    release = read_release(folder, "alder")
    assert release.effective_from == start
    assert decode_release(release.encode()) == release


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("effective_height = 0", "effective_height"),
        ('effective_time = "tomorrow"', "tomorrow"),
        ('effective_time = "2027-01-15T08:00:00"', "no offset"),
        ('effective_time = "1960-01-15T08:00:00Z"', "before 1971"),
        ('effective_height = 120\neffective_time = "2027-01-15T08:00:00Z"', "name one of them"),
    ],
)
def test_read_release_with_a_date_that_is_none_is_refused(folder: Path, line: str, said: str) -> None:
    (folder / "release.toml").write_text(MANIFEST.replace("[release]", f"[release]\n{line}"))
    with pytest.raises(ConfigProblemsError, match=said):
        read_release(folder, "alder")
