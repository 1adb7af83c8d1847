"""The bytes of a model on disk: a file as it is, a folder of profiles as an archive that is always the same."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Final

from kit.exitcodes import DataError, UsageError
from kit.files import read_bounded
from wire.blob import BLOB_BYTES_MAX

_MOMENT: Final = (1980, 1, 1, 0, 0, 0)
_MODE: Final = 0o644 << 16
FILES_MAX: Final = 256


def read_model_file(path: Path) -> bytes:
    """Return what is stored for a file or folder, 1 byte to 32 MiB.

    A folder becomes a zip archive of the files in it, sorted by name, not compressed and with one date for all, so that
    the same files give the same digest.

    Raises:
        UsageError: There is no such file or folder.
        DataError: It is empty or too large.
    """
    if path.is_dir():
        content = _packed(path)
    elif path.is_file():
        if path.stat().st_size > BLOB_BYTES_MAX:
            raise DataError(f"{path} has more than the {BLOB_BYTES_MAX >> 20} MiB that the ledger's blobs may have")
        content = read_bounded(path, bytes_max=BLOB_BYTES_MAX)
    else:
        raise UsageError(f"{path}: there is no such file or folder")
    if not content:
        raise DataError(f"{path} is empty")
    return content


def _packed(folder: Path) -> bytes:
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if not files or len(files) > FILES_MAX:
        raise DataError(f"{folder} has {len(files)} files; a model is a file, or a folder of 1 to {FILES_MAX} files")
    if sum(path.stat().st_size for path in files) > BLOB_BYTES_MAX:
        raise DataError(f"the files in {folder} have more than {BLOB_BYTES_MAX >> 20} MiB; give a zip archive of them")
    taken = io.BytesIO()
    with zipfile.ZipFile(taken, "w", zipfile.ZIP_STORED) as archive:
        for path in files:
            entry = zipfile.ZipInfo(path.name, _MOMENT)
            entry.external_attr = _MODE
            archive.writestr(entry, path.read_bytes())
    content = taken.getvalue()
    if len(content) > BLOB_BYTES_MAX:
        raise DataError(f"the files in {folder} have more than {BLOB_BYTES_MAX >> 20} MiB; give a zip archive of them")
    return content
