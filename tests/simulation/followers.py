"""Light clients that hear headers of a run in a drawn order, with gaps, between lies (invariant I12).

Some lies are signed by a whole quorum of a set whose epoch has ended: its keys may be in anybody's hands by then. A
client is told such a lie only once it knows of the end; before that nothing but the fault model protects it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Final

from tests.simulation.forgeries import KINDS, forge
from tests.simulation.judge import BrokenError, Judge
from tests.simulation.keys import KeyRing
from tests.simulation.real import RealLedger
from wire.certificate import Certificate, Step, ValidatorSet, vote_bytes
from wire.errors import WireError
from wire.finality import FinalHeader
from wire.genesis import Genesis
from wire.header import Header
from wire.lightclient import accept, begin

CLIENTS: Final = 3
_LIES_PER_HEADER: Final = 2
_VIEW: Final = 7


class Follower:
    """One light client, and what others tell it."""

    def __init__(
        self, judge: Judge, keys: KeyRing, genesis: Genesis, ledgers: Sequence[RealLedger], rng: Random
    ) -> None:
        self._judge, self._keys, self._rng = judge, keys, rng
        self._ledgers = ledgers
        self._state = begin(genesis)
        self._height_max = min(ledger.head.height for ledger in ledgers)

    def live(self) -> None:
        """Hear some headers of the chain in a drawn order, lies before, between and after."""
        rng = self._rng
        heights = range(1, self._height_max + 1)
        order = rng.choice((sorted, list))(rng.sample(heights, rng.randint(1, len(heights))))
        if rng.random() < 0.5:
            order += rng.sample(heights, len(heights) // 3)  # some come again, from another node
        for height in order:
            final = self._final(height)
            for _ in range(_LIES_PER_HEADER):
                self._lie(final)
            self._hear(final)
            self._lie(final)
        self._check()

    def _final(self, height: int) -> FinalHeader:
        final = self._rng.choice(self._ledgers).store.final_header(height)
        if final is None:
            raise BrokenError(f"I12: block {height} has no certificate in a store")
        return final

    def _hear(self, final: FinalHeader) -> None:
        """Take what is true, whenever it comes."""
        try:
            self._state = accept(self._state, final)
        except WireError as error:
            raise BrokenError(f"I12: a light client refuses block {final.header.height}: {error}") from error
        self._check()

    def _check(self) -> None:
        """Compare all that is believed with the chain."""
        newest = self._state.newest
        believed = [end.header for end in self._state.ends] + ([] if newest is None else [newest.header])
        for header in believed:
            is_true = self._judge.chain.get(header.height) == header.digest()
            self._judge.hold("I12", is_true, f"a light client believes another block {header.height}")

    def _lie(self, final: FinalHeader) -> None:
        kinds: dict[str, Callable[[FinalHeader], FinalHeader | None]] = {
            "another time": self._another_time,
            "certificate that proves nothing": self._forged,
            "epochs left out": self._without_epochs,
            "another next set": self._another_end,
            "old set": self._by_old_set,
            "second block": self._second_block,
        }
        kind = self._rng.choice(list(kinds))
        lie = kinds[kind](final)
        if lie is None:
            return
        self._judge.count(f"I12 {kind}")
        try:
            accept(self._state, lie)
        except WireError:
            self._check()
        else:
            raise BrokenError(f"I12: a light client takes a lie about height {final.header.height}: {kind}")

    def _another_time(self, final: FinalHeader) -> FinalHeader:
        return replace(final, header=replace(final.header, time_ms=final.header.time_ms + 1))

    def _forged(self, final: FinalHeader) -> FinalHeader:
        return replace(final, certificate=forge(final.certificate, self._rng.choice(KINDS), self._rng))

    def _without_epochs(self, final: FinalHeader) -> FinalHeader | None:
        """Leave out an epoch's end that is not known yet."""
        known = len(self._state.ends)
        if final.header.epoch <= known:
            return None
        return replace(final, epochs=final.epochs[: self._rng.randint(0, final.header.epoch - 1)])

    def _another_end(self, final: FinalHeader) -> FinalHeader | None:
        """Let a true end of an epoch hand over to a set that its header does not name."""
        if not final.epochs:
            return None
        place = self._rng.randrange(len(final.epochs))
        end = final.epochs[place]
        fewer = ValidatorSet(end.validators.validators[1:] or self._state.first.validators.validators)
        if fewer == end.validators:
            return None
        forged = replace(end, validators=fewer)
        return replace(final, epochs=(*final.epochs[:place], forged, *final.epochs[place + 1 :]))

    def _by_old_set(self, final: FinalHeader) -> FinalHeader | None:
        """Let the whole set of an epoch that has ended certify one block more."""
        if not self._state.ends:
            return None
        number = self._rng.randrange(len(self._state.ends))
        epoch, end = self._state.epoch(number), self._state.ends[number]
        assert epoch is not None, "every epoch that has ended is known"
        own = epoch.validators.digest()
        height = end.header.height + self._rng.choice((1, 1, 2, 9))
        parent = self._rng.choice((end.header.digest(), final.header.digest()))
        header = replace(
            end.header, height=height, parent=parent, validators_hash=own, next_validators_hash=own, proposer="node-0"
        )
        return FinalHeader(header, self._certify(header, epoch.validators), self._state.ends[:number])

    def _second_block(self, _: FinalHeader) -> FinalHeader | None:
        """Let everybody certify a second block of the height that is believed to be the newest."""
        newest = self._state.newest
        epoch = None if newest is None else self._state.epoch(newest.header.epoch)
        if newest is None or epoch is None:
            return None
        header = replace(newest.header, time_ms=newest.header.time_ms + 1)
        return FinalHeader(header, self._certify(header, epoch.validators), self._state.ends[: header.epoch])

    def _certify(self, header: Header, validators: ValidatorSet) -> Certificate:
        place = (header.epoch, Step.COMMIT, header.height, _VIEW, header.digest())
        signed = vote_bytes(header.chain, *place)
        signatures = tuple((entry.member, self._keys.sign(entry.vote_key, signed)) for entry in validators.validators)
        return Certificate(Step.COMMIT, header.epoch, header.height, _VIEW, header.digest(), signatures)


def follow(judge: Judge, keys: KeyRing, genesis: Genesis, ledgers: Sequence[RealLedger], rng: Random) -> None:
    """Let several light clients live through a run that is over.

    Raises:
        BrokenError: One of them believes what is not in the chain, or does not believe what is.
    """
    for _ in range(CLIENTS):
        Follower(judge, keys, genesis, ledgers, rng).live()
