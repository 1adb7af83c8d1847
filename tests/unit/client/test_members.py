"""The commands against the contract itself: a node that executes what it is sent on a ledger in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from nacl.signing import SigningKey

from client.members import owner_of
from kit.exitcodes import DataError
from kit.keystore import create_key, load_signing_key
from kit.tls import Authority, common_name_of, der_of, mqtt_context, request_certificate
from master.contracts import member_state, membership
from master.ledger.rows import event_rows
from master.views.ports import END, Position
from master.views.schema import Reading
from master.views.table import TABLES
from tests.unit.client.nodes import FakeNode, call, use_node
from tests.unit.contracts.members_site import Site, root_of
from tests.unit.ledger.worlds import key_of
from tests.unit.master.views.memory import MemoryTables
from wire import cbor
from wire.cbor import Value
from wire.receipt import decode_outcome
from wire.tx import open_tx

NODE = ("--node", "http://node")


class LedgerNode(FakeNode):
    """Implements what commands ask of a node, on one ledger."""

    def __init__(self) -> None:
        super().__init__()
        self.site = Site(key_recovery_wait_ms=0)
        self.tables = MemoryTables(self.site.world.genesis)
        self.codes: dict[str, tuple[str, int]] = {}

    def get_json(self, path: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        parts = path.split("/")[2:]
        if parts == ["status"]:
            return {"chain": self.site.chain, "height": self.site.world.head.height}
        if parts[0] == "tx":
            code, height = self.codes[parts[1]]
            return {"status": "committed", "code": code, "height": height}
        if parts[0] == "state":
            value = self.site.world.state.get(parts[1], unquote(parts[2]).encode())
            return {"value": None if value is None else value.hex()}
        table, reading = TABLES[parts[0].replace("-", "_")], Reading(self.site.time_ms, 0)
        if len(parts) > 1:
            row = self.tables.row(table.name, parts[1])
            assert row is not None
            return dict(table.present(row, reading))
        filters = {name: value for name, value in (params or {}).items() if name != "limit"}
        conditions = [one for name, value in filters.items() for one in table.condition(name, value, reading)]
        rows = self.tables.page(table, conditions, None, 1000).rows
        return {"items": [table.present(row, reading) for row in rows], "next": None}

    def post_cbor(self, path: str, body: bytes, *, content_type: str = "application/cbor") -> dict[str, Any]:
        signed = open_tx(body)
        world = self.site.world
        execution, refused = world.propose(signed)
        if refused:
            return {"results": [{"id": signed.id.hex(), "status": "refused", "reason": refused[signed.id]}]}
        world.commit(execution)
        header = execution.block.header
        rows = list(event_rows(header.height, header.time_ms, execution.outcomes))
        self.tables.apply(rows, Position(header.height, END))
        self.codes[signed.id.hex()] = (decode_outcome(execution.outcomes[0]).code, header.height)
        return {"results": [{"id": signed.id.hex(), "status": "pending"}]}


class Desk:
    """A folder with key files of the consortium's members, and the program."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.node = LedgerNode()
        self.folder = folder
        self._capsys = capsys

    @property
    def site(self) -> Site:
        return self.node.site

    def key(self, name: str, text: str | None = None) -> str:
        """Return the file of a key that the consortium knows under ``text``."""
        path = self.folder / f"{name}.key"
        if not path.exists():
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(SigningKey, "generate", lambda: key_of(text or name))
                create_key(self.folder, name)
        return str(path)

    def run(self, *arguments: str, by: str | None = None) -> int:
        signer = () if by is None else ("--key", self.key(by))
        return call("members", *arguments, *signer, *NODE)

    def asked(self, *arguments: str, by: str | None = None) -> dict[str, Any]:
        self._capsys.readouterr()
        assert self.run(*arguments, "--json", by=by) == 0
        found = json.loads(self._capsys.readouterr().out)
        assert isinstance(found, dict)
        return found

    def said(self) -> str:
        captured = self._capsys.readouterr()
        return captured.out + captured.err


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    made = Desk(tmp_path, capsys)
    for module in ("members", "member_certificates", "member_keys", "member_places"):
        use_node(monkeypatch, module, made.node)
    monkeypatch.setattr("client.node.LOOK_S", 0)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("client.node.time.time_ns", lambda: made.site.time_ms * 1_000_000)
    monkeypatch.setattr("client.node.VALID_MS_DEFAULT", 60_000)
    monkeypatch.setattr("client.members.time.time_ns", lambda: made.site.time_ms * 1_000_000)
    return made


def request(desk: Desk, name: str = "wind") -> None:
    keys = ("--key", desk.key(name), "--root-key", desk.key(f"{name}-root", root_of(name)))
    about = ("--role", "generator", "--parent", "sub-east", "--title", "Wind Ltd")
    assert call("members", "request", name, *about, *keys, *NODE) == 0


def admit(desk: Desk) -> None:
    request(desk)
    assert desk.run("apply", "wind.application", by="sub-east") == 0
    for by in ("trade", "sub-east"):
        assert desk.run("review", "wind", "--reason", "licence seen", by=by) == 0
    assert call("members", "authority", "--ca", "ca") == 0
    assert desk.run("approve", "wind", "--ca", "ca", "--expires-days", "365", by="dispatch") == 0


def test_member_is_brought_in_by_the_commands_and_holds_a_certificate_for_its_own_key(desk: Desk) -> None:
    admit(desk)
    certificate = x509.load_pem_x509_certificate((desk.folder / "wind.crt").read_bytes())
    authority = x509.load_pem_x509_certificate((desk.folder / "ca" / "authority.crt").read_bytes())
    certificate.verify_directly_issued_by(authority)
    own = serialization.load_pem_private_key((desk.folder / "wind.tls.key").read_bytes(), None)
    assert isinstance(own, ec.EllipticCurvePrivateKey)
    assert certificate.public_key() == own.public_key()
    assert certificate.not_valid_after_utc.year == 9999
    shown = desk.asked("show", "wind")
    assert (shown["title"], shown["expiry"], shown["status"]) == ("Wind Ltd", "valid", "active")
    assert [key["account"] for key in shown["keys"]] == ["wind"]
    assert desk.asked("applications")["items"][0]["status"] == "admitted"
    assert desk.run("attach", "--data-centre", "dispatch", by="wind") == 0
    assert membership.data_centre(desk.site.state, "wind") == "dispatch"


def test_lists_and_pages_are_written_for_people(desk: Desk) -> None:
    admit(desk)
    desk.said()
    for arguments in (("list", "--role", "generator"), ("applications",), ("show", "wind")):
        assert desk.run(*arguments) == 0
        assert "wind" in desk.said()
    for arguments in (("moves",), ("recoveries",)):
        assert desk.run(*arguments) == 0
        assert f"no {arguments[0]}" in desk.said()


def test_approval_without_reviews_or_application_writes_no_certificate(desk: Desk) -> None:
    assert call("members", "authority", "--ca", "ca") == 0
    assert desk.run("approve", "wind", "--ca", "ca", by="dispatch") == 65
    assert "no application of wind waits" in desk.said()
    request(desk)
    assert desk.run("apply", "wind.application", by="sub-east") == 0
    assert desk.run("approve", "wind", "--ca", "ca", by="dispatch") == 65
    assert "sub-east must review wind first" in desk.said()
    assert not (desk.folder / "wind.crt").exists()
    (desk.folder / "wind.crt").write_text("mine", encoding="ascii")
    assert desk.run("approve", "wind", "--ca", "ca", by="dispatch") == 74
    assert "wind.crt exists and was left as it is; move it away" in desk.said()
    assert desk.run("withdraw", "wind", by="sub-east") == 0
    assert desk.run("apply", "wind.tls.key", by="sub-east") == 65
    assert "holds no application" in desk.said()


def test_review_against_ends_an_application(desk: Desk) -> None:
    request(desk)
    assert desk.run("apply", "wind.application", by="lab") == 65
    assert "it must be an organisation that runs a validator" in desk.said()
    assert desk.run("apply", "wind.application", by="dispatch") == 0
    assert desk.run("review", "wind", "--reason", "no licence", "--against", by="trade") == 0
    assert desk.asked("applications", "--status", "rejected")["items"][0]["organisation"] == "wind"


def test_account_is_suspended_for_some_days_and_resumed(desk: Desk) -> None:
    assert desk.run("suspend", "lab", "--reason", "audit", "--days", "7", by="dispatch") == 0
    assert [row["organisation"] for row in desk.asked("list", "--status", "suspended")["items"]] == ["lab"]
    assert desk.run("attach", by="lab") == 65
    assert "refused the transaction: suspended" in desk.said()
    assert desk.run("resume", "lab", by="dispatch") == 0
    assert desk.run("attach", by="lab") == 0
    assert desk.run("renew", "lab", "--expires-days", "20", by="regulator") == 0
    assert [row["organisation"] for row in desk.asked("list", "--expiry", "expiring")["items"]] == ["lab"]


def test_keys_are_rotated_replaced_and_revoked(desk: Desk) -> None:
    assert desk.run("rotate-key", "--new-key", desk.key("lab-2"), by="lab") == 0
    assert "lab-2.key --sender lab" in desk.said()
    assert desk.run("attach", by="lab") == 65
    assert desk.run("attach", "--sender", "lab", by="lab-2") == 0
    assert desk.run("add-operator", "shift", "--new-key", desk.key("shift"), by="grid") == 0
    assert desk.run("replace-key", "shift", "--new-key", desk.key("shift-2"), by="grid") == 0
    kid = load_signing_key(Path(desk.key("shift-2"))).kid.hex()
    assert desk.run("revoke-key", kid, "--reason", "lost", by="grid") == 0
    root = ("--root-key", desk.key("grid-root", root_of("grid")))
    kid = load_signing_key(Path(desk.key("gw-1"))).kid.hex()
    assert desk.run("revoke-key", kid, "--reason", "stolen", *root, "--account", "gw-1", by="lab-2") != 0
    assert desk.run("revoke-key", kid, "--reason", "stolen", *root, "--account", "gw-1", by="solar") == 0
    assert desk.site.signers("gw-1") == []
    assert desk.run("revoke-key", kid, "--reason", "stolen", *root, by="solar") == 64
    assert desk.run("revoke-key", "5f0c", "--reason", "stolen", by="solar") == 64


def test_root_key_is_set_and_handed_over(desk: Desk) -> None:
    first = desk.key("first")
    assert desk.run("set-root-key", "--new-key", first, by="lab") == 0
    assert desk.run("set-root-key", "--new-key", desk.key("second"), by="lab") == 65
    assert desk.run("set-root-key", "--new-key", desk.key("second"), "--root-key", first, by="lab") == 0
    member = membership.member(desk.site.state, "lab")
    assert member is not None
    assert member.root_key == key_of("second").verify_key.encode()


def test_lost_keys_are_recovered_by_a_vote_or_the_recovery_is_cancelled(desk: Desk) -> None:
    root = ("--root-key", desk.key("grid-root", root_of("grid")))
    for number in (1, 2):
        new = ("--new-key", desk.key(f"grid-{number}"))
        proposal = desk.asked("recover-key", "grid", *new, *root, by="dispatch")["proposal"]
        vote: dict[str, Value] = {"proposal": bytes.fromhex(proposal), "in_favour": True}
        signed = desk.site.world.sign("sub-east", "governance", "vote", vote)
        desk.node.post_cbor("/v1/tx", signed.raw)
        assert desk.asked("recoveries")["items"][0]["status"] == "waiting"
        if number == 1:
            assert desk.run("cancel-recovery", by="grid") == 0
    assert desk.run("complete-recovery", "grid", by="lab") == 0
    assert desk.site.signers("grid") == [load_signing_key(Path(desk.key("grid-2"))).kid]
    desk.said()
    assert desk.run("recoveries") == 0
    assert "completed" in desk.said()


# holds MB-17
def test_places_are_added_moved_and_retired(desk: Desk) -> None:
    assert desk.run("add-station", "st-9", "--area", "west", by="grid") == 0
    assert desk.run("add-gateway", "gw-9", "--station", "st-9", "--new-key", desk.key("gw-9"), by="grid") == 0
    plate = ("--vendor", "maker-a", "--model", "SC-3", "--serial", "s-9")
    assert desk.run("add-device", "dev-9", "--gateway", "gw-9", *plate, by="grid") == 0
    move = ("device", "dev-9", "--to", "gw-3")
    assert desk.run("bind", *move, by="grid") == 0
    assert desk.run("unbind", *move, by="solar") == 65
    assert desk.run("unbind", *move, by="grid") == 0
    for by in ("grid", "solar"):
        assert desk.run("bind", *move, by=by) == 0
    assert membership.organisation_of_device(desk.site.state, "dev-9") == "solar"
    assert desk.run("retire-device", "dev-9", "--reason", "burnt", by="grid") == 65
    assert desk.run("retire-device", "dev-9", "--reason", "burnt", by="solar") == 0
    assert membership.retired_device(desk.site.state, "dev-9") is not None
    desk.said()
    assert desk.run("moves") == 0
    assert "gw-3" in desk.said()


def test_bind_says_whose_word_is_missing_or_that_it_has_moved(desk: Desk) -> None:
    for kind, thing, to in (("device", "dev-1", "gw-3"), ("gateway", "gw-2", "st-3")):
        move = ("bind", kind, thing, "--to", to)
        first = desk.asked(*move, by="solar")
        assert (first["move"], first["missing"]) == ("offered", "grid")
        assert desk.run("unbind", *move[1:], by="solar") == 0
        assert desk.run(*move, by="grid") == 0
        assert "missing  solar" in desk.said()
        second = desk.asked(*move, by="solar")
        assert (second["move"], second["missing"]) == ("done", None)
    back = ("bind", "device", "dev-1", "--to", "gw-2")
    assert "move" not in desk.asked(*back, "--no-wait", by="grid")
    within = desk.asked(*back, by="solar")
    assert (within["move"], within["missing"]) == ("done", None)


@pytest.mark.parametrize("value", ["6161", "a0", "a16767617465776179f6", "zz"])
def test_owner_at_a_node_that_tells_nonsense_is_an_error(value: str) -> None:
    node: Any = FakeNode({"/v1/state/membership/device%2Fa": {"value": value}})
    with pytest.raises(DataError, match="does not answer as a node does"):
        owner_of(node, "device", "a")
    node.answers["/v1/state/membership/device%2Fa"] = {"value": None}
    assert owner_of(node, "device", "a") is None


def test_key_of_a_gateway_is_changed_by_its_organisation_alone(desk: Desk) -> None:
    """Its agent's counter stands far above that beside the key file, so the ledger would take nothing signed here."""
    args: dict[str, Value] = {"data": b"report", "key": "report"}
    signed = desk.site.world.sign("gw-1", "notary", "put", args, seq=50_000)
    desk.node.post_cbor("/v1/tx", signed.raw)
    assert desk.run("attach", by="gw-1") == 65
    assert "replayed" in desk.said()
    (desk.folder / "gw-1.seq").write_bytes(b"0\n")
    assert desk.run("rotate-key", "--new-key", desk.key("gw-1b"), by="gw-1") == 64
    said = desk.said()
    assert "gw-1 is a gateway" in said
    assert f"grid changes the key with 'gridwitness members replace-key gw-1 --new-key {desk.key('gw-1b')}'" in said
    assert (desk.folder / "gw-1.seq").read_bytes() == b"0\n"
    assert desk.run("replace-key", "gw-1", "--new-key", desk.key("gw-1b"), by="grid") == 0
    assert desk.site.signers("gw-1") == [load_signing_key(Path(desk.key("gw-1b"))).kid]


@pytest.fixture(scope="module")
def ca() -> Authority:
    return Authority.create("consortium")


def issued(desk: Desk, ca: Authority, name: str) -> str:
    (desk.folder / f"{name}.crt").write_bytes(ca.issue(name).certificate)
    return f"{name}.crt"


@pytest.mark.parametrize(("account", "name"), [("gw-1", "gw-1"), ("dispatch", "node-dispatch")])
def test_certificate_is_recorded_listed_and_revoked_by_its_file_or_digest(
    desk: Desk, ca: Authority, account: str, name: str
) -> None:
    file = issued(desk, ca, name)
    digest = desk.asked("certificates", "add", account, file, by="dispatch")["certificate"]
    (found,) = member_state.certificates(desk.site.state)
    assert (found.account, found.digest.hex(), found.revoked_height) == (account, digest, None)
    assert found.certificate == der_of((desk.folder / file).read_bytes())
    (row,) = desk.asked("certificates", "list", "--account", account, "--status", "active")["items"]
    assert row["certificate"] == digest
    given = file if account == "gw-1" else digest
    shown = desk.asked("certificates", "revoke", given, "--reason", "stolen", by="dispatch")
    assert (shown["certificate"], shown["code"]) == (digest, "ok")
    (found,) = member_state.certificates(desk.site.state)
    assert found.revoked_height == desk.site.world.head.height
    assert desk.run("certificates", "list") == 0
    assert "revoked" in desk.said()
    assert desk.run("certificates", "list", "--status", "active") == 0
    assert "no certificates" in desk.said()


# holds MB-19
def test_gateway_is_enrolled_with_what_it_hands_over_and_its_secrets_stay(desk: Desk) -> None:
    desk.folder.joinpath("genesis.cbor").write_bytes(desk.site.world.genesis.encode())
    gateway, office = desk.folder / "gateway", desk.folder / "office"
    for folder in (gateway, office):
        folder.mkdir()
    create_key(gateway, "gw-9")
    mine = ("--key", str(gateway / "gw-9.key"), "--genesis", "genesis.cbor", "--dir", str(gateway))
    assert call("members", "word", "gw-9", "--organisation", "grid", *mine) == 0
    assert call("members", "certificates", "request", "gw-9", "--dir", str(gateway)) == 0
    for name in ("gw-9.word", "gw-9.csr"):
        (gateway / name).rename(office / name)
    assert call("members", "authority", "--ca", "ca") == 0
    new, out = str(office / "gw-9.word"), office / "gw-9.crt"
    assert desk.run("add-gateway", "gw-9", "--station", "st-1", "--new-key", new, by="grid") == 0
    certify = ("certificates", "add", "gw-9", str(office / "gw-9.csr"), "--ca", "ca", "--out", str(out))
    shown = desk.asked(*certify, by="dispatch")
    assert desk.site.signers("gw-9") == [load_signing_key(gateway / "gw-9.key").kid]
    (found,) = member_state.certificates(desk.site.state)
    assert (found.account, found.digest.hex(), shown["file"]) == ("gw-9", shown["certificate"], str(out))
    assert found.certificate == der_of(out.read_bytes())
    assert common_name_of(out.read_bytes()) == "gw-9"
    mqtt_context(desk.folder / "ca" / "authority.crt", out, gateway / "gw-9.tls.key")
    assert oct((gateway / "gw-9.tls.key").stat().st_mode)[-3:] == "600"
    assert desk.run(*certify, by="dispatch") == 74
    assert len(list(member_state.certificates(desk.site.state))) == 1


# holds MB-19
def test_word_of_a_new_key_counts_for_what_it_was_given_for_alone(desk: Desk) -> None:
    desk.folder.joinpath("genesis.cbor").write_bytes(desk.site.world.genesis.encode())
    for account in ("gw-1", "shift"):
        mine = ("--key", desk.key(f"{account}-new"), "--genesis", "genesis.cbor")
        assert call("members", "word", account, "--organisation", "grid", *mine) == 0
        assert call("members", "word", account, "--organisation", "grid", *mine) == 74
    new = ("--new-key", "shift.word")
    assert desk.run("add-operator", "guard", *new, by="grid") == 65
    assert "shift.word is for account shift, not guard" in desk.said()
    assert desk.run("add-operator", "shift", *new, by="solar") == 65
    assert "shift.word is for organisation grid, not solar" in desk.said()
    assert desk.run("add-operator", "shift", *new, by="grid") == 0
    assert desk.run("replace-key", "gw-1", "--new-key", "gw-1.word", by="grid") == 0
    assert desk.site.signers("gw-1") == [load_signing_key(Path(desk.key("gw-1-new"))).kid]
    for text in (b"text", cbor.encode({**_fields("gw-1.word"), "key": b"short"})):
        (desk.folder / "bad.word").write_bytes(text)
        assert desk.run("replace-key", "gw-1", "--new-key", "bad.word", by="grid") == 65
        assert "holds no word of a key" in desk.said()
    (desk.folder / "bad.word").write_bytes(cbor.encode({**_fields("gw-1.word"), "key": bytes(key_of("x").verify_key)}))
    assert desk.run("replace-key", "gw-1", "--new-key", "bad.word", by="grid") == 65
    assert "a new key must sign for itself" in desk.said()


def _fields(path: str) -> dict[str, Value]:
    found = cbor.decode(Path(path).read_bytes())
    assert isinstance(found, dict)
    return found


def test_request_is_certified_for_its_own_name_by_an_authority_alone(desk: Desk, ca: Authority) -> None:
    assert call("members", "authority", "--ca", "ca") == 0
    for name in ("gw-1", "node-dispatch"):
        assert call("members", "certificates", "request", name) == 0
        assert call("members", "certificates", "request", name) == 74
    assert desk.run("certificates", "add", "gw-1", "gw-1.csr", by="dispatch") == 64
    assert "gw-1.csr is a request: name the folder" in desk.said()
    assert desk.run("certificates", "add", "gw-2", "gw-1.csr", "--ca", "ca", by="dispatch") == 65
    assert "gw-1.csr is for gw-1; the common name has to be gw-2 or node-gw-2" in desk.said()
    assert desk.run("certificates", "add", "gw-1", "gw-1.csr", "--ca", "ca", by="grid") == 65
    assert not Path("gw-1.crt").exists()
    Path("torn.csr").write_bytes(Path("gw-1.csr").read_bytes().replace(b"MI", b"--", 1))
    assert desk.run("certificates", "add", "gw-1", "torn.csr", "--ca", "ca", by="dispatch") == 65
    assert "no PEM request" in desk.said()
    assert desk.run("certificates", "add", "gw-1", issued(desk, ca, "gw-1"), "--ca", "ca", by="dispatch") == 64
    assert "is a certificate already" in desk.said()
    assert desk.run("certificates", "add", "dispatch", "node-dispatch.csr", "--ca", "ca", by="dispatch") == 0
    assert common_name_of(Path("node-dispatch.crt").read_bytes()) == "node-dispatch"


def test_certificate_that_is_of_somebody_else_or_cannot_be_recorded_is_refused(desk: Desk, ca: Authority) -> None:
    file = issued(desk, ca, "gw-1")
    assert desk.run("certificates", "add", "lab", file, by="dispatch") == 65
    assert "is for gw-1; the common name has to be lab or node-lab" in desk.said()
    assert desk.run("certificates", "add", "gw-1", file, by="grid") == 65
    assert "only the dispatch centre records" in desk.said()
    (desk.folder / "text").write_text("no certificate", encoding="ascii")
    assert desk.run("certificates", "add", "gw-1", "text", by="dispatch") == 65
    stranger = issued(desk, ca, "nobody")
    assert desk.run("certificates", "add", "nobody", stranger, by="dispatch") == 65
    assert "unknown-account" in desk.said()
    assert desk.run("certificates", "add", "gw-1", file, by="dispatch") == 0
    assert desk.run("certificates", "add", "gw-1", file, by="dispatch") == 65
    assert "the ledger has this certificate already" in desk.said()


def test_certificate_is_not_revoked_by_who_has_no_say_or_twice(desk: Desk, ca: Authority) -> None:
    file = issued(desk, ca, "gw-1")
    assert desk.run("certificates", "add", "gw-1", file, by="dispatch") == 0
    revoke = ("certificates", "revoke", file, "--reason", "stolen")
    assert desk.run(*revoke, by="lab") == 65
    assert "not-yours" in desk.said()
    assert desk.run("certificates", "revoke", "00" * 32, "--reason", "stolen", by="grid") == 65
    assert "the ledger has no such certificate" in desk.said()
    assert desk.run("certificates", "revoke", "gw-9", "--reason", "stolen", by="grid") == 64
    assert "neither a digest" in desk.said()
    assert desk.run(*revoke, by="grid") == 0
    assert desk.run(*revoke, by="grid") == 65
    assert "it counted no more already" in desk.said()


def test_authority_certifies_no_other_requests() -> None:
    authority = Authority.create("test")
    request, _ = request_certificate("wind")
    with pytest.raises(DataError, match="no PKCS #10 request"):
        authority.certify(b"\x30\x00", "wind")
    with pytest.raises(DataError, match="not signed by the P-256 key"):
        authority.certify(request[:-1] + bytes((request[-1] ^ 1,)), "wind")
    key = ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "wind")])
    other = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    with pytest.raises(DataError, match="not signed by the P-256 key"):
        authority.certify(other.public_bytes(serialization.Encoding.DER), "wind")


def test_recovery_at_a_node_that_tells_no_number_signs_nothing(desk: Desk) -> None:
    desk.site.world.state.entries["membership", b"recoveries/grid"] = b"\x61a"
    new, root = ("--new-key", desk.key("grid-1")), ("--root-key", desk.key("grid-root", root_of("grid")))
    assert desk.run("recover-key", "grid", *new, *root, by="dispatch") == 65
    assert "how many recoveries of grid" in desk.said()
