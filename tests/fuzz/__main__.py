"""Campaigns: ``python -m tests.fuzz --minutes 10 [--only WORD] [--seed N]``; see `make fuzz`."""

from __future__ import annotations

import argparse
import sys
import time

from tests.fuzz.devices import DEVICES
from tests.fuzz.engine import FindingError, campaign
from tests.fuzz.targets import TARGETS


def main() -> int:
    """Run all decoders for their share of the time; 0 when nothing was found."""
    parser = argparse.ArgumentParser(description="feed hostile bytes to every decoder")
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--only", default="", help="decoders whose name holds this word")
    parser.add_argument("--seed", type=int, default=time.time_ns() // 10**9, help="by default another one each time")
    options = parser.parse_args()
    chosen = [target for target in (*TARGETS, *DEVICES) if options.only in target.name]
    found = 0
    for target in chosen:
        try:
            figures = campaign(target, options.seed, options.minutes * 60 / len(chosen))
        except FindingError as error:
            found += 1
            sys.stdout.write(f"FOUND {error}\n")
            continue
        sys.stdout.write(
            f"{target.name:17} {figures.inputs:8} inputs {figures.accepted:7} accepted {figures.refusals:4} refusals "
            f"{figures.slowest_s * 1000:7.1f} ms slowest {figures.memory_bytes >> 10:7} KiB most\n"
        )
        sys.stdout.flush()
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
