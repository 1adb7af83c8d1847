"""Joins the blobs to the rest of a node's process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from kit.clock import Clock
from master.blobsync import Around, BlobSync
from master.chain import Chain
from master.config import NodeConfig
from master.contracts.table import CONTRACTS
from master.io.blobs import BlobStore
from master.io.peers import PeerNetwork
from master.io.store import Store
from master.ledger.application import Application
from master.ledger.blobs import known_blobs, known_size, named_blobs
from master.mempool import Mempool
from master.node import Node
from wire.blob import BlobRef
from wire.block import Block
from wire.receipt import Outcome
from wire.tx import SignedTx
from wire.types import Digest

BLOBS_FOLDER: Final = "blobs"
_NAMING: Final = tuple({contract.name.encode("ascii"): None for contract in CONTRACTS.values() if contract.blobs})
"""Contracts whose calls name blobs."""


def build_blobs(  # noqa: PLR0913 PLR0917 all that blobs have to do with
    config: NodeConfig,
    application: Application,
    store: Store,
    node: Node,
    mempool: Mempool,
    network: PeerNetwork,
    chain: Chain,
    release: Callable[[Digest], None],
    clock: Clock,
) -> BlobSync:
    """Open the blobs of a node and let its transactions wait for them.

    Raises:
        StorageError: The folder of blobs cannot be read or written.
    """

    def outcome_of(signed: SignedTx) -> Outcome:
        time_ms = max(clock.now_ms(), node.head_time_ms() + 1)
        return application.outcome_of(signed, node.head_height() + 1, time_ms)

    def named_in(block: Block) -> tuple[BlobRef, ...]:
        # most blocks name none: only what holds the name of such a contract is looked at
        calls = (mempool.open(raw).tx for raw in block.transactions if any(name in raw for name in _NAMING))
        return tuple(dict.fromkeys(blob for call in calls for blob in named_blobs(call)))

    around = Around(
        send=network.send,
        members=network.connected,
        report=node.report,
        release=release,
        admit=node.admit,
        outcome_of=outcome_of,
        known_size=lambda digest: known_size(store, digest),
        known_blobs=lambda: known_blobs(store),
        brought=chain.brought,
        named_in=named_in,
    )
    disk = BlobStore(config.node.data_dir / BLOBS_FOLDER, config.node.blobs_mib << 20)
    blobs = BlobSync(disk, around, clock)
    node.gate, node.find_waiting = blobs.gate, blobs.room.find
    return blobs
