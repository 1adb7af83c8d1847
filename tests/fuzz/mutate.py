"""Makes hostile bytes of honest ones: at random places, and inside the CBOR values that they hold."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final, TypeAlias

import cbor2

Tree: TypeAlias = Any
"""Whatever CBOR can hold."""

BYTES_MAX: Final = 512 * 1024
_INTEGERS: Final = (0, 1, -1, 15, 16, 17, 255, 256, 65_535, 65_536, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1, -(2**63))
_LENGTHS: Final = (0, 1, 15, 16, 31, 32, 33, 63, 64, 65, 255, 256, 4096, 65_535, 65_536, 65_537)
_TEXTS: Final = (
    "",
    "a",
    "A",
    "-",
    "a" * 64,
    "a" * 65,
    "a" * 300,
    "\x00",
    "\x7f",
    "\u0085",
    "e\u0301",
    "\u0378",
    "\U000e0001",
    "commit",
    "prepare",
    "view_change",
    "type",
    "signature",
)
_HEADS: Final = (
    b"\x9f",
    b"\xbf",
    b"\xff",
    b"\xc2\x41\x00",
    b"\xd8\x1c",
    b"\xd8\x1d\x00",
    b"\xf9\x7e\x00",
    b"\xfb" + bytes(8),
    b"\x1b" + b"\xff" * 8,
    b"\x3b" + b"\xff" * 8,
    b"\x5b" + b"\x7f" + b"\xff" * 7,
    b"\x9b" + b"\xff" * 8,
    b"\x9a\x00\x10\x00\x00",
    b"\x81" * 40,
    b"\xf7",
    b"\x7f",
)
_MARKS: Final = (
    "[",
    "]",
    "{",
    "}",
    '"',
    "'",
    "=",
    "\n",
    "#",
    ".",
    ",",
    "\\u0000",
    "\x00",
    "1e999",
    "-0",
    "[" * 2000,
    '{"a":' * 2000,
)
_DEEP: Final = (2, 6, 8, 9, 40)
_MANY: Final = (2, 17, 65, 1025, 20_000)


class Mutator:
    """Changes bytes by chance; the same seed gives the same bytes."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng

    def mutate(self, seeds: Sequence[bytes], *, is_text: bool = False) -> bytes:
        """Return one of the seeds, changed once to five times, at most 512 KiB."""
        rng = self._rng
        data = rng.choice(seeds) if seeds else b""
        for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5))):
            if is_text and rng.random() < 0.7:
                data = self._text(data)
            elif not is_text and rng.random() < 0.6:
                data = self._inside(data)
            else:
                data = self._bytes(data, seeds)
            data = data[:BYTES_MAX]  # each time: a line may become a hundred times as long
        return data

    # ---- anywhere ------------------------------------------------------------------------------

    def _bytes(self, data: bytes, seeds: Sequence[bytes]) -> bytes:
        rng = self._rng
        at, end = sorted((rng.randint(0, len(data)), rng.randint(0, len(data))))
        near = min(len(data), at + rng.choice((1, 1, 2, 4, 8, 32)))
        ways: tuple[Callable[[], bytes], ...] = (
            lambda: data[:at] + bytes((rng.randrange(256),)) + data[at + 1 :],
            lambda: data[:at] + bytes((data[at] ^ (1 << rng.randrange(8)) if at < len(data) else 0,)) + data[at + 1 :],
            lambda: data[:at] + data[near:],
            lambda: data[:at],
            lambda: data[at:],
            lambda: data[:at] + data[at:end] * 2 + data[end:],
            lambda: data[:at] + rng.randbytes(near - at) + data[near:],
            lambda: data[:at] + rng.choice(_HEADS) + data[at:],
            lambda: data[:at] + rng.choice(_HEADS) + data[near:],
            lambda: data[:at] + rng.choice(seeds or [b""])[at:],
            lambda: data + data,
            lambda: data[:at] + rng.choice(_INTEGERS[:13]).to_bytes(9, "big", signed=True)[-4:] + data[at + 4 :],
        )
        return rng.choice(ways)()

    def _text(self, data: bytes) -> bytes:
        rng = self._rng
        lines = data.split(b"\n")
        at = rng.randrange(len(lines))
        way = rng.randrange(5)
        if way == 0:
            del lines[at]
        elif way == 1:
            lines.insert(at, lines[rng.randrange(len(lines))])
        elif way == 2:
            lines[at] = lines[at][: rng.randint(0, len(lines[at]))] + rng.choice(_MARKS).encode() + b"\n"
        elif way == 3:
            words = lines[at].split(b" ")
            words[rng.randrange(len(words))] = rng.choice((*_MARKS, *map(str, _INTEGERS), *map(repr, _TEXTS))).encode()
            lines[at] = b" ".join(words)
        else:
            lines[at] = lines[at] * rng.choice((2, 3, 100))
        return b"\n".join(lines)

    # ---- inside a value ------------------------------------------------------------------------

    def _inside(self, data: bytes) -> bytes:
        """Change one value of the CBOR in the bytes, or in byte strings therein, and encode it as is due."""
        with contextlib.suppress(Exception):
            return cbor2.dumps(self._change(cbor2.loads(data), 0), canonical=self._rng.random() < 0.9)
        return self._bytes(data, [data])

    def _change(self, tree: Tree, depth: int) -> Tree:
        rng = self._rng
        if depth < 12 and rng.random() < 0.8:
            if isinstance(tree, dict) and tree:
                return self._change_map(tree, depth)
            if isinstance(tree, list) and tree:
                return self._change_array(tree, depth)
            if isinstance(tree, bytes) and len(tree) > 1 and rng.random() < 0.8:
                with contextlib.suppress(Exception):
                    return cbor2.dumps(self._change(cbor2.loads(tree), depth + 1), canonical=True)
        return self._replace(tree)

    def _change_map(self, tree: dict[Any, Tree], depth: int) -> Tree:
        rng, changed = self._rng, dict(tree)
        key = rng.choice(list(tree))
        way = rng.random()
        if way < 0.08:
            del changed[key]
        elif way < 0.14:
            changed[rng.choice(_TEXTS)] = rng.choice(list(tree.values()))
        elif way < 0.2:
            changed[key] = rng.choice(list(tree.values()))
        else:
            changed[key] = self._change(tree[key], depth + 1)
        return changed

    def _change_array(self, tree: list[Tree], depth: int) -> Tree:
        rng, changed = self._rng, list(tree)
        at = rng.randrange(len(tree))
        way = rng.random()
        if way < 0.1:
            del changed[at]
        elif way < 0.2:
            changed.insert(at, changed[rng.randrange(len(changed))])
        elif way < 0.25:
            changed = changed * rng.choice(_MANY[:3])
        elif way < 0.3:
            rng.shuffle(changed)
        else:
            changed[at] = self._change(tree[at], depth + 1)
        return changed

    def _replace(self, tree: Tree) -> Tree:
        rng = self._rng
        if isinstance(tree, int) and rng.random() < 0.5:
            return tree + rng.choice((-1, 1, 2, 1000))
        if isinstance(tree, bytes) and rng.random() < 0.5:
            return self._bytes(tree, [tree])[:BYTES_MAX]
        nested: Tree = []
        for _ in range(rng.choice(_DEEP)):
            nested = [nested] if rng.random() < 0.5 else {"a": nested}
        entry: Tree = rng.choice((0, [], {}, b"", "", None, bytes(32)))
        return rng.choice(
            (
                rng.choice(_INTEGERS),
                bytes(rng.choice(_LENGTHS)),
                rng.choice(_TEXTS),
                None,
                True,
                1.5,
                [],
                {},
                {1: 2},
                nested,
                [entry] * rng.choice(_MANY),
                cbor2.CBORTag(rng.choice((2, 18, 25, 28, 30, 258)), entry),
            )
        )
