"""Runs a contract's methods over a state in memory, without blocks, signatures or a state tree: for many fast steps."""

from __future__ import annotations

from master.contracts import member_owners, membership
from master.contracts.context import Contract, Refused
from master.ledger.call import BlockCall
from master.ledger.genesis import genesis_writes
from master.ledger.state import Overlay
from tests.unit.ledger.worlds import MemoryState
from wire import cbor
from wire.cbor import Value
from wire.genesis import Genesis
from wire.receipt import Event
from wire.types import sha256


class DirectCall(BlockCall):
    """Implements `master.contracts.context.Context`; every account belongs to itself."""

    def __init__(self, contract: str, overlay: Overlay, place: tuple[int, int], sender: str) -> None:
        super().__init__(contract, overlay, *place)
        self.chain = "test-00000000"
        self.sender = self.organisation = sender
        self.tx_id = sha256(f"{place} {sender}".encode())
        self.contract = contract
        self.kid = self.tx_id[:16]
        self.events: list[Event] = []

    def emit(self, event_type: str, subject: str, data: dict[str, Value]) -> None:
        cbor.encode(data)
        self.events.append(Event(self.contract, event_type, subject, data))

    def told(self) -> tuple[int, int]:
        return len(self.events), 0


class DirectLedger:
    """A contract and its state; `block` opens the next block, `call` runs a method in it."""

    def __init__(self, contract: Contract, genesis: Genesis) -> None:
        self.contract = contract
        self.memory = MemoryState(genesis_writes(genesis))
        self.state = Overlay(self.memory)
        self.height = 0
        self.time_ms = genesis.time_ms
        self.block()

    def block(self) -> None:
        """Open the next block, one second later."""
        self.memory.take(self.state.writes(), ())
        self.state = Overlay(self.memory)
        self.height += 1
        self.time_ms += 1000
        if self.contract.opening is not None:
            self.contract.opening(self.context(self.state), bytes(32))

    def context(self, state: Overlay | None = None, sender: str = "nobody") -> DirectCall:
        """Return what a method sees; without a state, what it writes counts at once."""
        overlay = self.state if state is None else state
        return DirectCall(self.contract.name, overlay, (self.height, self.time_ms), sender)

    def call(self, sender: str, method: str, args: dict[str, Value]) -> tuple[str, list[Event]]:
        """Run a method and return its code and events; what a refused one wrote is dropped."""
        state = Overlay(self.state)
        context = self.context(state, sender)
        try:
            code = self.contract.methods[method](context, args)
        except Refused as error:
            return error.code, []
        self.state.absorb(state)
        return code, context.events

    def react(self, event: Event) -> list[Event]:
        """Let the contract react to an event of another one."""
        context = self.context()
        self.contract.reactions[event.contract, event.type](context, event)
        return context.events

    def put(self, namespace: str, key: bytes, value: Value) -> None:
        """Write an entry, as another contract would."""
        self.state.put(namespace, key, cbor.encode(value))

    def sell(self, station: str, owner: str) -> None:
        """Have a station change hands, with the devices in it, as moves of all its gateways would."""
        context = DirectCall(membership.NAMESPACE, self.state, (self.height, self.time_ms), owner)
        place = membership.station(context, station)
        assert place is not None
        for key, _ in context.scan(b"device/"):
            device = membership.device(context, key[len(b"device/") :].decode())
            assert device is not None
            gateway = membership.gateway(context, device.gateway)
            assert gateway is not None
            if gateway.station == station and place.organisation != owner:
                member_owners.lose(context, device.id, device.model, place.organisation)
                member_owners.gain(context, device.model, owner)
        context.put(f"station/{station}".encode(), {"area": place.area, "organisation": owner})

    def entries(self, prefix: bytes) -> dict[bytes, Value]:
        """Return the contract's entries under a prefix."""
        return {key: cbor.decode(raw) for key, raw in self.state.scan(self.contract.name, prefix)}
