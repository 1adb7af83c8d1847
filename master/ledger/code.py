"""Which contract versions execute the next block, as the state says, and whether this software has them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from master.contracts import membership_decisions
from master.contracts.context import Contract, Opening
from master.contracts.membership_decisions import Code, code_of
from master.contracts.table import Software
from master.ledger.blobs import blobs_of_call
from master.ledger.call import BlockCall, StateReads
from master.ledger.refusals import CodeDueError
from master.ledger.state import Overlay, StateReader, Write
from wire.blob import BlobRef
from wire.genesis import code_table_hash
from wire.tx import Transaction
from wire.types import Digest


class RunningCode:
    """The code of one height; `follow` goes to the next one.

    Args:
        software: What this program can run.
        reader: State after the newest block.
        height: Of that block.
    """

    def __init__(self, software: Software, reader: StateReader, height: int) -> None:
        self._software: Final = software
        self._reader = reader
        self._codes: tuple[Code, ...] = ()
        self._begun: tuple[Code, ...] = ()
        """Versions whose first block is the next one."""
        self._read(height)

    def follow(self, height: int, writes: Iterable[Write]) -> None:
        """Go on after block ``height``, which made these writes."""
        self._height = height + 1
        is_changed = any(
            write.namespace == membership_decisions.NAMESPACE and write.key.startswith(membership_decisions.CODE)
            for write in writes
        )
        if is_changed or any(code.from_height == self._height for code in self._codes):
            self._read(height)
        elif self._begun:
            self._begun = ()

    def check(self) -> None:
        """Return if this software can execute the next block.

        Raises:
            CodeDueError: It cannot.
        """
        if self._lack is not None:
            raise CodeDueError(self._lack)

    def coming(self) -> tuple[Code, ...]:
        """Return the versions that begin after the next block, sorted by name and version."""
        return tuple(code for code in self._codes if code.from_height > self._height)

    def named_blobs(self, call: Transaction) -> tuple[BlobRef, ...]:
        """Return the blobs that a call of the next block names, as the contract declares them that will execute it.

        It is not asked what else this software knows: nodes of several releases have to come to the same answer.
        """
        return blobs_of_call(self.contracts.get(call.contract), call)

    def begin(self, state: Overlay, time_ms: int) -> None:
        """Let versions that begin with the next block turn what is there into their own.

        Raises:
            CodeDueError: This software cannot execute the next block.
        """
        self.check()
        activate((self.contracts[code.name] for code in self._begun), state, self._height, time_ms)

    def _read(self, height: int) -> None:
        self._height = height + 1
        """Of the next block."""
        self._codes = code_of(StateReads(Overlay(self._reader)))
        table = membership_decisions.running(self._codes, self._height)
        self._begun = tuple(code for code in table if 0 < code.from_height == self._height)
        entries = [code.entry() for code in table]
        lack = self._software.lack(entries)
        self._lack = None if lack is None else lacking(self._height, lack)
        found = self._software.contracts
        self.contracts: dict[str, Contract] = {
            code.name: found[code.name, code.version] for code in table if (code.name, code.version) in found
        }
        """By name, sorted."""
        self.openings: list[tuple[str, Opening]] = [
            (name, contract.opening) for name, contract in self.contracts.items() if contract.opening is not None
        ]
        self.hash: Digest = code_table_hash(entries)
        """What the header of the next block names."""


def lacking(height: int, lack: str) -> str:
    """Return what is said of a block that this software cannot execute."""
    return (
        f"code table: block {height} is executed by {lack}; install the release that has it and start again "
        "(what a release has: gridwitness-node code-table)"
    )


def activate(contracts: Iterable[Contract], state: Overlay, height: int, time_ms: int) -> None:
    """Run what contract versions do when they begin, in their order."""
    for contract in contracts:
        if contract.activation is not None:
            contract.activation(BlockCall(contract.name, state, height, time_ms))
