"""A consortium that votes on its validators, and what its members sign."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from nacl.signing import SigningKey

from master.contracts import validator_records
from master.contracts.context import Reads
from master.ledger.call import StateReads
from master.ledger.state import Overlay
from tests.unit.ledger.worlds import GENESIS_MS, Done, World, key_of, make_genesis
from wire.cbor import Value
from wire.genesis import AccountKey, GenesisValidator, Organisation
from wire.handover import ready_bytes, rotation_bytes
from wire.types import sha256

VOTERS = ("dispatch", "grid", "maker-a", "regulator")
DEADLINE_MS = GENESIS_MS + 3_600_000


def vote_key(name: object) -> SigningKey:
    return key_of(f"vote of {name}")


def certificate(name: object, size: int = 200) -> bytes:
    """Return what looks like DER from outside."""
    content = sha256(str(name).encode()) * 9
    return b"\x30\x82" + (size - 4).to_bytes(2, "big") + content[: size - 4]


def world(voters: tuple[str, ...] = VOTERS, **parameters: Value) -> World:
    genesis = make_genesis(dict(parameters))
    validators = tuple(
        GenesisValidator(name, vote_key(name).verify_key.encode(), certificate(name)) for name in sorted(voters)
    )
    known = {entry.id for entry in genesis.organisations}
    more = tuple(Organisation(name, "sub-centre") for name in voters if name not in known)
    keys = tuple(AccountKey(key_of(entry.id).verify_key.encode(), entry.id, entry.id) for entry in more)
    return World(
        replace(
            genesis,
            validators=validators,
            organisations=tuple(sorted((*genesis.organisations, *more), key=lambda entry: entry.id)),
            keys=tuple(sorted((*genesis.keys, *keys), key=lambda entry: entry.key)),
        )
    )


@dataclass
class Consortium:
    """A world and the calls of its organisations."""

    world: World

    def call(self, sender: str, method: str, **args: Value) -> Done:
        return self.world.call(sender, "validators", method, args)

    def add(self, member: str = "lab", by: str = "grid", **changes: Value) -> Done:
        args: dict[str, Value] = {
            "member": member,
            "vote_key": vote_key(member).verify_key.encode(),
            "tls_certificate": certificate(member),
            "address": "10.0.0.5:7400",
            "deadline_ms": DEADLINE_MS,
            **changes,
        }
        return self.call(by, "propose-add", **args)

    def remove(self, member: str = "maker-a", by: str = "grid", *, urgent: bool = False, **changes: Value) -> Done:
        args: dict[str, Value] = {"member": member, "urgent": urgent, "deadline_ms": DEADLINE_MS, **changes}
        return self.call(by, "propose-removal", **args)

    def rotate(self, member: str = "grid", by: str = "grid", new: str = "grid 2", **changes: Value) -> Done:
        key = vote_key(new)
        wanted: dict[str, Any] = {
            "member": member,
            "vote_key": key.verify_key.encode(),
            "tls_certificate": certificate(new),
            "address": "",
            "deadline_ms": DEADLINE_MS,
            **changes,
        }
        old = vote_key(member)
        pair = (old.verify_key.encode(), wanted["vote_key"])
        frame = (member, pair, sha256(wanted["tls_certificate"]), wanted["deadline_ms"])
        signed = rotation_bytes(self.world.genesis.chain(), *frame)
        args = {
            "old_signature": old.sign(signed).signature,
            "new_signature": key.sign(signed).signature,
            **wanted,
        }
        return self.call(by, "propose-rotation", **args)

    def vote(self, proposal: Done, *voters: str, in_favour: bool = True) -> list[Done]:
        return [self.call(voter, "vote", proposal=proposal.tx.id, in_favour=in_favour) for voter in voters]

    def ready(self, proposal: Done, member: str = "lab", **changes: Any) -> Done:  # noqa: ANN401
        height = changes.pop("height", self.world.head.height)
        state_root = changes.pop("state_root", self.world.head.state_root)
        signed = ready_bytes(proposal.tx.id, height, state_root)
        signature = changes.pop("signature", vote_key(member).sign(signed).signature)
        args = {"proposal": proposal.tx.id, "height": height, "state_root": state_root, "signature": signature}
        return self.call(changes.pop("by", member), "ready", **args)

    def pass_blocks(self, count: int) -> None:
        for _ in range(count):
            self.world.run()

    @property
    def state(self) -> Reads:
        return StateReads(Overlay(self.world.state))

    @property
    def members(self) -> list[str]:
        return [entry.member for entry in validator_records.records(self.state)]

    @property
    def admitted(self) -> list[tuple[str, bytes]]:
        head = self.world.head
        grace = 100
        found = validator_records.admitted(self.state, head.height, head.time_ms, grace)
        return [(entry.member, entry.tls_certificate) for entry in found]

    def kept(self, prefix: bytes) -> list[bytes]:
        return [key for key, _ in self.world.state.scan("validators", prefix)]


def consortium(voters: tuple[str, ...] = VOTERS, **parameters: Value) -> Consortium:
    return Consortium(world(voters, **parameters))


def codes(done: list[Done]) -> list[str]:
    return [entry.code for entry in done]
