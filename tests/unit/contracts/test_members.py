from __future__ import annotations

from typing import Any

import pytest

from master.contracts import membership
from master.contracts.members import REVIEWERS
from tests.unit.contracts.consortium import certificate
from tests.unit.contracts.members_site import Site, public, root_of
from wire.cbor import Value
from wire.genesis import JURISDICTION_LEVELS_MAX, ROLES
from wire.types import sha256


# holds MB-4 MB-5 MB-6
def test_applicant_is_brought_in_reviewed_and_admitted_with_its_certificate() -> None:
    site = Site()
    applied = site.apply(site.application())
    (event,) = applied.events("member_applied")
    assert event["missing"] == ["trading-centre", "sub-east"]
    assert (event["application"], event["data_centre"]) == (applied.tx.id, "sub-east")
    assert site.admit("wind").code == "not-reviewed"
    assert site.review("wind", "trade") == ["ok"]
    assert site.admit("wind").code == "not-reviewed"
    assert site.review("wind", "sub-east") == ["ok"]
    expires_ms = site.time_ms + 86_400_000
    done = site.admit("wind", expires_ms=expires_ms)
    assert done.event_types == ["certificate_added", "member_admitted", "key_added", "application_closed"]
    member = membership.member(site.state, "wind")
    digest = sha256(certificate("wind"))
    expected = ("generator", "sub-east", public(root_of("wind")), "sub-east", digest, expires_ms)
    assert member == membership.Member("wind", *expected)
    assert membership.is_under(site.state, "wind", "dispatch")
    assert "wind" in membership.members_of_role(site.state, "generator")
    # it signs from the next transaction on, and its place in the line of applicants is free
    assert site.call("wind", "attach", data_centre="dispatch").code == "ok"
    assert site.admit("wind").code == "no-such-application"


# holds MB-4
def test_application_without_root_key_or_parent_is_taken() -> None:
    site = Site()
    assert site.apply(site.application("visitor", role="auditor", parent=None, root_key=None)).code == "ok"
    assert site.review("visitor", "regulator") == ["ok"]
    assert site.admit("visitor").code == "ok"
    member = membership.member(site.state, "visitor")
    assert member is not None
    assert (member.parent, member.root_key) == (None, None)


# holds MB-4
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"chain": "other-00000000"}, "wrong-chain"),
        ({"organisation": "grid"}, "taken"),
        ({"organisation": "gw-1"}, "taken"),
        ({"organisation": "shift"}, "taken"),
        ({"key": public("lab")}, "key-in-use"),
        ({"key": public("vote of dispatch")}, "key-in-use"),
        ({"root_key": public(root_of("grid"))}, "key-in-use"),
        ({"root_key": public("wind")}, "key-in-use"),
        ({"parent": "lab"}, "wrong-parent"),
        ({"parent": "nobody"}, "wrong-parent"),
        ({"role": "sub-centre"}, "wrong-parent"),
        ({"role": "king"}, "bad-application"),
        ({"title": ""}, "bad-application"),
        ({"request": b""}, "bad-application"),
        ({"key": public("somebody else")}, "bad-signature"),
        ({"root_key": public("somebody else")}, "bad-signature"),
    ],
)
def test_application_that_cannot_be_is_refused(changes: dict[str, Any], code: str) -> None:
    site = Site()
    assert site.add_operator("shift").code == "ok"
    assert site.apply(site.application(**changes)).code == code


# holds MB-4
@pytest.mark.parametrize(
    ("by", "changes", "code"),
    [
        ("lab", {}, "not-a-data-centre"),
        ("sub-east", {"application": b""}, "bad-args"),
        ("sub-east", {"application": b"\xff"}, "bad-application"),
        ("sub-east", {"signature": bytes(63)}, "bad-args"),
        ("sub-east", {"signature": bytes(64)}, "bad-signature"),
        ("sub-east", {"root_signature": None}, "bad-signature"),
        ("sub-east", {"more": 1}, "bad-args"),
    ],
)
def test_application_that_is_brought_in_wrongly_is_refused(by: str, changes: dict[str, Value], code: str) -> None:
    site = Site()
    assert site.apply(site.application(), by, **changes).code == code
    plain = site.application("visitor", root_key=None)
    assert site.apply(plain, root_signature=bytes(64)).code == "bad-args"


# holds MB-4
def test_application_waits_once_and_not_more_than_the_ledger_allows() -> None:
    site = Site(applications_max=1)
    assert site.apply(site.application()).code == "ok"
    assert site.apply(site.application()).code == "already-applied"
    assert site.apply(site.application("sun")).code == "too-many-applications"
    assert site.call("dispatch", "withdraw", organisation="wind").code == "not-yours"
    done = site.call("sub-east", "withdraw", organisation="wind")
    assert done.events("application_closed")[0]["reason"] == "withdrawn"
    assert site.call("sub-east", "withdraw", organisation="wind").code == "no-such-application"
    assert site.apply(site.application("sun")).code == "ok"
    assert site.call("sub-east", "withdraw", organisation=1).code == "bad-args"


# holds MB-4 MB-16
def test_applications_of_one_data_centre_leave_room_for_those_of_others() -> None:
    site = Site(applications_max=4)
    codes = [site.apply(site.application(name)).code for name in ("a", "b", "c")]
    assert codes == ["ok", "ok", "too-many-applications"]
    codes = [site.apply(site.application(name), "dispatch").code for name in ("c", "d")]
    assert codes == ["ok", "too-many-applications"]


# holds MB-4
def test_application_is_reviewed_up_to_the_last_millisecond_of_its_time() -> None:
    site = Site(application_wait_ms=60_000)
    site.apply(site.application())
    site.world.wait_ms = 59_000
    assert site.review("wind", "trade", "sub-east") == ["ok", "expired"]


# holds MB-4
def test_application_whose_time_has_passed_is_over_and_closed_by_the_next() -> None:
    site = Site(applications_max=2, application_wait_ms=60_000)
    (told,) = site.apply(site.application()).events("member_applied")
    assert told["until_ms"] == site.time_ms + 60_000
    assert site.review("wind", "trade", "sub-east") == ["ok", "ok"]
    assert site.apply(site.application("sun")).code == "too-many-applications"
    site.world.wait_ms = 60_000
    assert site.review("wind", "trade") == ["expired"]
    assert site.admit("wind").code == "expired"
    again = site.apply(site.application())
    assert (again.code, again.event_types) == ("ok", ["application_closed", "member_applied"])
    assert again.events("application_closed")[0]["reason"] == "expired"
    assert site.admit("wind").code == "not-reviewed"
    site.world.wait_ms = 60_000
    done = site.apply(site.application("sun"))
    assert [event["organisation"] for event in done.events("application_closed")] == ["wind"]
    assert site.call("sub-east", "withdraw", organisation="sun").code == "ok"


# holds MB-5
def test_application_is_reviewed_once_by_each_who_is_responsible() -> None:
    site = Site()
    site.apply(site.application())
    assert site.review("wind", "lab", "dispatch") == ["not-responsible", "not-responsible"]
    assert site.review("wind", "trade", "trade") == ["ok", "already-reviewed"]
    assert site.review("nobody", "trade") == ["no-such-application"]
    review: dict[str, Value] = {"organisation": "wind", "in_favour": True, "reason": "seen"}
    for changes in ({"in_favour": 1}, {"reason": ""}, {"organisation": "No"}):
        assert site.call("trade", "review", **{**review, **changes}).code == "bad-args"
    assert site.call("gw-1", "review", **review).code == "not-an-organisation"


# holds MB-5
@pytest.mark.parametrize(("by", "in_favour"), [("sub-east", True), ("sub-east", False), ("lab-b", False)])
def test_reviews_that_are_not_missing_keep_nobody_from_reviewing(
    monkeypatch: pytest.MonkeyPatch, by: str, *, in_favour: bool
) -> None:
    monkeypatch.setattr("master.contracts.members.REVIEWS_MAX", 1)
    monkeypatch.setattr("master.contracts.members.REVIEWERS", {"generator": ("laboratory",)})
    site = Site()
    site.apply(site.application())
    assert site.review("wind", "lab", "lab-b") == ["ok", "already-reviewed"]
    assert site.review("wind", by, in_favour=in_favour) == ["ok"]


# holds MB-5
def test_application_that_somebody_responsible_is_against_is_closed() -> None:
    site = Site()
    site.apply(site.application())
    assert site.review("wind", "sub-east") == ["ok"]
    done = site.call("trade", "review", organisation="wind", in_favour=False, reason="no licence")
    assert done.events("application_reviewed")[0]["reason"] == "no licence"
    assert done.events("application_closed")[0]["reason"] == "rejected"
    assert site.admit("wind").code == "no-such-application"
    assert site.apply(site.application()).code == "ok"


# holds MB-5
def test_review_of_a_role_that_nobody_has_falls_to_the_super_node(monkeypatch: pytest.MonkeyPatch) -> None:
    assert REVIEWERS.keys() == set(ROLES)
    assert set().union(*map(set, REVIEWERS.values())) <= set(ROLES)
    monkeypatch.setattr("master.contracts.members.REVIEWERS", {"generator": ("auditor",)})
    site = Site()
    (event,) = site.apply(site.application()).events("member_applied")
    assert event["missing"] == ["dispatch-centre", "sub-east"]
    assert site.review("wind", "dispatch", "sub-east") == ["ok", "ok"]
    assert site.admit("wind").code == "ok"


# holds MB-5
def test_super_node_that_suspends_a_reviewer_does_not_review_in_its_place() -> None:
    site = Site()
    assert site.call("dispatch", "suspend", account="trade", until_ms=None, reason="audit").code == "ok"
    (event,) = site.apply(site.application()).events("member_applied")
    assert event["missing"] == ["trading-centre", "sub-east"]
    assert site.review("wind", "dispatch", "sub-east") == ["not-responsible", "ok"]
    assert site.admit("wind").code == "not-reviewed"
    assert site.call("dispatch", "resume", account="trade").code == "ok"
    assert site.review("wind", "trade") == ["ok"]
    assert site.admit("wind").code == "ok"


# holds MB-6
def test_admission_that_cannot_be_is_refused() -> None:
    site = Site()
    site.apply(site.application())
    site.review("wind", "trade", "sub-east")
    assert site.admit("wind", by="sub-east").code == "super-node-only"
    assert site.admit("wind", expires_ms=site.time_ms).code == "bad-expiry"
    assert site.admit("wind", certificate=b"certificate").code == "bad-certificate"
    assert site.admit("wind", certificate=b"").code == "bad-args"
    assert site.admit("nobody").code == "no-such-application"
    other = Site(super_only=[])
    assert other.admit("wind", by="lab").code == "not-a-data-centre"
    # what was free when it was applied for may be gone
    assert site.add_operator("shift", key="wind").code == "ok"
    assert site.admit("wind").code == "key-in-use"


# holds MB-6
def test_certificate_is_recorded_for_one_account_alone() -> None:
    site = Site()
    site.admitted("wind")
    site.apply(site.application("sun"))
    site.review("sun", "trade", "sub-east")
    assert site.admit("sun", certificate=certificate("wind")).code == "certificate-in-use"


# holds GE-12 MB-4
def test_application_below_the_lowest_level_is_refused() -> None:
    site = Site()
    above = "town"
    for level in range(4, JURISDICTION_LEVELS_MAX + 1):
        name = f"agency-{level}"
        assert site.apply(site.application(name, role="agency", parent=above)).code == "ok"
        # a review counts for the role and for the parent
        assert site.review(name, "sub-east", *({above} - {"sub-east"})) == ["ok", "ok"]
        assert site.admit(name).code == "ok"
        above = name
    assert site.apply(site.application("lowest", role="agency", parent=above)).code == "too-deep"


# holds MB-6
def test_membership_that_is_overdue_goes_on() -> None:
    site = Site()
    site.admitted("wind")
    renew: dict[str, Value] = {"organisation": "wind", "expires_ms": site.time_ms + 2000}
    assert site.call("trade", "renew", **renew).code == "ok"
    site.pass_blocks(3)
    assert membership.is_active(site.state, "wind", site.time_ms)
    assert site.call("wind", "attach", data_centre=None).code == "ok"
    assert site.call("dispatch", "renew", organisation="wind", expires_ms=None).code == "ok"
    for sender, args, code in (
        ("wind", {"organisation": "wind", "expires_ms": None}, "not-responsible"),
        ("dispatch", {"organisation": "dispatch", "expires_ms": None}, "not-responsible"),
        ("lab", {"organisation": "wind", "expires_ms": None}, "not-responsible"),
        ("trade", {"organisation": "nobody", "expires_ms": None}, "unknown-organisation"),
        ("trade", {"organisation": "wind", "expires_ms": 1}, "bad-expiry"),
        ("trade", {"organisation": "wind", "expires_ms": "soon"}, "bad-args"),
        ("gw-1", {"organisation": "wind", "expires_ms": None}, "not-an-organisation"),
    ):
        assert site.call(sender, "renew", **args).code == code


# holds MB-2
def test_suspended_organisation_signs_nothing_and_its_gateways_go_on() -> None:
    site = Site()
    site.add_operator("shift")
    assert site.call("sub-east", "suspend", account="grid", until_ms=None, reason="audit").code == "ok"
    for sender in ("grid", "shift"):
        assert site.attach_by(sender, sender) == "suspended"
    assert site.attach_by("gw-1", "gw-1") == "taken"
    assert membership.role(site.state, "grid") is None
    assert site.call("sub-east", "resume", account="grid").code == "ok"
    assert site.call("grid", "attach", data_centre=None).code == "ok"


# holds MB-2
def test_suspension_ends_with_the_block_of_its_time() -> None:
    site = Site()
    until_ms = site.time_ms + 3000
    assert site.call("grid", "suspend", account="gw-1", until_ms=until_ms, reason="moved").code == "ok"
    assert site.attach_by("gw-1", "gw-1") == "suspended"
    assert membership.is_suspended(site.state, "gw-1", site.time_ms)
    site.pass_blocks(2)
    assert site.time_ms == until_ms
    assert not any(key.startswith((b"until/", b"suspended/")) for _, key in site.world.state.entries)
    assert site.attach_by("gw-1", "gw-1") == "taken"


# holds MB-2
def test_suspensions_that_end_together_are_lifted_a_few_per_block() -> None:
    site = Site()
    names = [f"shift-{number}" for number in range(18)]
    for name in names:
        site.add_operator(name)
    until_ms = site.time_ms + 20_000
    for name in names:
        assert site.call("grid", "suspend", account=name, until_ms=until_ms, reason="leave").code == "ok"
    # by its time it signs, whether its entry is gone or not
    left = []
    while site.time_ms < until_ms + 2000:
        site.pass_blocks()
        left.append(sum(1 for _ in site.world.state.scan("membership", b"suspended/")))
    assert left[-3:] == [2, 0, 0]
    assert set(left[:-3]) <= {18}
    assert site.call("grid", "resume", account="shift-0").code == "not-suspended"


# holds MB-2
def test_suspension_may_be_made_anew_with_another_end() -> None:
    site = Site()
    first, second = site.time_ms + 10_000, site.time_ms + 5000
    suspension: dict[str, Value] = {"account": "gw-1", "until_ms": first, "reason": "moved"}
    assert site.call("grid", "suspend", **suspension).code == "ok"
    assert site.call("grid", "suspend", **suspension).code == "already-suspended"
    assert site.call("grid", "resume", account="gw-1").code == "ok"
    assert site.call("grid", "suspend", **{**suspension, "until_ms": second}).code == "ok"
    ends = [key for key, _ in site.world.state.scan("membership", b"until/")]
    assert ends == [b"until/" + second.to_bytes(8, "big") + b"gw-1"]


# holds MB-2
@pytest.mark.parametrize(
    ("sender", "account", "code"),
    [
        ("dispatch", "nobody", "unknown-account"),
        ("lab", "grid", "not-yours"),
        ("grid", "grid", "not-yours"),
        ("grid", "gw-3", "not-yours"),
        ("town", "grid", "not-yours"),
        ("gw-1", "gw-1", "not-an-organisation"),
        ("dispatch", "sub-east", "runs-a-validator"),
        ("dispatch", "dispatch", "not-yours"),
        ("dispatch", "grid", "ok"),
        ("sub-east", "gw-3", "ok"),
        ("grid", "gw-1", "ok"),
    ],
)
def test_who_may_suspend_whom(sender: str, account: str, code: str) -> None:
    site = Site()
    assert site.call(sender, "suspend", account=account, until_ms=None, reason="audit").code == code


# holds MB-2
def test_suspension_that_cannot_be_made_or_lifted_is_refused() -> None:
    site = Site()
    suspension: dict[str, Value] = {"account": "gw-3", "until_ms": None, "reason": "audit"}
    assert site.call("solar", "suspend", **{**suspension, "until_ms": site.time_ms}).code == "bad-end"
    assert site.call("solar", "suspend", **{**suspension, "reason": "x" * 257}).code == "bad-args"
    assert site.call("solar", "resume", account="gw-3").code == "not-suspended"
    assert site.call("sub-east", "suspend", **suspension).code == "ok"
    assert site.call("solar", "resume", account="gw-3").code == "not-yours"
    assert site.call("gw-1", "resume", account="gw-3").code == "not-an-organisation"
    assert site.call("solar", "resume", account=1).code == "bad-args"
    assert site.call("dispatch", "resume", account="gw-3").code == "ok"


# holds MB-15
def test_member_is_attached_to_a_data_centre_and_changes_it() -> None:
    site = Site()
    assert site.call("lab", "attach", data_centre="dispatch").code == "ok"
    assert membership.data_centre(site.state, "lab") == "dispatch"
    assert site.call("lab", "attach", data_centre="grid").code == "not-a-data-centre"
    assert site.call("lab", "attach", data_centre=1).code == "bad-args"
    assert site.call("gw-1", "attach", data_centre="dispatch").code == "not-an-organisation"
    done = site.call("lab", "attach", data_centre=None)
    assert done.events("member_attached") == [{"organisation": "lab", "data_centre": None}]


# holds MB-14
def test_operator_signs_with_an_account_of_its_own() -> None:
    site = Site()
    assert site.add_operator("shift").code == "ok"
    assert membership.operator(site.state, "shift") == "grid"
    put: dict[str, Value] = {"data": b"x", "key": "k"}
    (done,) = site.world.run(site.world.sign("shift", "notary", "put", put))
    assert done.code == "ok"
    assert site.add_operator("shift", key="another").code == "taken"
    assert site.add_operator("lab", key="another").code == "taken"
    assert site.add_operator("gw-1", key="another").code == "taken"
    assert site.add_operator("night", key="shift").code == "key-in-use"
    assert site.add_operator("night", by="gw-1").code == "not-an-organisation"
    bad: dict[str, Value] = {"operator": "night", "key": public("night"), "signature": bytes(64)}
    assert site.call("grid", "add-operator", **bad).code == "bad-signature"
    assert site.call("grid", "add-operator", **{**bad, "key": b""}).code == "bad-args"
