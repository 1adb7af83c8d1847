from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from firmware_sim.errors import BadRequestError, ReleaseError
from firmware_sim.release import ReleaseSpec, load_release, make_release
from kit.exitcodes import ExitCode

SPEC = ReleaseSpec(release="r-1", version="1.0", device="dev-a", size_bytes=64 * 1024)


def test_release_made_is_read_back_the_same(tmp_path: Path) -> None:
    made = make_release(tmp_path / "deep" / "r", SPEC)
    assert load_release(tmp_path / "deep" / "r") == made
    assert (made.release, made.device, made.model) == ("r-1", "dev-a", None)
    assert [(item.kind, item.version) for item in made.artefacts] == [
        ("firmware", "1.0"),
        ("strategy", "1.0"),
        ("settings", "1.0"),
    ]
    assert made.artefacts[0].content == (tmp_path / "deep" / "r" / "firmware.bin").read_bytes()


def test_release_made_twice_has_the_same_bytes(tmp_path: Path) -> None:
    assert make_release(tmp_path / "a", SPEC).artefacts == make_release(tmp_path / "b", SPEC).artefacts


def test_release_for_a_model_with_firmware_alone_holds_nothing_else(tmp_path: Path) -> None:
    spec = replace(SPEC, device=None, model="SCD-220/8", kinds=("firmware",))
    made = make_release(tmp_path, spec)
    assert made.model == "SCD-220/8"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["firmware.bin", "release.toml"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"device": None}, "exactly one"),
        ({"model": "M"}, "exactly one"),
        ({"release": "R.1"}, "release 'R.1'"),
        ({"device": "Dev"}, "device 'Dev'"),
        ({"kinds": ("photo",)}, "photo"),
        ({"kinds": ()}, "expected some of"),
        ({"version": '1"'}, "character"),
        ({"device": None, "model": "a\\b"}, "character"),
        ({"size_bytes": 1}, "size of 1 bytes"),
    ],
)
def test_release_out_of_bounds_is_not_written(tmp_path: Path, change: dict[str, object], reason: str) -> None:
    with pytest.raises(BadRequestError, match=reason):
        make_release(tmp_path / "r", replace(SPEC, **change))  # type: ignore[arg-type]
    assert not (tmp_path / "r").exists()


def edit(old: str, new: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        manifest = folder / "release.toml"
        text = manifest.read_text()
        assert old in text
        manifest.write_text(text.replace(old, new))

    return change


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: (folder / "release.toml").unlink(), "cannot be read"),
        (lambda folder: (folder / "release.toml").write_bytes(bytes(70_000)), "cannot be read"),
        (lambda folder: (folder / "release.toml").write_bytes(b"\xff"), "is not TOML"),
        (lambda folder: (folder / "release.toml").write_text("[release]"), r"needs \[release\]"),
        (
            lambda folder: (folder / "release.toml").write_text(
                "artefact = [1]\n[release]\nrelease = 'r'\nmodel = 'm'"
            ),
            "not a table",
        ),
        (edit('release = "r-1"', "release = 1"), "release is missing"),
        (edit('release = "r-1"', 'release = "r 1"'), "release 'r 1'"),
        (edit("device =", "station ="), "exactly one"),
        (edit('"firmware.bin"', '"../firmware.bin"'), "leads out of the folder"),
        (edit('"firmware.bin"', '"missing.bin"'), "missing.bin"),
        (edit('kind = "firmware"', 'kind = "photo"'), "unknown artefact kind"),
        (edit('kind = "firmware"', 'kind = "strategy"'), "stands twice"),
        (edit('version = "1.0"', f'version = "{"9" * 25}"'), "version"),
        (lambda folder: (folder / "settings.csv").write_text("x"), "does not start with"),
        (lambda folder: (folder / "strategy.csv").write_bytes(bytes(4 * 1024 * 1024 + 1)), "strategy.csv"),
    ],
)
def test_release_folder_that_is_not_whole_is_refused(
    tmp_path: Path, spoil: Callable[[Path], object], reason: str
) -> None:
    make_release(tmp_path, SPEC)
    spoil(tmp_path)
    with pytest.raises(ReleaseError, match=reason) as caught:
        load_release(tmp_path)
    assert caught.value.exit_code == ExitCode.DATA
