from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from client.commands.verify import FILE_BYTES_MAX
from client.proof import lines_for, prove, prove_other
from kit.exitcodes import run
from tests.unit.client.ledgers import MEMBERS, World, evidence, key_of
from tests.unit.wire import samples
from wire import cbor
from wire.certificate import Step, vote_bytes
from wire.errors import CborError, CertificateError, FormatError, ProofError, SignatureError, WireError
from wire.faultproof import FaultFile, FaultProof, Statement
from wire.lightclient import CertifiedHeader, Conflict
from wire.receipt import Outcome


def test_prove_report_says_what_is_proven() -> None:
    world = World()
    proof = prove(world.bundle().encode(), world.genesis)
    shown = proof.to_json()
    assert proof.evidence == evidence()
    assert proof.key_in_genesis
    assert shown["sender"] == "gw-linden"
    assert shown["outcome"] == "ok"
    assert shown["signature"] == "genesis-key"
    block = shown["block"]
    assert isinstance(block, dict)
    assert block["signers"] == list(MEMBERS[:3])
    report = shown["report"]
    assert isinstance(report, dict)
    # whether that block of the ledger has that digest nobody has looked
    assert report["seen_block"] == {"height": evidence().block.height, "digest": evidence().block.digest.hex()}
    assert report["devices"][0]["device"] == "linden-sc-1"
    assert report["devices"][0]["item"]["identity"]["serial"] == "AP-01001"
    json.dumps(shown)


def test_prove_other_contract_has_no_report() -> None:
    world = World().with_(contract="references", method="endorse", args={"release": b"", "report": None})
    proof = prove(world.bundle().encode(), world.genesis)
    assert proof.evidence is None
    assert "report" not in proof.to_json()


def test_prove_key_newer_than_genesis_is_left_to_the_validators() -> None:
    world = World().with_(signer="a-later-key")
    assert not prove(world.bundle().encode(), world.genesis).key_in_genesis


def test_prove_key_of_another_account_is_refused() -> None:
    world = World().with_(sender="gw-other")
    with pytest.raises(SignatureError, match="its key is that of 'gw-linden', not of 'gw-other'"):
        prove(world.bundle().encode(), world.genesis)


def test_prove_signature_that_is_not_the_senders_is_refused_whatever_the_validators_say() -> None:
    world = World().with_(is_forged=True)
    with pytest.raises(SignatureError):
        prove(world.bundle().encode(), world.genesis)


def test_prove_two_of_four_signers_is_refused() -> None:
    world = World().with_(voters=MEMBERS[:2])
    with pytest.raises(CertificateError, match="2 signatures, 3 of 4 are due"):
        prove(world.bundle().encode(), world.genesis)


def test_prove_other_ledger_is_refused() -> None:
    world = World()
    other = replace(world.genesis, name="other")
    with pytest.raises(WireError):
        prove(world.bundle().encode(), other)


def test_prove_transaction_for_other_ledger_is_refused() -> None:
    world = World().with_(chain="other-00000000")
    with pytest.raises(FormatError, match="it is for ledger other-00000000"):
        prove(world.bundle().encode(), world.genesis)


def test_prove_changed_outcome_is_refused() -> None:
    world = World()
    bundle = world.bundle()
    outcome = Outcome(bundle.receipt.tx, "ok", ())
    forged = replace(bundle, receipt=replace(bundle.receipt, outcome=outcome))
    with pytest.raises(ProofError):
        prove(forged.encode(), world.genesis)


def test_prove_report_without_evidence_is_refused() -> None:
    world = World().with_(args={"evidence": 5})
    with pytest.raises(FormatError, match=r"transaction\.args\.evidence: bytes are due"):
        prove(world.bundle().encode(), world.genesis)


@pytest.mark.parametrize("raw", [b"", b"\xa0", b"\xff" * 10])
def test_prove_no_bundle_is_refused(raw: bytes) -> None:
    with pytest.raises((CborError, FormatError)):
        prove(raw, World().genesis)


def _files(folder: Path, raw: bytes) -> tuple[str, str]:
    bundle, genesis = folder / "report.bundle", folder / "genesis.cbor"
    bundle.write_bytes(raw)
    genesis.write_bytes(World().genesis.encode())
    return str(bundle), str(genesis)


def _run(*arguments: str) -> int:
    from client.cli import app  # noqa: PLC0415 - the program as a whole

    return run(app, program="gridwitness", args=arguments)


def test_verify_good_bundle_exits_0_and_names_the_device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, genesis = _files(tmp_path, World().bundle().encode())
    assert _run("verify", bundle, "--genesis", genesis) == 0
    said = capsys.readouterr().out
    assert "linden-sc-1" in said
    assert "3 of 4" in said
    assert "alarm_raised" in said


def test_verify_good_bundle_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, genesis = _files(tmp_path, World().bundle().encode())
    assert _run("verify", bundle, "--genesis", genesis, "--json") == 0
    assert json.loads(capsys.readouterr().out)["verified"] is True


def test_verify_changed_bundle_exits_65(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = bytearray(World().bundle().encode())
    raw[len(raw) // 2] ^= 1
    bundle, genesis = _files(tmp_path, bytes(raw))
    assert _run("verify", bundle, "--genesis", genesis) == 65
    assert "does not verify" in capsys.readouterr().err


def test_verify_genesis_that_is_none_exits_65(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, _ = _files(tmp_path, World().bundle().encode())
    assert _run("verify", bundle, "--genesis", bundle) == 65
    assert "is no genesis file" in capsys.readouterr().err


def test_verify_file_too_long_exits_74(tmp_path: Path) -> None:
    bundle, genesis = _files(tmp_path, bytes(FILE_BYTES_MAX + 1))
    assert _run("verify", bundle, "--genesis", genesis) == 74


def test_verify_without_genesis_exits_64(tmp_path: Path) -> None:
    bundle, _ = _files(tmp_path, b"")
    assert _run("verify", bundle) == 64


def test_genesis_show_names_everybody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, genesis = _files(tmp_path, b"")
    assert _run("genesis", "show", genesis) == 0
    said = capsys.readouterr().out
    assert "3 of 4" in said
    assert "linden-sc-1" in said
    assert _run("genesis", "show", genesis, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["chain"] == World().genesis.chain()
    assert [entry["member"] for entry in shown["validators"]] == list(MEMBERS)


def fault_of(world: World) -> FaultFile:
    member, chain = MEMBERS[0], world.genesis.chain()
    first, second = (
        Statement(step, view, digest, key_of(member).sign(vote_bytes(chain, 0, step, 7, view, digest)).signature)
        for step, view, digest in ((Step.COMMIT, 0, bytes(range(32))), (Step.VIEW_CHANGE, 2, bytes(32)))
    )
    return FaultFile(FaultProof(chain, 0, 7, member, first, second), ())


# holds FP-4
def test_verify_fault_file_says_who_broke_the_protocol(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = World()
    file, genesis = tmp_path / "fault.cbor", tmp_path / "genesis.cbor"
    file.write_bytes(fault_of(world).encode())
    genesis.write_bytes(world.genesis.encode())
    assert _run("verify", str(file), "--genesis", str(genesis), "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["member"], shown["kind"], shown["height"]) == (MEMBERS[0], "amnesia", 7)
    assert shown["signed"] == "commit in view 0 and view-change in view 2"


# holds FP-4
def test_verify_fault_file_that_accuses_somebody_else_is_refused(tmp_path: Path) -> None:
    world = World()
    made = fault_of(world)
    file, genesis = tmp_path / "fault.cbor", tmp_path / "genesis.cbor"
    file.write_bytes(replace(made, proof=replace(made.proof, member=MEMBERS[1])).encode())
    genesis.write_bytes(world.genesis.encode())
    assert _run("verify", str(file), "--genesis", str(genesis)) == 65


# holds LC-6
def test_verify_conflict_says_who_signed_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    twin = replace(samples.HEADER, tx_root=bytes(32))
    first, second = (CertifiedHeader(header, samples.certify(header)) for header in (samples.HEADER, twin))
    file, genesis = tmp_path / "conflict.cbor", tmp_path / "genesis.cbor"
    conflict = Conflict(first, second, ())
    file.write_bytes(conflict.encode())
    genesis.write_bytes(samples.GENESIS.encode())
    assert _run("verify", str(file), "--genesis", str(genesis), "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["type"], shown["first_height"], shown["signed_twice"]) == ("conflict", 42, list(samples.MEMBERS[:3]))
    file.write_bytes(replace(conflict, second=conflict.first).encode())
    assert _run("verify", str(file), "--genesis", str(genesis)) == 65


def test_proof_of_who_could_read_is_told_in_sentences() -> None:
    frame = {"type": "access-proof", "class": "settings", "subject": "device/d1", "height": 7, "known_height": 9}
    grant = {"id": "ab", "reader": "role/auditor", "by": "grid"}
    told = "\n".join(lines_for({**frame, "time_ms": 0, "grants": [grant], "others": []}) or [])
    assert "settings of device/d1 after block 7" in told
    assert "role/auditor, by grant ab of grid" in told
    assert "nobody by a grant" in "\n".join(lines_for({**frame, "time_ms": 0, "grants": [], "others": []}) or [])
    assert lines_for({"type": "state-proof"}) is None


def test_proof_of_a_model_names_the_command_that_checks_it() -> None:
    with pytest.raises(FormatError, match="models verify"):
        prove_other(cbor.encode({"type": "model-proof"}), samples.GENESIS)
