"""The broker's files as a person has them written, from a store on disk; real certificates, no broker."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from kit.exitcodes import run
from kit.tls import NOT_AFTER, NOT_BEFORE, Authority, der_of
from master.broker_list import broker_list
from master.cli import PROGRAM, app
from master.io.store import Store
from tests.unit.contracts.members_site import Site
from tests.unit.contracts.test_member_keys import revocation
from tests.unit.contracts.test_member_places import gateway
from tests.unit.ledger.worlds import World
from tests.unit.store.stores import MAP_BYTES, certify
from wire.cbor import Value
from wire.types import sha256

CA = Authority.create("consortium")


def listed(site: Site) -> list[str]:
    return [line.removeprefix("user ") for line in broker_list(site.state, site.time_ms).lines if line[:5] == "user "]


# holds MQ-7
def test_access_list_lets_gateways_and_full_nodes_use_their_topics_alone() -> None:
    site = Site()
    found = broker_list(site.state, site.time_ms)
    lines = list(found.lines)
    begin = lines.index("user gw-1")
    base = "gridwitness/v1/north/st-1/gw-1"
    assert lines[begin + 1 : lines.index("", begin)] == [
        *(f"topic write {base}/{kind}" for kind in ("birth", "data", "death", "health", "tx")),
        f"topic read {base}/down",
        "topic read gridwitness/v1/host/+",
    ]
    begin = lines.index("user node-dispatch")
    assert lines[begin + 1 : begin + 9] == [
        *(f"topic read gridwitness/v1/+/+/+/{kind}" for kind in ("birth", "data", "death", "health", "tx")),
        "topic write gridwitness/v1/+/+/+/down",
        "topic write gridwitness/v1/host/dispatch",
        "topic read gridwitness/v1/host/+",
    ]
    assert (found.gateways + found.nodes, found.shut_out) == (lines.count(""), ())


# holds MQ-7
def test_gateway_that_is_suspended_or_has_no_key_is_out_of_the_access_list_until_that_ends() -> None:
    site = Site()
    assert site.call("grid", "suspend", account="gw-1", until_ms=None, reason="stolen").code == "ok"
    assert "gw-1" not in listed(site)
    assert site.call("grid", "resume", account="gw-1").code == "ok"
    assert "gw-1" in listed(site)
    until_ms = site.time_ms + 60_000
    assert site.call("grid", "suspend", account="gw-1", until_ms=until_ms, reason="stolen").code == "ok"
    assert [broker_list(site.state, at).shut_out for at in (until_ms - 1, until_ms)] == [("gw-1",), ()]
    assert site.call("grid", "revoke-key", **revocation(site, "gw-2")).code == "ok"
    assert "gw-2" not in listed(site)


# holds MQ-7
def test_what_a_date_or_the_suspension_of_its_organisation_says_keeps_no_gateway_out() -> None:
    site = Site()
    before = listed(site)
    assert site.call("regulator", "renew", organisation="grid", expires_ms=site.time_ms + 60_000).code == "ok"
    assert site.call("dispatch", "suspend", account="grid", until_ms=None, reason="audit").code == "ok"
    assert broker_list(site.state, site.time_ms + 10**12).shut_out == ()
    assert listed(site) == before


# holds MQ-7
def test_gateway_that_is_named_like_a_full_node_gets_no_rights_of_one() -> None:
    site = Site()
    assert site.call("grid", "add-gateway", **gateway(site, "node-dispatch")).code == "ok"
    found = broker_list(site.state, site.time_ms)
    assert found.shut_out == ("node-dispatch",)
    assert list(found.lines).count("user node-dispatch") == 1


def record(site: Site, account: str, name: str | None = None, authority: Authority = CA) -> bytes:
    der = der_of(authority.issue(name or account).certificate)
    assert site.call("dispatch", "add-certificate", account=account, certificate=der).code == "ok"
    return der


# holds MQ-8
def test_certificates_that_are_revoked_or_of_suspended_accounts_are_told_apart() -> None:
    site = Site()
    site.add_operator("shift")
    ders = {account: record(site, account) for account in ("gw-1", "gw-2", "shift", "grid", "lab")}
    assert broker_list(site.state, site.time_ms).revoked == {}
    gone: dict[str, Value] = {"certificate": sha256(ders["gw-2"]), "reason": "stolen"}
    assert site.call("grid", "revoke-certificate", **gone).code == "ok"
    assert site.call("dispatch", "suspend", account="grid", until_ms=site.time_ms + 60_000, reason="audit").code == "ok"
    held = broker_list(site.state, site.time_ms).revoked
    assert held == {ders["gw-2"]: False, ders["shift"]: True, ders["grid"]: True}
    assert broker_list(site.state, site.time_ms + 60_000).revoked == {ders["gw-2"]: False}


class Node:
    """A node's folder, whose state grows as calls are made."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys, self.site = folder, capsys, Site()
        self.world: World = self.site.world
        self.config, self.out, self.ca = folder / "node.toml", folder / "broker", folder / "ca"
        (folder / "genesis.cbor").write_bytes(self.world.genesis.encode())
        for name in ("vote.key", "node.crt", "node.key"):
            (folder / name).touch(mode=0o600)
        self.config.write_text(
            '[node]\nmember = "dispatch"\ndata_dir = "data"\ngenesis = "genesis.cbor"\nvote_key = "vote.key"\n'
            '[peers]\nlisten = "127.0.0.1:0"\ncertificate = "node.crt"\nkey = "node.key"\n'
            '[peers.addresses]\ndispatch = "127.0.0.1:7001"\n[api]\nlisten = "127.0.0.1:8080"\n'
        )
        self.ca.mkdir()
        CA.identity().save(self.ca / "authority.crt", self.ca / "authority.key")
        self.store = Store.create(folder / "data" / "ledger", self.world.genesis, map_bytes=MAP_BYTES)
        self.store.close()
        commit = self.world.commit

        def keep(execution: Any) -> None:  # noqa: ANN401
            commit(execution)
            with Store.open(folder / "data" / "ledger", self.world.genesis, map_bytes=MAP_BYTES) as store:
                store.commit(execution, certify(self.world, execution))

        self.world.commit = keep  # type: ignore[method-assign]

    def call(self, *more: str, code: int = 0) -> Any:  # noqa: ANN401
        self._capsys.readouterr()
        options = ("--ca", str(self.ca), "--out", str(self.out), "--config", str(self.config))
        assert run(app, program=PROGRAM, args=["broker-files", *options, *more]) == code
        said = self._capsys.readouterr()
        return json.loads(said.out) if "--json" in more and not code else said.out + said.err

    def files(self) -> dict[str, bytes]:
        return {name: (self.out / name).read_bytes() for name in ("acl", "revoked.pem")}


@pytest.fixture
def node(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Node:
    (tmp_path / "data").mkdir()
    return Node(tmp_path, capsys)


# holds MQ-7 MQ-8
def test_broker_files_follow_the_ledger_and_are_the_same_for_the_same_state(node: Node, tmp_path: Path) -> None:
    first = node.call("--json")
    assert (first["height"], first["changed"], first["revoked"]) == (0, ["acl", "revoked.pem"], 0)
    stamps = {name: (node.out / name).stat().st_mtime_ns for name in node.files()}
    der = record(node.site, "gw-1")
    record(node.site, "gw-2", authority=Authority.create("another"))
    assert "nothing changed" in node.call()
    assert {name: (node.out / name).stat().st_mtime_ns for name in stamps} == stamps
    for account in ("gw-1", "gw-2"):
        assert node.site.call("grid", "suspend", account=account, until_ms=None, reason="stolen").code == "ok"
    said = node.call()
    assert "shut out: gw-1, gw-2" in said
    assert "1 revoked certificates are not of this authority" in said
    assert "changed: acl, revoked.pem; have the broker read them again" in said
    found = x509.load_pem_x509_crl((node.out / "revoked.pem").read_bytes())
    (entry,) = found
    assert entry.serial_number == x509.load_der_x509_certificate(der).serial_number
    assert entry.extensions.get_extension_for_class(x509.CRLReason).value.reason == x509.ReasonFlags.certificate_hold
    assert (found.last_update_utc, found.next_update_utc) == (NOT_BEFORE, NOT_AFTER)
    authority = x509.load_pem_x509_certificate(CA.identity().certificate)
    assert found.is_signature_valid(authority.public_key())  # type: ignore[arg-type]
    kept, node.out = node.files(), tmp_path / "again"
    node.call()
    assert node.files() == kept


# holds MQ-8
@pytest.mark.parametrize(
    ("mark", "code", "reason"),
    [
        ({"chain": "", "height": 9}, 75, "is of block 9, this node is at block 1"),
        ({"chain": "other-01234567", "height": 0}, 65, "is of ledger other-01234567"),
        ({"chain": ""}, 65, "is not what this command wrote"),
    ],
)
def test_broker_files_of_a_newer_block_or_another_ledger_are_not_replaced(
    node: Node, mark: dict[str, object], code: int, reason: str
) -> None:
    node.call()
    kept, path = node.files(), node.out / "ledger.json"
    assert json.loads(path.read_bytes()) == {"chain": node.world.genesis.chain(), "height": 0}
    assert node.site.call("grid", "suspend", account="gw-1", until_ms=None, reason="x").code == "ok"
    path.write_text(json.dumps({**mark, "chain": mark["chain"] or node.world.genesis.chain()}), encoding="ascii")
    assert reason in node.call(code=code)
    assert node.files() == kept
    path.unlink()
    node.call()
    assert node.files() != kept


@pytest.mark.parametrize(
    ("damage", "code", "reason"),
    [
        (lambda node: (node.ca / "authority.key").unlink(), 74, "no key file"),
        (lambda node: (node.folder / "data" / "ledger" / "data.mdb").unlink(), 74, "there is none"),
        (lambda node: (node.folder / "data" / "ledger" / "data.mdb").write_bytes(b"x"), 74, "cannot be read"),
        (lambda node: (node.folder / "genesis.cbor").write_bytes(other_genesis()), 74, "of another ledger"),
    ],
)
def test_broker_files_without_store_or_authority_are_not_written(
    node: Node,
    damage: Callable[[Node], object],
    code: int,
    reason: str,
) -> None:
    damage(node)
    assert reason in node.call(code=code)
    assert not node.out.exists()


def other_genesis() -> bytes:
    return World().genesis.encode()
