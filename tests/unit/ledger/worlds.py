"""A small consortium with its keys, and a state in memory that implements the real Protocol."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from nacl.signing import SigningKey

from master.contracts.table import Software, code_table
from master.ledger.application import Application
from master.ledger.genesis import genesis_root, genesis_writes, leaves_of
from master.ledger.rows import Execution, Head, Leaf, genesis_head
from master.ledger.state import Write
from master.ledger.tree import StateTree, bucket_of
from wire.cbor import Value
from wire.genesis import (
    AccountKey,
    Device,
    Gateway,
    Genesis,
    GenesisValidator,
    Organisation,
    Station,
)
from wire.receipt import Outcome, decode_outcome
from wire.tx import SignedTx, Transaction, open_tx
from wire.types import Digest, sha256

GENESIS_MS: Final = 1_800_000_000_000
SENDERS: Final = (
    "gw-1",
    "gw-2",
    "dispatch",
    "maker-a",
    "maker-b",
    "lab",
    "lab-b",
    "regulator",
    "grid",
)


def key_of(sender: str) -> SigningKey:
    """Return the key of an account, or of anybody else by another name."""
    return SigningKey(sha256(b"test key of " + sender.encode()))


def make_genesis(parameters: dict[str, Value] | None = None, devices: tuple[Device, ...] | None = None) -> Genesis:
    """Return two stations with a gateway each and four devices of two models."""
    roles = {
        "dispatch": "dispatch-centre",
        "grid": "grid-company",
        "lab": "laboratory",
        "lab-b": "laboratory",
        "maker-a": "manufacturer",
        "maker-b": "manufacturer",
        "regulator": "regulator",
    }
    gateways = ("gw-1", "gw-2")
    return Genesis(
        name="test",
        time_ms=GENESIS_MS,
        validators=(GenesisValidator("dispatch", key_of("vote").verify_key.encode(), b"certificate"),),
        organisations=tuple(Organisation(name, roles[name]) for name in sorted(roles)),
        keys=tuple(
            sorted(
                (
                    AccountKey(
                        key_of(name).verify_key.encode(),
                        name,
                        "grid" if name in gateways else name,
                    )
                    for name in SENDERS
                ),
                key=lambda entry: entry.key,
            )
        ),
        stations=(Station("st-1", "north", "grid"), Station("st-2", "north", "grid")),
        gateways=(Gateway("gw-1", "st-1"), Gateway("gw-2", "st-2")),
        devices=devices
        if devices is not None
        else (
            Device("dev-1", "gw-1", "maker-a", "SC-2", "s-1"),
            Device("dev-2", "gw-1", "maker-a", "SC-2", "s-2"),
            Device("dev-3", "gw-2", "maker-a", "SC-2", "s-3"),
            Device("dev-4", "gw-2", "maker-b", "XR/7", ""),
        ),
        parameters=parameters or {},
        code_table=code_table(),
    )


class MemoryState:
    """A `master.ledger.state.StateReader` in memory, with the leaves of its tree."""

    def __init__(self, writes: Sequence[Write] = (), leaves: Sequence[Leaf] = ()) -> None:
        self.entries: dict[tuple[str, bytes], bytes] = {}
        self.leaves: dict[Digest, Digest] = {}
        self.take(writes, leaves)

    def take(self, writes: Sequence[Write], leaves: Sequence[Leaf]) -> None:
        for write in writes:
            if write.value is None:
                del self.entries[write.namespace, write.key]
            else:
                self.entries[write.namespace, write.key] = write.value
        for key, value in leaves:
            if value is None:
                del self.leaves[key]
            else:
                self.leaves[key] = value

    def get(self, namespace: str, key: bytes) -> bytes | None:
        return self.entries.get((namespace, key))

    def scan(self, namespace: str, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        for name, key in sorted(self.entries):
            if name == namespace and key.startswith(prefix):
                yield key, self.entries[name, key]

    def bucket(self, index: int) -> Sequence[tuple[Digest, Digest]]:
        keys = sorted(self.leaves)
        start = bisect_left(keys, (index << 4).to_bytes(3, "big"))
        found = []
        for key in keys[start:]:
            if bucket_of(key) != index:
                break
            found.append((key, self.leaves[key]))
        return found

    def tree(self) -> StateTree:
        return StateTree.rebuild(sorted(self.leaves.items()))


@dataclass(frozen=True, slots=True)
class Done:
    """What came of one transaction in a block of its own."""

    tx: SignedTx
    outcome: Outcome
    execution: Execution

    @property
    def code(self) -> str:
        return self.outcome.code

    def events(self, event_type: str) -> list[dict[str, Value]]:
        """Return the data of all events of one type."""
        return [event.data for event in self.outcome.events if event.type == event_type]

    @property
    def event_types(self) -> list[str]:
        return [event.type for event in self.outcome.events]

    @property
    def written(self) -> list[tuple[str, bytes]]:
        return [(write.namespace, write.key) for write in self.execution.writes]


class World:
    """One ledger in memory: signs calls, builds a block for each, processes and commits it."""

    def __init__(self, genesis: Genesis | None = None, software: Software | None = None) -> None:
        self.genesis = genesis if genesis is not None else make_genesis()
        writes = genesis_writes(self.genesis)
        self.state = MemoryState(writes, leaves_of(writes))
        self.tree = self.state.tree()
        self.head: Head = genesis_head(self.genesis, genesis_root(writes))
        self.restart(software)
        self.wait_ms = 0
        """Block time that passes before the next block beside the second that always does."""
        self.seqs: dict[str, int] = {}
        self.seen: set[str] = set()
        """Types of all events so far."""

    def restart(self, software: Software | None) -> None:
        """Go on with a release that can run other contracts; None: with this program."""
        at = self.head.height
        self.application = Application(
            self.genesis, self.state, self.tree, SignedTx.verify, height=at, software=software
        )

    def sign(self, sender: str, contract: str, method: str, args: dict[str, Value], /, **changes: object) -> SignedTx:
        """Return a signed call with the sender's next number; ``changes`` replace fields, ``key`` the signer."""
        signer = str(changes.pop("key", sender))
        self.seqs[signer] = self.seqs.get(signer, 0) + 1
        call = Transaction(
            chain=self.genesis.chain(),
            sender=sender,
            contract=contract,
            version=1,
            method=method,
            args=args,
            seq=self.seqs[signer],
            valid_until_ms=self.head.time_ms + self.wait_ms + 60_000,
        )
        return open_tx(replace(call, **changes).sign(key_of(signer)))  # type: ignore[arg-type]

    def propose(self, *candidates: SignedTx, bytes_max: int = 1 << 20) -> tuple[Execution, dict[Digest, str]]:
        """Build a block on the head, one second later."""
        validators = self.genesis.validator_set().digest()
        execution, refused = self.application.propose(
            self.head,
            proposer="dispatch",
            epoch=0,
            validators_hash=validators,
            next_validators_hash=validators,
            time_ms=self.head.time_ms + 1000 + self.wait_ms,
            candidates=candidates,
            bytes_max=bytes_max,
        )
        return execution, dict(refused)

    def commit(self, execution: Execution) -> None:
        """Check that processing gives the same, then take it over."""
        assert self.application.process(self.head, execution.block).writes == execution.writes
        self.state.take(execution.writes, execution.leaves)
        self.application.committed(execution)
        self.head = execution.head
        self.wait_ms = 0
        self.seen.update(event.type for raw in execution.outcomes for event in decode_outcome(raw).events)

    def run(self, *candidates: SignedTx) -> list[Done]:
        """Commit one block with all candidates; none may be refused."""
        execution, refused = self.propose(*candidates)
        assert not refused
        self.commit(execution)
        return [
            Done(candidate, decode_outcome(raw), execution)
            for candidate, raw in zip(candidates, execution.outcomes, strict=True)
        ]

    def call(self, sender: str, contract: str, method: str, args: dict[str, Value]) -> Done:
        """Commit one call in a block of its own."""
        return self.run(self.sign(sender, contract, method, args))[0]
