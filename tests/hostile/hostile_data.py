"""Hostile data: arrays, tables, images, texts."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bad_files as make
import numpy as np
from bad_files import TEACHER, TRAIN, TRAIN_REF, npy, swap
from hostile_case import Case, job
from hostile_jobs import make_socket
from PIL import Image

NUMBERS = "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 6), }"
ROWS = bytes(96)


def arrays(name: str, what: str, codes: str, made: make.Make, *says: str, more: str = "",
           **rest: Any) -> Case:  # fmt: skip
    text = swap(TRAIN, f"{{ref: {TRAIN_REF}{more}}}")
    return Case(name, f"npz: {what}", codes, job(text, made), says=says, **rest)


def archive(packing: int = zipfile.ZIP_STORED, **members: bytes) -> make.Make:
    def build(folder: Path) -> None:
        y = io.BytesIO()
        np.save(y, np.zeros(4, np.int64))
        with zipfile.ZipFile(folder / "train.npz", "w", packing) as file:
            for name, data in {"y": y.getvalue(), **members}.items():
                file.writestr(f"{name}.npy", data)

    return build


def lonely(x: bytes) -> make.Make:
    """An archive of x alone."""

    def build(folder: Path) -> None:
        with zipfile.ZipFile(folder / "train.npz", "w") as file:
            file.writestr("x.npy", x)

    return build


def header(descr: str, shape: str, order: str = "False", more: str = "") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, {more}}}"


def patched(mark: bytes, offset: int, value: bytes, name: str = "train.npz") -> make.Make:
    """Bytes of the first record of a zip that begins with `mark`, replaced."""

    def build(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        at = data.find(mark) + offset
        data[at : at + len(value)] = value
        (folder / name).write_bytes(data)

    return build


def _lzma_bomb(folder: Path) -> None:
    """x says it is packed by LZMA with a dictionary of 4 GB."""
    archive(zipfile.ZIP_LZMA, x=npy(NUMBERS, ROWS))(folder)
    data = bytearray((folder / "train.npz").read_bytes())
    at = data.find(b"\x09\x04\x05\x00")  # the version and the size of LZMA's properties
    data[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    (folder / "train.npz").write_bytes(data)


def _members(folder: Path) -> None:
    with zipfile.ZipFile(folder / "train.npz", "w") as file:
        for i in range(70_000):
            file.writestr(f"{i}.npy", b"")


NPZ = [
    arrays("npz-no-width", "texts of no width, a million million times, without labels", "D210",
           lonely(npy(header("'<U0'", "(1000000000000,)"))), more=", labels: false"),
    arrays("npz-bytes-no-width", "bytes of no width, 10^12 times", "D210",
           lonely(npy(header("'|S0'", "(1000000000000,)"))), more=", labels: false"),
    arrays("npz-label-no-width", "labels of no width, 10^12 of them", "D214",
           archive(x=npy(NUMBERS, ROWS), y=npy(header("'<U0'", "(1000000000000,)")))),
    arrays("npz-lzma", "packed in a way that NumPy does not use", "D202",
           archive(zipfile.ZIP_LZMA, x=npy(NUMBERS, ROWS))),
    arrays("npz-lzma-dictionary", "packed with a dictionary of 4 GB", "D202", _lzma_bomb),
    arrays("npz-bz2", "packed by bzip2", "D202", archive(zipfile.ZIP_BZIP2, x=npy(NUMBERS, ROWS))),
    arrays("npz-many", "70,000 arrays, none of them x", "D204", _members),
    arrays("npz-order", "an order that is a text", "D202", archive(x=npy(header("'<f4'", "(4, 6)",
         "'os'"), ROWS))),
    arrays("npz-more", "a header with more than there should be", "D202",
           archive(x=npy(header("'<f4'", "(4, 6)", more="'x': 1, "), ROWS))),
    arrays("npz-descr-list", "a type that is a record of code", "D209",
           archive(x=npy(header("[('a', '|O')]", "(4, 6)"), ROWS))),
    arrays("npz-descr-tuple", "a type that is a tuple", "D209",
           archive(x=npy(header("('<f4', (2,))", "(4, 6)"), ROWS))),
    arrays("npz-shape-bool", "a shape of true", "D202", archive(x=npy(header("'<f4'", "(True, 6)"),
         ROWS))),
    arrays("npz-shape-none", "a shape of nothing", "D202", archive(x=npy(header("'<f4'", "None"),
         ROWS))),
    arrays("npz-shape-empty", "a single number", "D214", archive(x=npy(header("'<f4'", "()"),
         bytes(4)))),
    arrays("npz-axes", "33 axes", "D214", archive(x=npy(header("'|u1'", f"({'1,' * 33})"),
         bytes(1)))),
    arrays("npz-escape", "a header with escapes of no meaning", "D202",
           archive(x=npy("{'\\d': '\\q'}", ROWS))),
    arrays("npz-version-9", "a version there is not", "D202",
           archive(x=b"\x93NUMPY\x09\x00" + npy(NUMBERS, ROWS)[8:])),
    arrays("npz-nul-header", "nulls in a header", "D202", archive(x=npy(NUMBERS + "\0\0", ROWS))),
    arrays("npz-crc", "a checksum that is wrong", "D202", make.both(
           archive(x=npy(NUMBERS, ROWS)), patched(b"x.npy", 20, b"\xff\xff"))),
    arrays("npz-encrypted-flag", "a directory entry that is strongly encrypted", "D202",
           patched(b"PK\1\2", 8, b"\x41\x00")),
    arrays("npz-method-99", "packed by a method there is not", "D202", patched(b"PK\1\2", 10,
         b"\x63\x00")),
    arrays("npz-offset", "a directory that points beyond the file", "D202",
           patched(b"PK\1\2", 42, b"\xff\xff\xff\x7f")),
    arrays("npz-directory-size", "an end that says the directory is 4 GB", "D202",
           patched(b"PK\5\6", 12, b"\xff\xff\xff\xfe")),
    arrays("npz-local-name", "two names for one member", "D202", patched(b"PK\3\4", 30, b"../")),
    arrays("npz-path-names", "members with paths that climb", "D204",
           lambda f: zipfile.ZipFile(f / "train.npz", "w").writestr("../../x.npy", b"")),
    arrays("npz-names-bomb", "class names of 10^9 letters each", "D202",
           archive(x=npy(NUMBERS, ROWS), names=npy(header("'<U999999999'", "(3,)"), bytes(12)))),
    arrays("npz-names-numbers", "class names that are numbers", "D213",
           archive(x=npy(NUMBERS, ROWS), names=npy(header("'<f4'", "(3,)"), bytes(12)))),
    arrays("npz-names-steer", "class names that steer a terminal", "G405",
           make.npz(names=np.array(["\x1b[31m", "\u202e", "\x07"])), r"\x1b"),
    arrays("npz-sparse", "10 GB of hole in the middle", "D202",
         lambda f: os.truncate(f / "train.npz", 10 << 30)),
    arrays("npz-huge-image", "one image of 70,000 x 70,000, stored", "D202",
           archive(x=npy(header("'|u1'", "(1, 70000, 70000)")))),
    arrays("npz-strange-floats", "floats of 16 bytes that hold anything", "D208",
           make.npz(x=np.full((40, 6), np.inf, np.longdouble))),
    arrays("npz-negative", "labels from -2^63", "D207",
         make.npz(y=np.arange(40) + np.iinfo(np.int64).min)),
    arrays("npz-label-times", "labels that are times", "D207", make.npz(y=np.zeros(40, "m8[s]"))),
    arrays("npz-label-bytes", "labels of bytes that are no UTF-8", "G405",
           make.npz(y=np.array([b"\xff", b"\xfe", b"\xfd", b"\xff"] * 10))),
    arrays("npz-label-voids", "labels of raw bytes", "D207", make.npz(y=np.zeros(40, "V3"))),
    arrays("npz-npy", "a bare array", "D202", lambda f: np.save((f / "train.npz").open("wb"),
         np.zeros((4, 6)))),
    arrays("npz-surrogate-names", "class names of half a character", "D207",
           archive(x=npy(NUMBERS, ROWS),
                   names=npy(header("'<U1'", "(3,)"), struct.pack("<3I", 0xD800, 0x110000, 97)))),
]  # fmt: skip


def pictures(
    name: str, what: str, codes: str, *makes: make.Make, more: str = "", **rest: Any
) -> Case:
    """photos/, four good ones a class, and what is made of them."""
    text = swap(TRAIN, f'{{ref: "folder:photos"{more}}}').replace(
        '"npz:test.npz"', '"folder:others"'
    )
    text = text.replace(TEACHER, "zoo:mlp?hidden=4")

    def good(folder: Path) -> None:
        make.photos(folder)
        make.photos(folder, root="others", size=8)
        for path in (folder / "others").rglob("*.png"):
            Image.open(path).rotate(90).save(path)

    return Case(name, f"images: {what}", codes, job(text, good, *makes), **rest)


def png(width: int, height: int, body: bytes = b"", depth: int = 8, color: int = 2) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _flat_bomb(side: int) -> Callable[[Path], None]:
    """A whole PNG of one colour: a few kilobytes, side x side pixels."""

    def build(folder: Path) -> None:
        packer, row = zlib.compressobj(9), bytes(side // 8 + 1)
        body = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
        (folder / "photos/ant/9.png").write_bytes(png(side, side, body, depth=1, color=0))

    return build


def put(name: str, data: bytes) -> make.Make:
    return make.text(f"photos/ant/{name}", data)


def jpeg(keep: float) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "JPEG")
    return file.getvalue()[: int(len(file.getvalue()) * keep)]


def _exif(folder: Path) -> None:
    """A rotation that is not a number, and a directory of itself."""
    exif = Image.Exif()
    exif[0x010E] = "x"
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", exif=exif)
    data = bytearray(file.getvalue())
    at = data.find(b"Exif\0\0") + 6
    data[at + 4 : at + 8] = b"\xff\xff\xff\xff"
    (folder / "photos/ant/9.jpg").write_bytes(data)


PICTURES = [
    pictures("img-flat-bomb", "a whole picture of 20,000 x 20,000 in a few kilobytes", "D206",
             _flat_bomb(20_000), more=", size: 8", says=("pixels",)),
    pictures("img-flat-bomb-skip", "nothing but pictures of 20,000 x 20,000, left out", "D205",
             _flat_bomb(20_000), lambda f: [p.unlink() for p in (f / "photos").rglob("?.png")
                                            if p.name != "9.png"] and None,
             lambda f: [
             (f / "photos" / c / "9.png").write_bytes((f / "photos/ant/9.png").read_bytes())
                        for c in ("bee", "cat")] and None, more=", size: 8, skip_bad: true"),
    pictures("img-truncated-jpeg", "a JPEG cut in half", "D206", put("9.jpg", jpeg(0.5)),
         more=", size: 8"),
    pictures("img-jpeg-header", "a JPEG of its first bytes", "D206", put("9.jpg", jpeg(0.02)),
         more=", size: 8"),
    pictures("img-svg", "an SVG that asks for a file, called .png", "D206",
             put("9.png",
             b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>')),
    pictures("img-html", "a page with a script, called .jpg", "D206", put("9.jpg",
         b"<script>1</script>")),
    pictures("img-eps", "PostScript, which would be run, called .png", "D206",
             put("9.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(ran) (w) file\n")),
    pictures("img-zero-side", "a PNG of no width", "D206", put("9.png", png(0, 8))),
    pictures("img-wide", "a PNG of 2^31 - 1 x 1", "D206", put("9.png", png(2**31 - 1, 1))),
    pictures("img-tall-bmp", "a BMP that says it is 10^9 high", "D206",
             put("9.bmp", b"BM" + struct.pack("<IHHIIiiHHIIiiII", 99, 0, 0, 54, 40, 8, 10**9, 1, 24,
                                              0, 0, 0, 0, 0, 0))),
    pictures("img-gif", "a GIF whose screen is 65,535 x 65,535", "D206",
             put("9.gif", b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(6)
                 + b",\0\0\0\0\xff\xff\xff\xff\0\x02\x02L\x01\0;")),
    pictures("img-tiff-loop", "a TIFF whose directory follows itself", "D206",
             put("9.tif", b"II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 256, 4, 1,
             8) + b"\x08\0\0\0")),
    pictures("img-ppm", "a PPM of 10^12 pixels by its text", "D206", put("9.ppm",
         b"P6 1000000 1000000 255\n")),
    pictures("img-exif", "a rotation that is a text, in a directory that lies elsewhere", "D221",
         _exif,
             lambda f: Image.new("RGB", (9, 9)).save(f / "photos/ant/8.png")),
    pictures("img-text-bomb", "a PNG with a text of 200 MB, packed", "D206",
             put("9.png", png(8, 8)[:33] + (lambda d: struct.pack(">I", len(d)) + b"zTXt" + d
                 + struct.pack(">I",
                 zlib.crc32(b"zTXt" + d)))(b"k\0\0" + zlib.compress(bytes(200_000_000)))
                 + png(8, 8)[33:])),
    pictures("img-fifo", "a pipe called .png", "D206", make.pipe("photos/ant/9.png")),
    pictures("img-zero", "a link to a device without end", "D206", make.link("photos/ant/9.png",
         "/dev/zero")),
    pictures("img-dangling", "a link to nothing", "D206", make.link("photos/ant/9.png", "gone")),
    pictures("img-loop", "a link to itself", "D206", make.link("photos/ant/9.png", "9.png")),
    pictures("img-socket", "a socket called .png", "D206",
         lambda f: make_socket(f / "photos/ant/9.png")),
    pictures("img-folder", "a folder called .png", "D203",
         lambda f: (f / "photos/ant9.png").mkdir()),
    pictures("img-passwd", "a link to /etc/passwd", "D206", make.link("photos/ant/9.png",
         "/etc/passwd")),
    pictures("img-sparse", "an image with 5 GB of hole behind it", "D206",
             lambda f: os.truncate(f / "photos/ant/0.png", 5 << 30)),
    pictures("img-class-loop", "a class folder that is a link to the folder above", "G404",
             make.link("photos/dog", ".."), put("9.png", b"x")),
    pictures("img-class-self", "a class folder that is a link to itself", "D206",
             make.link("photos/dog", "dog"), put("9.png", b"x")),
    pictures("img-newline", "a broken image with line breaks in its name", "D206",
             put("a\nerror[J101]: b\r.png", b"x"), says=(r"\n",)),
    pictures("img-surrogate", "a broken image whose name is not UTF-8", "D206", put("\udcff.png",
         b"x")),
    pictures("img-class-surrogate", "a class folder whose name is not UTF-8", "G405",
             lambda f: (f / "photos/ant").rename(f / "photos/\udcff") and None, says=(r"\udcff",)),
    pictures("img-class-newline", "a class folder with line breaks in its name", "G405",
             lambda f: (f / "photos/ant").rename(f / "photos/a\nb") and None, says=(r"\n",)),
]  # fmt: skip
CASES = [*NPZ, *PICTURES]
