"""Durations and sizes as people write them: `30m`, `1h30m`, `8GB`, `512 MiB`."""

from __future__ import annotations

import re

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_LONGEST = 40  # characters: a longer text is no number, and would only cost time to find out
_BYTES |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def seconds(text: str | float) -> float:
    """`90`, `30m`, `1h30m` -> seconds. ValueError says what would be right."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        value = float(text)
    else:
        said = str(text)[: _LONGEST + 1]
        parts = re.findall(r"(\d+(?:\.\d+)?)\s*([smhd])", said.strip().lower())
        whole = "".join(n + u for n, u in parts) == re.sub(r"\s", "", said.lower())
        if not parts or not whole or len(said) > _LONGEST:
            raise ValueError(
                f"`{said[:_LONGEST]}` is not a duration; write for example 90s, 30m or 1h30m"
            )
        value = sum(float(n) * _SECONDS[u] for n, u in parts)
    if not 0 < value < 10 * 365 * 86400:
        raise ValueError("a duration is more than 0 and less than ten years")
    return value


def size(text: str | int) -> int:
    """`8GB`, `512MiB`, `1000000` -> bytes. ValueError says what would be right."""
    if isinstance(text, int) and not isinstance(text, bool):
        value = text
    else:
        said = str(text)[: _LONGEST + 1]
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?I?B)", said.strip().upper())
        if match is None or match[2] not in _BYTES or len(said) > _LONGEST:
            raise ValueError(
                f"`{said[:_LONGEST]}` is not a size; write for example 512MB, 8GB or 2GiB"
            )
        value = int(float(match[1]) * _BYTES[match[2]])
    if not 0 < value < 2**60:
        raise ValueError("a size is more than 0 and less than an exbibyte")
    return value


def show_seconds(value: float) -> str:
    """3725 -> `1 h 02 m`; 75 -> `1 m 15 s`; 0.5 -> `0.5 s`."""
    if value < 60:
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    if value < 3600:
        return f"{int(value // 60)} m {int(value % 60):02d} s"
    return f"{int(value // 3600)} h {int(value % 3600 // 60):02d} m"


def show_size(value: float) -> str:
    """12_400_000 -> `12.4 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
