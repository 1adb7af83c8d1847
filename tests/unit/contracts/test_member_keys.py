from __future__ import annotations

from typing import Any

import pytest

from master.contracts import member_keys, membership
from master.contracts.context import Refused
from master.ledger.call import CallContext, Surroundings
from master.ledger.refusals import TxRefused
from master.ledger.state import Overlay
from tests.unit.contracts.consortium import certificate, vote_key
from tests.unit.contracts.members_site import Site, public, root_of
from tests.unit.contracts.reports import entry, evidence, item, send
from tests.unit.ledger.worlds import Done, key_of
from wire.cbor import Value
from wire.membership import REGISTER, REPLACE, REVOKE, ROOT, ROTATE, recovery_bytes
from wire.types import sha256


def rotation(site: Site, account: str, old: str, new: str, **changes: Value) -> dict[str, Value]:
    word = site.word(new, account, ROTATE, public(old), public(new))
    return {"new_key": public(new), "signature": word, **changes}


# holds MB-7 MB-8
@pytest.mark.parametrize("account", ["lab", "gw-1", "shift"])
def test_key_hands_over_to_its_successor_and_never_comes_back(account: str) -> None:
    site = Site()
    site.add_operator("shift")
    done = site.call(account, "rotate-key", **rotation(site, account, account, "next"))
    assert done.event_types == ["key_retired", "key_added"]
    assert site.signers(account) == [site.kid("next")]
    assert site.attach_by(account, account) == "unknown-key"
    assert site.attach_by("next", account) == "taken"
    back = rotation(site, account, "next", account)
    assert site.call_by("next", account, "rotate-key", **back).code == "key-in-use"


# holds MB-8
def test_key_that_is_rotated_in_a_block_signs_nothing_further_in_it() -> None:
    """The key as the ledger remembers it does not outlive its entry, in the same block or in a later one."""
    site = Site()
    world = site.world
    args: dict[str, Value] = {"data_centre": None}
    before = world.sign("lab", "membership", "attach", args)
    world.application.check(before, site.time_ms)
    turn = world.sign("lab", "membership", "rotate-key", rotation(site, "lab", "lab", "next"))
    late = world.sign("lab", "membership", "attach", args)
    fresh = world.sign("lab", "membership", "attach", args, key="next")
    execution, refused = world.propose(before, turn, late, fresh)
    assert refused == {late.id: "unknown-key"}
    assert len(execution.block.transactions) == 3
    world.application.check(late, site.time_ms)
    world.commit(execution)
    with pytest.raises(TxRefused, match="unknown-key"):
        world.application.check(late, site.time_ms)


# holds MB-8
def test_evidence_that_a_new_key_signs_anew_counts_once() -> None:
    """What the old key had delivered is a duplicate; what it had not is taken."""
    site = Site()
    world = site.world
    heard, unheard = (evidence(entry("dev-1", item("s-1")), pair=(1, seq)) for seq in (1, 2))
    old = world.sign("gw-1", "consistency", "report", {"evidence": unheard.encode()})
    assert send(world, heard).code == "ok"
    site.call("gw-1", "rotate-key", **rotation(site, "gw-1", "gw-1", "next"))
    assert world.propose(old)[1] == {old.id: "unknown-key"}
    args: list[dict[str, Value]] = [{"evidence": one.encode()} for one in (heard, unheard)]
    done = world.run(*(world.sign("gw-1", "consistency", "report", each, key="next") for each in args))
    assert [one.code for one in done] == ["duplicate", "ok"]


# holds MB-8
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"signature": bytes(64)}, "bad-signature"),
        ({"signature": b""}, "bad-args"),
        ({"new_key": bytes(31)}, "bad-args"),
        ({"new_key": public("grid")}, "key-in-use"),
        ({"new_key": public(root_of("grid"))}, "key-in-use"),
        ({"new_key": vote_key("dispatch").verify_key.encode()}, "key-in-use"),
        ({"new_key": public("another")}, "bad-signature"),
        ({"more": 1}, "bad-args"),
    ],
)
def test_rotation_that_its_new_key_does_not_sign_is_refused(changes: dict[str, Value], code: str) -> None:
    site = Site()
    assert site.call("lab", "rotate-key", **rotation(site, "lab", "lab", "next", **changes)).code == code
    assert site.signers("lab") == [site.kid("lab")]


# holds MB-7
def test_key_is_not_taken_that_votes_or_may_be_about_to() -> None:
    site = Site()
    change: dict[str, Value] = {
        "member": "lab",
        "vote_key": public("next"),
        "tls_certificate": certificate("lab"),
        "address": "",
        "deadline_ms": site.time_ms + 60_000,
    }
    proposal = site.world.call("dispatch", "validators", "propose-add", change)
    assert proposal.code == "ok"
    assert site.call("lab", "rotate-key", **rotation(site, "lab", "lab", "next")).code == "key-in-use"
    # and a key of an account, even one that was given up, does not vote
    site.call("lab", "rotate-key", **rotation(site, "lab", "lab", "third"))
    assert site.world.call("dispatch", "validators", "withdraw", {"proposal": proposal.tx.id}).code == "ok"
    for name in ("lab", "third", root_of("grid")):
        again = {**change, "vote_key": public(name)}
        assert site.world.call("dispatch", "validators", "propose-add", again).code == "key-in-use"


def replacement(site: Site, account: str, new: str = "next", **changes: Value) -> dict[str, Value]:
    word = site.word(new, account, REPLACE, None, public(new))
    return {"account": account, "new_key": public(new), "signature": word, **changes}


# holds MB-9
@pytest.mark.parametrize("account", ["gw-1", "shift"])
def test_lost_key_of_a_gateway_or_operator_is_replaced_by_its_organisation(account: str) -> None:
    site = Site()
    site.add_operator("shift")
    assert site.call("grid", "replace-key", **replacement(site, account)).code == "ok"
    assert site.signers(account) == [site.kid("next")]
    assert site.attach_by(account, account) == "unknown-key"
    assert site.attach_by("next", account) == "taken"


# holds MB-9
@pytest.mark.parametrize(
    ("sender", "account", "changes", "code"),
    [
        ("grid", "gw-3", {}, "not-yours"),
        ("grid", "grid", {}, "not-yours"),
        ("grid", "nobody", {}, "not-yours"),
        ("gw-1", "gw-1", {}, "not-an-organisation"),
        ("grid", "gw-1", {"new_key": public("lab")}, "key-in-use"),
        ("grid", "gw-1", {"signature": bytes(64)}, "bad-signature"),
        ("grid", "gw-1", {"account": 1}, "bad-args"),
    ],
)
def test_replacement_by_others_or_without_the_new_key_is_refused(
    sender: str, account: str, changes: dict[str, Value], code: str
) -> None:
    site = Site()
    assert site.call(sender, "replace-key", **{**replacement(site, account), **changes}).code == code


def revocation(site: Site, name: str, **changes: Value) -> dict[str, Value]:
    return {"kid": site.kid(name), "reason": "laptop stolen", "root_signature": None, **changes}


# holds MB-10
@pytest.mark.parametrize(
    ("sender", "key", "code"),
    [
        ("gw-1", "gw-1", "ok"),
        ("grid", "gw-1", "ok"),
        ("grid", "grid", "ok"),
        ("dispatch", "grid", "ok"),
        ("dispatch", "sub-east", "runs-a-validator"),
        ("sub-east", "sub-east", "ok"),
        ("sub-east", "grid", "not-yours"),
        ("lab", "gw-1", "not-yours"),
        ("gw-1", "grid", "not-yours"),
        ("grid", "nobody", "unknown-key"),
    ],
)
def test_key_that_others_may_hold_is_revoked_at_once_by_whom_it_concerns(sender: str, key: str, code: str) -> None:
    site = Site()
    done = site.call(sender, "revoke-key", **revocation(site, key))
    assert done.code == code
    if code == "ok":
        assert done.event_types == ["key_retired", "key_revoked"]
        assert site.attach_by(key, key) == "unknown-key"
        assert site.call("lab", "rotate-key", **rotation(site, "lab", "lab", key)).code == "key-in-use"


# holds MB-10
def test_key_is_revoked_by_the_root_key_of_its_organisation_whoever_brings_it() -> None:
    site = Site()
    word = site.word(root_of("grid"), "gw-1", REVOKE, site.kid("gw-1"), None)
    assert site.call("lab", "revoke-key", **revocation(site, "grid", root_signature=word)).code == "bad-signature"
    assert site.call("lab", "revoke-key", **revocation(site, "gw-3", root_signature=word)).code == "no-root-key"
    assert site.call("lab", "revoke-key", **revocation(site, "gw-1", reason="")).code == "bad-args"
    assert site.call("lab", "revoke-key", **revocation(site, "gw-1", root_signature=word)).code == "ok"
    assert site.signers("gw-1") == []
    # an account without keys gets one from its organisation
    assert site.call("grid", "replace-key", **replacement(site, "gw-1")).code == "ok"


# holds MB-9
def test_root_key_is_set_and_handed_over_by_the_one_before() -> None:
    site = Site()
    first, second = public("root 1"), public("root 2")

    def args(old: bytes | None, new: str, by: str | None) -> dict[str, Value]:
        root = None if by is None else site.word(by, "lab", ROOT, old, public(new))
        return {
            "root_key": public(new),
            "signature": site.word(new, "lab", ROOT, old, public(new)),
            "root_signature": root,
        }

    assert site.call("lab", "set-root-key", **args(None, "root 1", "lab")).code == "bad-args"
    assert site.call("lab", "set-root-key", **args(None, "root 1", None)).code == "ok"
    member = membership.member(site.state, "lab")
    assert member is not None
    assert member.root_key == first
    assert site.call("lab", "set-root-key", **args(first, "root 2", None)).code == "bad-signature"
    assert site.call("lab", "set-root-key", **args(first, "root 2", "lab")).code == "bad-signature"
    assert site.call("lab", "set-root-key", **args(first, "grid", "root 1")).code == "key-in-use"
    assert site.call("lab", "set-root-key", **args(first, "root 2", "root 1")).code == "ok"
    assert site.call("lab", "set-root-key", **args(second, "root 1", "root 2")).code == "key-in-use"
    assert site.call("gw-1", "set-root-key", **args(None, "root 3", None)).code == "not-an-organisation"
    assert site.call("lab", "set-root-key", root_key=first).code == "bad-args"


class Decided:
    """What the data centres decide about lost keys."""

    def __init__(self, site: Site) -> None:
        self.site = site
        signed = site.world.sign("dispatch", "notary", "put", {})
        height, time_ms = site.world.head.height, site.time_ms
        around = Surroundings(signed, "dispatch", height, time_ms)
        self.context = CallContext(around, membership.NAMESPACE, Overlay(site.world.state), [])

    def body(
        self,
        name: str = "grid",
        new: str = "next",
        root: str | None = None,
        *,
        number: int = 1,
        expires_ms: int | None = None,
        **changes: Value,
    ) -> dict[str, Value]:
        expires_ms = self.site.time_ms + 60_000 if expires_ms is None else expires_ms
        signed = recovery_bytes(self.site.chain, name, public(new), number, expires_ms)
        words = [key_of(key).sign(signed).signature for key in (new, root or root_of(name))]
        body: dict[str, Value] = {"organisation": name, "new_key": public(new), "number": number}
        return {**body, "expires_ms": expires_ms, "signature": words[0], "root_signature": words[1], **changes}

    def accept(self, body: dict[str, Value] | None = None) -> Done:
        """Let the data centres vote for the recovery; return what the last vote came to."""
        args: dict[str, Value] = {"kind": member_keys.KEY_RECOVERY, "body": body or self.body()}
        world = self.site.world
        args["deadline_ms"] = self.site.time_ms + 60_000
        proposal = world.call("dispatch", "governance", "propose", args)
        assert proposal.code == "ok"
        assert self.site.call("lab", "complete-recovery", organisation="grid").code == "no-recovery"
        vote: dict[str, Value] = {"proposal": proposal.tx.id, "in_favour": True}
        return world.call("sub-east", "governance", "vote", vote)


# holds MB-11
@pytest.mark.parametrize(
    ("name", "changes", "code"),
    [
        ("grid", {"organisation": 1}, "bad-body"),
        ("grid", {"more": 1}, "bad-body"),
        ("nobody", {}, "unknown-organisation"),
        ("lab", {}, "no-root-key"),
        ("grid", {"new_key": public("lab")}, "key-in-use"),
        ("grid", {"number": 0}, "bad-body"),
        ("grid", {"number": 2}, "wrong-number"),
        ("grid", {"expires_ms": -1}, "bad-body"),
        ("grid", {"expires_ms": 0}, "bad-expiry"),
        ("grid", {"expires_ms": 2**62}, "bad-expiry"),
        ("grid", {"signature": bytes(64)}, "bad-signature"),
        ("grid", {"root_signature": bytes(64)}, "bad-signature"),
        ("maker-a", {"organisation": "grid"}, "bad-signature"),
    ],
)
def test_recovery_without_the_root_key_is_not_proposed(name: str, changes: dict[str, Any], code: str) -> None:
    decided = Decided(Site())
    with pytest.raises(Refused) as caught:
        member_keys.check_recovery(decided.context, decided.body(name, **changes))
    assert caught.value.code == code
    member_keys.check_recovery(decided.context, decided.body())


def recovering(wait_ms: int = 3000) -> Site:
    """Return a consortium that has accepted a new key for the lost ones of the grid company."""
    site = Site(key_recovery_wait_ms=wait_ms)
    (event,) = Decided(site).accept().events("recovery_opened")
    assert event["opens_ms"] == site.time_ms + wait_ms
    return site


# holds MB-11
def test_lost_keys_of_an_organisation_are_recovered_after_the_time_lock() -> None:
    site = recovering()
    again = Decided(site)
    with pytest.raises(Refused, match="recovery-pending"):
        member_keys.check_recovery(again.context, again.body(new="third", number=2))
    assert site.call("lab", "complete-recovery", organisation="grid").code == "too-soon"
    assert site.attach_by("grid", "grid") == "taken"
    assert site.call("lab", "complete-recovery", organisation="grid").code == "ok"
    assert site.signers("grid") == [site.kid("next")]
    assert site.attach_by("grid", "grid") == "unknown-key"
    assert site.attach_by("next", "grid") == "taken"
    assert site.call("lab", "complete-recovery", organisation="grid").code == "no-recovery"
    assert site.call("lab", "complete-recovery", organisation=1).code == "bad-args"


# holds MB-11
def test_recovery_is_cancelled_by_whoever_still_has_the_keys() -> None:
    site = recovering()
    assert site.call("lab", "cancel-recovery").code == "no-recovery"
    assert site.call("gw-1", "cancel-recovery").code == "not-an-organisation"
    assert site.call("grid", "cancel-recovery", organisation="grid").code == "bad-args"
    done = site.call("grid", "cancel-recovery")
    assert done.events("recovery_closed") == [{"organisation": "grid", "reason": "cancelled"}]
    assert site.call("lab", "complete-recovery", organisation="grid").code == "no-recovery"


# holds MB-11
def test_words_of_a_recovery_count_once_and_not_for_ever() -> None:
    site = recovering(wait_ms=0)
    seen = Decided(site).body()
    assert site.call("grid", "cancel-recovery").code == "ok"
    propose: dict[str, Value] = {"kind": member_keys.KEY_RECOVERY, "deadline_ms": site.time_ms + 60_000}
    # the words of before, again, and with the next number written over theirs
    for changes, code in (({}, "wrong-number"), ({"number": 2}, "bad-signature")):
        replayed = site.world.call("dispatch", "governance", "propose", {**propose, "body": {**seen, **changes}})
        assert replayed.code == code
    fresh = Decided(site).body(number=2)
    longer = {**fresh, "expires_ms": site.time_ms + 70_000}
    assert site.world.call("dispatch", "governance", "propose", {**propose, "body": longer}).code == "bad-signature"
    assert Decided(site).accept(fresh).events("recovery_opened")
    assert site.call("lab", "complete-recovery", organisation="grid").code == "ok"
    assert site.signers("grid") == [site.kid("next")]
    assert site.state.namespace("membership").get(b"recoveries/grid") == 2


# holds MB-11
def test_words_of_a_recovery_that_expire_before_it_is_decided_change_nothing() -> None:
    site = Site()
    decided = Decided(site)
    assert decided.accept(decided.body(expires_ms=site.time_ms + 3000)).events("recovery_opened")
    site = Site()
    decided = Decided(site)
    done = decided.accept(decided.body(expires_ms=site.time_ms + 2999))
    assert [event["reason"] for event in done.events("proposal_closed")] == ["bad-expiry"]
    assert site.call("lab", "complete-recovery", organisation="grid").code == "no-recovery"


# holds MB-7 MB-11
def test_recovery_whose_key_somebody_took_meanwhile_is_closed() -> None:
    site = recovering(wait_ms=0)
    word = site.word("next", "solar/night", REGISTER, None, public("next"))
    assert site.call("solar", "add-operator", operator="night", key=public("next"), signature=word).code == "ok"
    done = site.call("lab", "complete-recovery", organisation="grid")
    assert done.events("recovery_closed") == [{"organisation": "grid", "reason": "key-in-use"}]
    assert site.signers("grid") == [site.kid("grid")]


# holds MB-6
def test_certificates_are_recorded_by_the_super_node_and_revoked_by_whom_they_concern() -> None:
    site = Site()
    der = certificate("gw-1")
    issued: dict[str, Value] = {"account": "gw-1", "certificate": der}
    assert site.call("sub-east", "add-certificate", **issued).code == "not-the-super-node"
    assert site.call("dispatch", "add-certificate", **{**issued, "account": "nobody"}).code == "unknown-account"
    assert site.call("dispatch", "add-certificate", **{**issued, "certificate": b""}).code == "bad-args"
    assert site.call("dispatch", "add-certificate", **issued).code == "ok"
    assert site.call("dispatch", "add-certificate", **issued).code == "certificate-in-use"
    assert site.call("dispatch", "add-certificate", account="lab", certificate=certificate("lab")).code == "ok"
    member = membership.member(site.state, "lab")
    assert member is not None
    assert member.certificate == sha256(certificate("lab"))
    revoke: dict[str, Value] = {"certificate": sha256(der), "reason": "gateway stolen"}
    assert site.call("lab", "revoke-certificate", **revoke).code == "not-yours"
    assert site.call("lab", "revoke-certificate", **{**revoke, "reason": 1}).code == "bad-args"
    assert site.call("lab", "revoke-certificate", **{**revoke, "certificate": bytes(32)}).code == "unknown-certificate"
    assert site.call("grid", "revoke-certificate", **revoke).code == "ok"
    assert site.call("dispatch", "revoke-certificate", **revoke).code == "already-revoked"
    other: dict[str, Value] = {"certificate": sha256(certificate("lab")), "reason": "changed"}
    assert site.call("dispatch", "revoke-certificate", **other).code == "ok"


# holds MB-7
def test_first_key_is_for_the_organisation_that_it_names() -> None:
    site = Site()
    seen: dict[str, Value] = {"operator": "night", "key": public("night")}
    word = site.word("night", "grid/night", REGISTER, None, public("night"))
    assert site.call("solar", "add-operator", **seen, signature=word).code == "bad-signature"
    assert site.call("grid", "add-operator", **seen, signature=word).code == "ok"
