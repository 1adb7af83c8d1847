from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from master.consensus.blob_messages import PART_BYTES_MAX, BlobPart, GetBlob
from master.consensus.fault_messages import Divergence, Fault, Quote
from master.consensus.message_checks import FlawedProposalError, verify_message
from master.consensus.message_codec import (
    GOSSIP_TRANSACTIONS_MAX,
    MESSAGE_BYTES_MAX,
    decode_message,
    decode_view_change_set,
    encode_message,
    values_max,
)
from master.consensus.messages import (
    Blocks,
    Body,
    GetBlocks,
    GetBody,
    GetStanding,
    Gossip,
    Message,
    Propose,
    Spoken,
    Standing,
    Status,
    ViewChange,
    ViewChangeSet,
    prepared_digest,
    proposal_digest,
    standing_bytes,
)
from master.consensus.snapshot_messages import (
    Archive,
    Chunk,
    GetArchive,
    GetChunk,
    GetSnapshot,
    SnapshotManifest,
    Wanted,
)
from tests.simulation.toy import CHAIN
from tests.unit.consensus.bench import Peers
from tests.unit.ledger.snapshots import crowded, cut
from tests.unit.wire.test_faultproof import PROOF
from tests.unit.wire.test_snapshot import MANIFEST
from wire import cbor
from wire.certificate import Certificate, Step
from wire.errors import CborError, CertificateError, FormatError, SignatureError
from wire.header import ZERO_DIGEST
from wire.snapshot import OldBlock, Place
from wire.types import sha256

PEERS = Peers()
BLOCK = PEERS.block(b"one")
PREPARED = PEERS.certificate(Step.PREPARE, BLOCK)
COMMITTED = PEERS.certificate(Step.COMMIT, BLOCK)
VOTE = PEERS.vote(1, Step.PREPARE, BLOCK)
SPOKEN = Spoken("node-1", VOTE.step, VOTE.epoch, VOTE.height, VOTE.view, VOTE.digest, VOTE.signature)


def standing(
    peers: Peers,
    index: int,
    certificate: Certificate | None = None,
    spoken: Spoken | None = None,
    *,
    is_quarantined: bool = False,
) -> Standing:
    """Return the answer of a validator to the start of another."""
    frame = (f"node-{index}", sha256(b"start"), certificate)
    signed = standing_bytes(CHAIN, *frame, is_quarantined=is_quarantined)
    signature = peers.keys.signer(frame[0])(signed)
    return Standing(*frame, is_quarantined, spoken, signature)


def quote(proposal: Propose) -> Quote:
    """Return what the leader signed with a proposal."""
    digest = proposal_digest(proposal.block.header.digest(), proposal.view_changes)
    return Quote(proposal.member, proposal.block.header.epoch, 1, proposal.view, digest, proposal.signature)


CHANGES = tuple(PEERS.change(index, 1, PREPARED if index == 2 else None) for index in (0, 2, 3))

MESSAGES: dict[str, Message] = {
    "prepare": PEERS.vote(0, Step.PREPARE, BLOCK),
    "commit": PEERS.vote(3, Step.COMMIT, BLOCK, view=7),
    "view change": PEERS.change(2, 1),
    "view change with certificate": PEERS.change(2, 1, PREPARED),
    "propose": PEERS.propose(0, BLOCK),
    "new view": PEERS.propose(1, BLOCK, 1, CHANGES),
    "status": Status(9, 2, "prepared"),
    "get standing": GetStanding(sha256(b"start")),
    "standing": standing(PEERS, 2, COMMITTED, SPOKEN),
    "standing at genesis": standing(PEERS, 2, is_quarantined=True),
    "get blocks": GetBlocks(4),
    "blocks": Blocks(((BLOCK, COMMITTED),)),
    "no blocks": Blocks(()),
    "get body": GetBody(sha256(b"x")),
    "body": Body(BLOCK),
    "gossip": Gossip((b"a", b"b")),
    "get snapshot": GetSnapshot(),
    "manifest": SnapshotManifest(MANIFEST),
    "no manifest": SnapshotManifest(None),
    "get chunk": GetChunk(42, (Wanted(3, Place()), Wanted(1023, Place(1023, 16_384)))),
    "chunk": Chunk(42, tuple(cut(crowded(), 1)[1][:2])),
    "no chunk": Chunk(42, ()),
    "get archive": GetArchive(42, 7),
    "archive": Archive((OldBlock(BLOCK.header, COMMITTED, (b"outcome", b""), (b"proof",)),)),
    "no archive": Archive(()),
    "get blob": GetBlob(sha256(b"x"), 32 * 1024 * 1024 - 1),
    "blob part": BlobPart(sha256(b"x"), 7, b"bytes"),
    "no blob part": BlobPart(sha256(b"x"), 0, b""),
    "quote": quote(PEERS.propose(0, BLOCK)),
    "fault": Fault(PROOF.encode()),
    "divergence": Divergence(7, sha256(b"block"), sha256(b"root"), (bytes(16), bytes(16))),
    "divergence without results": Divergence(7, sha256(b"block"), sha256(b"root"), ()),
}


def verify(message: Message) -> None:
    verify_message(message, CHAIN, PEERS.keys.validators, PEERS.keys.verify)


# holds CM-1 SN-5 FP-9 FP-10 FP-15 BL-8
@pytest.mark.parametrize("word", MESSAGES)
def test_message_of_every_kind_survives_the_round_trip_and_verifies(word: str) -> None:
    message = MESSAGES[word]
    assert decode_message(encode_message(message)) == message
    verify(message)


def changed(word: str, **fields: Any) -> bytes:  # noqa: ANN401
    value = cbor.decode_map(encode_message(MESSAGES[word]), bytes_max=1 << 20)
    value.update(fields)
    return cbor.encode(value)


OLD_BLOCK: dict[str, cbor.Value] = {
    "header": BLOCK.header.encode(),
    "certificate": COMMITTED.to_value(),
    "outcomes": [],
    "fault_proofs": [],
}


# holds CM-1 SN-5 BL-8
@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (cbor.encode({"type": "hello"}), "type 'hello' is unknown"),
        (cbor.encode({"type": 5}), "type 5 is unknown"),
        (cbor.encode({}), "type None is unknown"),
        (changed("prepare", step="propose"), "vote.step"),
        (changed("prepare", height=0), "vote.height"),
        (changed("prepare", view=-1), "vote.view"),
        (changed("prepare", digest=b"short"), "vote.digest"),
        (changed("prepare", signature=bytes(63)), "vote.signature"),
        (changed("prepare", member="Node 1"), "vote.member"),
        (changed("prepare", more=1), "'more' is unknown"),
        (changed("view change", view=0), "view change.view"),
        (changed("view change", prepared=5), "certificate"),
        (changed("propose", block={}), "'header' is missing"),
        (changed("propose", view_changes=[5]), "view change: a int"),
        (changed("propose", view_changes=[None] * 17), "at most 16 entries"),
        (changed("get snapshot", more=1), "'more' is unknown"),
        (changed("manifest", manifest=b"\x00"), "snapshot"),
        (changed("manifest", manifest=b""), "snapshot-manifest.manifest"),
        (changed("get chunk", height=0), "get-chunk.height"),
        (changed("get chunk", wanted=[[0, 0, 0]] * 65), "at most 64 entries"),
        (changed("get chunk", wanted=[[0, 0]]), "get-chunk.wanted"),
        (changed("get chunk", wanted=[5]), "get-chunk.wanted"),
        (changed("get chunk", wanted=[[1024, 0, 0]]), "get-chunk.wanted.subtree"),
        (changed("get chunk", wanted=[[0, 1024, 0]]), "get-chunk.wanted.bucket"),
        (changed("get chunk", wanted=[[0, 0, -1]]), "get-chunk.wanted.entries"),
        (changed("chunk", parts=[5]), "part: a int"),
        (changed("chunk", parts=[{}] * 65), "at most 64 entries"),
        (changed("get archive", height=0), "get-archive.height"),
        (changed("get archive", outcomes=-1), "get-archive.outcomes"),
        (changed("archive", blocks=[{}] * 65), "at most 64 entries"),
        (changed("archive", blocks=[{**OLD_BLOCK, "outcomes": [bytes(1048577)]}]), "archive.outcomes"),
        (changed("archive", blocks=[{**OLD_BLOCK, "fault_proofs": [5]}]), "archive.fault_proofs"),
        (changed("get blob", digest=b"short"), "get-blob.digest"),
        (changed("get blob", offset=32 * 1024 * 1024), "get-blob.offset"),
        (changed("blob part", offset=-1), "blob-part.offset"),
        (changed("blob part", data=bytes(PART_BYTES_MAX + 1)), "blob-part.data"),
        (changed("quote", height=0), "quote.height"),
        (changed("quote", step="propose"), "'step' is unknown"),
        (changed("fault", proof=bytes(1025)), "fault.proof"),
        (changed("fault", proof=cbor.encode({})), "fault-proof: field"),
        (changed("divergence", height=0), "divergence.height"),
        (changed("divergence", results=[bytes(15)]), "16 bytes each"),
        (changed("divergence", results=[bytes(16)] * 4097), "at most 4096 entries"),
        (changed("divergence", results=["text"]), "16 bytes each"),
        (changed("status", phase="asleep"), "status.phase"),
        (changed("status", height=0), "status.height"),
        (changed("get blocks", first_height=0), "get-blocks.first_height"),
        (changed("blocks", blocks=[5]), "blocks: a int"),
        (changed("blocks", blocks=[{}] * 65), "at most 64 entries"),
        (changed("get body", digest=None), "get-body.digest"),
        (changed("body", block=None), "block: a NoneType"),
        (changed("gossip", transactions=["text"]), "gossip.transactions"),
        (changed("gossip", transactions=[bytes(65_537)]), "at most 64 KiB"),
        (changed("gossip", transactions=[b""] * 1_025), "at most 1024 entries"),
    ],
)
def test_message_malformed_is_refused_and_the_field_is_named(raw: bytes, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        decode_message(raw)


# holds CM-1
@pytest.mark.parametrize("raw", [b"", b"\xff", encode_message(Status(1, 0, "new")) + b"\x00", cbor.encode([1])])
def test_message_not_canonical_is_refused(raw: bytes) -> None:
    with pytest.raises((CborError, FormatError)):
        decode_message(raw)


# holds TP-6
@pytest.mark.parametrize("entry", [b"\x80", b"\xa0", b"\x00", b"\x60"])
def test_message_of_small_values_without_end_is_refused_before_they_are_built(entry: bytes) -> None:
    number = 1_000_000
    raw = b"\xa1\x64type\x9a" + number.to_bytes(4, "big") + entry * number
    with pytest.raises(CborError, match="more than 141385 values"):
        decode_message(raw)


# holds TP-6
def test_message_of_as_many_transactions_as_a_block_may_hold_is_decoded() -> None:
    message = Gossip(tuple(bytes((number % 251,)) * 64 for number in range(GOSSIP_TRANSACTIONS_MAX)))
    assert decode_message(encode_message(message)) == message
    assert values_max(100_000 * 64) > 100_000
    assert values_max(1024 * 1024) > 4 * 1024 * 1024 // 50  # a part of the state: four values in fifty bytes
    assert values_max(MESSAGE_BYTES_MAX) < 500_000


# holds CM-2
@pytest.mark.parametrize("word", ["prepare", "view change", "propose", "quote"])
def test_message_of_a_stranger_or_with_a_wrong_signature_is_refused(word: str) -> None:
    message: Any = MESSAGES[word]
    with pytest.raises(CertificateError, match="no validator"):
        verify(replace(message, member="node-9"))
    with pytest.raises(SignatureError):
        verify(replace(message, member="node-1"))
    with pytest.raises(SignatureError):
        verify(replace(message, view=message.view + 1))


# holds CM-2
def test_message_new_view_with_a_wrong_signature_inside_is_refused() -> None:
    message: Any = MESSAGES["new view"]
    spoilt = replace(CHANGES[0], signature=bytes(64))
    flawed = PEERS.propose(1, BLOCK, 1, (spoilt, *CHANGES[1:]))
    with pytest.raises(FlawedProposalError, match="the keyed hash differs") as raised:
        verify(flawed)
    assert (raised.value.proposal, raised.value.code) == (flawed, "bad-signature")
    with pytest.raises(SignatureError):
        verify(replace(message, view_changes=CHANGES[:2]))


# holds CM-10
def test_message_new_view_signed_over_a_view_change_of_another_epoch_is_its_authors_fault() -> None:
    flawed = PEERS.propose(1, BLOCK, 1, (PEERS.change(0, 1, epoch=9), *CHANGES[1:]))
    with pytest.raises(FlawedProposalError, match="of epoch 9"):
        verify(flawed)


# holds CM-2
@pytest.mark.parametrize(
    ("prepared", "view", "reason"),
    [
        (COMMITTED, 1, "no PREPARE of this height"),
        (replace(PREPARED, height=2), 1, "no PREPARE of this height"),
        (PEERS.certificate(Step.PREPARE, BLOCK, view=1), 1, "not of an earlier view"),
        (replace(PREPARED, epoch=9), 1, "not of an earlier view"),
        (PEERS.certificate(Step.PREPARE, BLOCK, signers=(0, 1)), 1, "2 signatures"),
        (replace(PREPARED, digest=sha256(b"else")), 1, "does not verify"),
    ],
)
def test_view_change_with_an_unfit_certificate_is_refused(prepared: Certificate, view: int, reason: str) -> None:
    with pytest.raises(CertificateError, match=reason):
        verify(PEERS.change(2, view, prepared))


def test_view_change_signature_binds_its_certificate() -> None:
    older = PEERS.change(2, 5, PREPARED)
    newer = PEERS.certificate(Step.PREPARE, BLOCK, view=3)
    for other in (None, newer):
        with pytest.raises(SignatureError):
            verify(replace(older, prepared=other))


# holds CM-15
@pytest.mark.parametrize(
    "certificate",
    [
        PREPARED,
        replace(COMMITTED, digest=sha256(b"else")),
        PEERS.certificate(Step.COMMIT, BLOCK, signers=(0, 1)),
    ],
)
def test_blocks_without_their_own_commit_certificate_are_refused(certificate: Certificate) -> None:
    with pytest.raises(CertificateError):
        verify(Blocks(((BLOCK, certificate),)))


def test_prepared_digest_without_a_certificate_is_zero() -> None:
    assert prepared_digest(None) == ZERO_DIGEST
    assert prepared_digest(PREPARED) == sha256(bytes(8) + BLOCK.header.digest())


def test_proposal_digest_binds_block_and_view_changes() -> None:
    digest = BLOCK.header.digest()
    assert proposal_digest(digest, ()) == sha256(digest + ZERO_DIGEST)
    assert len({proposal_digest(digest, CHANGES[:count]) for count in range(4)}) == 4


def test_view_change_signed_bytes_name_chain_height_and_view() -> None:
    message = MESSAGES["view change"]
    assert isinstance(message, ViewChange)
    variants = (replace(message, height=2), replace(message, view=2), replace(message, epoch=4))
    assert len({entry.signed_bytes(CHAIN) for entry in (message, *variants)} | {message.signed_bytes("other")}) == 5


# holds CM-20
@pytest.mark.parametrize(
    "fields",
    [
        {"member": "node-3"},
        {"nonce": sha256(b"another start")},
        {"certificate": None},
        {"is_quarantined": True},
    ],
)
def test_standing_changed_on_its_way_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(SignatureError):
        verify(replace(standing(PEERS, 2, COMMITTED, SPOKEN), **fields))


def test_standing_with_an_unproven_head_or_statement_is_refused() -> None:
    with pytest.raises(CertificateError, match="no COMMIT"):
        verify(standing(PEERS, 2, PREPARED))
    with pytest.raises(CertificateError):
        verify(standing(PEERS, 2, replace(COMMITTED, signatures=COMMITTED.signatures[:2])))
    for wrong in (replace(SPOKEN, view=1), replace(SPOKEN, member="node-0"), replace(SPOKEN, step=Step.COMMIT)):
        with pytest.raises(SignatureError):
            verify(standing(PEERS, 2, COMMITTED, wrong))


def test_standing_with_a_flag_that_is_no_flag_is_refused() -> None:
    with pytest.raises(FormatError, match="true or false"):
        decode_message(changed("standing", quarantined=0))


# holds FP-17
def test_view_change_set_round_trips_and_another_form_is_refused() -> None:
    made = ViewChangeSet(1, CHANGES)
    assert decode_view_change_set(made.encode()) == made
    value: Any = cbor.decode(made.encode())
    changes: list[dict[str, Any]] = [{"view": 0}, {"view_changes": [5]}, {"view_changes": [None] * 17}, {"more": 1}]
    for wrong in changes:
        with pytest.raises(FormatError):
            decode_view_change_set(cbor.encode({**value, **wrong}))
