"""A child process gives up what it will not need: files, other ports, new privileges, memory without end.

Called once, after the imports and before the first byte from outside. What the kernel does not offer (Landlock came
with Linux 5.13, its network rules with 6.7) is left out, and the caller learns it.

Source: Landlock, Documentation/userspace-api/landlock.rst of Linux; prctl(2), setrlimit(2).
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
from typing import Final

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG: Final = 1
_RULE_PATH_BENEATH, _RULE_NET_PORT = 1, 2
_READ_FILE, _WRITE_FILE, _TRUNCATE = 1 << 2, 1 << 1, 1 << 14
_FILE_RIGHTS: Final = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""All rights over files and folders that a version of Landlock knows."""
_BIND_TCP, _CONNECT_TCP = 1 << 0, 1 << 1
_NETWORK_SINCE, _SCOPES_SINCE = 4, 6
_ALL_SCOPES: Final = 3
"""No abstract UNIX socket and no signal to a process outside."""


def limit(*, file_bytes: int, memory_bytes: int) -> None:
    """Die with the parent, gain no privileges, leave no core, and take no more than this.

    Args:
        file_bytes: Largest file that may be written.
        memory_bytes: Address space.
    """
    library = ctypes.CDLL(None, use_errno=True)
    parent = os.getppid()
    library.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it ended before the call above took hold
        os._exit(1)
    library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for name, wanted in (
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(name)
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(name, (value, value))


def lock_out(file: int, port: int) -> bool:
    """Forbid every file but one, every TCP port but one, and every other process, for this process for ever.

    Args:
        file: Descriptor of the one file that may be opened anew, to read and to write.
        port: The only TCP port that may be connected to.

    Returns:
        Whether the kernel does it; without Landlock nothing is forbidden.
    """
    library = ctypes.CDLL(None, use_errno=True)
    version = library.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION_FLAG)
    if version < 1:
        return False
    rights = _FILE_RIGHTS[max(known for known in _FILE_RIGHTS if known <= version)]
    attributes = struct.pack("=Q", rights)
    if version >= _NETWORK_SINCE:
        attributes += struct.pack("=Q", _BIND_TCP | _CONNECT_TCP)
    if version >= _SCOPES_SINCE:
        attributes += struct.pack("=Q", _ALL_SCOPES)
    rules = library.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if rules < 0:
        return False
    try:
        allowed = (_READ_FILE | _WRITE_FILE | _TRUNCATE) & rights
        wanted = [(_RULE_PATH_BENEATH, struct.pack("=Qi", allowed, file))]
        if version >= _NETWORK_SINCE:
            wanted.append((_RULE_NET_PORT, struct.pack("=QQ", _CONNECT_TCP, port)))
        done = all(library.syscall(_ADD_RULE, rules, kind, rule, 0) == 0 for kind, rule in wanted)
        return done and library.syscall(_RESTRICT_SELF, rules, 0) == 0
    finally:
        os.close(rules)
