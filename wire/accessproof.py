"""Proof of who had a grant after a block: the genesis file alone verifies it (docs/spec, clause AC-8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from wire import cbor
from wire.errors import FormatError, ProofError
from wire.fields import Fields
from wire.finality import verify_final_header
from wire.grants import (
    NAMESPACE,
    PAGE_GRANTS,
    PAGES_MAX,
    Grant,
    check_class,
    decode_page,
    decode_past,
    page_key,
    past_key,
    split_subject,
)
from wire.historyproof import HistoryProof, check_inclusion, decode_history_proof
from wire.stateproof import StateProof, check_state, decode_state_proof

if TYPE_CHECKING:
    from wire.genesis import Genesis

TYPE: Final = "access-proof"
VERSION: Final = 1
ACCESS_PROOF_BYTES_MAX: Final = 16 * 1024 * 1024
_PART_BYTES_MAX: Final = 8 * 1024 * 1024
PAST_PAGES_MAX: Final = 512
"""Of the past in one proof: 32,768 grants that gave up their places since the block that is asked about."""
_NAMES: Final = ("type", "version", "class", "subject", "pages", "past", "history")


@dataclass(frozen=True, slots=True)
class AccessProof:
    """All grants that may have counted for a class and a subject after a block, and which block that is."""

    data_class: str
    subject: str
    pages: tuple[StateProof, ...]
    """Of one final header; the last one is absent or not full."""
    past: tuple[StateProof, ...]
    """Pages of the past under that header, ascending to one that is absent or not full; none while a place is free."""
    history: HistoryProof | None
    """Of the block that is asked about, under that header; None: about that header itself."""

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return cbor.encode(
            {
                "type": TYPE,
                "version": VERSION,
                "class": self.data_class,
                "subject": self.subject,
                "pages": [page.encode() for page in self.pages],
                "past": [page.encode() for page in self.past],
                "history": None if self.history is None else self.history.encode(),
            }
        )


@dataclass(frozen=True, slots=True)
class Access:
    """Who could read, as proven."""

    data_class: str
    subject: str
    height: int
    """Block after which it was so."""
    time_ms: int
    """Its block time."""
    known_height: int
    """Block whose state tells."""
    grants: tuple[Grant, ...]
    """That counted then."""
    others: tuple[Grant, ...]
    """That did not count then: ended, not begun, or given later."""


def decode_access_proof(raw: bytes) -> AccessProof:
    """Decode a proof; it proves nothing before `verify_access_proof`.

    Args:
        raw: Canonical CBOR of at most 16 MiB.

    Raises:
        CborError: Not canonical.
        FormatError: A field is missing, unknown or out of range.
    """
    fields = Fields(cbor.decode(raw, bytes_max=ACCESS_PROOF_BYTES_MAX), _NAMES, "access-proof")
    fields.choice("type", (TYPE,))
    fields.integer("version", VERSION, VERSION)
    subject = fields.text("subject")
    split_subject(subject)
    pages = fields.sequence("pages", PAGES_MAX)
    if not pages:
        raise FormatError("access-proof.pages: at least one is due")
    history = None if fields.is_null("history") else fields.octets("history", 1, _PART_BYTES_MAX)
    return AccessProof(
        check_class(fields.raw("class")),
        subject,
        tuple(decode_state_proof(_octets(page)) for page in pages),
        tuple(decode_state_proof(_octets(page)) for page in fields.sequence("past", PAST_PAGES_MAX)),
        None if history is None else decode_history_proof(history),
    )


def verify_access_proof(proof: AccessProof, genesis: Genesis) -> Access:
    """Prove with the genesis file alone who had a grant after a block, and that nobody else had one.

    Raises:
        ProofError: The state holds something else, or a page is missing.
        CertificateError: The header or an epoch on the way is not certified.
        FormatError: A page is none.
    """
    final = proof.pages[0].final
    verify_final_header(final, genesis)
    known: list[Grant] = []
    for number, page in enumerate(proof.pages):
        if page.final.header != final.header:
            raise ProofError(f"access proof: page {number} is of another block than the first")
        if (page.namespace, page.key) != (NAMESPACE, page_key(proof.data_class, proof.subject, number)):
            raise ProofError(f"access proof: another entry stands where page {number} is due")
        check_state(page, final.header.state_root)
        if len(known) != number * PAGE_GRANTS:
            raise ProofError(f"access proof: page {number} stands behind one that is not full")
        known += () if page.value is None else decode_page(cbor.decode(page.value))
    if len(known) == len(proof.pages) * PAGE_GRANTS and len(proof.pages) < PAGES_MAX:
        raise ProofError(f"access proof: page {len(proof.pages)} is missing")
    asked = final.header
    if proof.history is not None:
        if proof.history.final.header != final.header:
            raise ProofError("access proof: the history is that of another block")
        asked = proof.history.header
        check_inclusion(asked, proof.history.path, final.header)
    known += _past(proof, asked.height, is_full=len(known) == PAGES_MAX * PAGE_GRANTS)
    held = tuple(grant for grant in known if grant.holds(asked.height, asked.time_ms))
    others = tuple(grant for grant in known if grant not in held)
    return Access(proof.data_class, proof.subject, asked.height, asked.time_ms, final.header.height, held, others)


def _past(proof: AccessProof, asked_height: int, *, is_full: bool) -> list[Grant]:
    """Return the grants that gave up their places after the block that is asked about, and perhaps some before it.

    What left up to that block was over by then. Grants left in the order of the pages, so those before a page whose
    first one did are not needed. While a place was free nothing ever left.
    """
    if is_full != bool(proof.past):
        raise ProofError("access proof: pages of the past belong to places that are all taken, and to no others")
    final, known = proof.pages[0].final, list[Grant]()
    first = -1
    for place, page in enumerate(proof.past):
        if page.final.header != final.header:
            raise ProofError("access proof: a page of the past is of another block than the first")
        number = _past_number(page) if place == 0 else first + place
        first = number if place == 0 else first
        if (page.namespace, page.key) != (NAMESPACE, past_key(proof.data_class, proof.subject, number)):
            raise ProofError(f"access proof: another entry stands where page {number} of the past is due")
        check_state(page, final.header.state_root)
        if len(known) != place * PAGE_GRANTS:
            raise ProofError(f"access proof: page {number} of the past stands behind one that is not full")
        left = () if page.value is None else decode_past(cbor.decode(page.value))
        if place == 0 and number and (not left or left[0].left_height > asked_height):
            raise ProofError(f"access proof: page {number - 1} of the past is missing")
        known += [entry.grant for entry in left]
    if proof.past and len(known) == len(proof.past) * PAGE_GRANTS:
        raise ProofError("access proof: the last page of the past is missing")
    return known


def _past_number(page: StateProof) -> int:
    """Return which page of the past an entry is by its key."""
    digits = page.key.rpartition(b"/")[2]
    if len(digits) != len(past_key("", "", 0).rpartition(b"/")[2]) or not digits.isdigit():
        raise ProofError("access proof: another entry stands where a page of the past is due")
    return int(digits)


def _octets(value: cbor.Value) -> bytes:
    if not isinstance(value, bytes) or len(value) > _PART_BYTES_MAX:
        raise FormatError("access-proof.pages: bytes are due")
    return value
