"""Vote keys of the simulated validators: Ed25519, or a keyed hash that is as deterministic and much faster."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Final

from nacl.signing import SigningKey

from kit.keystore import KeyFile
from master.seat import VoteKeys
from tests.simulation.toy import CHAIN, EPOCH, GENESIS
from wire import cose
from wire.certificate import Validator, ValidatorSet
from wire.errors import SignatureError
from wire.genesis import Genesis
from wire.types import sha256

JOINER: Final = "node-x"
"""An organisation whose node may become a validator."""
GHOST: Final = "node-z"
"""An organisation whose node never comes."""
GENERATIONS: Final = 8
"""Vote keys of a member over a run: what was given up never comes back."""


class KeyRing:
    """The keys of one cluster."""

    def __init__(self, size: int, *, is_keyed: bool) -> None:
        self.is_keyed = is_keyed
        self._signing: dict[str, SigningKey] = {}
        self._secrets: dict[bytes, bytes] = {}
        self._by_public: dict[bytes, SigningKey] = {}
        validators = []
        for index in range(size):
            member = f"node-{index:x}"
            seed = sha256(f"vote key of {member}".encode())
            self._signing[member] = SigningKey(seed)
            public = bytes(self._signing[member].verify_key)
            self._secrets[public] = seed
            self._by_public[public] = self._signing[member]
            validators.append(Validator(member, public, sha256(public)))
        self.validators = ValidatorSet(tuple(validators))
        self.chain, self.epoch, self.start_ms = CHAIN, EPOCH, GENESIS.time_ms

    def adopt(self, genesis: Genesis) -> None:
        """Vote on the ledger of a genesis file that names these keys."""
        self.validators, self.chain, self.epoch = genesis.validator_set(), genesis.chain(), 0
        self.start_ms = genesis.time_ms

    def public(self, member: str, generation: int = 0) -> bytes:
        """Return the public vote key of a member that was rotated so often; made when asked for first."""
        seed = sha256(f"vote key of {member}{f' {generation}' if generation else ''}".encode())
        key = SigningKey(seed)
        public = bytes(key.verify_key)
        self._secrets[public], self._by_public[public] = seed, key
        return public

    def file(self, member: str, generation: int) -> KeyFile:
        """Return a vote key as a node reads it from its disk."""
        public = self.public(member, generation)
        return KeyFile(f"vote-{generation}", self._by_public[public], public, cose.kid_of(public))

    def ed25519(self, public: bytes, message: bytes) -> bytes:
        """Return a signature that contracts check."""
        return self._by_public[public].sign(message).signature

    def sign(self, public: bytes, message: bytes) -> bytes:
        """Return a signature that replicas check."""
        return blake2b(message, key=self._secrets[public]).digest() if self.is_keyed else self.ed25519(public, message)

    def signer(self, member: str) -> Callable[[bytes], bytes]:
        """Return the function with which ``member`` signs."""
        key = self._signing[member]
        if self.is_keyed:
            secret = self._secrets[bytes(key.verify_key)]
            return lambda message: blake2b(message, key=secret).digest()
        return lambda message: key.sign(message).signature

    def verify(self, public: bytes, message: bytes, signature: bytes) -> None:
        """Check one signature.

        Raises:
            SignatureError: It does not verify.
        """
        if not self.is_keyed:
            cose.verify_ed25519(public, message, signature)
        elif blake2b(message, key=self._secrets[public]).digest() != signature:
            raise SignatureError("the keyed hash differs")


class RingKeys(VoteKeys):
    """All vote keys that a member ever has; the real rules choose among them."""

    def __init__(self, ring: KeyRing, member: str) -> None:
        super().__init__(member, tuple(ring.file(member, generation) for generation in range(GENERATIONS)))
        self._ring = ring

    def sign(self, data: bytes) -> bytes:
        """Return the signature of the active key, of the ring's kind."""
        return self._ring.sign(self.active, data)
