"""Certificates that prove nothing: too few signers, one twice, a stranger, another epoch, a signature that is none."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Final

from wire.certificate import Certificate

KINDS: Final = ("short", "signer twice", "stranger", "wrong epoch", "wrong signature", "another view")


def forge(certificate: Certificate, kind: str, rng: Random) -> Certificate:
    """Return a certificate that must be refused, made from one that is right."""
    signatures = certificate.signatures
    place = rng.randrange(len(signatures))
    member, signature = signatures[place]
    match kind:
        case "short":
            return replace(certificate, signatures=signatures[1:])
        case "signer twice":
            return replace(certificate, signatures=(signatures[0], *signatures[:-1]))
        case "stranger":
            return replace(certificate, signatures=(*signatures[:-1], ("stranger", signature)))
        case "wrong epoch":
            return replace(certificate, epoch=certificate.epoch + 1)
        case "another view":
            return replace(certificate, view=certificate.view + 1)
        case _:
            spoiled = bytes((signature[0] ^ 1,)) + signature[1:]
            return replace(certificate, signatures=(*signatures[:place], (member, spoiled), *signatures[place + 1 :]))
