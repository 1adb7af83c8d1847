"""Fingerprint throughput (whole digest and chunk tree) beside hashlib's own on the same data."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Sequence

from benchmarks.results import Result
from rules.fingerprint import Fingerprint

DATA_BYTES = 64 * 1024 * 1024
PIECE_BYTES = 1024 * 1024
ROUNDS = 5


def measure() -> Sequence[Result]:
    """Digest 64 MiB in pieces of 1 MiB, five times each way; the best round counts."""
    data = random.Random(1).randbytes(DATA_BYTES)
    pieces = [data[at : at + PIECE_BYTES] for at in range(0, DATA_BYTES, PIECE_BYTES)]
    plain = _best_mb_per_s(lambda: _plain(pieces))
    twice = _best_mb_per_s(lambda: _twice(pieces))
    ours = _best_mb_per_s(lambda: _ours(pieces))
    note = "64 MiB in pieces of 1 MiB, best of 5"
    return (
        Result("fingerprint", ours, "MB/s", f"SHA-256 and chunk tree in one pass; {note}"),
        Result("hashlib SHA-256", plain, "MB/s", f"same data, whole digest alone; {note}"),
        Result("hashlib SHA-256 twice", twice, "MB/s", f"same data, as many bytes digested as a fingerprint; {note}"),
        Result("fingerprint / hashlib", ours / plain, "ratio", "1/2 is what two digests of every byte can reach"),
    )


def _best_mb_per_s(work: Callable[[], None]) -> float:
    best_s = float("inf")
    for _ in range(ROUNDS):
        began_s = time.perf_counter()
        work()
        best_s = min(best_s, time.perf_counter() - began_s)
    return DATA_BYTES / best_s / 1e6


def _plain(pieces: Sequence[bytes]) -> None:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    digest.digest()


def _twice(pieces: Sequence[bytes]) -> None:
    first, second = hashlib.sha256(), hashlib.sha256()
    for piece in pieces:
        first.update(piece)
        second.update(piece)
    first.digest()
    second.digest()


def _ours(pieces: Sequence[bytes]) -> None:
    fingerprint = Fingerprint()
    for piece in pieces:
        fingerprint.update(piece)
    fingerprint.result()
