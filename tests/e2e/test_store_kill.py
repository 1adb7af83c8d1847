"""The store is killed in mid-write, again and again; what it acknowledged is there, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from master.io.store import Store
from tests.unit.ledger.worlds import make_genesis

KILLS = 5
BLOCKS_BEFORE_THE_KILL = 15
MAP_BYTES = 64 * 1024 * 1024

WRITER = """
import sys
from pathlib import Path
from master.io.store import Store
from master.ledger.application import Application
from tests.unit.contracts.reports import entry, evidence, item
from tests.unit.ledger.worlds import World, make_genesis
from wire.certificate import Step, build_certificate
from wire.tx import SignedTx

genesis = make_genesis()
with Store.open(Path(sys.argv[1]), genesis, map_bytes=int(sys.argv[2])) as store:
    world = World(genesis)
    tree = store.state_tree()
    world.application = Application(genesis, store, tree, SignedTx.verify)
    while True:
        world.head = store.head()
        height = world.head.height + 1
        made = evidence(entry("dev-1", item(firmware=bytes(1000) + height.to_bytes(4, "big"))), pair=(1, height))
        world.seqs["gw-1"] = height - 1
        execution, refused = world.propose(world.sign("gw-1", "consistency", "report", {"evidence": made.encode()}))
        assert not refused, refused
        store.commit(execution, build_certificate(Step.COMMIT, 0, height, 0, execution.head.digest, []))
        world.application.committed(execution)
        print(height, execution.head.digest.hex(), execution.head.state_root.hex(), flush=True)
"""


def write_until_killed(path: Path) -> tuple[int, str, str]:
    """Return height, digest and state root of the last block that the writer acknowledged."""
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(MAP_BYTES)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    with writer.stdout as lines:
        said = [lines.readline() for _ in range(BLOCKS_BEFORE_THE_KILL)]
        writer.kill()
        said.extend(lines)
    writer.wait(timeout=30)
    height, digest, root = [line for line in said if line.endswith("\n")][-1].split()
    return int(height), digest, root


def test_store_killed_in_mid_write_keeps_all_that_it_acknowledged(tmp_path: Path) -> None:
    path, genesis = tmp_path / "store", make_genesis()
    Store.create(path, genesis, map_bytes=MAP_BYTES).close()
    for _ in range(KILLS):
        height, digest, root = write_until_killed(path)
        with Store.open(path, genesis, map_bytes=MAP_BYTES) as store:
            head = store.head()
            # the newest block may be on disk though its writer was killed before it could say so
            assert height <= head.height <= height + 1
            block = store.block(height)
            assert block is not None
            assert (block.header.digest().hex(), block.header.state_root.hex()) == (digest, root)
            assert store.state_tree().root == head.state_root
            assert head.history.size == head.height + 1
            assert len(store.outcomes(head.height)) == 1
    assert head.height >= KILLS * BLOCKS_BEFORE_THE_KILL
