"""A thousand members that have something noted: keys in the genesis file, transactions signed beforehand."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from nacl.signing import SigningKey

from wire.genesis import AccountKey, Genesis, Organisation
from wire.tx import Transaction
from wire.types import sha256

SENDERS: Final = 1_000
DATA_BYTES: Final = 268
"""Makes the whole transaction 500 bytes, give or take the length of a sequence number."""
_DAY_MS: Final = 86_400_000
_NAME: Final = "member-{:04d}"


def key_of(number: int) -> SigningKey:
    """Return the key of a sender."""
    return SigningKey(sha256(b"bench sender %d" % number))


def with_senders(genesis: Genesis) -> Genesis:
    """Return the genesis file with a thousand organisations more, one key each."""
    names = [_NAME.format(number) for number in range(SENDERS)]
    keys = [AccountKey(key_of(number).verify_key.encode(), name, name) for number, name in enumerate(names)]
    organisations = (*genesis.organisations, *(Organisation(name, "consumer") for name in names))
    return replace(
        genesis,
        organisations=tuple(sorted(organisations, key=lambda entry: entry.id)),
        keys=tuple(sorted((*genesis.keys, *keys), key=lambda entry: entry.key)),
    )


@dataclass(slots=True)
class Notes:
    """Signs transactions of 500 bytes, the senders in turn, every number once."""

    chain: str
    signed: int = 0
    notes_max: int = 10**8
    """Notes of one sender; then the oldest is written over, and the state does not grow any more."""
    _keys: list[SigningKey] = field(default_factory=lambda: [key_of(number) for number in range(SENDERS)])

    def sign(self, count: int) -> Sequence[bytes]:
        """Return the next ``count`` transactions."""
        valid_until_ms = time.time_ns() // 1_000_000 + _DAY_MS
        found = [self._one(self.signed + number, valid_until_ms) for number in range(count)]
        self.signed += count
        return found

    def _one(self, number: int, valid_until_ms: int) -> bytes:
        turn, sender = divmod(number, SENDERS)
        call = Transaction(
            chain=self.chain,
            sender=_NAME.format(sender),
            contract="notary",
            version=1,
            method="put",
            args={"key": f"note-{turn % self.notes_max:08d}", "data": (sha256(b"%d" % number) * 16)[:DATA_BYTES]},
            seq=turn + 1,
            valid_until_ms=valid_until_ms,
        )
        return call.sign(self._keys[sender])
