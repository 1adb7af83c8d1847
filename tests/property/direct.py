"""Contract methods called one after the other on a state in memory, without transactions, blocks and trees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

from master.contracts.context import Context, Entries, Refused
from master.ledger.call import StateEntries
from master.ledger.genesis import genesis_writes
from master.ledger.state import Overlay
from tests.unit.ledger.worlds import MemoryState
from wire import cbor
from wire.cbor import Value
from wire.genesis import Genesis
from wire.receipt import Event
from wire.types import Digest, sha256


class Direct:
    """One ledger's state, driven call by call; time moves only when it is told to.

    Args:
        genesis: What it begins with.
        contract: Whose methods are called.
    """

    def __init__(self, genesis: Genesis, contract: str) -> None:
        self.genesis = genesis
        self.contract = contract
        self.time_ms = genesis.time_ms
        self.height = 0
        self.state = Overlay(MemoryState(genesis_writes(genesis)))

    def call(self, sender: str, organisation: str, work: Callable[[Context], object]) -> tuple[str, list[Event]]:
        """Run one call in a block of its own.

        Returns:
            The code and the events; a refused call leaves no write and no event.
        """
        self.height += 1
        overlay = Overlay(self.state)
        context = _Call(self, overlay, sender, organisation)
        try:
            code = work(cast("Context", context))
        except Refused as refusal:
            return refusal.code, []
        self.state.absorb(overlay)
        return str(code), context.events

    def read(self, prefix: bytes) -> Iterator[tuple[bytes, Any]]:
        """Yield the contract's entries under a prefix."""
        return StateEntries(self.state, self.contract).scan(prefix)


class _Call:
    """Implements `master.contracts.context.Context`."""

    def __init__(self, direct: Direct, overlay: Overlay, sender: str, organisation: str) -> None:
        self.chain = direct.genesis.chain()
        self.time_ms, self.height = direct.time_ms, direct.height
        self.sender, self.organisation = sender, organisation
        self.tx_id: Digest = sha256(b"call %d" % direct.height)
        self.events: list[Event] = []
        self._contract, self._overlay = direct.contract, overlay

    def namespace(self, name: str) -> Entries:
        return StateEntries(self._overlay, name)

    def get(self, key: bytes) -> Value | None:
        return self.namespace(self._contract).get(key)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, Value]]:
        return self.namespace(self._contract).scan(prefix)

    def put(self, key: bytes, value: Value) -> None:
        self.put_encoded(key, cbor.encode(value))

    def put_encoded(self, key: bytes, raw: bytes) -> None:
        self._overlay.put(self._contract, key, raw)

    def delete(self, key: bytes) -> None:
        self._overlay.delete(self._contract, key)

    def emit(self, event_type: str, subject: str, data: dict[str, Value]) -> None:
        self.events.append(Event(self._contract, event_type, subject, data))

    def told(self) -> tuple[int, int]:
        return len(self.events), 0
