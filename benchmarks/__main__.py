"""python -m benchmarks [GROUP ...] [--minutes N]: measure, print tables, write build/bench/GROUP.json."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial

from benchmarks import (
    consensus,
    detection,
    files,
    fingerprint,
    fleet,
    gateway,
    iec104,
    ledger,
    memory,
    mms,
    proofs,
    queries,
    simulator,
    soak,
    verdicts,
)
from benchmarks.results import Result, show, write

GROUPS: dict[str, Callable[[], Sequence[Result]]] = {
    "fingerprint": fingerprint.measure,
    "files": files.measure,
    "iec104": iec104.measure,
    "mms": mms.measure,
    "agent": gateway.measure,
    "consensus": consensus.measure,
    "fleet": fleet.measure,
    "detection": detection.measure,
    "memory": memory.measure,
    "proofs": proofs.measure,
    "ledger": ledger.measure,
    "queries": queries.measure,
    "simulator": simulator.measure,
    "verdicts": verdicts.measure,
    "soak": soak.measure,
}
_USAGE = 64


def main(arguments: Sequence[str]) -> int:
    """Run the groups of these names, all of them if there are none."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    parser.add_argument("--minutes", type=float, default=soak.MINUTES, help="how long soak takes (default 30)")
    chosen = parser.parse_args(arguments)
    names: Sequence[str] = chosen.names
    unknown = [name for name in names if name not in GROUPS]
    if unknown:
        print(f"unknown group {unknown[0]!r}; there are: {', '.join(GROUPS)}", file=sys.stderr)
        return _USAGE
    groups: dict[str, Callable[[], Sequence[Result]]] = {**GROUPS, "soak": partial(soak.measure, chosen.minutes)}
    for name in names or GROUPS:
        results = groups[name]()
        show(name, results)
        print(f"written to {write(name, results)}\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
