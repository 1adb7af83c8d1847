"""Every decoder of ours that meets bytes of others, or of a disk: what it may raise, what must hold of its result."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import struct
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

from nacl.signing import SigningKey

from agent.config import AgentConfig
from agent.drivers import mms_answers, mms_pipe
from agent.drivers.link import LinkCounters, LinkError
from agent.drivers.mms_pipe import Answer
from agent.drivers.modbus_files import FileRecords
from agent.drivers.modbus_link import Link, LinkLimits
from agent.drivers.scl import SclError, parse_scl
from agent.io.headers import HeaderStore
from agent.io.outbox import Outbox
from agent.io.trust import NotProven, Trust
from kit.config import ConfigProblemsError, load
from kit.exitcodes import DataError, StorageError
from master.api.problems import Problem
from master.api.submit import _split
from master.config import NodeConfig
from master.consensus.guard import decode_guard
from master.consensus.message_checks import verify_message
from master.consensus.message_codec import decode_message, encode_message
from master.consensus.records import decode_record, encode_record
from master.io.backups import MANIFEST_FILE, read_manifest
from master.io.frames import FrameDecoder as PeerFrameDecoder
from master.io.frames import FrameError, frame
from master.io.guard import GuardFile, owner_of
from master.io.store_records import decode_head, encode_head
from master.io.store_tools import read_export
from master.io.wal import WriteAheadLog
from master.journal.graph import JournalError
from master.journal.records import SegmentDecoder
from rules.fingerprint import Fingerprint
from rules.items.root import items_of
from rules.items.table import FORMATS, read_items_as
from rules.package import decode_package
from tests.unit.wire.iec104 import stored, test_apci
from wire import cbor, cose
from wire.anchor import decode_anchor, verify_anchor
from wire.block import decode_block
from wire.certificate import ValidatorSet, decode_certificate, decode_validators, verify_certificate
from wire.epochs import EPOCHS_MAX, decode_epoch_ends, verify_epochs
from wire.errors import FormatError, SignatureError, WireError
from wire.evidence import decode_evidence, decode_item
from wire.evidencebundle import decode_evidence_bundle, verify_evidence_bundle
from wire.faultproof import decode_fault_file, decode_fault_proof, verify_fault_file, verify_fault_proof
from wire.finality import decode_final_header, decode_header_item, encode_header_item, verify_final_header
from wire.genesis import decode_genesis
from wire.header import decode_header
from wire.historyproof import (
    decode_consistency_proof,
    decode_history_proof,
    verify_consistency_proof,
    verify_history_proof,
)
from wire.iec104.apci import Frame, FrameDecoder, IFrame
from wire.iec104.asdu import Asdu, decode_asdu
from wire.iec104.errors import ApciError, AsduError, FileTransferError
from wire.iec104.fileread import FileReader
from wire.iec104.link import ControllingLink, LinkParameters
from wire.iec104.link import Received as AsduReceived
from wire.iec104.points import encode_points
from wire.lightclient import accept, begin, decode_conflict, verify_conflict
from wire.receipt import decode_bundle, decode_outcome, decode_receipt, verify_receipt
from wire.release import decode_release
from wire.snapshot import decode_manifest, part_of_value, verify_manifest, verify_part
from wire.stateproof import decode_state_proof, verify_state_proof
from wire.topics import parse_topic
from wire.tx import open_tx

CORPUS: Final = Path(__file__).parent / "corpus"
GENESIS: Final = decode_genesis((CORPUS / "genesis.cbor").read_bytes())
VALIDATORS: Final = GENESIS.validator_set()
CHAIN: Final = GENESIS.chain()
_SEQUENCE_MAX: Final = 256
REAL_FINALS: Final = [
    decode_final_header(cbor.decode(path.read_bytes())) for path in sorted((CORPUS / "final").glob("*"))
]


@dataclass(frozen=True, slots=True)
class Target:
    """One decoder.

    Attributes:
        name: Also the folder of its corpus.
        decode: Takes the bytes.
        refusals: All that it may raise.
        encode: The result's bytes again, None where it has no one form.
        prove: Goes on to what verifies the result; may raise the same.
        is_text: The bytes are JSON, TOML or the like.
        seeds: Its corpus, or a part of it.
        covers: Parts of the paths of its code; inputs that reach new lines of it are mutated further.
    """

    name: str
    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes] | None = None
    prove: Callable[[Any], object] = lambda _: None
    refusals: tuple[type[Exception], ...] = (WireError,)
    is_text: bool = False
    seeds: tuple[bytes, ...] = ()
    covers: tuple[str, ...] = ()


def _value(decode: Callable[[Any], Any]) -> Callable[[bytes], Any]:
    return lambda raw: decode(cbor.decode(raw))


def _encoded(result: Any) -> bytes:  # noqa: ANN401 any of our formats
    raw = result.encode()
    assert isinstance(raw, bytes)
    return raw


def _listed(result: Any) -> bytes:  # noqa: ANN401 any of our formats
    return cbor.encode(result.to_value())


def _tx_again(signed: Any) -> bytes:  # noqa: ANN401 a signed transaction
    """Put a parsed transaction together again from its parts."""
    envelope = signed.envelope
    head = b"\xd2\x84\x55\xa2\x01\x27\x04\x50" + envelope.kid + b"\xa0"
    return b"".join((head, cbor.encode(signed.tx.encode()), cbor.encode(envelope.signature)))


def _verify_tx(signed: Any) -> None:  # noqa: ANN401 a signed transaction
    try:
        signed.verify(GENESIS.keys[0].key)
    except SignatureError:
        return


def _verify_certificate(certificate: Any) -> None:  # noqa: ANN401 a certificate
    verify_certificate(certificate, CHAIN, VALIDATORS)


def _verify_part(part: Any) -> None:  # noqa: ANN401 part of a snapshot
    verify_part(part, bytes(32))


def _epochs(raw: bytes) -> Any:  # noqa: ANN401 epoch ends
    value = cbor.decode(raw)
    if not isinstance(value, list) or len(value) > EPOCHS_MAX:
        raise FormatError("epochs: no list")
    return decode_epoch_ends(value)


def _frames(raw: bytes) -> list[bytes]:
    """Feed a connection's bytes in three pieces."""
    decoder, third = PeerFrameDecoder(), max(1, len(raw) // 3)
    found = [message for at in range(0, len(raw), third) for message in decoder.receive(raw[at : at + third])]
    if not decoder.is_between_frames:
        raise FrameError("the last frame is not complete")
    return found


_FOLDER: Final = tempfile.TemporaryDirectory(prefix="fuzz")


def _in_folder(name: str, act: Callable[[Path], Any]) -> Callable[[bytes], Any]:
    """Run a reader of files on a file with these bytes, alone in a folder."""
    path = Path(_FOLDER.name) / name / name

    def run(raw: bytes) -> Any:  # noqa: ANN401 whatever the reader gives
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(raw)
        return act(path)

    return run


def _read_wal(path: Path) -> list[bytes]:
    wal = WriteAheadLog(path)
    try:
        return wal.read()
    finally:
        wal.close()


def _read_guard(path: Path) -> object:
    with GuardFile(path, owner_of(CHAIN, VALIDATORS.validators[0].member, bytes(32))) as guard:
        return guard.guard


@cache
def _station() -> Trust:
    """A gateway's judgement of what comes down; its outbox stays open for all inputs."""
    key = SigningKey(bytes(32))
    path = Path(_FOLDER.name) / "outbox.sqlite"
    outbox = Outbox(path, lambda raw, _seq, _until: key.sign(raw).signature, bytes_max=2**20, valid_ms=1)
    atexit.register(outbox.close)
    headers = HeaderStore(Path(_FOLDER.name) / "headers.sqlite", GENESIS)
    atexit.register(headers.close)
    return Trust(GENESIS, outbox, headers)


def _take_item(raw: bytes) -> None:
    """Judge an item; nothing of what a stranger sends may settle anything, or be believed but a genuine header."""
    verdict = _station().take(raw, {})
    if not isinstance(verdict, NotProven):
        assert decode_header_item(raw).header in {final.header.digest(): final.header for final in REAL_FINALS}.values()


def _light(final: Any) -> object:  # noqa: ANN401 a final header
    return accept(begin(GENESIS), final)


_WIRE: Final = (
    Target("cbor", cbor.decode, cbor.encode),
    Target("tx", open_tx, _tx_again, _verify_tx),
    Target("evidence", decode_evidence, _encoded),
    Target("item", _value(decode_item), _listed),
    Target("release", decode_release, _encoded),
    Target("header", decode_header, _encoded),
    Target("certificate", _value(decode_certificate), _listed, _verify_certificate),
    Target("validators", _value(decode_validators), _listed, ValidatorSet.digest),
    Target("block", decode_block, _encoded),
    Target("outcome", decode_outcome, _encoded),
    Target("receipt", decode_receipt, _encoded, lambda receipt: verify_receipt(receipt, b"", GENESIS)),
    Target("bundle", decode_bundle, _encoded, lambda bundle: verify_receipt(bundle.receipt, bundle.tx, GENESIS)),
    Target(
        "evidencebundle",
        decode_evidence_bundle,
        _encoded,
        lambda bundle: verify_evidence_bundle(bundle, GENESIS),
    ),
    Target(
        "epochs",
        _epochs,
        lambda ends: cbor.encode([end.to_value() for end in ends]),
        lambda ends: verify_epochs(GENESIS, ends),
    ),
    Target("genesis", decode_genesis, _encoded),
    Target(
        "final",
        _value(decode_final_header),
        _listed,
        lambda final: (verify_final_header(final, GENESIS), _light(final)),
    ),
    Target("stateproof", decode_state_proof, _encoded, lambda proof: verify_state_proof(proof, GENESIS)),
    Target("historyproof", decode_history_proof, _encoded, lambda proof: verify_history_proof(proof, GENESIS)),
    Target(
        "consistencyproof",
        decode_consistency_proof,
        _encoded,
        lambda proof: verify_consistency_proof(proof, proof.header, GENESIS),
    ),
    Target("conflict", decode_conflict, _encoded, lambda conflict: verify_conflict(conflict, GENESIS)),
    Target(
        "faultproof",
        decode_fault_proof,
        _encoded,
        lambda proof: verify_fault_proof(proof, CHAIN, 0, VALIDATORS),
    ),
    Target("faultfile", decode_fault_file, _encoded, lambda file: verify_fault_file(file, GENESIS)),
    Target("headeritem", decode_header_item, encode_header_item, lambda final: verify_final_header(final, GENESIS)),
    Target("anchor", decode_anchor, _encoded, lambda anchor: verify_anchor(anchor, GENESIS)),
    Target("manifest", decode_manifest, _encoded, lambda manifest: verify_manifest(manifest, GENESIS)),
    Target("part", _value(part_of_value), _listed, _verify_part),
    Target("topic", lambda raw: parse_topic(raw.decode("latin-1")), lambda topic: str(topic).encode(), is_text=True),
)


def _apdus(raw: bytes) -> list[Frame]:
    """Cut a stream of APDUs that has to end with a whole one."""
    decoder = FrameDecoder()
    found = decoder.receive(raw)
    if decoder.held_bytes:
        raise ApciError("the last APDU is not complete")
    return found


def _check_points(asdu: Asdu) -> None:
    """Points mean the same when they are written again, without the reserved bits."""
    if asdu.points:
        head = asdu.head
        body = encode_points(head.type_id, asdu.points, is_sequence=head.is_sequence)
        count = head.count | head.is_sequence << 7
        assert decode_asdu(bytes((head.type_id, count, 0, 0, 0, 0)) + body).points == asdu.points


def _answered(raw: bytes) -> list[Asdu]:
    """Let a started controlling station hear these bytes."""
    link = ControllingLink(LinkParameters(), 0)
    link.start(0)
    link.receive(bytes.fromhex("68040b000000"), 0)
    found = [decode_asdu(event.asdu) for event in link.receive(raw, 0) if isinstance(event, AsduReceived)]
    link.tick(0)
    assert len(link.take_output()) <= len(raw) + 12
    return found


def _file_read(raw: bytes) -> int:
    """Let a file reader hear a stream of APDUs."""
    reader = FileReader(stored.STATION, stored.ADDRESS, stored.NAME)
    taken = sum(len(reader.take(decode_asdu(frame.asdu)).data) for frame in _apdus(raw) if isinstance(frame, IFrame))
    assert taken == reader.read_bytes <= len(raw)
    return taken


_IEC104: Final = (
    Target("apdu", _apdus, lambda found: b"".join(map(test_apci.encoded, found)), refusals=(ApciError,)),
    Target("asdu", decode_asdu, None, _check_points, refusals=(AsduError,)),
    Target("iec104link", _answered, refusals=(ApciError, AsduError)),
    Target("iec104file", _file_read, refusals=(ApciError, AsduError, FileTransferError)),
)


class _Answers(asyncio.Transport):
    """Stands for a device: whatever it is asked, it sends the next frame of the input, and all that is no frame."""

    def __init__(self, raw: bytes) -> None:
        super().__init__()
        self.link: Link | None = None
        self._left = raw

    def write(self, data: bytes | bytearray | memoryview) -> None:
        end = 6 + int.from_bytes(self._left[4:6], "big")
        piece, self._left = self._left[:end], self._left[end:]
        asyncio.get_running_loop().call_soon(self._send, piece, end)

    def _send(self, piece: bytes, due: int) -> None:
        if piece and self.link is not None:
            self.link.data_received(piece)
        if len(piece) < due and self.link is not None:  # no more will come
            self.link.connection_lost(None)

    def abort(self) -> None:
        self.link = None


def _modbus_read(raw: bytes) -> int:
    """Let a Modbus connection hear these answers to a register and to a file of 600 bytes."""

    async def work() -> int:
        link = Link(LinkLimits(unit_id=1, timeout_ms=20, pacing_ms=0, busy_pause_ms=0), LinkCounters())
        answers = _Answers(raw)
        answers.link = link
        link.connection_made(answers)
        try:
            assert len(await link.ask(b"\x04\x00\x64\x00\x01")) <= len(raw)
            content = Fingerprint()
            records = FileRecords(1, 600, content)
            await link.read_file(records)
            records.flush()
        finally:
            link.abort()
        assert content.result().size <= len(raw)
        return content.result().size

    return asyncio.run(work())


def modbus_answers(content: bytes) -> bytes:
    """Return what a device answers that holds so much of the file."""
    frames = [b"\x04\x02\x00\x01"]
    for first in range(0, 600, 242):
        part = content[first : min(first + 242, 600)]
        frames.append(bytes((20, len(part) + 2, len(part) + 1, 6)) + part if part else b"\x94\x02")
    return b"".join(struct.pack(">HHHB", number, 0, len(pdu) + 1, 1) + pdu for number, pdu in enumerate(frames, 1))


_MODBUS: Final = (Target("modbusline", _modbus_read, refusals=(LinkError,)),)
_MASTER: Final = (
    Target(
        "message",
        decode_message,
        encode_message,
        lambda message: verify_message(message, CHAIN, VALIDATORS, cose.verify_ed25519),
    ),
    Target("record", decode_record, encode_record),
    Target("guard", decode_guard, _encoded),
    Target("head", decode_head, encode_head, refusals=(WireError,)),
    Target("frames", _frames, lambda found: b"".join(map(frame, found)), refusals=(FrameError,)),
    Target("sequence", lambda raw: _split(raw, _SEQUENCE_MAX), b"".join, refusals=(Problem,)),
    Target("wal", _in_folder("wal", _read_wal), refusals=(StorageError,)),
    Target("guardfile", _in_folder("guard", _read_guard), refusals=(StorageError, DataError)),
    Target(
        "export",
        _in_folder("export", lambda path: list(read_export(path, CHAIN))),
        refusals=(WireError, DataError),
    ),
    Target(
        "backup",
        _in_folder(MANIFEST_FILE, lambda path: read_manifest(path.parent)),
        refusals=(DataError,),
        is_text=True,
    ),
)


def answer_again(answer: Answer) -> bytes:
    return mms_pipe.pack_answer(answer)[mms_pipe.HEAD.size :]


def _check_answer(answer: Answer) -> None:
    """Hand the value to every reader of values."""
    for check in (
        mms_answers.as_names,
        mms_answers.as_text,
        mms_answers.as_block,
        mms_answers.as_files,
        mms_answers.as_ieds,
        partial(mms_answers.as_leaves, node="LD0/PTUF1"),
    ):
        with contextlib.suppress(FormatError):
            check(answer.value)


_MMS: Final = (
    Target("mmsanswer", mms_pipe.unpack_answer, answer_again, _check_answer),
    Target("scl", parse_scl, refusals=(SclError,), is_text=True),
)
_RULES: Final = (
    *(
        Target(
            f"items-{name}",
            partial(read_items_as, name),
            prove=lambda found: items_of(found, bytes(32)),
            is_text=name != "registers",
        )
        for name in FORMATS
    ),
    Target("package", decode_package, _encoded),
)
_OTHERS: Final = (
    Target("journal", lambda raw: SegmentDecoder(len).decode(raw), refusals=(JournalError,)),
    Target("down", _take_item, refusals=()),
    Target(
        "agenttoml",
        _in_folder("agent.toml", lambda path: load(path, AgentConfig, env_prefix="GRIDWITNESS_FUZZ", environ={})),
        refusals=(ConfigProblemsError,),
        is_text=True,
    ),
    Target(
        "nodetoml",
        _in_folder("node.toml", lambda path: load(path, NodeConfig, env_prefix="GRIDWITNESS_FUZZ", environ={})),
        refusals=(ConfigProblemsError,),
        is_text=True,
    ),
)
TARGETS: Final[Sequence[Target]] = (*_WIRE, *_IEC104, *_MMS, *_MODBUS, *_RULES, *_MASTER, *_OTHERS)
