"""`method:` -> the arms of the comparison: names, settings, labels, and the baselines added."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bequeath.job import words
from bequeath.job.checks import Basket, check
from bequeath.job.job import Arm
from bequeath.kernel.errors import JobError, JobPath, Problem
from bequeath.kernel.own_code import RAISED, notes_of
from bequeath.methods import catalog
from bequeath.methods.contract import Method

LABEL = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9_.+-]{0,59}")
IN_A_FILE = re.compile(r".*\.py:\w+")
MAX_ARMS = 50


def resolve_arms(
    basket: Basket, want: str | None, written: Any, baselines: bool, allow_code: bool
) -> list[Arm]:
    """The arms in the order written, then the family's baselines that are not among them."""
    if written is None or written == []:
        listed = f"bequeath list --want {want}" if want else "bequeath list"
        there = "method" in basket.document.plain
        label = "" if there else "`method:` is missing"
        where: JobPath = ("method",) if there else ("want",)
        basket.add("J104", "the job names no method", where, label=label, remedies=(listed,))
        return []
    many = isinstance(written, list)
    entries = written if many else [written]
    if len(entries) > MAX_ARMS:
        basket.add("J102", f"more than {MAX_ARMS} methods in one job", ("method",), key=True)
        return []
    if want is None:  # without a family there is nothing to look a name up in
        return []
    arms = []
    for i, entry in enumerate(entries):
        at: JobPath = ("method", i) if many else ("method",)
        arm = _arm(basket, want, entry, at, allow_code)
        if arm is not None:
            arms.append(replace(arm, index=i if many else None))
    if len(arms) == len(entries) and baselines:
        arms += _added(want, {arm.method.name for arm in arms})
    _distinct(basket, arms)
    return arms


def _arm(basket: Basket, want: str, entry: Any, at: JobPath, allow_code: bool) -> Arm | None:
    if isinstance(entry, str):
        entry = {"name": entry}
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        here = (*at, "name") if isinstance(entry, dict) and "name" in entry else at
        code = "J104" if isinstance(entry, dict) and "name" not in entry else "J102"
        label = "a method's name, or a mapping with `name:` and its settings"
        basket.add(code, "this is no method", here, label=label)
        return None
    name = entry["name"]
    method = _find(basket, want, name, (*at, "name"), allow_code)
    label = _label(basket, entry, at, method)
    if method is None:
        return None
    config = {key: value for key, value in entry.items() if key not in ("name", "as")}
    typed = check(basket, method.Config, config, at, f"method `{method.name}`")
    reference = name if IN_A_FILE.fullmatch(name) else ""
    return None if typed is None else Arm(label, method, typed, reference=reference)


def _find(basket: Basket, want: str, name: str, at: JobPath, allow_code: bool) -> Method | None:
    if IN_A_FILE.fullmatch(name):
        return _from_file(basket, want, name, at, allow_code)
    known = catalog.methods_of(want)
    if name in known:
        return known[name]
    if others := catalog.named(name):
        label = "it is for " + " or ".join(f"`want: {other.want}`" for other in others)
    else:
        label = words.one_of(name, known)
        if (meant := words.near(name, known)) is not None:
            label += f" ({known[meant].title})"
    basket.add(
        "J122",
        f"there is no method `{words.shown(name)}` for `want: {want}`",
        at,
        label=label,
        remedies=(f"bequeath list --want {want}",),
    )
    return None


def _from_file(
    basket: Basket, want: str, name: str, at: JobPath, allow_code: bool
) -> Method | None:
    if not allow_code:
        basket.add(
            "J110",
            "this job wants to run code of its own",
            at,
            label="a method in a Python file",
            remedies=("read that code, then allow it with --allow-code",),
        )
        return None
    try:
        method = catalog.from_file(name, Path.cwd())
    except JobError as error:
        basket.extend(replace(problem, at=at) for problem in error.problems)
        return None
    except RAISED as error:
        basket.add("J123", f"`{name}` cannot be imported", at, notes=notes_of(error))
        return None
    if method.want != want:
        basket.add("J122", f"`{name}` is for `want: {method.want}`, not `{want}`", at)
        return None
    return method


def _label(basket: Basket, entry: Mapping[str, Any], at: JobPath, method: Method | None) -> str:
    label = entry.get("as")
    if label is None:
        return method.name if method is not None else ""
    if not isinstance(label, str) or not LABEL.fullmatch(label):
        basket.add(
            "J102",
            f"`as: {words.shown(label)}` cannot name a folder",
            (*at, "as"),
            label="letters, digits and _ + - . (not first), at most 60",
        )
        return ""
    return label


def _added(want: str, present: set[str]) -> list[Arm]:
    known = catalog.methods_of(want)
    names = [name for name in catalog.family_of(want).baselines if name not in present]
    return [Arm(name, known[name], known[name].Config(), added=True) for name in names]


def _distinct(basket: Basket, arms: list[Arm]) -> None:
    """Labels name folders, and some file systems do not tell `A` from `a`."""
    seen: dict[str, Arm] = {}
    for arm in arms:
        first = seen.setdefault(arm.label.casefold(), arm)
        if first is arm or not arm.label:
            continue
        blamed = first if arm.added else arm
        what = "that is the baseline's name" if arm.added else "each needs a label of its own"
        remedy = f"add a label: {{name: {blamed.method.name}, as: {blamed.label}-2, ...}}"
        message = f"two arms are called `{arm.label}`"
        basket.extend([Problem("J125", message, blamed.at, what, (remedy,))])
