"""Image files, byte strings or callables: looked at, then decoded by a pool of threads.

Pillow lets go of the interpreter lock while it decodes, so threads are enough. The first pass
reads headers only and settles size, channels and whether all of it fits in memory; the second
decodes every image once, to find the broken ones and to take the digest of the bytes.
"""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from bequeath.given.data_schemes.source import NAMED, fail
from bequeath.kernel.files import read_most, regular

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".png",
        ".bmp",
        ".gif",
        ".webp",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".pbm",
        ".jfif",
        ".jp2",
    ]
)
# Of one image, before and after it is decoded: a few kilobytes may unpack to any number of pixels.
MOST_BYTES, MOST_PIXELS = 200_000_000, 89_000_000
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "JPEG2000")
Source = Path | bytes | Callable[[], Any]  # a callable hands out a PIL image


@dataclass(frozen=True)
class Pictures:
    """Where images come from, still encoded. names: what an error calls each."""

    sources: Sequence[Source]
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.sources)

    def pick(self, rows: Iterable[int]) -> Pictures:
        rows = list(rows)
        return Pictures([self.sources[i] for i in rows], [self.names[i] for i in rows])


class Header(NamedTuple):
    """width and height as shown (a camera's rotation applied), and whether it has no colour."""

    width: int
    height: int
    grey: bool


@dataclass(frozen=True)
class Plan:
    """The one form all images are brought to: pixels [height, width, channels] uint8."""

    height: int
    width: int
    channels: int
    resize: bool

    @property
    def bytes_each(self) -> int:
        return self.height * self.width * self.channels


def workers() -> int:
    return max(1, min(8, os.cpu_count() or 1))


def survey(pictures: Pictures) -> tuple[list[Header | None], dict[int, str]]:
    """Headers of all images, and the reason for each that has none."""
    bad: dict[int, str] = {}

    def look(i: int) -> Header | None:
        try:
            with opened(pictures.sources[i]) as image:
                width, height = image.size
                if image.getexif().get(0x0112, 1) in (5, 6, 7, 8):
                    width, height = height, width
                return Header(width, height, image.mode in ("1", "L", "LA", "I", "I;16", "F"))
        except Exception as error:  # Pillow raises whatever the broken file led it to
            bad[i] = reason(error)
            return None

    with ThreadPoolExecutor(workers()) as pool:
        return list(pool.map(look, range(len(pictures)))), bad


def plan(headers: Sequence[Header | None], size: int | None, channels: str) -> Plan:
    """How the images are brought to one form. JobError (D221): they differ and no size is said."""
    seen = [header for header in headers if header is not None]
    grey = channels == "grey" or (channels == "auto" and all(header.grey for header in seen))
    depth = 1 if grey else 3
    if size is not None:
        return Plan(size, size, depth, True)
    sizes = sorted({(header.width, header.height) for header in seen})
    if len(sizes) > 1:
        low, high = sizes[0], sizes[-1]
        fail(
            "D221",
            f"the images have {len(sizes)} different sizes",
            at=("size",),
            notes=(f"from {low[0]} x {low[1]} to {high[0]} x {high[1]} pixels (width x height)",),
            remedies=("say `size`, the side of the square they are brought to, e.g. `size: 224`",),
        )
    width, height = sizes[0]
    return Plan(height, width, depth, False)


def decode(source: Source, form: Plan) -> np.ndarray:
    """One image as uint8 [height, width, channels]. Raises what Pillow raises.

    With `resize`, the image is scaled (bicubic) until its shorter side fits and its middle is cut
    out, so proportions stay. Rotation noted by a camera is applied; 16-bit grey is cut to 8 bits.
    """
    import numpy as np
    from PIL import Image, ImageOps

    with opened(source) as image:
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith("I;16") or image.mode in ("I", "F"):
            deep = np.asarray(image).astype(np.float64)
            deep = deep / 256 if image.mode.startswith("I") and deep.max() > 255 else deep
            image = Image.fromarray(np.clip(deep, 0, 255).astype(np.uint8))
        image = image.convert("L" if form.channels == 1 else "RGB")
        if form.resize:
            image = ImageOps.fit(image, (form.width, form.height), Image.Resampling.BICUBIC)
        pixels = np.asarray(image, dtype=np.uint8)
    pixels = pixels.reshape(*pixels.shape[:2], form.channels)
    if pixels.shape != (form.height, form.width, form.channels):
        shape = f"{pixels.shape[1]} x {pixels.shape[0]}"
        raise ValueError(f"is {shape} pixels, the others are {form.width} x {form.height}")
    return pixels


def decode_all(
    pictures: Pictures, form: Plan, *, keep: bool, bad: dict[int, str]
) -> tuple[np.ndarray | None, list[bytes]]:
    """Decode every image once; pixels [N, H, W, C] when kept, and a digest of each source.

    Broken images are entered in `bad` with the reason; their digest is empty.
    """
    import numpy as np

    n = len(pictures)
    pixels = np.zeros((n, form.height, form.width, form.channels), np.uint8) if keep else None
    digests = [b""] * n

    def work(i: int) -> None:
        if i in bad:
            return
        try:
            source = pictures.sources[i]
            data = _encoded(source) if isinstance(source, Path) else source
            one = decode(data, form)
            digests[i] = hashlib.blake2b(
                data if isinstance(data, bytes) else one.tobytes(), digest_size=16
            ).digest()
            if pixels is not None:
                pixels[i] = one
        except Exception as error:  # as above
            bad[i] = reason(error)

    with ThreadPoolExecutor(workers()) as pool:
        list(pool.map(work, range(n)))
    return pixels, digests


def opened(source: Source) -> Image.Image:
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # refused below
        if isinstance(source, Path):
            image = Image.open(regular(source), formats=FORMATS)
        elif isinstance(source, bytes):
            image = Image.open(io.BytesIO(source), formats=FORMATS)
        else:
            image = source()
    if not isinstance(image, Image.Image):
        raise TypeError(f"is {type(image).__name__}, not an image")
    if image.width * image.height > MOST_PIXELS:
        size = f"{image.width} x {image.height}"
        image.close()
        raise ValueError(f"is {size} pixels, more than {MOST_PIXELS // 1_000_000} million")
    return image


def _encoded(path: Path) -> bytes:
    with regular(path).open("rb") as file:
        return read_most(file, MOST_BYTES)


def reason(error: Exception) -> str:
    text = type(error).__name__
    if text == "UnidentifiedImageError":
        return "not an image, or cut off within its header"
    return f"{error}".splitlines()[0][:120] if f"{error}" else text


def refuse_broken(pictures: Pictures, bad: dict[int, str]) -> NoReturn:
    """JobError (D206) naming the first broken images and counting the others."""
    rows = sorted(bad)
    count = len(rows)
    more = (f"and {count - NAMED} more",) if count > NAMED else ()
    fail(
        "D206",
        f"{count} of {len(pictures)} images cannot be decoded",
        notes=(*(f"`{pictures.names[i]}`: {bad[i]}" for i in rows[:NAMED]), *more),
        remedies=("mend or remove them", "or say `skip_bad: true` to go on without them"),
    )
