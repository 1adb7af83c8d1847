from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from nacl.signing import SigningKey

from master.contracts import validator_records, validators
from master.contracts.context import Reads
from master.ledger.call import StateReads
from master.ledger.state import Overlay
from tests.unit.ledger.worlds import GENESIS_MS, Done, World, key_of, make_genesis
from wire.cbor import Value
from wire.certificate import VALIDATORS_MAX
from wire.errors import FormatError
from wire.genesis import AccountKey, GenesisValidator, Organisation
from wire.handover import ready_bytes, rotation_bytes
from wire.types import Digest, sha256

VOTERS = ("dispatch", "grid", "maker-a", "regulator")
DEADLINE_MS = GENESIS_MS + 3_600_000


def vote_key(name: object) -> SigningKey:
    return key_of(f"vote of {name}")


def certificate(name: object, size: int = 200) -> bytes:
    """Return what looks like DER from outside."""
    content = sha256(str(name).encode()) * 9
    return b"\x30\x82" + (size - 4).to_bytes(2, "big") + content[: size - 4]


def world(voters: tuple[str, ...] = VOTERS, **parameters: Value) -> World:
    genesis = make_genesis(dict(parameters))
    validators = tuple(
        GenesisValidator(name, vote_key(name).verify_key.encode(), certificate(name)) for name in sorted(voters)
    )
    known = {entry.id for entry in genesis.organisations}
    more = tuple(Organisation(name, "sub-centre") for name in voters if name not in known)
    keys = tuple(AccountKey(key_of(entry.id).verify_key.encode(), entry.id, entry.id) for entry in more)
    return World(
        replace(
            genesis,
            validators=validators,
            organisations=tuple(sorted((*genesis.organisations, *more), key=lambda entry: entry.id)),
            keys=tuple(sorted((*genesis.keys, *keys), key=lambda entry: entry.key)),
        )
    )


@dataclass
class Consortium:
    """A world and the calls of its organisations."""

    world: World

    def call(self, sender: str, method: str, **args: Value) -> Done:
        return self.world.call(sender, "validators", method, args)

    def add(self, member: str = "lab", by: str = "grid", **changes: Value) -> Done:
        args: dict[str, Value] = {
            "member": member,
            "vote_key": vote_key(member).verify_key.encode(),
            "tls_certificate": certificate(member),
            "address": "10.0.0.5:7400",
            "deadline_ms": DEADLINE_MS,
            **changes,
        }
        return self.call(by, "propose-add", **args)

    def remove(self, member: str = "maker-a", by: str = "grid", *, urgent: bool = False, **changes: Value) -> Done:
        args: dict[str, Value] = {"member": member, "urgent": urgent, "deadline_ms": DEADLINE_MS, **changes}
        return self.call(by, "propose-removal", **args)

    def rotate(self, member: str = "grid", by: str = "grid", new: str = "grid 2", **changes: Value) -> Done:
        key = vote_key(new)
        wanted: dict[str, Any] = {
            "member": member,
            "vote_key": key.verify_key.encode(),
            "tls_certificate": certificate(new),
            "address": "",
            "deadline_ms": DEADLINE_MS,
            **changes,
        }
        old = vote_key(member)
        pair = (old.verify_key.encode(), wanted["vote_key"])
        frame = (member, pair, sha256(wanted["tls_certificate"]), wanted["deadline_ms"])
        signed = rotation_bytes(self.world.genesis.chain(), *frame)
        args = {
            "old_signature": old.sign(signed).signature,
            "new_signature": key.sign(signed).signature,
            **wanted,
        }
        return self.call(by, "propose-rotation", **args)

    def vote(self, proposal: Done, *voters: str, in_favour: bool = True) -> list[Done]:
        return [self.call(voter, "vote", proposal=proposal.tx.id, in_favour=in_favour) for voter in voters]

    def ready(self, proposal: Done, member: str = "lab", **changes: Any) -> Done:  # noqa: ANN401
        height = changes.pop("height", self.world.head.height)
        state_root = changes.pop("state_root", self.world.head.state_root)
        signed = ready_bytes(proposal.tx.id, height, state_root)
        signature = changes.pop("signature", vote_key(member).sign(signed).signature)
        args = {"proposal": proposal.tx.id, "height": height, "state_root": state_root, "signature": signature}
        return self.call(changes.pop("by", member), "ready", **args)

    def pass_blocks(self, count: int) -> None:
        for _ in range(count):
            self.world.run()

    @property
    def state(self) -> Reads:
        return StateReads(Overlay(self.world.state))

    @property
    def members(self) -> list[str]:
        return [entry.member for entry in validator_records.records(self.state)]

    @property
    def admitted(self) -> list[tuple[str, bytes]]:
        head = self.world.head
        grace = 100
        found = validator_records.admitted(self.state, head.height, head.time_ms, grace)
        return [(entry.member, entry.tls_certificate) for entry in found]

    def kept(self, prefix: bytes) -> list[bytes]:
        return [key for key, _ in self.world.state.scan("validators", prefix)]


def consortium(voters: tuple[str, ...] = VOTERS, **parameters: Value) -> Consortium:
    return Consortium(world(voters, **parameters))


def codes(done: list[Done]) -> list[str]:
    return [entry.code for entry in done]


# holds VM-1
def test_validators_before_any_change_are_those_of_the_genesis_file() -> None:
    at = consortium()
    assert at.members == sorted(VOTERS)
    assert validator_records.validator_set(at.state) == at.world.genesis.validator_set()
    assert validator_records.pending(at.state) is None
    assert at.admitted == []


# holds VM-3 VM-5
def test_add_is_voted_on_admitted_and_executed_by_ready() -> None:
    at = consortium()
    proposal = at.add()
    assert (proposal.code, proposal.event_types) == ("ok", ["change_proposed"])
    assert proposal.events("change_proposed")[0]["votes_due"] == 3
    assert at.admitted == []
    done = at.vote(proposal, "dispatch", "regulator")
    assert codes(done) == ["ok", "ok"]
    assert done[-1].event_types == ["change_voted", "change_approved"]
    assert at.admitted == [("lab", certificate("lab"))]
    assert at.members == sorted(VOTERS)
    at.pass_blocks(3)
    executed = at.ready(proposal)
    assert (executed.code, executed.event_types) == ("ok", ["validators_changed"])
    assert executed.events("validators_changed")[0]["from_height"] == at.world.head.height + 2
    assert at.members == sorted((*VOTERS, "lab"))
    assert at.kept(b"root/") == at.kept(b"pending") == []
    added = validator_records.validator_set(at.state).find("lab")
    assert added is not None
    assert added.vote_key == vote_key("lab").verify_key.encode()


# holds VM-5
def test_ready_before_enough_are_in_favour_is_refused() -> None:
    at = consortium()
    proposal = at.add()
    at.vote(proposal, "dispatch")
    assert at.ready(proposal).code == "not-approved"
    assert at.members == sorted(VOTERS)


# holds VM-5
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"state_root": sha256(b"other")}, "wrong-root"),
        ({"signature": bytes(64)}, "bad-signature"),
        ({"signature": b"short"}, "bad-signature"),
        ({"height": 0}, "bad-args"),
        ({"height": 1}, "stale"),
        ({"height": 99}, "stale"),
    ],
)
def test_ready_that_shows_no_recent_state_is_refused(changes: dict[str, Any], code: str) -> None:
    at = consortium()
    proposal = at.add()
    at.vote(proposal, "dispatch", "regulator")
    at.pass_blocks(2)
    assert at.ready(proposal, **changes).code == code
    assert at.members == sorted(VOTERS)


# holds VM-5
def test_ready_with_the_oldest_state_allowed_is_taken_and_with_an_older_one_refused() -> None:
    for age, code in ((5, "ok"), (6, "stale")):
        at = consortium(ready_blocks_max=5)
        proposal = at.add()
        at.vote(proposal, "dispatch", "regulator")
        at.pass_blocks(20)
        height = at.world.head.height + 1 - age
        root = _root_of(at, height)
        assert at.ready(proposal, height=height, state_root=root).code == code


def _root_of(at: Consortium, height: int) -> Digest:
    known = at.state.namespace("validators").get(b"root/" + (height % 5).to_bytes(2, "big"))
    assert isinstance(known, dict)
    root = known["state_root"]
    assert isinstance(root, bytes)
    return root


def test_ready_of_a_change_that_is_unknown_is_refused() -> None:
    at = consortium()
    proposal = at.add()
    other = at.call("dispatch", "vote", proposal=sha256(b"other"), in_favour=True)
    assert other.code == "no-such-change"
    at.vote(proposal, "dispatch", in_favour=True)
    assert at.ready(other).code == "no-such-change"


# holds VM-5
def test_state_roots_are_kept_only_while_a_joiner_is_awaited() -> None:
    at = consortium()
    at.pass_blocks(2)
    assert at.kept(b"root/") == []
    proposal = at.add()
    at.pass_blocks(2)
    assert at.kept(b"root/") == []
    at.vote(proposal, "dispatch", "regulator")
    at.pass_blocks(3)
    assert len(at.kept(b"root/")) == 3
    assert at.call("grid", "withdraw", proposal=proposal.tx.id).code == "ok"
    assert at.kept(b"root/") == []
    at.pass_blocks(1)
    assert at.kept(b"root/") == []


# holds VM-4
def test_removal_is_executed_by_the_vote_that_makes_enough() -> None:
    at = consortium()
    proposal = at.remove()
    done = at.vote(proposal, "dispatch", "regulator")
    assert done[-1].event_types == ["change_voted", "change_approved", "validators_changed"]
    assert at.members == ["dispatch", "grid", "regulator"]
    # who leaves may follow for a while
    assert at.admitted == [("maker-a", certificate("maker-a"))]
    at.pass_blocks(100)
    assert at.admitted == [("maker-a", certificate("maker-a"))]
    at.pass_blocks(1)
    assert at.admitted == []


# holds VM-4
def test_change_that_too_many_are_against_is_rejected() -> None:
    at = consortium()
    proposal = at.remove()
    first, second = at.vote(proposal, "dispatch", "regulator", in_favour=False)
    assert (first.code, first.event_types) == ("ok", ["change_voted"])
    assert second.events("change_closed") == [{"proposal": proposal.tx.id, "reason": "rejected"}]
    assert at.members == sorted(VOTERS)
    assert codes(at.vote(proposal, "maker-a")) == ["no-such-change"]


# holds VM-4
def test_urgent_removal_takes_the_place_of_another_change_and_lets_nobody_follow() -> None:
    at = consortium(validator_votes_percent=100)
    older = at.add()
    assert at.remove().code == "change-pending"
    urgent = at.remove(urgent=True)
    assert urgent.event_types == ["change_closed", "change_proposed"]
    assert urgent.events("change_closed") == [{"proposal": older.tx.id, "reason": "displaced"}]
    assert urgent.events("change_proposed")[0]["votes_due"] == 3
    assert at.remove(member="dispatch", urgent=True).code == "change-pending"
    done = at.vote(urgent, "dispatch", "regulator")
    assert done[-1].code == "ok"
    assert at.members == ["dispatch", "grid", "regulator"]
    assert at.admitted == [("maker-a", certificate("maker-a"))]  # while the block is the newest
    at.pass_blocks(1)
    assert at.admitted == []


# holds VM-6
def test_rotation_is_proven_by_both_keys_and_voted_on() -> None:
    at = consortium()
    proposal = at.rotate()
    assert proposal.code == "ok"
    assert at.vote(proposal, "dispatch", "regulator")[-1].code == "ok"
    rotated = validator_records.validator_set(at.state).find("grid")
    assert rotated is not None
    assert rotated.vote_key == vote_key("grid 2").verify_key.encode()
    assert rotated.tls_digest == sha256(certificate("grid 2"))
    assert at.admitted == [("grid", certificate("grid"))]


# holds VM-6
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"old_signature": bytes(64)}, "bad-signature"),
        ({"new_signature": bytes(64)}, "bad-signature"),
        ({"old_signature": "text"}, "bad-args"),
        ({"member": "dispatch"}, "not-your-own"),
        ({"vote_key": vote_key("dispatch").verify_key.encode()}, "key-in-use"),
        ({"vote_key": key_of("lab").verify_key.encode()}, "key-in-use"),
        ({"tls_certificate": certificate("dispatch")}, "key-in-use"),
        ({"deadline_ms": "soon"}, "bad-args"),
    ],
)
def test_rotation_without_proof_is_refused(changes: dict[str, Any], code: str) -> None:
    at = consortium()
    signatures = {name: changes[name] for name in changes if name.endswith("signature")}
    if "deadline_ms" in changes or "member" in changes:
        args = {**changes}
        done = at.call(
            "grid",
            "propose-rotation",
            **{
                "member": "grid",
                "vote_key": vote_key("grid 2").verify_key.encode(),
                "tls_certificate": certificate("grid 2"),
                "address": "",
                "deadline_ms": DEADLINE_MS,
                "old_signature": bytes(64),
                "new_signature": bytes(64),
                **args,
            },
        )
    else:
        done = at.rotate(**{**changes, **signatures})
    assert done.code == code
    assert at.kept(b"pending") == []


# holds VM-6
def test_rotation_of_the_certificate_or_address_alone_keeps_the_vote_key() -> None:
    at = consortium()
    own = vote_key("grid").verify_key.encode()
    same = {"vote_key": own, "tls_certificate": certificate("grid"), "address": ""}
    assert at.rotate(new="grid", **same).code == "nothing-changes"  # type: ignore[arg-type]
    moved = at.rotate(new="grid", **{**same, "address": "node.example:7400"})  # type: ignore[arg-type]
    assert moved.code == "ok"
    at.vote(moved, "dispatch", "regulator")
    assert validator_records.records(at.state)[1].address == "node.example:7400"
    assert at.admitted == []
    assert at.kept(b"retired/") == []
    at.pass_blocks(1)
    renewed = at.rotate(new="grid", **{**same, "tls_certificate": certificate("grid 3")})  # type: ignore[arg-type]
    at.vote(renewed, "dispatch", "regulator")
    assert at.kept(b"retired/") == [b"retired/" + sha256(certificate("grid"))]


# holds VM-6
def test_keys_that_were_given_up_never_come_back() -> None:
    at = consortium()
    at.vote(at.remove(), "dispatch", "regulator")
    at.pass_blocks(1)
    again = at.add("maker-a")
    assert again.code == "key-in-use"
    fresh = vote_key("maker-a 2").verify_key.encode()
    assert at.add("maker-a", vote_key=fresh).code == "key-in-use"
    proposal = at.add("maker-a", vote_key=fresh, tls_certificate=certificate("maker-a 2"))
    assert proposal.code == "ok"
    at.vote(proposal, "dispatch", "regulator")
    height, root = at.world.head.height, at.world.head.state_root
    signature = vote_key("maker-a 2").sign(ready_bytes(proposal.tx.id, height, root)).signature
    assert at.ready(proposal, "maker-a", signature=signature).code == "ok"
    assert at.members == sorted(VOTERS)
    assert at.admitted == []


# holds VM-2
def test_change_that_is_not_in_force_yet_keeps_others_waiting() -> None:
    at = consortium()
    proposal = at.remove()
    # the deciding vote and the next proposal stand in one block
    votes = [
        at.world.sign(name, "validators", "vote", {"proposal": proposal.tx.id, "in_favour": True})
        for name in ("dispatch", "regulator")
    ]
    args: dict[str, Value] = {"member": "dispatch", "urgent": True, "deadline_ms": DEADLINE_MS}
    follow = at.world.sign("grid", "validators", "propose-removal", args)
    assert codes(at.world.run(*votes, follow)) == ["ok", "ok", "change-under-way"]
    assert at.remove("dispatch").code == "change-under-way"
    assert at.remove("dispatch").code == "ok"


# holds VM-3
def test_change_past_its_deadline_makes_room() -> None:
    at = consortium()
    proposal = at.add(deadline_ms=GENESIS_MS + 10_000)
    at.vote(proposal, "dispatch", "regulator")
    assert at.call("lab", "withdraw", proposal=proposal.tx.id).code == "not-yours"
    at.pass_blocks(9)
    assert at.admitted == []
    assert at.ready(proposal).code == "expired"
    assert codes(at.vote(proposal, "maker-a")) == ["expired"]
    assert at.call("lab", "withdraw", proposal=sha256(b"x")).code == "no-such-change"
    later = at.remove(by="dispatch")
    assert later.event_types == ["change_closed", "change_proposed"]
    assert later.events("change_closed")[0]["reason"] == "expired"


# holds VM-3
def test_anybody_may_close_what_is_past_its_deadline() -> None:
    at = consortium()
    proposal = at.add(deadline_ms=GENESIS_MS + 5_000)
    at.pass_blocks(5)
    done = at.call("lab", "withdraw", proposal=proposal.tx.id)
    assert done.events("change_closed")[0]["reason"] == "expired"
    assert at.call("lab", "withdraw", proposal=proposal.tx.id).code == "no-such-change"


# holds VM-13
@pytest.mark.parametrize("urgent", [True, False])
def test_who_was_rejected_waits_so_that_others_have_their_turn(*, urgent: bool) -> None:
    at = consortium(validator_wait_ms=20_000)
    rejected = at.remove(by="grid", urgent=urgent)
    assert at.vote(rejected, "dispatch", "regulator", in_favour=False)[-1].event_types[-1:] == ["change_closed"]
    assert at.remove(by="grid", urgent=True).code == "must-wait"
    assert at.add(by="grid").code == "must-wait"
    answer = at.remove("grid", by="dispatch", urgent=True)
    assert answer.code == "ok"
    assert codes(at.vote(answer, "regulator", "maker-a")) == ["ok", "ok"]
    assert "grid" not in at.members


# holds VM-13
def test_who_was_rejected_may_propose_again_after_its_time() -> None:
    at = consortium(validator_wait_ms=20_000)
    at.vote(at.remove(by="grid"), "dispatch", "regulator", in_favour=False)
    assert at.remove(by="grid").code == "must-wait"
    at.pass_blocks(20)
    assert at.remove(by="grid").code == "ok"
    assert at.kept(b"waits/") == []


# holds VM-13
def test_who_let_a_proposal_expire_neither_takes_its_place_nor_proposes_at_once() -> None:
    at = consortium(validator_wait_ms=20_000)
    proposal = at.remove(by="grid", urgent=True, deadline_ms=GENESIS_MS + 3_000)
    at.pass_blocks(3)
    assert at.remove(by="grid", urgent=True).code == "must-wait"
    assert at.call("grid", "withdraw", proposal=proposal.tx.id).events("change_closed")[0]["reason"] == "expired"
    assert at.remove(by="grid", urgent=True).code == "must-wait"
    assert at.remove(by="dispatch").code == "ok"


# holds VM-13
@pytest.mark.parametrize(
    ("urgent", "against", "code"), [(False, (), "ok"), (False, ("dispatch",), "must-wait"), (True, (), "must-wait")]
)
def test_who_withdraws_waits_if_it_was_urgent_or_opposed(*, urgent: bool, against: tuple[str, ...], code: str) -> None:
    at = consortium(validator_wait_ms=20_000)
    proposal = at.remove(by="grid", urgent=urgent)
    at.vote(proposal, *against, in_favour=False)
    assert at.call("grid", "withdraw", proposal=proposal.tx.id).code == "ok"
    assert at.remove(by="grid").code == code


# holds VM-13
def test_who_was_displaced_or_whose_joiner_did_not_come_need_not_wait() -> None:
    at = consortium(validator_wait_ms=20_000)
    at.add(by="grid")
    urgent = at.remove(by="dispatch", urgent=True)
    at.call("dispatch", "withdraw", proposal=urgent.tx.id)
    proposal = at.add(by="grid", deadline_ms=GENESIS_MS + 10_000)
    assert proposal.code == "ok"
    at.vote(proposal, "regulator", "maker-a")
    at.pass_blocks(9)
    assert at.add(by="grid").event_types[:1] == ["change_closed"]


# holds VM-2
def test_changes_that_make_an_epoch_are_bounded_with_some_left_for_urgent_removals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(validators, "EPOCHS_MAX", 4)
    monkeypatch.setattr(validators, "EPOCHS_RESERVED", 2)
    at = consortium()
    for member in ("maker-a", "regulator"):
        at.vote(at.remove(member), "dispatch", "regulator")
        at.pass_blocks(2)
    assert at.members == ["dispatch", "grid"]
    assert at.remove("dispatch").code == "too-many-changes"
    assert at.add().code == "too-many-changes"
    assert at.rotate().code == "too-many-changes"
    # an address is not in the set: no epoch begins
    same = {"new": "grid", "tls_certificate": certificate("grid"), "address": "grid.example:7400"}
    moved = at.rotate(**same)  # type: ignore[arg-type]
    assert codes(at.vote(moved, "dispatch")) == ["ok"]
    at.pass_blocks(2)
    urgent = at.remove("dispatch", urgent=True)
    assert codes(at.vote(urgent, "dispatch")) == ["ok"]
    assert at.members == ["grid"]


# holds VM-2
def test_changes_beyond_the_last_epoch_are_refused_even_urgent_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validators, "EPOCHS_MAX", 1)
    monkeypatch.setattr(validators, "EPOCHS_RESERVED", 1)
    at = consortium()
    at.vote(at.remove(urgent=True), "dispatch", "regulator")
    at.pass_blocks(2)
    assert at.members == ["dispatch", "grid", "regulator"]
    assert at.remove("dispatch", urgent=True).code == "too-many-changes"


def test_who_proposed_may_withdraw() -> None:
    at = consortium()
    proposal = at.add()
    done = at.call("grid", "withdraw", proposal=proposal.tx.id)
    assert done.events("change_closed")[0]["reason"] == "withdrawn"


# holds VM-3
def test_gateway_of_who_proposed_may_not_withdraw() -> None:
    at = consortium()
    proposal = at.add()
    assert at.call("gw-1", "withdraw", proposal=proposal.tx.id).code == "not-yours"


# holds VM-3
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"member": "nobody"}, "unknown-organisation"),
        ({"member": "No One"}, "bad-args"),
        ({"member": 7}, "bad-args"),
        ({"member": "maker-a"}, "is-validator"),
        ({"address": 7}, "bad-args"),
        ({"address": "nowhere"}, "bad-address"),
        ({"address": "host:0"}, "bad-address"),
        ({"address": "host:65536"}, "bad-address"),
        ({"tls_certificate": b""}, "bad-certificate"),
        ({"tls_certificate": bytes(5000)}, "bad-certificate"),
        ({"tls_certificate": b"\x30\x82\x00\x09short"}, "bad-certificate"),
        ({"tls_certificate": b"no certificate"}, "bad-certificate"),
        ({"tls_certificate": "text"}, "bad-args"),
        ({"vote_key": b"short"}, "bad-args"),
        ({"vote_key": vote_key("grid").verify_key.encode()}, "key-in-use"),
        ({"vote_key": key_of("gw-1").verify_key.encode()}, "key-in-use"),
        ({"deadline_ms": GENESIS_MS}, "bad-deadline"),
        ({"deadline_ms": GENESIS_MS * 2}, "bad-deadline"),
        ({"more": 1}, "bad-args"),
        ({"by": "lab"}, "not-a-voter"),
        ({"by": "gw-1"}, "not-a-voter"),
    ],
)
def test_add_that_cannot_be_is_refused(changes: dict[str, Any], code: str) -> None:
    at = consortium()
    assert at.add(**changes).code == code
    assert at.kept(b"") == []


@pytest.mark.parametrize("address", ["", "a.example:1", "10.0.0.1:65535", "[fe80::1]:7400"])
def test_add_with_an_address_that_can_be_dialled_is_taken(address: str) -> None:
    assert consortium().add(address=address).code == "ok"


def test_add_with_a_short_certificate_in_der_is_taken() -> None:
    short = b"\x30\x81" + bytes((150,)) + bytes(150)
    assert consortium().add(tls_certificate=short).code == "ok"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"member": "lab"}, "unknown-validator"),
        ({"member": 7}, "unknown-validator"),
        ({"urgent": 1}, "bad-args"),
        ({"deadline_ms": None}, "bad-args"),
        ({"by": "lab"}, "not-a-voter"),
    ],
)
def test_removal_that_cannot_be_is_refused(changes: dict[str, Any], code: str) -> None:
    assert consortium().remove(**changes).code == code


@pytest.mark.parametrize(("args", "code"), [({"in_favour": 1}, "bad-args"), ({"more": 1}, "bad-args")])
def test_vote_with_wrong_arguments_is_refused(args: dict[str, Value], code: str) -> None:
    at = consortium()
    proposal = at.remove()
    wanted: dict[str, Value] = {"proposal": proposal.tx.id, "in_favour": True, **args}
    assert at.call("dispatch", "vote", **wanted).code == code


# holds VM-4
def test_organisation_votes_once_and_only_where_it_runs_a_validator() -> None:
    at = consortium()
    proposal = at.add()
    assert codes(at.vote(proposal, "grid", "lab", "dispatch", "dispatch", "regulator", "maker-a")) == [
        "voted",
        "not-a-voter",
        "ok",
        "voted",
        "ok",
        "approved",
    ]


# holds VM-2
def test_number_of_validators_stays_between_one_and_sixteen() -> None:
    alone = consortium(("dispatch",))
    assert alone.remove("dispatch", "dispatch").code == "last-one"
    full = consortium(tuple(f"org-{number:02}" for number in range(VALIDATORS_MAX)))
    assert full.add(by="org-00").code == "too-many"


# holds VM-4
@pytest.mark.parametrize(("percent", "due"), [(51, 3), (67, 3), (75, 3), (76, 4), (100, 4)])
def test_votes_due_are_the_share_that_the_parameter_asks_rounded_up(percent: int, due: int) -> None:
    proposal = consortium(validator_votes_percent=percent).remove()
    assert proposal.events("change_proposed")[0]["votes_due"] == due


def test_validator_alone_decides_by_proposing() -> None:
    at = consortium(("dispatch",))
    proposal = at.add(by="dispatch")
    assert proposal.event_types == ["change_proposed", "change_approved"]
    assert at.ready(proposal).code == "ok"
    assert at.members == ["dispatch", "lab"]


def test_old_certificates_of_leavers_are_forgotten_by_the_next_change() -> None:
    at = consortium(ready_blocks_max=3)
    at.vote(at.remove(), "dispatch", "regulator")
    at.pass_blocks(4)
    at.vote(at.remove("dispatch"), "grid", "regulator", "dispatch")
    assert at.kept(b"left/") == [b"left/dispatch"]


@pytest.mark.parametrize("value", [None, {}, {"vote_key": bytes(32), "tls_certificate": b"", "address": ""}])
def test_damaged_record_is_refused(value: Value) -> None:
    with pytest.raises(FormatError):
        validator_records.decode_record("grid", value)
    with pytest.raises(FormatError):
        validator_records.decode_change(value)
