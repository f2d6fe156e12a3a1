# SPDX-License-Identifier: Apache-2.0
"""Files and folders of FHIR: Bundles, single resources, NDJSON, also compressed with gzip, within bounds."""

import gzip
import os
import zlib
from datetime import datetime
from pathlib import Path

from medagent.errors import ChartError
from medagent_fhir.containers import ANY_TYPE, BYTES_SETTING, Contents, NotFhir, Unread, split_document, split_lines

_CHUNK = 1 << 20
_BOM = b"\xef\xbb\xbf"
_LINES = (".ndjson", ".jsonl")


class TooLarge(ChartError):
    """The source exceeds what may be read."""


def read_source(path: Path, bytes_max: int, retrieved_at: datetime) -> Contents:
    """Everything in a file or folder. A file that cannot be read at all is an error if it was named, and skipped
    with its reason if it lies in a folder; it may have held anything, so then no reading is complete."""
    contents = Contents(retrieved_at)
    if path.is_file():
        _read_file(path, path.name, contents, bytes_max)
    elif path.is_dir():
        _read_folder(path, contents, bytes_max)
    elif path.exists():
        raise ChartError(f"{path}: is neither a file nor a folder; save what it gives to a file first")
    else:
        raise ChartError(f"{path}: no such file or folder")
    return contents


def _files(folder: Path, contents: Contents) -> list[Path]:
    """Every file below a folder, sorted. What may not be entered or followed may hold anything of the chart."""

    def closed(error: OSError) -> None:
        name = os.path.relpath(error.filename, folder)
        contents.unread.append(Unread(name, f"cannot be entered ({error.strerror})", ANY_TYPE))

    found = []
    for place, folders, names in os.walk(folder, onerror=closed):
        found += [Path(place, name) for name in names]
        for linked in (path for name in folders if (path := Path(place, name)).is_symlink()):
            reason = "is a link to a folder, which is not followed; name that folder itself"
            contents.unread.append(Unread(str(linked.relative_to(folder)), reason, ANY_TYPE))
    return sorted(found)


def _read_folder(folder: Path, contents: Contents, bytes_max: int) -> None:
    for path in _files(folder, contents):
        name = str(path.relative_to(folder))
        if not is_lines(path) and not is_json(path):
            if looks_like_json(path):
                contents.unread.append(Unread(name, "looks like JSON, but its name does not say so", None))
            continue
        if not os.path.isfile(path):  # pathlib's own raises where a folder may be listed and not entered
            contents.unread.append(Unread(name, "is no file that can be read, or leads to none", ANY_TYPE))
            continue
        try:
            _read_file(path, name, contents, bytes_max)
        except NotFhir as error:
            contents.unread.append(Unread(name, str(error).removeprefix(f"{name}: "), None))
        except TooLarge:
            raise
        except ChartError as error:
            contents.unread.append(Unread(name, str(error).removeprefix(f"{name}: "), ANY_TYPE))


def _read_file(path: Path, name: str, contents: Contents, bytes_max: int) -> None:
    data = received(path, name, bytes_max - contents.bytes)
    contents.bytes += len(data)
    if is_lines(path):
        split_lines(name, data, contents)
    else:
        split_document(name, data, contents)


def looks_like_json(path: Path) -> bool:
    """Whether a file starts as JSON does. One that cannot be opened does not."""
    if not os.path.isfile(path):
        return False
    try:
        with path.open("rb") as file:
            return file.read(64).lstrip(_BOM + b" \t\r\n")[:1] in (b"{", b"[")
    except OSError:
        return False


def is_lines(path: Path) -> bool:
    """Whether the name says NDJSON."""
    return path.name.removesuffix(".gz").endswith(_LINES)


def is_json(path: Path) -> bool:
    """Whether the name says JSON."""
    return path.name.removesuffix(".gz").endswith(".json")


def received(path: Path, name: str, bytes_left: int) -> bytes:
    """The bytes of a file after decompression; refused as soon as they exceed what may be read."""
    too_large = f"{name}: more bytes than {BYTES_SETTING} allows; raise it, or give less at once"
    try:
        if not path.name.endswith(".gz"):
            if path.stat().st_size > bytes_left:
                raise TooLarge(too_large)
            return path.read_bytes()
        data = bytearray()
        with gzip.open(path) as file:
            while part := file.read(_CHUNK):
                if len(data) + len(part) > bytes_left:
                    raise TooLarge(too_large)
                data += part
        return bytes(data)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ChartError(f"{name}: is not a whole gzip file; fetch it again") from error
    except OSError as error:
        raise ChartError(f"{name}: cannot be read ({error.strerror or 'input error'})") from error
