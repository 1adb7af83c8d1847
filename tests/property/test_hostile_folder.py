"""Folders that somebody fills with malice: no node but a file is opened, and nothing mixed becomes a fingerprint."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.drivers import folder
from agent.drivers.content import FileBytes
from agent.drivers.errors import DeviceError
from agent.drivers.folder import FolderFile
from agent.model import Reading
from rules.fingerprint import fingerprint
from tests.fuzz.hostile import check_error, check_reading
from tests.unit.agent.folderbench import Bench, grow, open_files, profile_of
from wire.types import Digest

pytestmark = pytest.mark.property

SECRET = b"of another system"
PATTERNS = {"firmware": "relay{}.bin", "settings": "settings{}.csv", "strategy": "strategy{}.csv"}
SIZES = (0, 1, 600, 5_000)
PIECE_BYTES = 256


@dataclass
class Site:
    """A folder, what its names have ever held as a whole, and a file outside of it."""

    path: Path
    outside: Path
    held: dict[str, set[Digest]] = field(default_factory=dict)
    turn: int = 0

    def write(self, name: str, size: int) -> None:
        """Put a whole file in place, with content that was never there before."""
        self.turn += 1
        content = (b"%d " % self.turn * (size + 1))[:size]
        other = self.outside.with_name("new")
        other.write_bytes(content)
        self.clear(name)
        other.replace(self.path / name)
        self.held.setdefault(name, set()).add(fingerprint(content).sha256)

    def change(self, name: str, change: Callable[[Path], None]) -> None:
        """Change a file in place; what it holds then is a whole content, too."""
        path = self.path / name
        if path.is_symlink() or not path.is_file():
            return
        change(path)
        os.utime(path, (self.turn, self.turn))  # else two changes within one tick of the kernel's clock look like none
        self.turn += 1
        self.held.setdefault(name, set()).add(fingerprint(path.read_bytes()).sha256)

    def clear(self, name: str) -> Path:
        """Take a name away."""
        path = self.path / name
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
        return path


def flip(path: Path) -> None:
    """Change the first and the last byte."""
    content = bytearray(path.read_bytes())
    for at in {0, len(content) - 1} if content else ():
        content[at] ^= 1
    path.write_bytes(content)


Act = Callable[[Site, str], object]
ACTS: dict[str, Act] = {
    "write": lambda site, name: site.write(name, 600),
    "same-size": lambda site, name: site.change(name, flip),
    "grow": lambda site, name: site.change(name, grow),
    "shrink": lambda site, name: site.change(name, lambda path: os.truncate(path, path.stat().st_size // 2)),
    "remove": lambda site, name: site.clear(name),
    "link-out": lambda site, name: site.clear(name).symlink_to(site.outside),
    "link-in": lambda site, name: site.clear(name).symlink_to("other"),
    "link-round": lambda site, name: site.clear(name).symlink_to(name),
    "pipe": lambda site, name: os.mkfifo(site.clear(name)),
    "folder": lambda site, name: site.clear(name).mkdir(),
}
MOMENTS = ("listed", "opened", "read", "waited")

middles = st.binary(max_size=40).map(lambda raw: os.fsdecode(raw.replace(b"/", b"").replace(b"\0", b"")))
names = st.builds(lambda kind, middle: PATTERNS[kind].format(middle), st.sampled_from(sorted(PATTERNS)), middles)
nodes = st.lists(
    st.tuples(names, st.sampled_from((*["file"] * 20, *sorted(ACTS))), st.sampled_from(SIZES), st.booleans()),
    min_size=1,
    max_size=4,
)
moments = st.sampled_from((*MOMENTS, "read", "read"))
scripts = st.lists(st.tuples(moments, st.sampled_from((*ACTS, "same-size")), st.integers(0, 3)), max_size=5)
chosen = st.sampled_from(("only", "newest"))


# holds PF-10
@settings(max_examples=200)
@given(nodes, scripts, chosen)
@example([("relay.bin", "file", 600, False)], [("read", "same-size", 0)], "only")
def test_reading_of_a_hostile_folder_is_of_whole_files_in_it_or_an_error(
    made: list[tuple[str, str, int, bool]], script: list[tuple[str, str, int]], choose: str
) -> None:
    with tempfile.TemporaryDirectory() as name:
        site = Site(Path(name) / "copies", Path(name) / "outside")
        site.path.mkdir()
        site.outside.write_bytes(SECRET)
        for node, kind, size, is_future in made:
            if kind == "file":
                site.write(node, size)
                os.utime(site.path / node, (2**33, 2**33) if is_future else (0, 0))
            else:
                ACTS[kind](site, node)
        before = open_files()
        outcome = read_while(site, [node for node, *_ in made], script, choose)
        assert open_files() == before
    if isinstance(outcome, DeviceError):
        check_error(outcome, "dev-a")
        return
    check_reading(outcome, "dev-a")
    whole = set().union(*site.held.values())
    assert fingerprint(SECRET).sha256 not in whole
    assert {part.digest.sha256 for part in outcome.files} <= whole
    assert {part.method for part in outcome.files} == {"relayed-file"}


def read_while(
    site: Site, targets: list[str], script: list[tuple[str, str, int]], choose: str
) -> Reading | DeviceError:
    """Read the folder while the acts of a script are done, each at its moment."""
    waiting = {moment: [(act, target) for at, act, target in script if at == moment] for moment in MOMENTS}

    def act_at(moment: str) -> None:
        if targets and waiting[moment]:
            act, target = waiting[moment].pop(0)
            ACTS[act](site, targets[target % len(targets)])

    class Watched(FileBytes):
        def update(self, data: bytes) -> None:
            super().update(data)
            act_at("read")

    real_open, real_stat = os.open, os.fstat

    def opening(path: Path, flags: int) -> int:
        act_at("listed")
        return real_open(path, flags)

    def looking(number: int) -> os.stat_result:
        act_at("opened")
        return real_stat(number)

    files = tuple(FolderFile(kind=kind, pattern=PATTERNS[kind].format("*"), choose=choose) for kind in PATTERNS)
    bench = Bench(site.path, profile_of(*files), retries=2)
    bench.at_sleep = lambda: act_at("waited")
    with ExitStack() as patches:
        patches.enter_context(mock.patch.object(folder, "FileBytes", Watched))
        patches.enter_context(mock.patch.object(folder, "_PIECE_BYTES", PIECE_BYTES))
        for name, stand_in in patched(opening, looking):
            patches.enter_context(mock.patch(f"agent.drivers.folder.os.{name}", stand_in))
        try:
            return bench.read()
        except DeviceError as error:
            return error


def patched(opening: object, looking: object) -> Iterator[tuple[str, object]]:
    """Yield what stands in for which function of the driver's."""
    yield "open", opening
    yield "fstat", looking
