"""What a light node believes, and how that may change: pure rules (docs/spec, clauses LC-1 to LC-8).

Trust goes epoch by epoch from the genesis file; a set is never skipped. Two certified headers that cannot both be true
are a `Conflict`: the state stays as it is, and the evidence is for everybody to see.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from wire import cbor
from wire.certificate import Certificate, decode_certificate
from wire.epochs import EpochEnd, TrustedEpoch, decode_epochs_field, verify_header
from wire.errors import CertificateError, FormatError
from wire.faultproof import FaultProof, Statement
from wire.fields import Fields
from wire.header import HEADER_BYTES_MAX, Header, decode_header
from wire.historyproof import HistoryProof, check_inclusion
from wire.types import Digest

if TYPE_CHECKING:
    from wire.finality import FinalHeader
    from wire.genesis import Genesis

TYPE: Final = "conflict"
VERSION: Final = 1
CONFLICT_BYTES_MAX: Final = 4 * 1024 * 1024
_SIDE: Final = ("header", "certificate")


@dataclass(frozen=True, slots=True)
class CertifiedHeader:
    """A header and the commit certificate that came with it."""

    header: Header
    certificate: Certificate

    def to_value(self) -> dict[str, cbor.Value]:
        """Return it as a CBOR map."""
        return {"header": self.header.encode(), "certificate": self.certificate.to_value()}


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two certified headers that cannot both be true."""

    first: CertifiedHeader
    second: CertifiedHeader
    epochs: tuple[EpochEnd, ...]
    """Epoch ends from genesis to the epochs of both."""

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return cbor.encode(
            {
                "type": TYPE,
                "version": VERSION,
                "first": self.first.to_value(),
                "second": self.second.to_value(),
                "epochs": [end.to_value() for end in self.epochs],
            }
        )


class ConflictError(CertificateError):
    """The validators signed two things that cannot both be true; nothing was changed.

    Args:
        reason: One clear sentence.
        conflict: The evidence.
    """

    def __init__(self, reason: str, conflict: Conflict) -> None:
        super().__init__(reason)
        self.conflict = conflict


@dataclass(frozen=True, slots=True)
class LightState:
    """What a light node trusts."""

    chain: str
    anchor: Digest
    """Digest of the genesis file: trust begins here."""
    first: TrustedEpoch
    """Epoch 0."""
    ends: tuple[EpochEnd, ...] = ()
    """Ends of all epochs known to have ended, in order."""
    newest: CertifiedHeader | None = None
    """Verified header of the greatest height; None before the first."""

    def epoch(self, number: int) -> TrustedEpoch | None:
        """Return a trusted epoch, or None when it is not known yet."""
        if number == 0:
            return self.first
        if number > len(self.ends):
            return None
        end = self.ends[number - 1]
        return TrustedEpoch(number, end.validators, end.header.height + 1)


def begin(genesis: Genesis) -> LightState:
    """Return the trust that the genesis file alone gives."""
    return LightState(genesis.chain(), genesis.digest(), TrustedEpoch(0, genesis.validator_set(), 1))


def accept(state: LightState, final: FinalHeader) -> LightState:
    """Return the state that knows ``final``, too: its epochs, and itself when it is the newest.

    Args:
        state: Believed so far.
        final: As decoded; its epochs may be all from genesis on, as they come with every proof.

    Raises:
        CertificateError: Something in it is not certified, or an epoch on the way is missing.
        ConflictError: It is certified, and contradicts what is believed.

    Source: docs/spec LC-2 to LC-4.
    """
    for number, end in enumerate(final.epochs):
        state = _accept_end(state, number, end)
    header, certified = final.header, CertifiedHeader(final.header, final.certificate)
    _verify(state, certified)
    if header.epoch < len(state.ends) and header.height > state.ends[header.epoch].header.height:
        end = state.ends[header.epoch]
        raise _conflict(state, CertifiedHeader(end.header, end.certificate), certified)
    if state.newest is None:
        return replace(state, newest=certified)
    if contradiction(state.newest.header, header) is not None:
        raise _conflict(state, state.newest, certified)
    return replace(state, newest=certified) if header.height > state.newest.header.height else state


def accept_history(state: LightState, proof: HistoryProof) -> LightState:
    """Return the state that knows the proof's final header, once it proves its old block.

    Raises:
        ProofError: The old block is not below the final header.
        CertificateError: As for `accept`.
    """
    state = accept(state, proof.final)
    check_inclusion(proof.header, proof.path, proof.final.header)
    return state


def check_known(state: LightState, known: CertifiedHeader, new: CertifiedHeader) -> None:
    """Compare a header that `accept` took with one kept from before.

    Raises:
        ConflictError: They cannot both be true.
    """
    if contradiction(known.header, new.header) is not None:
        raise _conflict(state, known, new)


def contradiction(first: Header, second: Header) -> str | None:
    """Return why two headers cannot both be final, or None.

    Source: docs/spec LC-4.
    """
    low, high = sorted((first, second), key=lambda header: (header.height, header.epoch))
    if low.height == high.height:
        return None if low == high else f"two blocks of height {low.height} are certified"
    if low.height + 1 == high.height and high.parent != low.digest():
        return f"block {high.height} stands on another block {low.height} than the certified one"
    ended = low.next_validators_hash != low.validators_hash
    if ended and high.epoch == low.epoch:
        return f"block {high.height} is certified by the validators whose epoch ended with block {low.height}"
    return None


def age_ms(state: LightState, now_ms: int) -> int | None:
    """Return the age of the newest header, or None before the first; a header from the future has age 0.

    Args:
        state: Believed.
        now_ms: The light node's clock, milliseconds since 1970 UTC.
    """
    return None if state.newest is None else max(0, now_ms - state.newest.header.time_ms)


def is_fresh(state: LightState, now_ms: int, bound_ms: int) -> bool:
    """Tell whether the newest header is at most ``bound_ms`` old: the heartbeat with its margin."""
    age = age_ms(state, now_ms)
    return age is not None and age <= bound_ms


def is_trust_expired(state: LightState, now_ms: int, anchored_ms: int, period_ms: int) -> bool:
    """Tell whether so much time passed that old keys may be in anybody's hands: trust must begin anew.

    Args:
        state: Believed.
        now_ms: The light node's clock.
        anchored_ms: When a person put the anchor there.
        period_ms: The trusting period.
    """
    newest_ms = 0 if state.newest is None else state.newest.header.time_ms
    return now_ms - max(anchored_ms, newest_ms) > period_ms


def decode_conflict(raw: bytes) -> Conflict:
    """Decode evidence; it proves nothing before `verify_conflict`.

    Args:
        raw: Canonical CBOR of at most 4 MiB.

    Raises:
        CborError: Not canonical.
        FormatError: A field is missing, unknown or out of range.
    """
    names = ("type", "version", "first", "second", "epochs")
    fields = Fields(cbor.decode(raw, bytes_max=CONFLICT_BYTES_MAX), names, TYPE)
    fields.choice("type", (TYPE,))
    fields.integer("version", VERSION, VERSION)
    return Conflict(_side(fields, "first"), _side(fields, "second"), decode_epochs_field(fields))


def verify_conflict(conflict: Conflict, genesis: Genesis) -> tuple[str, ...]:
    """Prove with the genesis file alone that both headers are certified and contradict each other.

    Returns:
        Members proven to have signed twice: those under both certificates, when height, epoch and view are the same.
        Otherwise nobody: who lied then shows only from the view changes in between.

    Raises:
        CertificateError: One of them is not certified, or there is no contradiction.
    """
    state = begin(genesis)
    for number, end in enumerate(conflict.epochs):
        state = _accept_end(state, number, end)
    for side in (conflict.first, conflict.second):
        _verify(state, side)
    if contradiction(conflict.first.header, conflict.second.header) is None:
        raise CertificateError("conflict: both headers can be true")
    first, second = conflict.first.certificate, conflict.second.certificate
    if (first.epoch, first.height, first.view) != (second.epoch, second.height, second.view):
        return ()
    return tuple(member for member in first.signers if member in second.signers)


def fault_proofs(conflict: Conflict) -> tuple[FaultProof, ...]:
    """Return a fault proof of every member that signed both sides of a conflict at one height, epoch and view.

    Source: docs/spec LC-11.
    """
    first, second = sorted((conflict.first.certificate, conflict.second.certificate), key=lambda side: side.digest)
    place = (first.epoch, first.height, first.view)
    if place != (second.epoch, second.height, second.view) or first.digest == second.digest:
        return ()
    others = dict(second.signatures)
    chain = conflict.first.header.chain
    return tuple(
        FaultProof(
            chain,
            first.epoch,
            first.height,
            member,
            Statement(first.step, first.view, first.digest, signature),
            Statement(second.step, second.view, second.digest, others[member]),
        )
        for member, signature in first.signatures
        if member in others
    )


def _accept_end(state: LightState, number: int, end: EpochEnd) -> LightState:
    """Return the state that knows the end of epoch ``number``, too."""
    certified = CertifiedHeader(end.header, end.certificate)
    if number < len(state.ends) and end == state.ends[number]:
        return state
    if end.header.epoch != number:
        raise CertificateError(f"epochs: the end of epoch {number} is due, not of {end.header.epoch}")
    _verify(state, certified)
    if end.header.next_validators_hash != end.validators.digest():
        raise CertificateError(f"epochs: the set after height {end.header.height} is not the one its header names")
    if end.header.next_validators_hash == end.header.validators_hash:
        raise CertificateError(f"epochs: height {end.header.height} does not end an epoch")
    if number < len(state.ends):
        known = state.ends[number]
        if end.header == known.header:
            return state
        raise _conflict(state, CertifiedHeader(known.header, known.certificate), certified)
    if state.newest is not None and contradiction(state.newest.header, end.header) is not None:
        raise _conflict(state, state.newest, certified)
    return replace(state, ends=(*state.ends, end))


def _verify(state: LightState, certified: CertifiedHeader) -> None:
    number = certified.header.epoch
    epoch = state.epoch(number)
    if epoch is None:
        raise CertificateError(f"header {certified.header.height}: epoch {number} is not known yet")
    verify_header(state.chain, epoch, certified.header, certified.certificate)


def _conflict(state: LightState, known: CertifiedHeader, new: CertifiedHeader) -> ConflictError:
    ends = state.ends[: max(known.header.epoch, new.header.epoch)]
    reason = contradiction(known.header, new.header)
    assert reason is not None, "a conflict is raised for a contradiction"
    return ConflictError(reason, Conflict(known, new, ends))


def _side(fields: Fields, name: str) -> CertifiedHeader:
    side = Fields(fields.raw(name), _SIDE, f"{TYPE}.{name}")
    try:
        certificate = decode_certificate(side.raw("certificate"))
    except FormatError as error:
        raise FormatError(f"{fields.where(name)}: {error}") from None
    return CertifiedHeader(decode_header(side.octets("header", 1, HEADER_BYTES_MAX)), certificate)
