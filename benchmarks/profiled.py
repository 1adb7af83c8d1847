"""python -m benchmarks.profiled FILE ARGUMENTS: run a full node and note where its threads spend CPU time.

From the moment at which FILE.start exists, a thread of its own looks at every other thread each few milliseconds, reads
how much CPU that thread has used since and books it on the stack that it sees; what a thread does in shorter bursts is
booked on the stack on which it waits. FILE gets [[ns, [thread, frames outside in]]] when the node stops. For benchmarks
alone; a node never does this by itself.
"""

from __future__ import annotations

import atexit
import json
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType

from master.cli import main

EVERY_S = 0.004
_LOOK_EVERY_S = 0.2


class Sampler:
    """Books CPU time of threads on their stacks."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start = path.with_name(f"{path.name}.start")
        self.stacks: Counter[tuple[str, ...]] = Counter()
        self._used_ns: dict[int, int] = {}

    def run(self) -> None:
        """Sample until the process ends."""
        own = threading.get_ident()
        while not self._start.exists():
            time.sleep(_LOOK_EVERY_S)
        while True:
            time.sleep(EVERY_S)
            names = {thread.ident: thread.name for thread in threading.enumerate()}
            for ident, frame in sys._current_frames().items():  # noqa: SLF001 there is no other way
                if ident != own and ident in names:
                    self._book(ident, names[ident], frame)

    def _book(self, ident: int, name: str, frame: FrameType | None) -> None:
        try:
            now_ns = time.clock_gettime_ns(time.pthread_getcpuclockid(ident))
        except OSError:
            return
        used_ns = now_ns - self._used_ns.get(ident, now_ns)
        self._used_ns[ident] = now_ns
        if used_ns <= 0:
            return
        found: list[str] = []
        while frame is not None:
            code = frame.f_code
            found.append(f"{code.co_filename.rpartition('/')[2]}:{code.co_qualname}")
            frame = frame.f_back
        self.stacks[name.rstrip("0123456789_"), *reversed(found)] += used_ns

    def write(self) -> None:
        """Write what was booked."""
        stacks = [[used_ns, list(stack)] for stack, used_ns in self.stacks.most_common()]
        self._path.write_text(json.dumps(stacks), encoding="utf-8")


if __name__ == "__main__":
    sampler = Sampler(Path(sys.argv[1]))
    atexit.register(sampler.write)
    threading.Thread(target=sampler.run, name="sampler", daemon=True).start()
    sys.argv[1:] = sys.argv[2:]
    main()
