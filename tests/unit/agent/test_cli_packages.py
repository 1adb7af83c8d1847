"""The commands around release packages, with a real device on a real socket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware_sim.contents import artefact
from kit.files import write_atomic
from tests.unit.agent.site import write_site
from tests.unit.agent.test_cli import Served, call
from tests.unit.agent.test_diagnosis import CHANGED, FIRMWARE, FLIPPED, SETTINGS, package
from tests.unit.firmware_sim.bench import device

RELEASE = """[release]
release = "r-1"
device = "sps-1"

[[artefact]]
kind = "firmware"
name = "firmware.bin"
version = "1"

[[artefact]]
kind = "settings"
name = "settings.csv"
version = "1"
"""


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Path]:
    served = Served(device(artefact("firmware", "1", FLIPPED), artefact("settings", "1", CHANGED)))
    yield write_site(tmp_path, broker_port=1, devices=[("sps-1", served.port)])
    served.close()


@pytest.fixture
def made(tmp_path: Path) -> Path:
    path = tmp_path / "r-1.package"
    write_atomic(path, package().encode())
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "release"
    path.mkdir()
    (path / "release.toml").write_text(RELEASE)
    (path / "firmware.bin").write_bytes(FIRMWARE)
    (path / "settings.csv").write_bytes(SETTINGS)
    return path


def test_read_names_what_differs_from_the_gateways_packages(
    config: Path, made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "read", "sps-1", "--config", str(config)) == 0
    assert "differs" not in capsys.readouterr().out
    assert call(monkeypatch, "package", "add", str(made), "--config", str(config)) == 0
    digest = package().release.digest().hex()
    shown = capsys.readouterr().out
    assert f"added: r-1 {digest} of alder for device sps-1: firmware without items, settings 2 items" in shown
    assert call(monkeypatch, "read", "sps-1", "--config", str(config)) == 0
    shown = capsys.readouterr().out
    assert "setting 17 UFLS stage 1 frequency: 49.00 Hz expected, 48.50 Hz read" in shown
    assert "firmware: bytes 65536..131071 differ from release r-1" in shown


@pytest.mark.parametrize("by", ["made", "folder"])
def test_read_against_a_package_or_folder_exits_by_what_it_finds(
    by: str,
    config: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = str(request.getfixturevalue(by))
    assert call(monkeypatch, "read", "sps-1", "--against", path, "--config", str(config), "--json") == 4
    value = json.loads(capsys.readouterr().out)["against"]
    assert (value["missing"], value["unexpected"]) == ([], [])
    settings, firmware = value["compared"]["settings"], value["compared"]["firmware"]
    assert settings["difference"] == {"unit": "items", "count": 1, "numbers": [17]}
    (item,) = settings["items"]
    assert item["cells"] == [{"column": "value", "expected": "49.00", "read": "48.50", "same_number": False}]
    assert firmware["difference"] == {"unit": "chunks", "count": 1, "numbers": [1]}
    assert firmware["items"] == []


def test_read_against_the_same_exits_0_and_against_more_or_less_says_it(
    config: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "firmware.bin").write_bytes(FLIPPED)
    (folder / "settings.csv").write_bytes(CHANGED)
    command = ("read", "sps-1", "--against", str(folder), "--config", str(config))
    assert call(monkeypatch, *command) == 0
    assert "firmware: as in release r-1" in capsys.readouterr().out
    more = RELEASE + '\n[[artefact]]\nkind = "strategy"\nname = "table"\nversion = "1"\n'
    (folder / "release.toml").write_text(more + 'checksum = "9f"\n')
    assert call(monkeypatch, *command) == 2
    assert "strategy: is missing" in capsys.readouterr().out
    (folder / "release.toml").write_text(more + "version_only = true\n")
    assert call(monkeypatch, *command) == 2
    (folder / "release.toml").write_text(RELEASE.replace('name = "settings.csv"', 'name = "no.csv"'))
    assert call(monkeypatch, *command) == 65


def test_read_against_lists_in_a_format_that_is_named_or_not_understood(
    config: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("read", "sps-1", "--against", str(folder), "--config", str(config))
    (folder / "release.toml").write_text(RELEASE + 'format = "xml"\n')
    assert call(monkeypatch, *command) == 65
    assert "settings.csv is not what release.toml says" in capsys.readouterr().err
    (folder / "release.toml").write_text(RELEASE + 'format = "csv"\n')
    assert call(monkeypatch, *command) == 4
    (folder / "release.toml").write_text(RELEASE)
    for content in (b"no list", SETTINGS + b"\n" * 300_000):
        (folder / "settings.csv").write_bytes(content)
        assert call(monkeypatch, *command) == 4
        assert "the reference value is not understood as a list of items" in capsys.readouterr().out


def test_read_against_a_package_that_was_changed_is_refused(
    config: Path, made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made.write_bytes(made.read_bytes().replace(b"49.00", b"48.50"))
    for command in (("read", "sps-1", "--against", str(made)), ("package", "add", str(made))):
        assert call(monkeypatch, *command, "--config", str(config)) == 65
        said = capsys.readouterr().err
        assert (
            "is no release package: package.artefacts: the items of the settings are not those of the release" in said
        )


def test_packages_are_listed_and_removed(
    config: Path, made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    where = ("--config", str(config))
    assert call(monkeypatch, "package", "list", *where) == 0
    assert capsys.readouterr().out == "no packages\n"
    model = package("r-1", device=None, model="SC-9000")
    write_atomic(tmp_path / "model.package", model.encode())
    assert call(monkeypatch, "package", "add", str(made), *where) == 0
    assert call(monkeypatch, "package", "add", str(tmp_path / "model.package"), *where) == 0
    capsys.readouterr()
    assert call(monkeypatch, "package", "list", *where, "--json") == 0
    first, second = json.loads(capsys.readouterr().out)["packages"]
    assert (first["device"], first["items"]) == ("sps-1", {"firmware": 0, "settings": 2})
    assert (second["model"], second["digest"]) == ("SC-9000", model.release.digest().hex())
    assert call(monkeypatch, "package", "remove", "r-1", *where) == 64
    assert call(monkeypatch, "package", "remove", second["digest"], *where) == 0
    assert call(monkeypatch, "package", "remove", "r-1", *where) == 0
    assert call(monkeypatch, "package", "remove", "r-1", *where) == 65
