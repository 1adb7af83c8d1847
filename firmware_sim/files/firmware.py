"""A firmware image: header, vector table, sections, strings, trailer.

Shape of the file, integers little-endian as on the processors of such devices:

    0      header, 128 bytes: magic, header size, product, version, build date,
           image size, entry point, section count, CRC-32 of the header before it
    128    section table: name, offset, size, load address, CRC-32; 24 bytes each
    ...    .vectors .text .rodata .data .strings, each on a 256-byte boundary
    end    trailer, 16 bytes: magic, CRC-32 and 32-bit sum of everything before it
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from firmware_sim.files.stream import Stream

SIZE_BYTES_MIN = 64 * 1024
SIZE_BYTES_MAX = 2 * 1024 * 1024
MAGIC = b"SCDFW\x1a\x00\x02"
TRAILER_MAGIC = b"SCDEND\x1a\x02"

_HEADER = struct.Struct("<8sI32s24s16sIII28x")
_HEADER_BYTES = 128
_SECTION = struct.Struct("<8sIIII")
_TRAILER = struct.Struct("<8sII")
_ALIGN_BYTES = 256
_FLASH_ADDRESS = 0x0800_0000
_RAM_ADDRESS = 0x2000_0000
_VECTORS = 96
_WORD_MASK = 0xFFFF_FFFF

# Instruction words of a 16-bit encoding: (fixed bits, mask of the operand bits).
_OPCODES = (
    (0x2000, 0x07FF),
    (0x3000, 0x07FF),
    (0x1800, 0x01FF),
    (0x6800, 0x07FF),
    (0x6000, 0x07FF),
    (0x4800, 0x07FF),
    (0x4280, 0x003F),
    (0xD000, 0x02FF),
    (0xE000, 0x00FF),
    (0x4600, 0x00FF),
    (0x0000, 0x07FF),
    (0x8800, 0x07FF),
)
_PROLOGUE, _EPILOGUE, _PADDING = 0xB5F0, 0xBDF0, 0xBF00

_SUBJECTS = ("UFLS", "UVLS", "OUT-OF-STEP", "GEN TRIP", "DC MOD", "LINE TRIP", "BUS DIFF", "COMM")
_EVENTS = ("start", "reset", "blocked", "released", "operated", "failed", "timed out", "restored")
_DETAILS = ("stage %u", "line %s", "unit %u", "feeder %s", "%d MW", "code %04X", "after %u ms", "")


@dataclass(frozen=True, slots=True)
class FirmwareSpec:
    """What a firmware image is made from.

    Attributes:
        seed: Two images of the same seed and size share most of their bytes.
        product: At most 31 ASCII characters.
        version: At most 23 ASCII characters.
        build_date: At most 15 ASCII characters, such as ``2026-03-17``.
        size_bytes: Whole image, 64 KiB..2 MiB.
    """

    seed: str
    product: str
    version: str
    build_date: str
    size_bytes: int

    def __post_init__(self) -> None:
        """Check the bounds.

        Raises:
            ValueError: A text or the size is out of its bounds.
        """
        for name, limit in (("product", 31), ("version", 23), ("build_date", 15)):
            text = getattr(self, name)
            if not 1 <= len(text) <= limit or not text.isascii():
                raise ValueError(f"{name} {text!r} is not 1..{limit} ASCII characters")
        if not SIZE_BYTES_MIN <= self.size_bytes <= SIZE_BYTES_MAX:
            raise ValueError(f"size of {self.size_bytes} bytes, expected {SIZE_BYTES_MIN}..{SIZE_BYTES_MAX}")


def firmware_image(spec: FirmwareSpec) -> bytes:
    """Build an image of exactly ``spec.size_bytes`` bytes."""
    bodies = {
        ".vectors": _vectors(spec),
        ".rodata": _tables(spec),
        ".data": Stream("data", spec.seed, spec.version).take(2_048),
        ".strings": _strings(spec),
    }
    fixed = _HEADER_BYTES + _aligned(_SECTION.size * (len(bodies) + 1)) + _TRAILER.size
    room = spec.size_bytes - fixed - sum(_aligned(len(body)) for body in bodies.values())
    ordered = {".vectors": bodies[".vectors"], ".text": _code(spec, room // 2 * 2), **bodies}
    table = bytearray()
    image = bytearray()
    offset = _HEADER_BYTES + _aligned(_SECTION.size * len(ordered))
    for name, body in ordered.items():
        base = _RAM_ADDRESS if name == ".data" else _FLASH_ADDRESS + offset
        table += _SECTION.pack(name.encode(), offset, len(body), base, zlib.crc32(body))
        padded = body if name == ".text" else body.ljust(_aligned(len(body)), b"\xff")
        image += padded
        offset += len(padded)
    table_bytes = bytes(table).ljust(_aligned(len(table)), b"\xff")
    header = _header(spec, len(ordered))
    whole = (header + table_bytes + bytes(image)).ljust(spec.size_bytes - _TRAILER.size, b"\xff")
    return whole + _TRAILER.pack(TRAILER_MAGIC, zlib.crc32(whole), sum(whole) & _WORD_MASK)


def _header(spec: FirmwareSpec, sections: int) -> bytes:
    """Build the 128 bytes at the start."""
    texts = (spec.product.encode(), spec.version.encode(), spec.build_date.encode())
    entry = _FLASH_ADDRESS + _HEADER_BYTES
    head = _HEADER.pack(MAGIC, _HEADER_BYTES, *texts, spec.size_bytes, entry, sections)
    return head + struct.pack("<I", zlib.crc32(head))


def _aligned(size: int) -> int:
    return -(-size // _ALIGN_BYTES) * _ALIGN_BYTES


def _vectors(spec: FirmwareSpec) -> bytes:
    """Initial stack pointer, reset, then handlers; addresses are odd as 16-bit code wants."""
    stream = Stream("vectors", spec.seed)
    handlers = [_FLASH_ADDRESS + 0x400 + stream.below(0x8000) * 2 + 1 for _ in range(_VECTORS - 1)]
    return struct.pack(f"<{_VECTORS}I", _RAM_ADDRESS + 0x2_0000, *handlers)


def _code(spec: FirmwareSpec, size: int) -> bytes:
    """Fill ``size`` bytes with functions of plausible instruction words.

    The version changes one function in sixteen, as a small release does.
    """
    words: list[int] = []
    common = Stream("code", spec.seed)
    released = Stream("code", spec.seed, spec.version)
    count = size // 2
    while len(words) < count:
        length = common.between(12, 180)
        own = common.below(16) == 0
        noise = (released if own else common).take(length * 3)
        words.append(_PROLOGUE)
        for index in range(0, length * 3, 3):
            fixed, mask = _OPCODES[noise[index] % len(_OPCODES)]
            words.append(fixed | (noise[index + 1] << 8 | noise[index + 2]) & mask)
        words += [_EPILOGUE, _PADDING]
    return struct.pack(f"<{count}H", *words[:count])


def _tables(spec: FirmwareSpec) -> bytes:
    """Filter coefficients and curves: smooth 16-bit series, as a protection relay has them."""
    stream = Stream("tables", spec.seed)
    values: list[int] = []
    for _ in range(24):
        level, slope = stream.between(-12_000, 12_000), stream.between(-80, 80)
        values += [level + slope * step + stream.between(-3, 3) for step in range(128)]
    return struct.pack(f"<{len(values)}h", *(max(-32_768, min(32_767, item)) for item in values))


def _strings(spec: FirmwareSpec) -> bytes:
    """Log texts and the version banner, each ended by a zero byte."""
    texts = [f"{spec.product} {spec.version} built {spec.build_date}"]
    for subject in _SUBJECTS:
        texts += [f"{subject} {event} {detail}".strip() for event in _EVENTS for detail in _DETAILS]
    return b"\x00".join(text.encode() for text in texts) + b"\x00"
