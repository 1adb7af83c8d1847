"""Makes what a full node begins with: its data directory with the state of height 0."""

from __future__ import annotations

from typing import Final

from master.config import NodeConfig, load_genesis
from master.consensus.guard import SignerGuard
from master.io.guard import create_guard
from master.io.store import Store
from master.seat import GUARD_FILE, check_seat, load_vote_keys
from wire.genesis import Genesis

STORE_FOLDER: Final = "ledger"
WAL_FILE: Final = "wal"
TABLES_FILE: Final = "views.sqlite"


def init_node(config: NodeConfig, *, is_following: bool = False) -> Genesis:
    """Make the node's data directory with the state of height 0.

    Args:
        config: Of the node.
        is_following: The node joins a ledger that runs, with a key that its genesis file does not name.

    Raises:
        StorageError: There is a store already.
        DataError: The genesis file is damaged or asks for contracts that this software lacks.
    """
    genesis = load_genesis(config)
    keys = load_vote_keys(config)
    check_seat(config, genesis, keys, is_following=is_following)
    data_dir = config.node.data_dir
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    # only with a new store: a new guard beside blocks would hide that the old one is lost
    if not (data_dir / STORE_FOLDER).exists():
        create_guard(data_dir / GUARD_FILE, keys.owners(genesis.chain())[0], SignerGuard(is_new=True))
    Store.create(data_dir / STORE_FOLDER, genesis, map_bytes=config.node.map_mib << 20).close()
    return genesis
