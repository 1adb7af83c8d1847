"""Proof of what replicas say: every signature of a message against the validators of the deciding epoch.

Source: docs/spec/consensus.md, CM-1 to CM-3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from master.consensus.fault_messages import Quote
from master.consensus.messages import Blocks, Message, Propose, Spoken, Standing, ViewChange, Vote
from wire.certificate import Certificate, Step, ValidatorSet, verify_certificate
from wire.errors import UNKNOWN_SIGNER, CertificateError

Verify: TypeAlias = Callable[[bytes, bytes, bytes], None]


def verify_message(message: Message, chain: str, validators: ValidatorSet, verify: Verify) -> None:
    """Prove every signature in a message with the validators of the epoch that is being decided.

    Args:
        message: As decoded.
        chain: Name of the ledger.
        validators: The deciding set.
        verify: Checks (key, message, signature); a cache may stand here.

    Raises:
        CertificateError: The signer is no validator, or a certificate lacks signatures.
        SignatureError: A signature does not verify.
    """
    if isinstance(message, Vote | ViewChange | Propose | Standing | Quote):
        _verify_signature(message, chain, validators, verify)
    if isinstance(message, Standing):
        _verify_standing(message, chain, validators, verify)
    elif isinstance(message, Propose):
        for entry in message.view_changes:
            verify_message(entry, chain, validators, verify)
    elif isinstance(message, ViewChange) and message.prepared is not None:
        _verify_prepared(message, message.prepared, chain, validators, verify)
    elif isinstance(message, Blocks):
        for block, certificate in message.blocks:
            if certificate.digest != block.header.digest() or certificate.step != Step.COMMIT:
                raise CertificateError(f"block {block.header.height}: its certificate is about something else")
            verify_certificate(certificate, chain, validators, verify)


def _verify_prepared(
    message: ViewChange,
    prepared: Certificate,
    chain: str,
    validators: ValidatorSet,
    verify: Verify,
) -> None:
    if prepared.step != Step.PREPARE or prepared.height != message.height:
        raise CertificateError("view change: its certificate is no PREPARE of this height")
    if prepared.view >= message.view or prepared.epoch != message.epoch:
        raise CertificateError("view change: its certificate is not of an earlier view")
    verify_certificate(prepared, chain, validators, verify)


def _verify_standing(message: Standing, chain: str, validators: ValidatorSet, verify: Verify) -> None:
    if message.certificate is not None:
        if message.certificate.step != Step.COMMIT:
            raise CertificateError("standing: its certificate is no COMMIT")
        verify_certificate(message.certificate, chain, validators, verify)
    if message.spoken is not None:
        _verify_signature(message.spoken, chain, validators, verify)


def _verify_signature(
    message: Vote | ViewChange | Propose | Standing | Spoken | Quote,
    chain: str,
    validators: ValidatorSet,
    verify: Verify,
) -> None:
    validator = validators.find(message.member)
    if validator is None:
        raise CertificateError(f"message: {message.member!r} is no validator of this epoch", code=UNKNOWN_SIGNER)
    verify(validator.vote_key, message.signed_bytes(chain), message.signature)
