"""python -m benchmarks [GROUP ...]: measure, print tables, write build/bench/GROUP.json."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from benchmarks import consensus, detection, files, fingerprint, memory, proofs
from benchmarks.results import Result, show, write

GROUPS: dict[str, Callable[[], Sequence[Result]]] = {
    "fingerprint": fingerprint.measure,
    "files": files.measure,
    "consensus": consensus.measure,
    "detection": detection.measure,
    "memory": memory.measure,
    "proofs": proofs.measure,
}
_USAGE = 64


def main(names: Sequence[str]) -> int:
    """Run the groups of these names, all of them if there are none."""
    unknown = [name for name in names if name not in GROUPS]
    if unknown:
        print(f"unknown group {unknown[0]!r}; there are: {', '.join(GROUPS)}", file=sys.stderr)
        return _USAGE
    for name in names or GROUPS:
        results = GROUPS[name]()
        show(name, results)
        print(f"written to {write(name, results)}\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
