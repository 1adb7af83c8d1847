"""python -m benchmarks.profiled FILE ARGUMENTS: run a full node and note what its steps cost.

Functions of the node are wrapped: each call reads the CPU clock of its thread before and after, and what a wrapped
function calls is taken off its caller's account, so that every microsecond is booked once. What no wrapped function
accounts for on the thread of the event loop is receiving and sending: sockets, TLS, HTTP and the loop itself. Counting
begins when FILE.start exists; FILE gets {step: ns} when the node stops. For benchmarks alone; a node never does this by
itself.
"""

from __future__ import annotations

import atexit
import functools
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from master import app, chain, engine, mempool, node
from master.api import submit
from master.cli import main
from master.consensus import replica
from master.io import guard, store, wal
from master.ledger import application
from wire import cose

_LOOK_EVERY_S: Final = 0.2
REST_OF_LOOP: Final = "receive"
REST: Final = "other"

# step -> owner and name under which callers find its functions
STEPS: Final[dict[str, tuple[tuple[Any, str], ...]]] = {
    "decode": ((node, "open_tx"), (mempool, "open_tx"), (engine, "decode_message")),
    "verify": ((cose, "verify_ed25519"), (engine, "verify_by_epoch"), (node.Node, "_verify")),
    "mempool": (
        (node.Node, "_screen"),
        (node.Node, "_settle"),
        (node.Node, "take_gossip"),
        (chain.Chain, "candidates"),
        (mempool.Mempool, "open"),
    ),
    "propose": ((chain.Chain, "build"), (application.Application, "propose")),
    "vote": (
        (replica.Replica, "step"),
        (engine, "encode_message"),
        (wal.WriteAheadLog, "append"),
        (wal.WriteAheadLog, "clear"),
        (guard.GuardFile, "save"),
    ),
    "execute": ((application.Application, "process"),),
    "store": ((chain.Chain, "apply"), (store.Store, "commit"), (application.Application, "committed")),
    "answer": ((submit, "answer"), (node.Node, "applied"), (app, "catch_up")),
}


class Clocks:
    """What each step has cost so far, by thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start = path.with_name(f"{path.name}.start")
        self._local = threading.local()
        self._spent: list[Counter[str]] = []
        self._began_ns = self._loop_began_ns = self._loop_clock = 0
        self.is_counting = False

    def wait(self) -> None:
        """Begin to count once the file says so."""
        while not self._start.exists():
            time.sleep(_LOOK_EVERY_S)
        self._loop_clock = time.pthread_getcpuclockid(threading.main_thread().ident or 0)
        self._loop_began_ns = time.clock_gettime_ns(self._loop_clock)
        self._began_ns = time.process_time_ns()
        self.is_counting = True

    def wrap(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with its cost booked under ``step``."""

        @functools.wraps(function)
        def timed(*args: object, **named: object) -> object:
            if not self.is_counting:
                return function(*args, **named)
            spent, inner = self._accounts()
            inner.append(0)
            began_ns = time.thread_time_ns()
            try:
                return function(*args, **named)
            finally:
                used_ns = time.thread_time_ns() - began_ns
                spent[step] += used_ns - inner.pop()
                if inner:
                    inner[-1] += used_ns
                else:
                    spent[""] += used_ns

        return timed

    def _accounts(self) -> tuple[Counter[str], list[int]]:
        try:
            return self._local.spent, self._local.inner
        except AttributeError:
            self._local.spent, self._local.inner = Counter(), []
            is_loop = threading.current_thread() is threading.main_thread()
            self._spent.insert(0 if is_loop else len(self._spent), self._local.spent)
            return self._local.spent, self._local.inner

    def write(self) -> None:
        """Write what was counted."""
        total: Counter[str] = Counter()
        for spent in self._spent:
            total.update(spent)
        wrapped_ns = total.pop("", 0)
        loop_ns = time.clock_gettime_ns(self._loop_clock) - self._loop_began_ns - self._spent[0][""]
        total[REST_OF_LOOP] += loop_ns
        total[REST] += time.process_time_ns() - self._began_ns - wrapped_ns - loop_ns
        self._path.write_text(json.dumps(total), encoding="utf-8")


def wrap_all(clocks: Clocks) -> None:
    """Wrap the functions of all steps."""
    for step, places in STEPS.items():
        for owner, name in places:
            setattr(owner, name, clocks.wrap(step, getattr(owner, name)))


if __name__ == "__main__":
    clocks = Clocks(Path(sys.argv[1]))
    wrap_all(clocks)
    atexit.register(clocks.write)
    threading.Thread(target=clocks.wait, name="clocks", daemon=True).start()
    sys.argv[1:] = sys.argv[2:]
    main()
