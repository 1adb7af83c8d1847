"""Severity of alarms."""

from __future__ import annotations

import pytest

from rules.severity import SEVERITIES, severity


# holds AL-9
@pytest.mark.parametrize(
    ("cause", "artefacts", "expected"),
    [
        ("mismatch", [("firmware", "full-file")], "critical"),
        ("mismatch", [("strategy", "record-read")], "critical"),
        ("mismatch", [("settings", "full-file")], "high"),
        ("mismatch", [("settings", "vendor-checksum")], "medium"),
        ("mismatch", [("firmware", "version-string")], "high"),
        ("mismatch", [("settings", "vendor-checksum"), ("firmware", "relayed-file")], "high"),
        ("misfilled", [("firmware", "full-file"), ("settings", "version-string")], "critical"),
        ("superseded", [("firmware", "full-file")], "medium"),
        ("incomplete", [("settings", "relayed-file")], "low"),
        ("missing", [("strategy", None)], "medium"),
        ("unknown_reference", [("firmware", "full-file")], "low"),
        ("clock_untrusted", [("clock", None)], "low"),
        ("unknown_reference", [("firmware", "version-string")], "low"),
        ("identity_changed", [("identity", None)], "high"),
        ("altered_between_polls", [("revision", None)], "high"),
        ("revoked", [("firmware", "full-file")], "high"),
        ("evidence_conflict", [], "high"),
    ],
)
def test_severity_follows_cause_kind_and_method(
    cause: str, artefacts: list[tuple[str, str | None]], expected: str
) -> None:
    assert severity(cause, artefacts, {}) == expected


# holds AL-9
@pytest.mark.parametrize("level", SEVERITIES)
def test_severity_begins_at_what_the_consortium_decided(level: str) -> None:
    assert severity("superseded", [("settings", "full-file")], {"superseded": level}) == level
    assert severity("mismatch", [("firmware", "full-file")], {"superseded": level}) == "critical"


# holds AL-9
def test_severity_never_leaves_its_range() -> None:
    assert severity("mismatch", [("firmware", "full-file")], {"mismatch": "critical"}) == "critical"
    assert severity("mismatch", [("settings", "vendor-checksum")], {"mismatch": "low"}) == "low"
