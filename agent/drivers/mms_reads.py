"""Reads an IEC 61850 device with libiec61850: the only file of this product that loads that library.

It runs in the child process `agent.drivers.mms_child` alone, never in the agent: the library is C, and its licence is
the GPLv3. Every function of the library that stands here reads; a test holds the list (MM-4). Calls block, some keep
every thread waiting, and a wrong byte from the device may end the process: the agent expects that.

Source: IEC 61850-8-1 (names of objects), ISO 9506-1 (services); pyiec61850-ng 1.6.1.10.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

import pyiec61850.pyiec61850 as library

from agent.drivers.mms_pipe import FILE_BYTES_MAX
from agent.drivers.scl import SCL_BYTES_MAX, SclError, parse_scl
from wire.cbor import Value

ASSOCIATIONS_MAX: Final = 5
"""Associations that one `connect` tries: the library loses about one in 300 at once, and never finds it again."""
NAMES_MAX: Final = 65_536
LEAVES_MAX: Final = 8192
LEVELS_MAX: Final = 8
FILES_MAX: Final = 4096
TEXT_BYTES_MAX: Final = 1024

Pointer: TypeAlias = Any
"""What the binding gives for a pointer of C; it tells types at run time alone."""

_DOMAIN: Final = re.compile(r"[A-Za-z0-9_]{1,64}")
_ITEM: Final = re.compile(r"[A-Za-z][A-Za-z0-9_$]{0,128}")
_FAULTS: Final = {
    library.MMS_ERROR_CONNECTION_REJECTED: "unreachable",
    library.MMS_ERROR_CONNECTION_LOST: "lost",
    library.MMS_ERROR_SERVICE_TIMEOUT: "lost",
    library.MMS_ERROR_CONCLUDE_REJECTED: "lost",
    library.MMS_ERROR_ACCESS_OBJECT_NON_EXISTENT: "missing",
    library.MMS_ERROR_ACCESS_OBJECT_INVALIDATED: "missing",
    library.MMS_ERROR_DEFINITION_OBJECT_UNDEFINED: "missing",
    library.MMS_ERROR_FILE_FILE_NON_EXISTENT: "missing",
    library.MMS_ERROR_ACCESS_OBJECT_ACCESS_DENIED: "refused",
    library.MMS_ERROR_ACCESS_OBJECT_ACCESS_UNSUPPORTED: "refused",
    library.MMS_ERROR_FILE_FILE_ACCESS_DENIED: "refused",
    library.MMS_ERROR_ACCESS_TEMPORARILY_UNAVAILABLE: "busy",
    library.MMS_ERROR_SERVICE_PREEMPT_OTHER: "busy",
    library.MMS_ERROR_FILE_FILE_BUSY: "busy",
}
_CLIENT_FAULTS: Final = {
    library.IED_ERROR_NOT_CONNECTED: "lost",
    library.IED_ERROR_CONNECTION_LOST: "lost",
    library.IED_ERROR_TIMEOUT: "lost",
    library.IED_ERROR_CONNECTION_REJECTED: "unreachable",
    library.IED_ERROR_OBJECT_DOES_NOT_EXIST: "missing",
    library.IED_ERROR_OBJECT_UNDEFINED: "missing",
    library.IED_ERROR_ACCESS_DENIED: "refused",
    library.IED_ERROR_OBJECT_ACCESS_UNSUPPORTED: "refused",
    library.IED_ERROR_TEMPORARILY_UNAVAILABLE: "busy",
}
_ACCESS_FAULTS: Final = {
    library.DATA_ACCESS_ERROR_OBJECT_NONE_EXISTENT: "missing",
    library.DATA_ACCESS_ERROR_OBJECT_UNDEFINED: "missing",
    library.DATA_ACCESS_ERROR_OBJECT_INVALIDATED: "missing",
    library.DATA_ACCESS_ERROR_OBJECT_ACCESS_DENIED: "refused",
    library.DATA_ACCESS_ERROR_OBJECT_ACCESS_UNSUPPORTED: "refused",
    library.DATA_ACCESS_ERROR_TEMPORARILY_UNAVAILABLE: "busy",
    library.DATA_ACCESS_ERROR_NO_RESPONSE: "lost",
}
_DOUBLE_BITS: Final = 64


class FaultError(Exception):
    """There is no value.

    Args:
        fault: One of `agent.drivers.mms_pipe.FAULTS`.
        detail: What was wrong, for people.
    """

    def __init__(self, fault: str, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault
        self.detail = detail


class Reads:
    """One association with one device, and the file that was fetched last.

    Args:
        file: Descriptor of the file that takes what is fetched; the caller reads it.
    """

    def __init__(self, file: int) -> None:
        self._file = file
        self._connection: Pointer = None

    # --- association ----------------------------------------------------------------------------------------------

    def connect(self, host: str, port: int, timeout_ms: int) -> Value:
        """Open an association and make sure that it works.

        Args:
            host: IPv4 address.
            port: 1..65535.
            timeout_ms: Longest wait for the connection, and for each answer from then on.

        Raises:
            FaultError: unreachable.
        """
        self.release()
        for _ in range(ASSOCIATIONS_MAX):
            self._connection = library.IedConnection_create()
            library.IedConnection_setConnectTimeout(self._connection, timeout_ms)
            library.IedConnection_setRequestTimeout(self._connection, timeout_ms)
            error = library.IedConnection_connect(self._connection, host, port)[1]
            if error != library.IED_ERROR_OK:
                self.release()
                raise FaultError("unreachable", f"opens no association: {library.IedClientError_toString(error)}")
            try:
                self.domains()
            except FaultError as failure:
                self.release()
                if failure.fault != "lost":
                    raise
            else:
                return None
        raise FaultError("unreachable", f"loses each of {ASSOCIATIONS_MAX} associations at once")

    def release(self) -> Value:
        """End the association, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            library.IedConnection_destroy(connection)
        return None

    # --- names ----------------------------------------------------------------------------------------------------

    def domains(self) -> Value:
        """Return the names of the logical devices.

        Raises:
            FaultError: As for every read.
        """
        with self._call("the list of logical devices") as (connection, error):
            names = library.MmsConnection_getDomainNames(connection, error)
        return [*self._names(names, _DOMAIN, "logical device")]

    def items(self, domain: str) -> Value:
        """Return the names of the objects of a logical device that end with ``$SG``, as ``PTOC1$SG``.

        Raises:
            FaultError: As for every read.
        """
        with self._call(f"the objects of {domain}") as (connection, error):
            names = library.MmsConnection_getDomainVariableNames(connection, error, domain)
        return [name for name in self._names(names, _ITEM, "object") if name.count("$") == 1 and name.endswith("$SG")]

    def _names(self, names: Pointer, pattern: re.Pattern[str], what: str) -> list[str]:
        """Take a list of texts over and give it back to the library."""
        if not names:
            raise FaultError("odd", f"sends no list of names for a {what}")
        found: list[str] = []
        try:
            element = library.LinkedList_getNext(names)
            while element:
                name = library.toCharP(library.LinkedList_getData(element))
                if not isinstance(name, str) or not pattern.fullmatch(name):
                    raise FaultError("odd", f"names a {what} {_shown(name)}")
                if len(found) == NAMES_MAX:
                    raise FaultError("limit", f"names more than {NAMES_MAX} objects")
                found.append(name)
                element = library.LinkedList_getNext(element)
        finally:
            library.LinkedList_destroy(names)
        return found

    # --- values ---------------------------------------------------------------------------------------------------

    def value(self, domain: str, item: str) -> Value:
        """Return one value as its type and itself.

        Args:
            domain: Logical device, as ``BAY1LD0``.
            item: Object, as ``LLN0$DC$NamPlt$swRev``.

        Raises:
            FaultError: missing, refused, busy, lost; odd when it is a structure or a number with a fraction.
        """
        with self._read(domain, item) as read:
            return [*_leaf(read, 0, f"{domain}/{item}")]

    def tree(self, domain: str, item: str) -> Value:
        """Return every value below an object as path, type and value, in the order of the device.

        Args:
            domain: Logical device.
            item: Object, as ``PTOC1$SG``; paths begin below it, as ``StrVal.setMag.f``.

        Raises:
            FaultError: As for `value`; odd when the values do not fit the description that the device gives.
        """
        where = f"{domain}/{item}"
        with self._call(f"the description of {where}") as (connection, error):
            described = library.MmsConnection_getVariableAccessAttributes(connection, error, domain, item)
        if not described:
            raise FaultError("odd", f"does not describe {where}")
        try:
            with self._read(domain, item) as read:
                leaves = _leaves(described, read, where, ())
                found: list[Value] = []
                for leaf in leaves:
                    if len(found) == LEAVES_MAX:
                        raise FaultError("limit", f"has more than {LEAVES_MAX} values below {where}")
                    found.append([*leaf])
                return found
        finally:
            library.MmsVariableSpecification_destroy(described)

    @contextmanager
    def _read(self, domain: str, item: str) -> Iterator[Pointer]:
        """Read an object; a value that the device does not have is an error, never a value."""
        where = f"{domain}/{item}"
        with self._call(where) as (connection, error):
            value = library.MmsConnection_readVariable(connection, error, domain, item)
        if not value:
            raise FaultError("missing", f"has no value for {where}")
        try:
            if library.MmsValue_getType(value) == library.MMS_DATA_ACCESS_ERROR:
                code = library.MmsValue_getDataAccessError(value)
                raise FaultError(_ACCESS_FAULTS.get(code, "odd"), f"answers access error {code} for {where}")
            yield value
        finally:
            library.MmsValue_delete(value)

    # --- files ----------------------------------------------------------------------------------------------------

    def files(self, folder: str) -> Value:
        """Return name, size in bytes and time of change in ms of each file in a folder.

        Args:
            folder: ``/`` for the outermost.

        Raises:
            FaultError: As for every read.
        """
        entries, error = library.IedConnection_getFileDirectory(self._associated(), folder)
        if error != library.IED_ERROR_OK or not entries:
            shown = library.IedClientError_toString(error)
            raise FaultError(_CLIENT_FAULTS.get(error, "odd"), f"lists no files of {folder!r}: {shown}")
        found: list[Value] = []
        element = library.LinkedList_getNext(entries)
        while element:
            entry = library.toFileDirectoryEntry(library.LinkedList_getData(element))
            if len(found) < FILES_MAX:
                name = _octets(library.FileDirectoryEntry_getFileName(entry))
                size, changed_ms = (
                    int(library.FileDirectoryEntry_getFileSize(entry)),
                    int(library.FileDirectoryEntry_getLastModified(entry)),
                )
                found.append([name, size, min(changed_ms, 2**62)])
            library.FileDirectoryEntry_destroy(entry)
            element = library.LinkedList_getNext(element)
        too_many = library.LinkedList_size(entries) > FILES_MAX
        library.LinkedList_destroyStatic(entries)
        if too_many:
            raise FaultError("limit", f"lists more than {FILES_MAX} files in {folder!r}")
        return found

    def fetch(self, path: str) -> Value:
        """Fetch a file into the file that the caller gave; return its size in bytes.

        Raises:
            FaultError: As for every read; limit when the file could not be written to its end.
        """
        os.ftruncate(self._file, 0)
        with self._call(f"the file {path!r}") as (connection, error):
            # the library reports success as a truth value, and a local file that is full with no error at all
            done = library.MmsConnection_downloadFile(connection, error, path, f"/proc/self/fd/{self._file}")
        size = os.fstat(self._file).st_size
        if not done or size > FILE_BYTES_MAX:  # of a file at its end, the library does not see that a write failed
            raise FaultError(
                "limit", f"sends a file {path!r} of more than {FILE_BYTES_MAX} bytes, or it cannot be stored"
            )
        return size

    def scl(self) -> Value:
        """Return what the file that was fetched last says of each IED: name, version, revision by logical device.

        Raises:
            FaultError: scl: it is no SCL file.
        """
        try:
            ieds = parse_scl(os.pread(self._file, SCL_BYTES_MAX + 1, 0))
        except SclError as error:
            raise FaultError("scl", str(error)) from error
        return [[ied.name, ied.version, [[*pair] for pair in ied.revisions]] for ied in ieds]

    # --- calls ----------------------------------------------------------------------------------------------------

    def _associated(self) -> Pointer:
        if self._connection is None:
            raise FaultError("lost", "has no association")
        return self._connection

    @contextmanager
    def _call(self, what: str) -> Iterator[tuple[Pointer, Pointer]]:
        """Give a call its association and its error, and turn the error into a fault."""
        connection = library.IedConnection_getMmsConnection(self._associated())
        error = library.MmsError_create()
        try:
            yield connection, error
            code = library.MmsError_getValue(error)
        finally:
            library.MmsErrror_destroy(error)  # the library spells it so
        if code != library.MMS_ERROR_NONE:
            shown = library.MmsError_toString(code)
            raise FaultError(_FAULTS.get(code, "odd"), f"answers {shown} for {what}")


def _leaves(described: Pointer, value: Pointer, where: str, path: tuple[str, ...]) -> Iterator[tuple[str, str, Value]]:
    """Walk through description and value side by side."""
    kind, size = library.MmsVariableSpecification_getType(described), 0
    at = ".".join((where, *path))
    if len(path) > LEVELS_MAX:
        raise FaultError("limit", f"nests values more than {LEVELS_MAX} deep at {at}")
    if library.MmsValue_getType(value) != kind:
        raise FaultError("odd", f"sends another type than it describes at {at}")
    if kind not in {library.MMS_STRUCTURE, library.MMS_ARRAY}:
        size = library.MmsVariableSpecification_getSize(described)
        yield (".".join(path), *_leaf(value, size, at))
        return
    size = library.MmsVariableSpecification_getSize(described)
    if library.MmsValue_getArraySize(value) != size:
        raise FaultError("odd", f"sends another number of values than it describes at {at}")
    for index in range(size):
        if kind == library.MMS_ARRAY:
            child = library.MmsVariableSpecification_getArrayElementSpecification(described)
            name: str | None = str(index)
        else:
            child = library.MmsVariableSpecification_getChildSpecificationByIndex(described, index)
            name = library.MmsVariableSpecification_getName(child) if child else None
        inner = library.MmsValue_getElement(value, index)
        if not child or not inner or not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_]{1,64}", name):
            raise FaultError("odd", f"describes a value without a proper name at {at}")
        yield from _leaves(child, inner, where, (*path, name))


def _leaf(value: Pointer, size: int, where: str) -> tuple[str, Value]:
    """Return type and value; a number with a fraction as the bytes of IEEE 754, whose ``size`` in bits is known."""
    kind = library.MmsValue_getType(value)
    found: tuple[str, Value] | None = None
    if kind == library.MMS_BOOLEAN:
        found = "boolean", bool(library.MmsValue_getBoolean(value))
    elif kind in {library.MMS_INTEGER, library.MMS_UNSIGNED}:
        found = "integer", int(library.MmsValue_toInt64(value))
    elif kind == library.MMS_FLOAT and size:
        found = "float", _float_bytes(value, size)
    elif kind in {library.MMS_VISIBLE_STRING, library.MMS_STRING}:
        found = "text", _octets(library.MmsValue_toString(value))
    elif kind == library.MMS_BIT_STRING:
        count = min(library.MmsValue_getBitStringSize(value), TEXT_BYTES_MAX)
        found = "bits", "".join("01"[bool(library.MmsValue_getBitStringBit(value, at))] for at in range(count))
    elif kind == library.MMS_OCTET_STRING:
        count = min(library.MmsValue_getOctetStringSize(value), TEXT_BYTES_MAX)
        found = "octets", bytes(library.MmsValue_getOctetStringOctet(value, at) for at in range(count))
    elif kind == library.MMS_UTC_TIME:
        found = "time", min(int(library.MmsValue_getUtcTimeInMs(value)), 2**62)
    if found is None:
        raise FaultError("odd", f"sends a {library.MmsValue_getTypeString(value)} at {where}")
    return found


def _float_bytes(value: Pointer, bits: int) -> bytes:
    if bits == _DOUBLE_BITS:
        return struct.pack(">d", library.MmsValue_toDouble(value))
    return struct.pack(">f", library.MmsValue_toFloat(value))


def _octets(text: object) -> bytes:
    """Return what the library made text of, as the bytes that the device sent."""
    if not isinstance(text, str):
        raise FaultError("odd", "sends a text that cannot be read")
    return text.encode("utf-8", "surrogateescape")[:TEXT_BYTES_MAX]


def _shown(text: object) -> str:
    return ascii(text)[:64]
