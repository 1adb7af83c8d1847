"""A block's transaction is cut off at every write: the store holds the old state or the new one, undo included."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Self

import pytest

from master.io.store import Store
from master.io.store_records import StoreError
from master.io.store_tools import Fsck
from master.ledger.rows import Execution
from master.ledger.tree import _EMPTY_PAGES, StateTree
from master.ledger.undo import KEPT_BLOCKS
from tests.unit.store.chains import MAP_BYTES, Chain, dump, keys
from wire.certificate import Certificate, Step, build_certificate

BLOCKS = KEPT_BLOCKS + 2
"""So many that the next block gives up an old undo."""
PAGE_BYTES = 4096
DAMAGED, UNUSED, SILENT, UNEXPECTED = range(10, 14)
"""What becomes of a store with a lost page: found, not a page in use, not found, another error."""
Trip = Callable[[str], None]
Dump = dict[str, dict[bytes, bytes]]


class Wired:
    """An LMDB environment, transaction or cursor that asks before every write and after the commit."""

    def __init__(self, real: object, trip: Trip) -> None:
        self._real, self._trip = real, trip

    def __getattr__(self, name: str) -> object:
        call = getattr(self._real, name)
        if name in ("put", "replace", "pop", "delete", "commit"):
            return partial(self._write, name, call)
        if name in ("begin", "cursor"):
            return lambda *arguments, **options: Wired(call(*arguments, **options), self._trip)
        return call

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._real.__exit__(*_)  # type: ignore[attr-defined]

    def _write(self, name: str, call: Callable[..., object], *arguments: object, **options: object) -> object:
        self._trip(name)
        done = call(*arguments, **options)
        if name == "commit":
            self._trip("committed")
        return done


class CutError(Exception):
    """Stands for whatever ends a transaction before its time."""


@pytest.fixture
def chain() -> Chain:
    return Chain(Random(11))


@pytest.fixture
def path(tmp_path: Path, chain: Chain) -> Path:
    """Return the folder of a closed store that is one block short of its oldest undo going."""
    with Store.create(tmp_path / "store", chain.genesis, map_bytes=MAP_BYTES) as store:
        chain.grow(store, BLOCKS)
    return tmp_path / "store"


def opened(path: Path, chain: Chain) -> Store:
    return Store.open(path, chain.genesis, map_bytes=MAP_BYTES)


def content(path: Path, chain: Chain) -> Dump:
    with opened(path, chain) as store:
        return dump(store)


def commit(store: Store, execution: Execution, certificate: Certificate, trip: Trip) -> None:
    real = store._env
    store._env = Wired(real, trip)  # type: ignore[assignment]
    try:
        store.commit(execution, certificate)
    finally:
        store._env = real


def writes_of(path: Path, chain: Chain, execution: Execution) -> tuple[list[str], Dump]:
    """Return the writes of a block's transaction, and what the store holds after it."""
    writes: list[str] = []
    shutil.copytree(path, path.with_name("whole"))
    with opened(path.with_name("whole"), chain) as store:
        commit(store, execution, chain.certify(execution), writes.append)
        return writes, dump(store)


def test_error_at_any_write_of_a_block_leaves_the_old_state_and_a_second_try_the_new(path: Path, chain: Chain) -> None:
    old, execution = content(path, chain), chain.next(changes_max=len(keys()))
    writes, new = writes_of(path, chain, execution)
    assert {"put", "replace", "pop", "delete"} <= set(writes)
    assert writes[-2:] == ["commit", "committed"]
    assert old["undo"].keys() != new["undo"].keys()
    with opened(path, chain) as store:
        for last in range(len(writes) - 1):
            passed: list[str] = []

            def trip(name: str, last: int = last, passed: list[str] = passed) -> None:
                if len(passed) == last:
                    raise CutError
                passed.append(name)

            with pytest.raises(CutError):
                commit(store, execution, chain.certify(execution), trip)
            assert passed == writes[:last]
            assert dump(store) == old
            assert store.head().height == BLOCKS
            assert store.past_heights() == range(BLOCKS - KEPT_BLOCKS, BLOCKS + 1)
        store.commit(execution, chain.certify(execution))
        assert dump(store) == new


def test_process_that_dies_at_any_write_of_a_block_leaves_the_old_state_or_the_new(path: Path, chain: Chain) -> None:
    old, execution = content(path, chain), chain.next()
    writes, new = writes_of(path, chain, execution)
    for last in range(len(writes)):
        shutil.rmtree(path.with_name("cut"), ignore_errors=True)
        shutil.copytree(path, path.with_name("cut"))
        child = os.fork()
        if child == 0:
            die_at(last, path.with_name("cut"), chain, execution)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        is_new = writes[last] == "committed"
        assert content(path.with_name("cut"), chain) == (new if is_new else old)


def die_at(last: int, path: Path, chain: Chain, execution: Execution) -> None:
    """Commit a block in a process of its own, which ends without a word before write number ``last``."""
    left = [last]

    def trip(_name: str) -> None:
        if left[0] == 0:
            os._exit(9)
        left[0] -= 1

    commit(opened(path, chain), execution, chain.certify(execution), trip)
    os._exit(0)


def test_recovered_store_equals_one_that_never_failed_but_for_certificates(tmp_path: Path, chain: Chain) -> None:
    """Another certificate of the same block is as good: nothing else may differ, be it a byte."""
    rng = Random(5)
    with Store.create(tmp_path / "steady", chain.genesis, map_bytes=MAP_BYTES) as steady:
        store = Store.create(tmp_path / "failing", chain.genesis, map_bytes=MAP_BYTES)
        for _ in range(KEPT_BLOCKS + 12):
            execution = chain.next()
            steady.commit(execution, chain.certify(execution))
            other = build_certificate(Step.COMMIT, 0, execution.head.height, 1, execution.head.digest, [])
            left = [rng.randrange(40)]

            def trip(_name: str, left: list[int] = left) -> None:
                left[0] -= 1
                if left[0] < 0:
                    raise CutError

            try:
                commit(store, execution, other, trip)
            except CutError:
                # as after a restart: opened anew, and the block comes from somebody else
                store.close()
                store = opened(tmp_path / "failing", chain)
                store.commit(execution, other)
        assert dump(store, "certificates") == dump(steady, "certificates")
        assert pages(store.state_tree()) == pages(steady.state_tree()) == pages(chain.tree)
        store.close()
        assert Fsck(steady, chain.genesis, lambda _: None).run() == []


def pages(tree: StateTree) -> dict[int, bytes]:
    """Return the pages of a tree that hold anything."""
    return {
        number: bytes(page)
        for number, page in tree._pages.items()
        if bytes(page) != _EMPTY_PAGES[number.bit_length() - 1]
    }


def test_file_of_which_the_disk_lost_a_page_is_never_taken_for_whole(tmp_path: Path, chain: Chain) -> None:
    """A disk that lied about a sync loses pages; each is lost in turn, and a process of its own looks at the store."""
    with Store.create(tmp_path / "store", chain.genesis, map_bytes=MAP_BYTES) as store:
        chain.grow(store, 3)
    path = tmp_path / "store" / "data.mdb"
    raw, whole, found = path.read_bytes(), content(tmp_path / "store", chain), Counter[int]()
    for page in range(2, len(raw) // PAGE_BYTES):
        path.write_bytes(raw[: page * PAGE_BYTES] + bytes(PAGE_BYTES) + raw[(page + 1) * PAGE_BYTES :])
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            os._exit(look(tmp_path / "store", chain, whole))
        # a negative code is a signal: what LMDB does with some pages that are none
        found[os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])] += 1
    assert found[SILENT] == found[UNEXPECTED] == 0
    assert min(found[DAMAGED], found[UNUSED]) > 5


def look(path: Path, chain: Chain, whole: Dump) -> int:
    """Return what becomes of a store with a lost page."""
    try:
        with opened(path, chain) as store:
            if Fsck(store, chain.genesis, lambda _: None).run():
                return DAMAGED
            return UNUSED if dump(store) == whole else SILENT
    except StoreError:
        return DAMAGED
    except BaseException:  # noqa: BLE001 - in a process that ends here, nobody else would see it
        return UNEXPECTED
