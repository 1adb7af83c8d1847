"""The real application on the real store under a simulated node, and the members whose calls it executes.

Everything is as in a full node's process: LMDB in a folder, the state tree rebuilt at each start, contracts, outcomes
and events. It costs some ten times more than the toy ledger, so one profile uses it.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from typing import Final, TypeAlias

from kit.exitcodes import StorageError
from master.chain import Chain, VerifiedSignatures
from master.consensus.events import Build, Head
from master.contracts.validator_records import Change, pending
from master.io.store import Store
from master.io.store_env import TABLES
from master.ledger.application import Application
from master.ledger.call import StateReads
from master.ledger.refusals import TxRefused
from master.ledger.state import Overlay
from master.mempool import Mempool
from master.seams import BlockRefusedError
from tests.simulation.keys import GHOST, JOINER, KeyRing
from tests.simulation.toy import Ledger
from tests.unit.contracts.reports import artefact, entry, evidence, item
from tests.unit.ledger.worlds import key_of, make_genesis
from wire.block import Block
from wire.cbor import Value
from wire.certificate import Certificate, ValidatorSet
from wire.epochs import EPOCHS_MAX
from wire.errors import WireError
from wire.genesis import AccountKey, Genesis, GenesisValidator, Organisation
from wire.tx import SignedTx, Transaction, open_tx
from wire.types import Digest

MAP_BYTES: Final = 64 * 1024 * 1024
BLOCK_BYTES: Final = 20_000
MEMORY: Final = Path("/dev/shm")  # noqa: S108 a folder in memory, used through mkdtemp
_BRIEF_MS: Final = 1_500
_LONG_MS: Final = 24 * 3_600_000
_OWN_TABLES: Final = frozenset({"certificates", "epochs"})
"""What two nodes may store differently: other signatures of the same quorum, also under the end of an epoch."""


def genesis_of(keys: KeyRing) -> Genesis:
    """Return a genesis file with the key ring's validators."""
    members = tuple(
        GenesisValidator(entry.member, entry.vote_key, b"certificate of " + entry.member.encode())
        for entry in keys.validators.validators
    )
    made = make_genesis()
    names = (*(entry.member for entry in members), JOINER, GHOST)
    known = (*made.organisations, *(Organisation(name, "sub-centre") for name in names))
    accounts = (*made.keys, *(AccountKey(key_of(name).verify_key.encode(), name, name) for name in names))
    return replace(
        made,
        validators=members,
        organisations=tuple(sorted(known, key=lambda entry: entry.id)),
        keys=tuple(sorted(accounts, key=lambda entry: entry.key)),
    )


class Members:
    """Sign calls: notes, and reports of gateways about devices that change all the time."""

    def __init__(self, genesis: Genesis, rng: Random) -> None:
        self._genesis, self._rng = genesis, rng
        self._seqs: dict[str, int] = {}
        self._reports = 0

    def call(self, elapsed_ms: int, *, is_brief: bool) -> bytes:
        """Return a signed transaction that may stand in a block for long, or for a moment."""
        rng = self._rng
        args: dict[str, Value]
        if rng.random() < 0.5:
            sender, contract, method = rng.choice(("maker-a", "lab", "grid")), "notary", "put"
            args = {"key": f"note-{rng.randrange(40)}", "data": rng.randbytes(20)}
        else:
            sender, contract, method, args = self._report()
        valid_until_ms = self._genesis.time_ms + elapsed_ms + (_BRIEF_MS if is_brief else _LONG_MS)
        return self._sign(sender, contract, method, args, valid_until_ms)

    def govern(self, sender: str, method: str, args: dict[str, Value]) -> bytes:
        """Return a signed call of the contract that keeps the validators."""
        return self._sign(sender, "validators", method, args, self._genesis.time_ms + _LONG_MS)

    def _sign(self, sender: str, contract: str, method: str, args: dict[str, Value], valid_until_ms: int) -> bytes:
        self._seqs[sender] = self._seqs.get(sender, 0) + 1
        signed = Transaction(
            self._genesis.chain(), sender, contract, 1, method, args, self._seqs[sender], valid_until_ms
        )
        return signed.sign(key_of(sender))

    def _report(self) -> tuple[str, str, str, dict[str, Value]]:
        rng = self._rng
        self._reports += 1
        gateway, devices = rng.choice((("gw-1", ("dev-1", "dev-2")), ("gw-2", ("dev-3",))))
        entries = []
        for device in devices:
            serial = f"s-{device[-1]}" if rng.random() < 0.7 else "another"
            kinds = [artefact(kind, rng.choice((b"a", b"b"))) for kind in ("firmware", "settings")]
            is_read = rng.random() < 0.8
            content = item(serial, artefacts=kinds) if is_read else None
            entries.append(entry(device, content, status="read" if is_read else "unreachable"))
        made = evidence(*entries, gateway=gateway, pair=(1, self._reports))
        return gateway, "consistency", "report", {"evidence": made.encode()}


class RealLedger:
    """What one node has stored; does all that the toy ledger does."""

    verified: Final = VerifiedSignatures()
    """Checked signatures of all nodes: a check is pure."""

    def __init__(self, genesis: Genesis, member: str) -> None:
        self._genesis, self._member = genesis, member
        self._folder = Path(mkdtemp(prefix="ledger-", dir=MEMORY if MEMORY.is_dir() else None))
        _FOLDERS.append(self)
        self._store = Store.create(self._folder / "ledger", genesis, map_bytes=MAP_BYTES)
        self.blocks: list[tuple[Block, Certificate]] = []
        self.done: set[bytes] = set()
        self._refused: set[Digest] = set()
        self._join()

    def _join(self) -> None:
        tree = self._store.state_tree()
        self._application = Application(self._genesis, self._store, tree, self.verified)
        validators = self._genesis.validator_set()
        self._chain = Chain(
            self._application, self._store, Mempool(), validators, self._member, BLOCK_BYTES, _NothingKept()
        )
        self.head = self._chain.consensus_head()

    @property
    def state(self) -> Digest:
        """Root of the state."""
        return self._store.head().state_root

    @property
    def epoch(self) -> int:
        """Number of the epoch that decides the next block."""
        return self._chain.epoch.number

    @property
    def validators(self) -> ValidatorSet:
        """Who decides the next block."""
        return self._chain.epoch.validators

    @property
    def following(self) -> ValidatorSet:
        """The set that decides the next block but one."""
        return self._application.validators()

    @property
    def pending(self) -> Change | None:
        """The change of validators that is open."""
        return pending(StateReads(Overlay(self._store)))

    def set_of(self, epoch: int) -> ValidatorSet | None:
        """Return the validators of an epoch, if they are known here."""
        return self._chain.validators_of(epoch)

    def reopen(self) -> None:
        """Start again from what is on disk."""
        self._store.close()
        self._store = Store.open(self._folder / "ledger", self._genesis, map_bytes=MAP_BYTES)
        self._join()

    def close(self) -> None:
        """Remove all of it."""
        _FOLDERS.remove(self)
        self._store.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def copy(self, height: int) -> RealLedger:
        """Return a ledger that executed the same blocks up to a height and never failed."""
        fresh = RealLedger(self._genesis, self._member)
        for block, certificate in self.blocks[:height]:
            if not fresh.accepts(block):
                raise StorageError(f"block {block.header.height} comes out otherwise when it is executed again")
            fresh.apply(block, certificate)
        return fresh

    def may_stand(self, raw: bytes, time_ms: int) -> bool:
        """Tell whether a transaction could be in the next block."""
        try:
            self._application.check(open_tx(raw), time_ms)
        except TxRefused:
            return False
        return True

    def build(self, build: Build, proposer: str, wall_ms: int, pending: list[bytes]) -> Block | None:
        """Return a block of pending transactions."""
        return self._chain.build(build, [open_tx(raw) for raw in pending], wall_ms)

    def accepts(self, block: Block) -> bool:
        """Execute a block above the head and tell whether its roots come out."""
        try:
            self._chain.execute(block)
        except (BlockRefusedError, WireError):
            return False
        return True

    def apply(self, block: Block, certificate: Certificate) -> Head:
        """Store a block; the caller has checked it."""
        self.head = self._chain.apply(block, certificate)
        self.blocks.append((block, certificate))
        self.done.update(block.transactions)
        return self.head

    # ---- for judges ---------------------------------------------------------------------------

    def records(self) -> dict[str, list[tuple[bytes, bytes]]]:
        """Return every record of the store that all nodes must have alike."""
        kept = {table: list(self._store.raw_records(table)) for table in TABLES if table not in _OWN_TABLES}
        ends = self._store.epoch_ends(EPOCHS_MAX)
        kept["epochs"] = [(end.header.encode(), end.validators.digest()) for end in ends]
        return kept

    def rebuilt_root(self) -> Digest:
        """Return the root of the tree that the stored leaves make."""
        return self._store.state_tree().root

    @property
    def store(self) -> Store:
        """The store itself."""
        return self._store

    def transactions(self) -> list[tuple[int, SignedTx]]:
        """Return block time and transaction of everything executed."""
        return [(block.header.time_ms, open_tx(raw)) for block, _ in self.blocks for raw in block.transactions]


AnyLedger: TypeAlias = "Ledger | RealLedger"
_FOLDERS: Final[list[RealLedger]] = []


def close_ledgers() -> None:
    """Remove every ledger that is still there."""
    while _FOLDERS:
        _FOLDERS[-1].close()


class _NothingKept:
    """Stands where a node keeps parts of its state in memory."""

    def committed(self, execution: object) -> None:
        """Keep nothing."""
