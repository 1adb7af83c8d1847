"""The commands that end a quarantine, from the report of the locked node to its guard, as people run them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import SigningKey

from client.cli import PROGRAM as CLIENT
from client.cli import app as client_app
from kit.exitcodes import run
from master.cli import PROGRAM, app
from master.config import load_node_config
from master.consensus.guard import SignerGuard
from master.consensus.records import Prepared, decode_record, encode_record
from master.io.guard import GuardFile, create_guard
from master.io.store import Store
from master.io.wal import WriteAheadLog
from master.seat import load_vote_keys
from tests.unit.ledger.worlds import World, key_of
from tests.unit.store.stores import MAP_BYTES, grow
from wire.certificate import Certificate, Step, build_certificate
from wire.cose import kid_of
from wire.types import sha256
from wire.unlock import STATEMENT, LockStatement, Unlock, decode_unlock

LOCK = sha256(b"this quarantine")
BLOCK = sha256(b"block 7")


def write_key(path: Path, key: SigningKey) -> Path:
    public = key.verify_key.encode()
    shown = {"type": "ed25519", "name": path.stem, "public": public.hex(), "kid": kid_of(public).hex()}
    path.write_text(json.dumps({**shown, "secret": bytes(key).hex()}))
    path.chmod(0o600)
    return path


class Locked:
    """A stopped node of a consortium of one, with six blocks, in quarantine."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        self.world = World()
        self.genesis = folder / "genesis.cbor"
        self.genesis.write_bytes(self.world.genesis.encode())
        self.root_key = write_key(folder / "root.key", key_of("dispatch"))
        write_key(folder / "vote.key", key_of("vote"))
        for name in ("node.crt", "node.key"):
            (folder / name).touch(mode=0o600)
        self.config = folder / "node.toml"
        self.config.write_text(
            '[node]\nmember = "dispatch"\ndata_dir = "data"\ngenesis = "genesis.cbor"\nvote_key = "vote.key"\n'
            'map_mib = 64\n\n[peers]\nlisten = "127.0.0.1:0"\ncertificate = "node.crt"\nkey = "node.key"\n\n'
            '[peers.addresses]\ndispatch = "127.0.0.1:7001"\n\n[api]\nlisten = "127.0.0.1:8080"\n'
        )
        self.data_dir = folder / "data"
        self.data_dir.mkdir()
        with Store.create(self.data_dir / "ledger", self.world.genesis, map_bytes=MAP_BYTES) as store:
            grow(self.world, store, 6)
        self.owner = load_vote_keys(load_node_config(self.config)).owners(self.world.genesis.chain())[0]
        create_guard(self.data_dir / "guard", self.owner, SignerGuard(floor=6).marked(LOCK))

    @property
    def guard(self) -> SignerGuard | None:
        with GuardFile(self.data_dir / "guard", self.owner) as file:
            return file.guard

    def log(self, *certificates: Certificate) -> list[Certificate]:
        """Add prepared certificates to the log; return those that are in it."""
        log = WriteAheadLog(self.data_dir / "wal")
        found = [decode_record(raw) for raw in log.read()]
        log.append([encode_record(Prepared(certificate)) for certificate in certificates])
        log.close()
        return [record.certificate for record in found if isinstance(record, Prepared)]

    def certificate(self, view: int, height: int = 7) -> Certificate:
        unsigned = build_certificate(Step.PREPARE, 0, height, view, BLOCK, [])
        signature = key_of("vote").sign(unsigned.vote_bytes(self.world.genesis.chain())).signature
        return build_certificate(Step.PREPARE, 0, height, view, BLOCK, [("dispatch", signature)])

    def node(self, *arguments: object, is_json: bool = True) -> tuple[int, Any]:
        words = [*map(str, arguments), "--config", str(self.config), *(["--json"] if is_json else [])]
        return self._run(lambda: run(app, program=PROGRAM, args=words), is_json=is_json)

    def person(self, *arguments: object) -> tuple[int, Any]:
        words = ["quarantine", *map(str, arguments), "--json"]
        return self._run(lambda: run(client_app, program=CLIENT, args=words), is_json=True)

    def _run(self, call: Callable[[], int], *, is_json: bool) -> tuple[int, Any]:
        self._capsys.readouterr()
        code = call()
        out = self._capsys.readouterr().out
        return code, json.loads(out) if is_json and out else out

    def signed(self) -> Path:
        """Return what report, statement and signature lead to."""
        report, statement, signed = (self.folder / name for name in ("a.report", "a.unlock", "a.signed"))
        assert self.node("lock-report", "--out", report)[0] == 0
        assert self.person("statement", report, "--genesis", self.genesis, "--out", statement)[0] == 0
        code, shown = self.person(
            "sign", statement, "--organisation", "dispatch", "--key", self.root_key, "--out", signed
        )
        assert (code, shown["signed_by"]) == (0, ["dispatch"])
        return signed

    def changed(self, change: Callable[[LockStatement], LockStatement]) -> Path:
        """Return the signed file with a statement that says something else, signed again."""
        statement = change(decode_unlock(self.signed().read_bytes()).statement)
        key = key_of("dispatch")
        unlock = Unlock(statement).signed(
            "dispatch", key.verify_key.encode(), key.sign(statement.signed_bytes()).signature
        )
        path = self.folder / "changed.signed"
        path.write_bytes(unlock.encode())
        return path


@pytest.fixture
def locked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Locked:
    return Locked(tmp_path, capsys)


# holds FP-11 FP-14
def test_unlock_lets_the_node_speak_above_the_certificate_that_it_carries(locked: Locked) -> None:
    locked.log(locked.certificate(2), locked.certificate(3))
    signed = locked.signed()
    code, shown = locked.person("show", signed)
    assert (code, shown["resume_height"], shown["view"], shown["lock"]) == (0, 7, 4, LOCK.hex())
    assert shown["prepared"] == f"view 3, block {BLOCK.hex()}"
    code, shown = locked.node("unlock", signed)
    assert (code, shown["signed_by"], shown["view"]) == (0, ["dispatch"], 4)
    assert locked.guard == SignerGuard(floor=6, height=7, view=4, commit_view=3)
    assert locked.log()[-1] == locked.certificate(3)


# holds FP-14
def test_unlock_says_to_people_what_the_signers_accept(locked: Locked) -> None:
    code, text = locked.node("unlock", locked.signed(), is_json=False)
    assert code == 0
    assert "dispatch may vote again from height 7, view 1 on, with no certificate" in text
    assert "report, another block may become final there" in text
    assert locked.log() == []


# holds FP-14
def test_unlock_is_good_for_one_quarantine_alone(locked: Locked) -> None:
    signed = locked.signed()
    assert locked.node("unlock", signed)[0] == 0
    assert locked.node("unlock", signed)[0] == 65, "it was used"
    (locked.data_dir / "guard").unlink()
    assert locked.node("unlock", signed)[0] == 65, "the guard is lost again, and the node has not been started"
    (locked.data_dir / "guard").unlink()
    create_guard(locked.data_dir / "guard", locked.owner, SignerGuard(floor=6).marked(sha256(b"a later quarantine")))
    assert locked.node("unlock", signed)[0] == 65, "another lock"


# holds FP-13 FP-14
@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"resume_height": 6}, 65),
        ({"resume_height": 8}, 75),
        ({"node": "grid"}, 65),
        ({"vote_key": bytes(32)}, 65),
        ({"lock": bytes(32)}, 65),
        ({"chain": "other-00000000"}, 65),
    ],
)
def test_unlock_of_something_else_is_refused_and_changes_nothing(
    locked: Locked, change: dict[str, Any], code: int
) -> None:
    before = locked.guard
    path = locked.changed(lambda statement: replace(statement, **change))
    assert locked.node("unlock", path)[0] == code
    assert locked.guard == before
    path.write_bytes(b"\xa0")
    assert locked.node("unlock", path)[0] == 65


# holds FP-13
def test_unlock_without_signatures_is_refused(locked: Locked) -> None:
    locked.signed()
    assert locked.node("unlock", locked.folder / "a.unlock")[0] == 65


# holds FP-11
def test_lock_report_of_a_node_that_is_not_locked_makes_no_statement(locked: Locked) -> None:
    (locked.data_dir / "guard").unlink()
    report = locked.folder / "b.report"
    code, shown = locked.node("lock-report", "--out", report)
    assert (code, shown["locked"], shown["resume_height"]) == (0, False, 7)
    assert locked.person("statement", report, "--genesis", locked.genesis, "--out", locked.folder / "x")[0] == 65
    assert locked.node("lock-report", "--out", report)[0] == 74, "nothing is overwritten"


# holds FP-12
def test_statement_from_reports_that_do_not_hold_is_refused(locked: Locked) -> None:
    locked.signed()
    report, out = locked.folder / "a.report", locked.folder / "x"
    forged = locked.folder / "forged.report"

    def refused(raw: bytes) -> bool:
        forged.write_bytes(raw)
        return locked.person("statement", report, forged, "--genesis", locked.genesis, "--out", out)[0] == 65

    made = LockStatement("lock-report", locked.world.genesis.chain(), "dispatch", bytes(32), LOCK, 7, 0, None)
    unsigned = replace(locked.certificate(1), signatures=())
    assert refused(b"\xa0")
    assert refused(replace(made, kind=STATEMENT, view=1).encode())
    assert refused(replace(made, chain="other-00000000").encode())
    assert refused(replace(made, prepared=unsigned).encode())
    assert not out.exists()
    assert not refused(replace(made, prepared=locked.certificate(1)).encode())
    out.unlink()
    assert locked.person("sign", forged, "--organisation", "dispatch", "--key", locked.root_key, "--out", out)[0] == 65
