from __future__ import annotations

import hashlib

import pytest

from rules.fingerprint import LEAVES_MAX, FileDigest, Fingerprint, fingerprint, fingerprint_word
from wire.evidence import METHODS_WORD, word_bytes
from wire.merkle import EMPTY_HEAD, leaf_digest, tree_head
from wire.types import CHUNK_BYTES

SIZES = (0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 3 * CHUNK_BYTES + 7)


def content_of(size: int) -> bytes:
    return hashlib.shake_128(b"content").digest(size)


def chunks_of(content: bytes) -> list[bytes]:
    return [content[at : at + CHUNK_BYTES] for at in range(0, len(content), CHUNK_BYTES)]


@pytest.mark.parametrize("size", SIZES)
def test_fingerprint_of_any_size_is_sha256_and_the_rfc_9162_head_over_chunks(size: int) -> None:
    content = content_of(size)
    expected = FileDigest(size, hashlib.sha256(content).digest(), tree_head(chunks_of(content)))
    assert fingerprint(content) == expected


@pytest.mark.parametrize("piece", [1, 121 * 2, CHUNK_BYTES, CHUNK_BYTES + 1])
def test_fingerprint_of_a_stream_does_not_depend_on_the_pieces(piece: int) -> None:
    content = content_of(CHUNK_BYTES + 300 if piece == 1 else 2 * CHUNK_BYTES + 9)
    running = Fingerprint()
    for at in range(0, len(content), piece):
        running.update(content[at : at + piece])
    assert running.result() == fingerprint(content)


def test_fingerprint_of_an_empty_file_is_sha256_of_nothing_twice() -> None:
    assert fingerprint(b"") == FileDigest(0, hashlib.sha256(b"").digest(), EMPTY_HEAD)


def test_fingerprint_result_in_the_middle_leaves_the_stream_going() -> None:
    running = Fingerprint()
    running.update(b"first")
    assert running.result() == fingerprint(b"first")
    running.update(b"")
    running.update(b"second")
    assert running.result() == fingerprint(b"firstsecond")


def test_fingerprint_of_one_flipped_bit_differs_in_both_digests() -> None:
    content = content_of(CHUNK_BYTES + 5)
    flipped = content[:-1] + bytes((content[-1] ^ 1,))
    first, second = fingerprint(content), fingerprint(flipped)
    assert first.sha256 != second.sha256
    assert first.chunk_root != second.chunk_root


@pytest.mark.parametrize("method", METHODS_WORD)
def test_fingerprint_of_a_word_is_that_of_its_bytes_and_says_that_none_were_read(method: str) -> None:
    digest, whole = fingerprint_word(method, b"3.1.4"), fingerprint(word_bytes(method, b"3.1.4"))
    assert (digest.size, digest.sha256, digest.chunk_root) == (0, whole.sha256, whole.chunk_root)


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_fingerprint_leaves_lead_to_the_chunk_root(size: int) -> None:
    content = content_of(size)
    leaves = fingerprint(content).leaves
    assert leaves == tuple(map(leaf_digest, chunks_of(content)))


def test_fingerprint_leaves_end_at_64_mib() -> None:
    running = Fingerprint()
    for _ in range(LEAVES_MAX):
        running.update(bytes(CHUNK_BYTES))
    assert len(running.result().leaves) == LEAVES_MAX
    running.update(b"!")
    assert running.result().leaves == ()
    running.update(bytes(CHUNK_BYTES))
    assert running.result().leaves == ()
