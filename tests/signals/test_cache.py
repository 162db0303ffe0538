"""Answers on disk: whole or absent, addressed by content, memory-mapped."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bequeath.kernel.errors import RunError
from bequeath.signals import cache as cache_module
from bequeath.signals import npy
from bequeath.signals.cache import Cache, Rows, clear, contents

N = 10
BOTH = ("logits", "embedding")
PARTS: dict[str, Any] = {
    "teacher": "t",
    "architecture": "net",
    "preprocess": "p",
    "dtype": "float32",
    "precision": "fp32",
    "data": "d",
    "n": N,
    "augment": {"crop": 4, "flip": True, "cutout": 0, "seed": 1},
}


def rows(view: int = 0) -> Rows:
    rng = np.random.default_rng(view)
    return {
        "logits": rng.normal(size=(N, 3)).astype("f4"),
        "embedding": rng.normal(size=(N, 5)).astype("f4"),
    }


def pieces(values: Rows) -> Iterator[tuple[Rows, float]]:
    for start in range(0, N, 4):
        yield {name: v[start : start + 4] for name, v in values.items()}, 0.5


def filled(views: int = 1, parts: dict[str, Any] = PARTS, outputs: tuple[str, ...] = BOTH) -> Cache:
    cache = Cache(parts)
    with cache.lock():
        cache.load()
        for view, absent in cache.missing(outputs, views).items():
            wanted = {name: rows(view)[name] for name in absent}
            cache.write_view(view, pieces(wanted), {"threads": 1})
    return cache


def names(cache: Cache) -> set[str]:
    return {p.name for p in cache.folder.iterdir()}


def test_what_is_written_is_read_back_through_a_memory_map() -> None:
    filled(2)
    cache = Cache(PARTS)
    cache.load()
    assert cache.missing(BOTH, 2) == {} and cache.damaged(BOTH, 2) == {}
    assert cache.missing(("logits", "other"), 3) == {
        0: ["other"],
        1: ["other"],
        2: ["logits", "other"],
    }
    for view, stored in enumerate(cache.read(BOTH, 2)):
        for name, values in rows(view).items():
            assert isinstance(stored[name], np.memmap) and not stored[name].flags.writeable
            np.testing.assert_array_equal(stored[name], values)
    assert names(cache) == {
        "meta.json",
        *(f"{name}-{view}.npy" for name in ("logits", "embedding") for view in (0, 1)),
    }
    assert cache.seconds(BOTH, 2) == pytest.approx(1.5 / N)
    listed = cache.listed(("logits",), 2)
    assert set(listed) == {"logits-0.npy", "logits-1.npy"}
    for name, one in listed.items():
        assert one["bytes"] == (cache.folder / name).stat().st_size and one["shape"] == [3]


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("teacher", "u"),
        ("architecture", "other"),
        ("preprocess", "q"),
        ("dtype", "float16"),
        ("precision", "bf16"),
        ("data", "e"),
        ("n", N + 1),
        ("augment", {"crop": 4, "flip": True, "cutout": 0, "seed": 2}),
        ("augment", {"crop": 2, "flip": True, "cutout": 0, "seed": 1}),
        ("augment", None),
    ],
)
def test_every_ingredient_is_in_the_key(part: str, value: Any) -> None:
    assert Cache({**PARTS, part: value}).key != Cache(PARTS).key
    assert Cache(dict(reversed(PARTS.items()))).key == Cache(PARTS).key


def test_the_format_version_is_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    key = Cache(PARTS).key
    monkeypatch.setattr(cache_module, "FORMAT", cache_module.FORMAT + 1)
    assert Cache(PARTS).key != key


def test_an_interrupted_fill_keeps_whole_views_and_goes_on() -> None:
    cache = filled(1)

    def broken() -> Iterator[tuple[Rows, float]]:
        yield from list(pieces(rows(1)))[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), cache.lock():
        cache.write_view(1, broken(), {})
    assert names(cache) == {"meta.json", "logits-0.npy", "embedding-0.npy"}
    assert cache.missing(BOTH, 2) == {1: list(BOTH)}
    before = (cache.folder / "logits-0.npy").stat()
    cache = filled(2)
    np.testing.assert_array_equal(cache.read(BOTH, 2)[1]["logits"], rows(1)["logits"])
    after = (cache.folder / "logits-0.npy").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_an_output_is_added_beside_those_there() -> None:
    cache = filled(2, outputs=("logits",))
    before = {name: (cache.folder / name).stat().st_ino for name in cache.files}
    assert cache.missing(BOTH, 2) == {0: ["embedding"], 1: ["embedding"]}
    cache = filled(2)
    assert len(cache.files) == 4 and cache.damaged(BOTH, 2) == {}
    assert {name: (cache.folder / name).stat().st_ino for name in before} == before
    np.testing.assert_array_equal(cache.read(BOTH, 2)[1]["embedding"], rows(1)["embedding"])


def test_an_output_keeps_its_shape_through_the_views() -> None:
    cache = filled(1)
    other = {"logits": np.zeros((N, 4), "f4")}
    with pytest.raises(ValueError, match=r"\[4\] in view 1, earlier \[3\]"), cache.lock():
        cache.write_view(1, pieces(other), {})
    assert cache.missing(("logits",), 2) == {1: ["logits"]}


def test_a_file_is_read_once_and_again_when_it_has_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache, read = filled(1), []
    crc = npy.zlib.crc32
    monkeypatch.setattr(npy.zlib, "crc32", lambda *args: read.append(1) or crc(*args))
    path = cache.folder / "logits-0.npy"
    cache.damaged(BOTH, 1)
    cache.damaged(BOTH, 1)
    assert len(read) == 4  # so young a file may change without its times telling
    monkeypatch.setattr(npy, "_TICK_NS", 0)
    time.sleep(0.02)
    cache.damaged(BOTH, 1)
    cache.damaged(BOTH, 1)
    assert len(read) == 6
    flip(path)
    assert set(cache.damaged(BOTH, 1)) == {"logits-0.npy"} and len(read) == 7


def test_what_a_killed_process_left_is_swept_away() -> None:
    cache = filled(1)
    part = cache.folder / ".view-1.99999.part"
    part.mkdir()
    (part / "logits-1.npy").write_bytes(b"half")
    filled(2)
    assert not part.exists() and cache.read(BOTH, 2)[1]["logits"].shape == (N, 3)


def test_files_in_place_but_not_listed_are_written_again() -> None:
    cache = filled(1)
    (cache.folder / "logits-1.npy").write_bytes(b"of a fill killed between rename and listing")
    cache = filled(2)
    assert cache.damaged(BOTH, 2) == {}


def test_a_full_disk_is_a_clean_error_and_leaves_no_part() -> None:
    cache = filled(1)
    # a limit on the size of files makes the kernel refuse a write as a full disk does
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150, before[1]))
    try:
        with pytest.raises(RunError) as caught, cache.lock():
            cache.write_view(1, pieces(rows(1)), {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, old)
    problem = caught.value.problem
    assert problem.code == "S705" and "disk is full" in problem.message
    assert any("BEQUEATH_CACHE" in remedy for remedy in problem.remedies)
    assert names(cache) == {"meta.json", "logits-0.npy", "embedding-0.npy"}
    assert filled(2).damaged(BOTH, 2) == {}


def test_room_is_looked_for_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "free_bytes", lambda where: 10**8)
    cache = Cache(PARTS)
    cache.check_room(10**7)
    with pytest.raises(RunError) as caught:
        cache.check_room(10**8)
    assert caught.value.problem.code == "S705" and "100.0 MB are free" in str(caught.value)
    assert not cache.folder.exists()


def test_a_folder_that_cannot_be_made_is_a_clean_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("BEQUEATH_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(RunError) as caught:
        filled()
    assert caught.value.problem.code == "S705"


def test_data_that_cannot_be_read_is_not_blamed_on_the_cache() -> None:
    def broken() -> Iterator[tuple[Rows, float]]:
        raise FileNotFoundError(2, "No such file", "photo.png")
        yield

    cache = Cache(PARTS)
    with pytest.raises(FileNotFoundError, match=r"photo\.png"), cache.lock():
        cache.load()
        cache.write_view(0, broken(), {})


def test_a_view_with_too_few_rows_is_refused() -> None:
    cache = Cache(PARTS)
    with pytest.raises(ValueError, match="8 rows of 10"), cache.lock():
        cache.load()
        cache.write_view(0, list(pieces(rows()))[:2], {})
    assert not list(cache.folder.iterdir())


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def test_damage_is_found_and_only_that_file_is_forgotten() -> None:
    cache = filled(3)
    flip(cache.folder / "logits-1.npy")
    with (cache.folder / "embedding-2.npy").open("r+b") as file:
        file.truncate(100)
    damaged = cache.damaged(BOTH, 3)
    assert set(damaged) == {"logits-1.npy", "embedding-2.npy"}
    assert "checksum" in damaged["logits-1.npy"]
    assert "100 bytes" in damaged["embedding-2.npy"]
    cache.set_aside(damaged)
    assert cache.missing(BOTH, 3) == {1: ["logits"], 2: ["embedding"]}
    assert cache.damaged(("embedding",), 2) == {}
    assert (cache.where / f"{cache.key}.damaged" / "logits-1.npy").exists()
    cache = filled(3)
    assert cache.damaged(BOTH, 3) == {}
    (cache.folder / "logits-0.npy").unlink()
    assert "cannot be read" in cache.damaged(BOTH, 3)["logits-0.npy"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"parts": {}}',
        "\x00\xff",
        '{"parts": {}, "files": {"../../x-0.npy": {"output": "../../x", "view": 0, "bytes": 1, '
        '"crc32": 1, "shape": [], "seconds": 1, "made_with": {}}}}',
        '{"parts": {}, "files": {"a-1.npy": {"output": "a", "view": 0, "bytes": 1, '
        '"crc32": 1, "shape": [], "seconds": 1, "made_with": {}}}}',
        '{"parts": {}, "files": {"a-0.npy": 3}}',
    ],
)
def test_an_unreadable_list_puts_the_whole_cache_aside(text: str) -> None:
    cache = filled(1)
    (cache.folder / "meta.json").write_text(text)
    again = Cache(PARTS)
    with again.lock():
        again.load()
    assert again.missing(("logits",), 1) == {0: ["logits"]} and not again.folder.exists()
    assert filled(1).damaged(BOTH, 1) == {}


def test_a_renamed_cache_of_another_teacher_is_refused() -> None:
    other = filled(1, {**PARTS, "teacher": "another"})
    mine = Cache(PARTS)
    other.folder.rename(mine.folder)
    with pytest.raises(RunError) as caught:
        mine.load()
    problem = caught.value.problem
    assert problem.code == "S702" and "another teacher" in problem.message
    assert problem.notes == ("teacher: another there, t here",)
    assert mine.key in problem.remedies[0]


def test_contents_and_clear() -> None:
    assert contents() == [] and clear() == 0
    one, two = filled(2), filled(1, {**PARTS, "teacher": "u"})
    found = {entry["key"]: entry for entry in contents()}
    assert set(found) == {one.key, two.key}
    assert found[one.key]["views"] == 2 and found[one.key]["samples"] == N
    kept = sum(f["bytes"] for f in one.files.values())
    assert found[one.key]["bytes"] > kept and found[one.key]["outputs"] == sorted(BOTH)
    open_map = two.read(BOTH, 1)[0]["logits"]
    assert clear(two.key) == found[two.key]["bytes"]
    assert [entry["key"] for entry in contents()] == [one.key]
    np.testing.assert_array_equal(open_map, rows()["logits"])  # a reader keeps what it has open
    with pytest.raises(RunError) as caught:
        clear(two.key)
    assert caught.value.problem.code == "S710" and one.key in caught.value.problem.notes[0]
    filled(1, {**PARTS, "teacher": "u"})
    with pytest.raises(RunError, match="several"):
        clear("")
    assert clear(two.key[:8]) > 0 and [entry["key"] for entry in contents()] == [one.key]
    clear()
    assert contents() == []


def test_one_fills_and_the_other_waits() -> None:
    order: list[str] = []

    def work(name: str) -> None:
        cache = Cache(PARTS)
        with cache.lock():
            cache.load()
            for view in cache.missing(BOTH, 1):
                order.append(name)
                time.sleep(0.2)
                cache.write_view(view, pieces(rows()), {})

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(order) == 1 and Cache(PARTS).folder.exists()


def test_the_lock_of_a_process_that_was_killed_is_free() -> None:
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from test_cache import PARTS, Cache\n"
        "with Cache(PARTS).lock():\n    print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        waited = threading.Thread(target=filled, daemon=True)
        waited.start()
        waited.join(0.5)
        assert waited.is_alive()  # it is held
        holder.kill()
        holder.wait()
        waited.join(10)
        assert not waited.is_alive()
    assert filled().damaged(BOTH, 1) == {}
