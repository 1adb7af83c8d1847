"""Schemas of what was found about an artefact, shared by the lists of devices, verdicts and alarms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from master.contracts.findings import CLOCK_UNTRUSTED
from master.views.schema import Schema, hexadecimal, integer, nullable, record, sequence, text
from rules.appraisal import ALTERED, IDENTITY_CHANGED, IDENTITY_KIND, REVISION_KIND, VERDICTS
from rules.severity import EVIDENCE_CONFLICT
from wire.difference import UNITS
from wire.evidence import ERROR_CODES, KINDS, METHODS

_FINDING: Final[Mapping[str, Schema]] = {
    "kind": text(
        "Artefact kind; identity, revision, clock or evidence for the device or gateway itself.",
        (*KINDS, IDENTITY_KIND, REVISION_KIND, "clock", "evidence"),
    ),
    "verdict": text(
        "What the appraisal said of it.", (*VERDICTS, IDENTITY_CHANGED, ALTERED, CLOCK_UNTRUSTED, EVIDENCE_CONFLICT)
    ),
    "expected_sha256": nullable(hexadecimal("Reference value.", 32)),
    "read_sha256": nullable(hexadecimal("What was read.", 32)),
    "detail": nullable(text("What else there is to say, for people.")),
    "difference": nullable(
        record(
            {
                "unit": text("items: settings or rows; chunks: of 65,536 bytes, the first is 0.", UNITS),
                "count": integer("How many differ; 0 items: the file is only written otherwise.", 0),
                "numbers": sequence(integer("Number of an item or chunk.", 0)),
            },
            "Where it differs, if the gateway holds the release package; what differs is not said here.",
        )
    ),
    "method": nullable(text("How it was read: it says no more than this shows.", METHODS)),
    "owner": nullable(
        record(
            {"target": text("Device or model."), "kind": text("Artefact kind.", KINDS), "release": text()},
            "Whose reference value it is, of a file of another device or of an old release.",
        )
    ),
    "fill": nullable(
        record(
            {
                "record": hexadecimal("Transaction that says so.", 32),
                "account": text("Who signed it."),
                "organisation": text(),
                "order": hexadecimal("Work order that it was done under.", 32),
                "release": text("Name of the release that was to be filled."),
                "time_ms": integer("Block time of the record, ms since 1970 UTC."),
            },
            "Who signed last for filling this device, where the file is another device's.",
        )
    ),
}
FINDING: Final = record(_FINDING)
"""One entry of an alarm's ``artefacts``."""
ARTEFACT: Final = record(
    {
        **_FINDING,
        "name": nullable(text("As the device names it.")),
        "version": nullable(text("As the device declares it.")),
        "size": nullable(integer("Bytes that the device declares.", 0)),
        "read_size": nullable(integer("Bytes that were read.", 0)),
        "claim": nullable(text("What the verdict is about, by its method; null where nothing was read.")),
        "errors": sequence(text(choices=ERROR_CODES)),
    }
)
"""One entry of a device's ``artefacts``."""
PAST_ARTEFACT: Final = record(
    {name: _FINDING[name] for name in ("kind", "verdict", "read_sha256", "detail", "method")},
)
"""One entry of a past verdict's ``artefacts``."""
