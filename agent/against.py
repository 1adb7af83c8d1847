"""What `gridwitness-agent read` compares a device with: a package, a release folder, or the gateway's own packages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from agent.diagnosis import Diagnosis, Expected, diagnose, expected_of, sentences, to_value
from agent.io.packages import PackageStore, decode_file
from agent.model import Reading
from kit.exitcodes import DataError
from kit.releasefolder import ReleaseArtefact, file_of, load_manifest
from rules.content import FileBytes
from rules.fingerprint import fingerprint_word
from rules.items.model import ItemList, ItemsError
from rules.items.table import read_items, read_items_as

_READ_BYTES: Final = 1024 * 1024


def expected_by(path: Path) -> dict[str, Expected]:
    """Return by artefact kind what a release package or a release folder expects.

    Raises:
        ConfigProblemsError: release.toml is wrong.
        DataError: It is neither, or a file is missing.
    """
    if not path.is_dir():
        return expected_of(decode_file(path))
    manifest = load_manifest(path)
    return {entry.kind: _expected(path, entry, manifest.release.release) for entry in manifest.artefacts}


def expected_here(state_dir: Path, reading: Reading) -> dict[str, Expected]:
    """Return by artefact kind what the gateway's own packages expect of a device.

    Raises:
        DataError: A package is damaged.
    """
    store = PackageStore(state_dir)
    store.refresh()
    found = {}
    for kind in [file.kind for file in reading.files]:
        place = store.find(reading.device, reading.identity.model, kind)
        if place is not None:
            found[kind] = expected_of(store.load(place.kept))[kind]
    return found


def findings(reading: Reading, expected: Mapping[str, Expected]) -> dict[str, Diagnosis]:
    """Compare every file of a reading that something is expected of."""
    return {file.kind: diagnose(file, expected[file.kind]) for file in reading.files if file.kind in expected}


def against_value(reading: Reading, expected: Mapping[str, Expected]) -> dict[str, object]:
    """Return the comparison as JSON-able values, by artefact kind."""
    found = findings(reading, expected)
    missing = sorted(expected.keys() - {file.kind for file in reading.files})
    unexpected = sorted({file.kind for file in reading.files} - expected.keys())
    return {
        "compared": {kind: to_value(diagnosis) for kind, diagnosis in sorted(found.items())},
        "missing": missing,
        "unexpected": unexpected,
    }


def against_lines(reading: Reading, expected: Mapping[str, Expected]) -> list[str]:
    """Return the comparison for people."""
    lines = []
    for kind, diagnosis in sorted(findings(reading, expected).items()):
        heading, *rest = sentences(diagnosis)
        lines += [f"  {kind}: {heading.removeprefix(f'{kind}: ')}", *(f"    {line}" for line in rest)]
    lines += [f"  {kind}: is missing" for kind in sorted(expected.keys() - {file.kind for file in reading.files})]
    return lines


def verdicts(reading: Reading, expected: Mapping[str, Expected]) -> list[str]:
    """Return the findings as words of `kit.exitcodes.exit_code_of`."""
    found = ["match" if diagnosis.is_same else "mismatch" for diagnosis in findings(reading, expected).values()]
    found += ["missing" for kind in expected if kind not in {file.kind for file in reading.files}]
    return found


def _expected(folder: Path, entry: ReleaseArtefact, release: str) -> Expected:
    if entry.checksum is not None:
        digest, leaves = fingerprint_word("vendor-checksum", bytes.fromhex(entry.checksum)), None
        return Expected(entry.kind, release, digest.size, digest.sha256, leaves, None)
    if entry.version_only:
        digest, leaves = fingerprint_word("version-string", entry.version.encode()), None
        return Expected(entry.kind, release, digest.size, digest.sha256, leaves, None)
    taken = FileBytes(entry.kind)
    path = file_of(folder, entry)
    with path.open("rb") as stream:
        while piece := stream.read(_READ_BYTES):
            taken.update(piece)
    digest = taken.result()
    return Expected(
        entry.kind, release, digest.size, digest.sha256, digest.leaves, _items(path, taken.content(), entry.format)
    )


def _items(path: Path, content: bytes | None, name: str | None) -> ItemList | None:
    if content is None:
        return None
    try:
        return read_items(content) if name is None else read_items_as(name, content)
    except ItemsError as error:
        if name is not None:
            raise DataError(f"{path} is not what release.toml says: {error}") from error
        return None
