"""python -m benchmarks.bare_mms PORT PATH SIZE: pyiec61850-ng alone fetches a file, again and again.

It prints the best rate in MB/s. It is a process of its own, since the library is under the GPLv3; nothing is digested.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import pyiec61850.pyiec61850 as library

from client.demo.ports import LOOPBACK

ROUNDS: Final = 5


def main() -> None:
    """Fetch the file and print the best rate."""
    port, path, size = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    connection = library.IedConnection_create()
    error = library.IedConnection_connect(connection, LOOPBACK, port)[1]
    assert error == library.IED_ERROR_OK, library.IedClientError_toString(error)
    mms = library.IedConnection_getMmsConnection(connection)
    best = 0.0
    with tempfile.TemporaryDirectory() as name:
        target = Path(name) / "fetched"
        for _ in range(ROUNDS):
            began_s = time.perf_counter()
            error = library.MmsError_create()
            assert library.MmsConnection_downloadFile(mms, error, path, str(target)), "the file did not come"
            library.MmsErrror_destroy(error)  # the library spells it so
            best = max(best, size / (time.perf_counter() - began_s) / 1e6)
            assert target.stat().st_size == size, "a byte was not read"
    library.IedConnection_destroy(connection)
    print(best)


if __name__ == "__main__":
    main()
