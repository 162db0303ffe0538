"""`hf:FOLDER` or `hf:NAME`: a data set of the library datasets that is on this machine already.

A folder written by `save_to_disk`, a folder of files that `load_dataset` knows, or the name of a
data set in the local cache. Nothing is downloaded (unless
BEQUEATH_DOWNLOAD=1 is set) and no code of a data set is run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from bequeath.given.data_schemes.pictures import Pictures, Source
from bequeath.given.data_schemes.select import ALIASES, SPLITS
from bequeath.given.data_schemes.source import (
    Found,
    Raw,
    answering,
    fail,
    listed,
    local,
    missing_library,
    missing_path,
    near,
)
from bequeath.kernel.errors import JobError, Problem


def find(rest: str, options: Any) -> Found:
    path = local(rest)
    looks_local = rest.startswith((".", "/", "~")) or rest.count("/") > 1
    problem = missing_path(path, folder=True) if looks_local else None
    kind = "text" if options.text or options.prompt else "image" if options.image else None
    return Found(kind, problems=[problem] if problem else [])


def read(rest: str, options: Any) -> Raw:
    opened = _open(rest, options)
    table, native = _split(opened, options)
    label = _label(table, options)
    y = names = None
    if label is not None:
        y = list(table[label])
        names = getattr(table.features[label], "names", None)
    classes = tuple(names) if names else None
    if len(table) == 0:
        fail("D205", f"`{rest}` is empty", at=("split",) if native else ("ref",))
    texts_meant = options.text or options.prompt
    image = options.image or (None if texts_meant else _of_type(table, ("Image",)))
    if image is not None:
        _there(table, image, "image")
        x, kind = _pictures(table, image), "image"
        return Raw(kind, x, y, classes, native, unit="image")
    text = options.text or _only_text(table, (label, options.prompt))
    _there(table, text, "text")
    texts = [str(t) for t in table[text]]
    if options.prompt is None:
        return Raw("text", texts, y, classes, native)
    _there(table, options.prompt, "prompt")
    prompts = [str(t) for t in table[options.prompt]]
    return answering(prompts, texts, y, classes=classes, native=native)


@contextlib.contextmanager
def _offline() -> Iterator[Any]:
    """The library, kept from the network unless the environment says it may download."""
    from bequeath.given.model_schemes import may_download

    try:
        import datasets
    except ImportError:
        missing_library("datasets", "hf", "hf")
    before = datasets.config.HF_HUB_OFFLINE
    bars = datasets.is_progress_bar_enabled()
    datasets.config.HF_HUB_OFFLINE = before or not may_download()
    datasets.disable_progress_bars()
    try:
        yield datasets
    finally:
        datasets.config.HF_HUB_OFFLINE = before
        if bars:
            datasets.enable_progress_bars()


def _open(rest: str, options: Any) -> Any:
    path = local(rest)
    with _offline() as datasets:
        saved = any((path / name).is_file() for name in ("dataset_dict.json", "state.json"))
        try:
            if saved:
                return datasets.load_from_disk(str(path))
            return datasets.load_dataset(str(path) if path.is_dir() else rest, options.config)
        except JobError:
            raise
        except Exception as error:  # the library raises errors of many kinds for a bad folder
            is_folder = path.is_dir()
            text = str(error).splitlines()[0][:300] if str(error) else ""
            fail(
                "D202" if is_folder else "D218",
                f"`{rest}` cannot be opened as a data set"
                + ("" if is_folder else ": it is no folder, nor in the local cache"),
                notes=(f"{type(error).__name__}: {text}",),
                remedies=("write it with save_to_disk",)
                if is_folder
                else ("set BEQUEATH_DOWNLOAD=1 to let the library download it", "or give a folder"),
            )


def _split(opened: Any, options: Any) -> tuple[Any, bool]:
    if not hasattr(opened, "keys"):
        return opened, False
    there = [str(name) for name in opened]
    asked = options.split
    if asked is None:
        if len(there) == 1:
            return opened[there[0]], False
        message = "the data set has several splits; say which"
        fail("D215", message, at=("split",), notes=(f"there are {listed(there)}",))
    for name in there:
        if name == asked or ALIASES.get(name, name) == ALIASES.get(asked, asked):
            return opened[name], True
    if len(there) == 1 and ALIASES.get(asked, asked) in SPLITS:
        return opened[there[0]], False
    note = f"there are {listed(there)}"
    problem = Problem("D215", f"there is no split `{asked}`", ("split",), near(asked, there))
    raise JobError(replace(problem, notes=(note,)))


def _label(table: Any, options: Any) -> str | None:
    if options.label is not None:
        _there(table, options.label, "label")
        return str(options.label)
    for name in ("label", "labels", "class", "fine_label"):
        if name in table.column_names:
            return name
    found = _of_type(table, ("ClassLabel",))
    if found is None and options.labels:
        _there(table, "label", "label")
    return found


def _of_type(table: Any, kinds: tuple[str, ...]) -> str | None:
    fit = [name for name, feature in table.features.items() if type(feature).__name__ in kinds]
    return fit[0] if fit else None


def _only_text(table: Any, others: tuple[str | None, ...]) -> str:
    texts = [
        name
        for name, feature in table.features.items()
        if getattr(feature, "dtype", "") in ("string", "large_string") and name not in others
    ]
    if len(texts) != 1:
        fail(
            "D204",
            "no column of images, and not just one of text" if texts else "no images and no text",
            notes=(f"the columns are {listed(table.column_names)}",),
            remedies=("say `text: NAME` or `image: NAME`",),
        )
    return texts[0]


def _there(table: Any, name: str, option: str) -> None:
    if name not in table.column_names:
        fail(
            "D204",
            f"there is no column `{name}`",
            at=(option,),
            label=near(name, table.column_names),
            notes=(f"the columns are {listed(table.column_names)}",),
            remedies=(f"say `{option}: NAME`",),
        )


def _pictures(table: Any, column: str) -> Pictures:
    import datasets

    encoded = table.select_columns([column]).cast_column(column, datasets.Image(decode=False))
    sources: list[Source] = []
    names = []
    for i, cell in enumerate(encoded[column]):
        cell = cell or {"bytes": b"", "path": None}
        sources.append(cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]))
        names.append(f"image {i}" + (f" ({Path(cell['path']).name})" if cell["path"] else ""))
    return Pictures(sources, names)
