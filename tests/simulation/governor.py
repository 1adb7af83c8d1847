"""Changes of validators under faults: organisations propose and vote, joiners say READY (faults F35, F36, F37)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Final

from master.contracts.validator_records import Record
from master.contracts.validators import REMOVE, URGENT
from tests.simulation.keys import GENERATIONS, GHOST, KeyRing
from tests.simulation.node import Node
from tests.simulation.real import AnyLedger
from tests.simulation.registry import certificate_of
from wire import cbor
from wire.handover import ready_bytes, rotation_bytes
from wire.types import sha256

_DEADLINE_MS: Final = 6_000
CHANGES: Final = ("members", "leader", "ghost")


class Governor:
    """Speaks for the organisations; what it returns are transactions for everybody's pool."""

    def __init__(
        self,
        kind: str,
        keys: KeyRing,
        nodes: Mapping[str, Node],
        rng: Random,
        now_ms: Callable[[], int],
        count: Callable[[str], None],
        call: Callable[[str, str, dict[str, cbor.Value]], bytes],
        least: int,
    ) -> None:
        """Speak for everybody.

        Args:
            kind: One of `CHANGES`.
            keys: Everybody's vote keys.
            nodes: By endpoint, those that are no validators, too.
            rng: The dice.
            now_ms: Virtual time.
            count: Told when a joiner is awaited in vain.
            call: Returns a transaction of an organisation that calls a method with arguments.
            least: So many validators there must be at any time.
        """
        self._kind = kind
        self._keys = keys
        self._nodes = nodes
        self._rng = rng
        self._now_ms = now_ms
        self._tell = count
        self._call = call
        self._least = least
        self._generations: dict[str, int] = {}

    def act(self) -> list[bytes]:
        """Return what the organisations do next."""
        up = [node for node in self._nodes.values() if node.is_up]
        if not up:
            return []
        node = max(up, key=lambda entry: entry.disk.ledger.head.height)
        change = node.disk.ledger.pending
        if change is None or self._time_ms() > change.deadline_ms:
            return self._propose(node)
        if not change.is_approved:
            if change.kind in {REMOVE, URGENT} and len(node.disk.ledger.following) <= self._least:
                return []  # it was proposed when there were more
            if self._kind == "members" and self._rng.random() < 0.1:
                return self._removal(node, is_urgent=True)
            voters = [entry.member for entry in node.disk.ledger.following.validators]
            args: dict[str, cbor.Value] = {"proposal": change.id, "in_favour": True}
            return [self._call(member, "vote", args) for member in voters if self._rng.random() < 0.8]
        joiner = self._nodes.get(change.record.member)
        if joiner is None:
            self._tell("F37")
        return [] if joiner is None or not joiner.is_up else self._ready(joiner.disk.ledger, change.id, change.record)

    def _time_ms(self) -> int:
        return self._keys.start_ms + self._now_ms()

    def _ready(self, ledger: AnyLedger, proposal: bytes, record: Record) -> list[bytes]:
        if not ledger.head.height:
            return []
        signed = ready_bytes(proposal, ledger.head.height, ledger.state)
        args: dict[str, cbor.Value] = {
            "proposal": proposal,
            "height": ledger.head.height,
            "state_root": ledger.state,
            "signature": self._keys.ed25519(record.vote_key, signed),
        }
        return [self._call(record.member, "ready", args)]

    def _propose(self, node: Node) -> list[bytes]:
        present = [entry.member for entry in node.disk.ledger.following.validators]
        outside = sorted({entry.settings.member for entry in self._nodes.values()} - set(present))
        if self._kind == "ghost":
            return self._addition(present, GHOST)
        if self._kind == "leader":
            return self._addition(present, outside[0]) if outside else self._removal(node, is_leader=True)
        choice = self._rng.choice(("add", "remove", "rotate"))
        if choice == "rotate":
            return self._rotation(node, self._rng.choice(present))
        if choice == "add" and outside:
            return self._addition(present, self._rng.choice(outside))
        return self._removal(node, is_urgent=self._rng.random() < 0.2)

    def _addition(self, present: list[str], member: str) -> list[bytes]:
        generation = self._next_generation(member)
        if generation is None:
            return []
        args: dict[str, cbor.Value] = {
            "member": member,
            "vote_key": self._keys.public(member, generation),
            "tls_certificate": certificate_of(f"{member} {generation}"),
            "address": "",
            "deadline_ms": self._time_ms() + _DEADLINE_MS,
        }
        return [self._call(self._rng.choice(present), "propose-add", args)]

    def _removal(self, node: Node, *, is_leader: bool = False, is_urgent: bool = False) -> list[bytes]:
        present = [entry.member for entry in node.disk.ledger.following.validators]
        if len(present) <= self._least:
            return []
        leader = "" if node.replica is None else node.replica.leader
        member = leader if is_leader and leader in present else self._rng.choice(present)
        args: dict[str, cbor.Value] = {
            "member": member,
            "urgent": is_urgent,
            "deadline_ms": self._time_ms() + _DEADLINE_MS,
        }
        return [self._call(self._rng.choice(present), "propose-removal", args)]

    def _rotation(self, node: Node, member: str) -> list[bytes]:
        generation = self._next_generation(member)
        old = node.disk.ledger.following.find(member)
        if generation is None or old is None:
            return []
        certificate = certificate_of(f"{member} {generation}")
        keys = (old.vote_key, self._keys.public(member, generation))
        deadline_ms = self._time_ms() + _DEADLINE_MS
        signed = rotation_bytes(self._keys.chain, member, keys, sha256(certificate), deadline_ms)
        args: dict[str, cbor.Value] = {
            "member": member,
            "vote_key": keys[1],
            "tls_certificate": certificate,
            "address": "",
            "deadline_ms": deadline_ms,
            "old_signature": self._keys.ed25519(keys[0], signed),
            "new_signature": self._keys.ed25519(keys[1], signed),
        }
        return [self._call(member, "propose-rotation", args)]

    def _next_generation(self, member: str) -> int | None:
        """Return a key that was never proposed, None when all were."""
        generation = self._generations.get(member, 0) + 1
        if generation >= GENERATIONS:
            return None
        self._generations[member] = generation
        return generation
