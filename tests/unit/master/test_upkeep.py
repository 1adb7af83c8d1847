"""The commands that look after a store, as a person runs them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from kit.exitcodes import run
from master.cli import PROGRAM, app
from master.consensus.snapshot_messages import Archive
from master.io import store_tools
from master.io.blobs import path_of
from master.io.snapshots import SnapshotFolder
from master.io.store import Store
from master.io.store_join import JoiningStore
from master.io.store_past import due_of, fill, old_blocks
from tests.unit.contracts.model_calls import arguments
from tests.unit.ledger.worlds import World
from tests.unit.store.stores import MAP_BYTES, certify, grow
from tests.unit.store.taken import all_parts
from tests.unit.store.test_store_tools import change, first_key, height
from wire.types import sha256


class Node:
    """A stopped node with six blocks."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        self.world = World()
        self.data_dir = folder / "data"
        self.ledger = self.data_dir / "ledger"
        self.config = folder / "node.toml"
        (folder / "genesis.cbor").write_bytes(self.world.genesis.encode())
        for name in ("vote.key", "node.crt", "node.key"):
            (folder / name).touch(mode=0o600)
        self.config.write_text(
            '[node]\nmember = "dispatch"\ndata_dir = "data"\ngenesis = "genesis.cbor"\nvote_key = "vote.key"\n'
            'map_mib = 64\n\n[peers]\nlisten = "127.0.0.1:0"\ncertificate = "node.crt"\nkey = "node.key"\n\n'
            '[peers.addresses]\ndispatch = "127.0.0.1:7001"\n\n[api]\nlisten = "127.0.0.1:8080"\n'
        )
        self.data_dir.mkdir()
        with Store.create(self.ledger, self.world.genesis, map_bytes=MAP_BYTES) as store:
            grow(self.world, store, 6)

    def call(self, *arguments: str) -> tuple[int, Any]:
        """Run a command with --json; return its exit code and what it printed, if it is JSON."""
        self._capsys.readouterr()
        code = run(app, program=PROGRAM, args=[*arguments, "--config", str(self.config), "--json"])
        out = self._capsys.readouterr().out
        return code, json.loads(out) if out else None

    def say(self, *arguments: str) -> tuple[int, str]:
        self._capsys.readouterr()
        code = run(app, program=PROGRAM, args=[*arguments, "--config", str(self.config)])
        return code, self._capsys.readouterr().out


@pytest.fixture
def node(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Node:
    return Node(tmp_path, capsys)


def test_fsck_exits_0_when_all_is_well_and_65_when_it_is_not(node: Node) -> None:
    assert node.call("fsck") == (0, {"height": 6, "lacks": 0, "blobs_missing": 0, "damages": []})
    assert node.say("fsck") == (0, "all is well, up to block 6\n")
    key = first_key(node.ledger, "state")
    change(node.ledger, "state", key, lambda record: record[:-1] + bytes((record[-1] ^ 1,)))
    code, found = node.call("fsck")
    assert code == 65
    assert {"table": "state", "key": key.hex(), "problem": "its checksum does not hold"} in found["damages"]
    assert "rebuild" in node.say("fsck")[1]


def test_fsck_of_a_store_that_cannot_be_opened_says_what_is_damaged(node: Node) -> None:
    change(node.ledger, "meta", b"head", lambda record: b"x" * 8 + record[8:])
    code, found = node.call("fsck")
    assert (code, found["damages"][0]["table"]) == (65, "meta")


def test_fsck_of_no_store_exits_74(node: Node, tmp_path: Path) -> None:
    node.ledger.rename(tmp_path / "moved")
    assert node.call("fsck")[0] == 74


def test_rebuild_puts_a_whole_store_in_place_and_keeps_the_old_one(node: Node) -> None:
    change(node.ledger, "state", first_key(node.ledger, "state"), lambda record: None)
    (node.data_dir / "views.sqlite").write_bytes(b"of the old store")
    code, done = node.call("rebuild")
    assert (code, done["height"], done["stopped"]) == (0, 6, None)
    assert (node.data_dir / "ledger.old").is_dir()
    assert not (node.data_dir / "views.sqlite").exists()
    assert node.call("fsck")[0] == 0
    assert node.call("rebuild")[0] == 74


def test_rebuild_that_ends_early_exits_75_and_says_why(node: Node) -> None:
    change(node.ledger, "blocks", height(4), lambda record: record[:-1] + bytes((record[-1] ^ 1,)))
    code, done = node.call("rebuild")
    assert (code, done["height"]) == (75, 3)
    assert "is damaged" in done["stopped"]
    assert node.call("fsck") == (0, {"height": 3, "lacks": 0, "blobs_missing": 0, "damages": []})


def test_export_makes_a_lost_store_anew_elsewhere(node: Node, tmp_path: Path) -> None:
    out = tmp_path / "ledger.blocks"
    assert node.call("export", "--out", str(out), "--last", "9")[0] == 64
    code, done = node.call("export", "--out", str(out))
    assert (code, done["first"], done["last"], done["bytes"]) == (0, 1, 6, out.stat().st_size)
    assert node.call("export", "--out", str(out))[0] == 74
    node.ledger.rename(tmp_path / "lost")
    code, done = node.call("rebuild", "--from", str(out))
    assert (code, done["height"], done["old_store"]) == (0, 6, None)
    assert node.call("fsck")[0] == 0


def test_backup_and_restore_leave_a_mark_for_the_signer_guard(node: Node, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    code, made = node.call("backup", "--out", str(backup))
    assert (code, made["height"], made["chain"]) == (0, 6, node.world.genesis.chain())
    assert node.call("backup", "--out", str(backup))[0] == 74
    assert node.call("restore", str(backup))[0] == 74
    assert not (node.data_dir / "restored").exists()
    node.ledger.rename(tmp_path / "lost")
    code, done = node.call("restore", str(backup))
    assert (code, done["height"], done["quarantine"]) == (0, 6, True)
    assert (node.data_dir / "restored").exists()
    assert node.call("fsck") == (0, {"height": 6, "lacks": 0, "blobs_missing": 0, "damages": []})
    assert node.call("restore", str(tmp_path / "nothing"))[0] == 65


def test_prune_says_how_much_it_gave_back(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    assert node.call("prune", "--keep", "1")[0] == 64
    code, done = node.call("prune", "--keep", "128")
    assert (code, done["blocks"], done["bytes"]) == (0, 0, (node.ledger / "data.mdb").stat().st_size)
    monkeypatch.setattr(store_tools, "KEPT_MIN", 2)
    with Store.open(node.ledger, node.world.genesis, map_bytes=MAP_BYTES) as store:
        assert store_tools.prune(store, 5, lambda _: None) == 4
    assert node.call("fsck")[0] == 0
    assert "0 blocks given up" in node.say("prune", "--keep", "128")[1]


def test_command_on_a_store_that_a_node_owns_exits_74(node: Node) -> None:
    with Store.open(node.ledger, node.world.genesis, map_bytes=MAP_BYTES):
        for command in (("fsck",), ("rebuild",), ("prune", "--keep", "128")):
            assert node.call(*command)[0] == 74


@pytest.fixture
def joined(node: Node, tmp_path: Path) -> Node:
    """The same node after it has lost its store and come back by a snapshot of block 6, its past still missing."""
    node.ledger.rename(tmp_path / "source")
    with Store.open(tmp_path / "source", node.world.genesis, map_bytes=MAP_BYTES) as source:
        folder = SnapshotFolder(tmp_path / "snapshots")
        view = source.view()
        folder.write(source, view, lambda: None)
        view.close()
        manifest = folder.manifest()
        assert manifest is not None
        joining = JoiningStore(node.ledger, node.world.genesis, MAP_BYTES)
        joining.begin(manifest)
        joining.keep(all_parts(folder, manifest))
        joining.finish()
        joining.close()
    return node


# holds SN-10
def test_tools_on_a_store_that_began_with_a_snapshot_say_what_is_missing(joined: Node, tmp_path: Path) -> None:
    assert joined.call("fsck") == (0, {"height": 6, "lacks": 6, "blobs_missing": 0, "damages": []})
    assert "blocks 1..6 have not come yet" in joined.say("fsck")[1]
    with Store.open(joined.ledger, joined.world.genesis, map_bytes=MAP_BYTES) as store:
        grow(joined.world, store, 2)
        with Store.open(tmp_path / "source", joined.world.genesis, map_bytes=MAP_BYTES) as source:
            due = due_of(store)
            assert due is not None
            fill(store, joined.world.genesis, due, Archive(old_blocks(source, due.height, 0, 1500)))
    code, found = joined.call("fsck")
    assert code == 0
    assert 0 < found["lacks"] < 6
    out = tmp_path / "blocks"
    assert joined.call("export", "--out", str(out), "--first", "7")[0] == 0
    assert joined.call("export", "--out", str(tmp_path / "all"))[0] == 74
    assert joined.call("rebuild")[0] == 74
    assert joined.ledger.exists()
    assert joined.call("prune", "--keep", "128")[1]["blocks"] == 0
    assert joined.call("backup", "--out", str(tmp_path / "backup"))[1]["height"] == 8


# holds SN-10
def test_tools_on_a_store_that_began_with_a_snapshot_find_damage(joined: Node) -> None:
    change(joined.ledger, "headers", height(6), lambda record: record[:-1] + bytes((record[-1] ^ 1,)))
    assert joined.call("fsck")[0] == 65
    assert joined.call("rebuild")[0] == 74


def test_blobs_are_checked_saved_brought_back_and_removed_with_the_store(node: Node, tmp_path: Path) -> None:
    named, orphan = b"case 1", b"nobody names it"
    with Store.open(node.ledger, node.world.genesis, map_bytes=MAP_BYTES) as store:
        execution, _ = node.world.propose(node.world.sign("dispatch", "models", "store", arguments(named)))
        store.commit(execution, certify(node.world, execution))
    assert node.call("fsck")[1]["blobs_missing"] == 1
    assert "1 blobs are not here" in node.say("fsck")[1]
    folder = node.data_dir / "blobs"
    for content in (named, orphan):
        path = path_of(folder, sha256(content))
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        os.utime(path, (1000, 1000))
    assert node.call("fsck")[1]["blobs_missing"] == 0
    backup = tmp_path / "backup"
    assert node.call("backup", "--out", str(backup))[1]["blobs"] == 2
    assert node.call("prune", "--keep", "128")[1]["blob_bytes"] == len(orphan)
    path_of(folder, sha256(named)).write_bytes(b"rotten")
    code, found = node.call("fsck")
    assert (code, found["blobs_missing"], found["damages"][0]["table"]) == (65, 1, "blobs")
    assert node.call("backup", "--out", str(tmp_path / "second"))[1]["blobs_damaged"] == [sha256(named).hex()]
    shutil.rmtree(folder)
    shutil.rmtree(node.ledger)
    assert node.call("restore", str(backup))[0] == 0
    assert path_of(folder, sha256(named)).read_bytes() == named
