"""A Parquet file as a table that fits: read in pieces, and counted as it unpacks.

What the file says of its size is looked at first and not believed: a page of equal values takes no
room in the file, and a text that a dictionary holds once may stand in a million rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from bequeath.given.data_schemes.source import fail, memory_limit
from bequeath.kernel.files import regular
from bequeath.kernel.units import show_size

PIECE = 65_536  # rows


@contextmanager
def parquet_file(path: Path) -> Iterator[Any]:
    """The open file. JobError D202 for what Arrow cannot read, in the block too."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(regular(path)) as file:
            texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary)
            kinds = file.schema_arrow
            kept = [f.name for f in kinds if any(test(f.type) for test in texts)]
        with parquet.ParquetFile(path, read_dictionary=kept) as file:
            yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        unreadable(path, error)


def parquet_names(file: Any, path: Path) -> list[str]:
    """The columns. JobError D204 when two share a name."""
    names: list[str] = file.schema_arrow.names
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        fail("D204", f"two columns of `{path}` are called `{twice[0]}`")
    return names


def parquet_table(file: Any, path: Path, options: Any, wanted: Sequence[str] | None) -> Any:
    """The columns `wanted` (None: all) as an Arrow table. JobError D210 when it does not fit.

    ArrowInvalid where the content is not what its type says: Arrow looks only when it is used.
    """
    import pyarrow as pa

    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    cells = file.metadata.num_rows * 4 * len(file.schema_arrow.names)
    fits(max(cells, sum(group.total_byte_size for group in groups)), path, options)
    total, pieces = 0, []
    for piece in file.iter_batches(PIECE, columns=None if wanted is None else list(wanted)):
        piece.validate(full=True)  # texts that are no UTF-8, places beyond a dictionary
        total += sum(map(_unpacked, piece.columns))
        fits(total, path, options)
        pieces.append(pa.record_batch([_plain(c) for c in piece.columns], piece.schema.names))
    if not pieces:
        return file.read(columns=None if wanted is None else list(wanted))
    return pa.Table.from_batches(pieces)


def _unpacked(column: Any) -> int:
    """Bytes of a column once each row has its own text."""
    import pyarrow as pa
    from pyarrow import compute

    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    lengths = compute.binary_length(column.dictionary).cast(pa.int64())
    return int(compute.sum(lengths.take(column.indices)).as_py() or 0) + 4 * len(column)


def _plain(column: Any) -> Any:
    import pyarrow as pa

    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def fits(size: int, path: Path, options: Any) -> None:
    limit = memory_limit(options)
    if size > limit:
        fail(
            "D210",
            f"`{path}` takes {show_size(size)}, more than the {show_size(limit)} allowed",
            remedies=("say `memory` if so much is meant and there", "or make a smaller file"),
        )


def unreadable(path: Path, error: Exception) -> NoReturn:
    fail(
        "D202",
        f"`{path}` cannot be read as a table",
        notes=((str(error).splitlines() or [""])[0][:300],),
        remedies=("mend the row it names", "or copy or write the file again"),
    )
