"""Proof of what replicas say: every signature of a message against the validators of its epoch.

Source: docs/spec, clauses CM-1 to CM-3 and VM-8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from master.consensus.fault_messages import Quote
from master.consensus.messages import Blocks, Message, Propose, Spoken, Standing, ViewChange, Vote
from wire.block import Block
from wire.certificate import Certificate, Step, ValidatorSet, verify_certificate
from wire.errors import UNKNOWN_EPOCH, UNKNOWN_SIGNER, CertificateError, SignatureError, WireError

Verify: TypeAlias = Callable[[bytes, bytes, bytes], None]
Sets: TypeAlias = Callable[[int], ValidatorSet | None]
"""The validators of an epoch; None when this node does not know them yet."""


class UnknownEpochError(CertificateError):
    """A message is of an epoch whose validators this node does not know yet; it may be right."""

    default_code = UNKNOWN_EPOCH


class FlawedProposalError(CertificateError):
    """A proposal that the member it names did sign, with a view change inside that proves nothing."""

    def __init__(self, proposal: Propose, error: WireError) -> None:
        super().__init__(f"proposal: {error}", code=error.code)
        self.proposal = proposal


def verify_message(message: Message, chain: str, validators: ValidatorSet, verify: Verify) -> None:
    """Do what `verify_by_epoch` does where all epochs have the same validators."""
    verify_by_epoch(message, chain, lambda _: validators, verify)


def verify_by_epoch(message: Message, chain: str, sets: Sets, verify: Verify) -> None:
    """Prove every signature in a message with the validators of the epoch that it names.

    Args:
        message: As decoded.
        chain: Name of the ledger.
        sets: The validators of each epoch.
        verify: Checks (key, message, signature); a cache may stand here.

    Raises:
        UnknownEpochError: The message comes too early for this node.
        FlawedProposalError: The author of a proposal signed view changes that do not verify.
        CertificateError: The signer is no validator, or a certificate lacks signatures.
        SignatureError: A signature does not verify.
    """
    match message:
        case Vote() | ViewChange() | Quote():
            _verify_signature(message, message.epoch, chain, sets, verify)
            if isinstance(message, ViewChange) and message.prepared is not None:
                _verify_prepared(message, message.prepared, chain, sets, verify)
        case Propose():
            _verify_signature(message, message.block.header.epoch, chain, sets, verify)
            _verify_inner(message, chain, sets, verify)
        case Standing():
            _verify_standing(message, chain, sets, verify)
        case Blocks():
            for block, certificate in message.blocks:
                if certificate.digest != block.header.digest() or certificate.step != Step.COMMIT:
                    raise CertificateError(f"block {block.header.height}: its certificate is about something else")
                verify_certificate(certificate, chain, _set_of(sets, certificate.epoch), verify)
        case _:
            pass  # nothing in it is signed by a validator's key, or it is proven elsewhere


def known_part(message: Blocks, sets: Sets) -> Blocks:
    """Leave out the blocks from the first on whose epoch is not known yet: they are asked for again later."""
    known: list[tuple[Block, Certificate]] = []
    for block, certificate in message.blocks:
        if sets(certificate.epoch) is None:
            break
        known.append((block, certificate))
    return Blocks(tuple(known))


def _set_of(sets: Sets, epoch: int) -> ValidatorSet:
    validators = sets(epoch)
    if validators is None:
        raise UnknownEpochError(f"message: the validators of epoch {epoch} are not known yet")
    return validators


def _verify_inner(message: Propose, chain: str, sets: Sets, verify: Verify) -> None:
    """Prove the view changes that the author of a proposal signed; no honest one signs what does not verify."""
    strange = [entry.epoch for entry in message.view_changes if entry.epoch != message.block.header.epoch]
    if strange:
        raise FlawedProposalError(message, CertificateError(f"a view change is of epoch {strange[0]}"))
    try:
        for entry in message.view_changes:
            verify_by_epoch(entry, chain, sets, verify)
    except (CertificateError, SignatureError) as error:
        raise FlawedProposalError(message, error) from error


def _verify_prepared(message: ViewChange, prepared: Certificate, chain: str, sets: Sets, verify: Verify) -> None:
    if prepared.step != Step.PREPARE or prepared.height != message.height:
        raise CertificateError("view change: its certificate is no PREPARE of this height")
    if prepared.view >= message.view or prepared.epoch != message.epoch:
        raise CertificateError("view change: its certificate is not of an earlier view")
    verify_certificate(prepared, chain, _set_of(sets, prepared.epoch), verify)


def _verify_standing(message: Standing, chain: str, sets: Sets, verify: Verify) -> None:
    """Prove an answer: its author signs with the key of the epoch of its head, or of the one that its head ended.

    Whether a proven head ended an epoch that is the newest known here, who is behind cannot tell.
    """
    certificate = message.certificate
    epoch = 0 if certificate is None else certificate.epoch
    if certificate is not None:
        if certificate.step != Step.COMMIT:
            raise CertificateError("standing: its certificate is no COMMIT")
        verify_certificate(certificate, chain, _set_of(sets, epoch), verify)
    try:
        _verify_signature(message, epoch, chain, sets, verify)
    except (CertificateError, SignatureError):
        if certificate is None:
            raise
        _verify_signature(message, epoch + 1, chain, sets, verify)
    if message.spoken is not None:
        _verify_signature(message.spoken, message.spoken.epoch, chain, sets, verify)


def _verify_signature(
    message: Vote | ViewChange | Propose | Standing | Spoken | Quote,
    epoch: int,
    chain: str,
    sets: Sets,
    verify: Verify,
) -> None:
    validator = _set_of(sets, epoch).find(message.member)
    if validator is None:
        raise CertificateError(f"message: {message.member!r} is no validator of epoch {epoch}", code=UNKNOWN_SIGNER)
    verify(validator.vote_key, message.signed_bytes(chain), message.signature)
