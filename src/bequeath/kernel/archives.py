"""Zip files that somebody else wrote, opened without trusting what they say of their size."""

from __future__ import annotations

import zipfile
from pathlib import Path

from bequeath.kernel.files import regular

MOST_DIRECTORY = 16_000_000  # bytes; zipfile holds all of it at once, as objects
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_TAIL = 22 + 65_535 + 20 + 56  # the end, its comment, and the two records of large archives before


def open_zip(path: Path, packings: tuple[int, ...] = PACKINGS) -> zipfile.ZipFile:
    """The archive. BadZipFile for no zip, a directory too large, or members packed otherwise.

    packings: how members may be packed. A packing with a window of gigabytes is not among them.
    """
    if _directory(regular(path)) > MOST_DIRECTORY:
        raise zipfile.BadZipFile("its directory is too large")
    archive = zipfile.ZipFile(path)
    strange = [info.filename for info in archive.infolist() if info.compress_type not in packings]
    if strange:
        archive.close()
        raise zipfile.BadZipFile(f"`{strange[0][:100]}` is packed in a way that is not read")
    return archive


def _directory(path: Path) -> int:
    """Bytes of the list of members, as the end of the file says; 0 where there is no end."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - _TAIL))
        tail = file.read(_TAIL)
    found = [0]
    for mark, offset, width in ((b"PK\5\6", 12, 4), (b"PK\6\6", 40, 8)):
        at = tail.rfind(mark)
        while at >= 0:  # all that look like one: which is meant is for the reader to say
            said = int.from_bytes(tail[at + offset : at + offset + width], "little")
            found.append(said if said <= size else 0)  # it cannot be read, and is refused there
            at = tail.rfind(mark, 0, at)
    return max(found)
