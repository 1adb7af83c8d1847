"""The file of fault proofs that wait: read as written, and never in the way of the node."""

from __future__ import annotations

from pathlib import Path

import pytest

from master.io import proof_file
from master.io.proof_file import ProofFile
from wire import cbor


# holds FP-10
def test_proof_file_gives_back_what_was_written_last(tmp_path: Path) -> None:
    path = tmp_path / "proofs"
    assert ProofFile(path).read() == ()
    ProofFile(path).write([b"one", b"two"])
    ProofFile(path).write([b"two"])
    assert ProofFile(path).read() == (b"two",)
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("content", [b"", b"\xff", cbor.encode({"proofs": []}), cbor.encode([1, "two"])])
def test_proof_file_that_is_damaged_costs_the_proofs_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "proofs"
    path.write_bytes(content)
    assert ProofFile(path).read() == ()


def test_proof_file_that_is_too_long_or_cannot_be_written_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "proofs"
    ProofFile(path).write([b"one"])
    monkeypatch.setattr(proof_file, "PROOF_FILE_BYTES_MAX", 2)
    assert ProofFile(path).read() == ()
    ProofFile(tmp_path / "missing" / "proofs").write([b"one"])
    assert not (tmp_path / "missing").exists()
