"""The context of one contract call: the contract's window on the state, and the events it gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cbor2

from master.contracts.context import KEY_BYTES_MAX, Entries, check_event_subject
from master.ledger.state import Entries as Layer
from master.ledger.state import Overlay
from wire import cbor
from wire.receipt import Event
from wire.tx import SignedTx
from wire.types import Digest


class StateEntries:
    """The entries of one namespace, decoded.

    Args:
        layer: Where the canonical values are.
        namespace: Which entries.
    """

    __slots__ = ("_layer", "_namespace")

    def __init__(self, layer: Layer, namespace: str) -> None:
        self._layer = layer
        self._namespace = namespace

    def get(self, key: bytes) -> cbor.Value | None:
        """Return the value under ``key``, a fresh copy, or None."""
        raw = self._layer.get(self._namespace, key)
        return None if raw is None else decode_entry(raw)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, cbor.Value]]:
        """Yield keys that start with ``prefix`` and their values in ascending order of key."""
        for key, raw in self._layer.scan(self._namespace, prefix):
            yield key, decode_entry(raw)


@dataclass(frozen=True, slots=True)
class StateReads:
    """Read functions' view of a layer of state, outside a call."""

    layer: Layer

    def namespace(self, name: str) -> Entries:
        """Return the entries of a namespace."""
        return StateEntries(self.layer, name)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all calls of one transaction have in common."""

    signed: SignedTx
    organisation: str
    """Owner of the signing key."""
    height: int
    time_ms: int
    """Block time, milliseconds since 1970 UTC."""


class BlockCall:
    """Implements `master.contracts.context.BlockContext` on an overlay.

    Args:
        contract: Whose namespace may be written.
        overlay: Takes the writes.
        height: Of the block.
        time_ms: Block time, milliseconds since 1970 UTC.
    """

    __slots__ = ("_contract", "_overlay", "_own", "height", "time_ms")

    def __init__(self, contract: str, overlay: Overlay, height: int, time_ms: int) -> None:
        self.height = height
        self.time_ms = time_ms
        self._contract = contract
        self._overlay = overlay
        self._own = StateEntries(overlay, contract)

    def namespace(self, name: str) -> Entries:
        """Return the entries of a namespace, the changes of this call included."""
        return StateEntries(self._overlay, name)

    def get(self, key: bytes) -> cbor.Value | None:
        """Return the contract's own value under ``key``, a fresh copy, or None."""
        return self._own.get(key)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, cbor.Value]]:
        """Yield the contract's own entries under ``prefix`` in ascending order of key."""
        return self._own.scan(prefix)

    def put(self, key: bytes, value: cbor.Value) -> None:
        """Write the contract's own value under ``key``.

        Raises:
            ValueError: The key is empty or longer than 400 bytes, a mistake of the contract.
            CborError: The value is outside the CBOR profile.
        """
        self.put_encoded(key, cbor.encode(value))

    def put_encoded(self, key: bytes, raw: bytes) -> None:
        """Write the contract's own value under ``key`` by its canonical bytes.

        Raises:
            ValueError: The key is empty or longer than 400 bytes, a mistake of the contract.
        """
        if not 1 <= len(key) <= KEY_BYTES_MAX:
            raise ValueError(f"state key of {len(key)} bytes, 1..{KEY_BYTES_MAX} are allowed")
        self._overlay.put(self._contract, key, raw)

    def delete(self, key: bytes) -> None:
        """Remove the contract's own value under ``key``, if there is one."""
        self._overlay.delete(self._contract, key)


class CallContext(BlockCall):
    """Implements `master.contracts.context.Context` on an overlay.

    Args:
        surroundings: The transaction and its block.
        contract: Whose namespace may be written and whose events are given.
        overlay: Takes the writes.
        events: Takes the events.
    """

    __slots__ = ("_bytes", "_events", "_measured", "_surroundings")

    def __init__(self, surroundings: Surroundings, contract: str, overlay: Overlay, events: list[Event]) -> None:
        super().__init__(contract, overlay, surroundings.height, surroundings.time_ms)
        self._surroundings = surroundings
        self._events = events
        self._measured = self._bytes = 0

    @property
    def chain(self) -> str:
        """Name of the ledger."""
        return self._surroundings.signed.tx.chain

    @property
    def tx_id(self) -> Digest:
        """Id of the transaction."""
        return self._surroundings.signed.id

    @property
    def sender(self) -> str:
        """Account that calls."""
        return self._surroundings.signed.tx.sender

    @property
    def organisation(self) -> str:
        """Organisation that owns the signing key."""
        return self._surroundings.organisation

    @property
    def kid(self) -> bytes:
        """Key id of the signing key."""
        return self._surroundings.signed.envelope.kid

    def emit(self, event_type: str, subject: str, data: dict[str, cbor.Value]) -> None:
        """Say that something happened."""
        self._events.append(Event(self._contract, event_type, check_event_subject(subject), data))

    def told(self) -> tuple[int, int]:
        """Return how many events the transaction has given so far, and their bytes as an outcome holds them."""
        for event in self._events[self._measured :]:
            self._bytes += len(cbor.encode(event.to_value()))
        self._measured = len(self._events)
        return self._measured, self._bytes


def decode_entry(raw: bytes) -> cbor.Value:
    """Return the value of a state entry.

    What is in the state was written by `cbor.encode` and is bound by the state root, so that the check for the one
    canonical form, which takes ten times as long, has nothing to find.
    """
    value: cbor.Value = cbor2.loads(raw)
    return value
