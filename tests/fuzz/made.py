"""Good bytes to begin with, beside those of the corpus: made by the tests of each format."""

from __future__ import annotations

from typing import Final

from agent.drivers.mms_pipe import Answer
from master.consensus.events import Connected, Now, Received, Report
from master.consensus.guard import SignerGuard
from master.consensus.messages import GetBody, Status
from master.io.store_records import encode_head
from master.journal.records import Note, SegmentEncoder, Taken
from master.ledger.rows import Head
from rules.items.table import FORMATS
from tests.fuzz.targets import REAL_FINALS, answer_again, modbus_answers
from tests.unit.agent import iedbench
from tests.unit.rules import test_package
from tests.unit.wire import samples, test_faultproof, test_snapshot
from tests.unit.wire.iec104 import test_apci, test_asdu, test_file_server
from wire import cbor
from wire.anchor import Anchor
from wire.faultproof import FaultFile
from wire.finality import encode_header_item
from wire.iec104.apci import IFrame, encode_i
from wire.lightclient import CertifiedHeader, Conflict

MADE: Final[dict[str, list[bytes]]] = {
    # of what a real run gave
    "headeritem": [encode_header_item(final) for final in REAL_FINALS],
    "down": [encode_header_item(final) for final in REAL_FINALS],
    "journal": [
        SegmentEncoder(len).note(Note(7, "a note")),
        SegmentEncoder(len).start("software", {"member": "a", "settings": samples.VALIDATORS}),
        *(
            SegmentEncoder(len).step(Taken(7, Now(8, 9), event, (Report("code", "detail"),), (bytes(64),)))
            for event in (Connected("b"), Received("b", Status(9, 0, "new")), Received("b", GetBody(bytes(32))))
        ),
    ],
    "apdu": [bytes.fromhex(octets) for _, octets in test_apci.FRAMES],
    "asdu": test_asdu.examples(),
    "iec104file": [
        b"".join(
            encode_i(number, 0, asdu) for number, asdu in enumerate(test_file_server.served(content, section_bytes))
        )
        for content, section_bytes in ((b"", 1), (bytes(range(250)), 600), (b"0123456789", 3))
    ],
    "item": [cbor.encode(samples.ITEM_OF_WORDS.to_value())],
    "modbusline": [modbus_answers(bytes(600)), modbus_answers(bytes(range(200)) * 3)],
    "iec104link": [
        b"".join(test_apci.encoded(IFrame(number, 0, asdu)) for number, asdu in enumerate(test_asdu.examples()[at:]))
        for at in (0, 20, 40)
    ],
    "anchor": [Anchor(final, (("dispatch", bytes(32), bytes(64)),)).encode() for final in REAL_FINALS[:2]],
    # what a demo of a few seconds does not bring about: made by hand
    "epochs": [cbor.encode([]), cbor.encode([samples.FIRST_END.to_value(), samples.SECOND_END.to_value()])],
    "conflict": [
        Conflict(
            CertifiedHeader(samples.HEADER, samples.CERTIFICATE),
            CertifiedHeader(samples.SECOND_HEADER, samples.CERTIFICATE),
            (samples.FIRST_END,),
        ).encode()
    ],
    "faultproof": [test_faultproof.PROOF.encode()],
    "faultfile": [FaultFile(test_faultproof.PROOF, (samples.FIRST_END,)).encode()],
    **{
        f"items-{name}": [
            bytes.fromhex(golden["content"]) for golden in test_package.GOLDEN["files"] if golden["format"] == name
        ]
        for name in FORMATS
    },
    "package": [test_package.PACKAGE.encode()],
    "mmsanswer": [
        answer_again(Answer(1, None, "", value=True)),
        answer_again(Answer(2, None, "", ["BAY1LD0"])),
        answer_again(Answer(3, None, "", ["text", b"SN-1"])),
        answer_again(Answer(4, None, "", [["NumOfSG", "integer", 2], ["ActSG", "integer", 1]])),
        answer_again(Answer(5, None, "", [["StrVal.setMag.f", "float", b"\x42\x44\x00\x00"]])),
        answer_again(Answer(6, None, "", [[b"/firmware.bin", 5, 0]])),
        answer_again(Answer(7, None, "", [["BAY1", "", [["LD0", "17"]]]])),
        answer_again(Answer(8, "missing", "answers object-non-existent", None)),
    ],
    "scl": [iedbench.scl(), iedbench.scl(revision=None, version="3")],
    "manifest": [test_snapshot.MANIFEST.encode()],
    "part": [cbor.encode(test_snapshot.PART)],
    "guard": [SignerGuard().encode(), SignerGuard(7, 0, 8, 1, 3, bytes(32), 1, is_restored=True).encode()],
    "head": [encode_head(Head(7, bytes(32), 8, bytes(32), test_snapshot.history(7)))],
}
