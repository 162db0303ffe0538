"""From what the benchmarks write to the rows of the peers' table."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from typing import Any

HEAD = ("what", "bequeath", "peer", "times better", "limit", "of the limit")


@dataclass(frozen=True)
class Row:
    """One comparison.

    ours, peer, limit: in `unit`; limit: what the machine could do at best, None where there is no
    such thing. ratio: how many times bequeath is better, the median of the rounds' own ratios; low,
    high: the least and the most of them. faster: whether more is better. note: what else to know.
    """

    what: str
    unit: str
    ours: float
    peer: float | None
    name: str
    ratio: float | None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    faster: bool = False
    note: str = ""

    @property
    def of_limit(self) -> float | None:
        if self.limit is None:
            return None
        return self.ours / self.limit if self.faster else self.limit / self.ours

    def told(self) -> dict[str, Any]:
        """The numbers, and the cells of the table as text, in the order of HEAD."""
        peer = "" if self.peer is None else f"{self.name} {_number(self.peer)}"
        times = "" if self.ratio is None else f"{self.ratio:.2f}"
        if self.low is not None and self.high is not None and self.low != self.high:
            times += f" ({self.low:.2f} to {self.high:.2f})"
        limit = "" if self.limit is None else _number(self.limit)
        share = "" if self.of_limit is None else f"{self.of_limit:.0%}"
        what = f"{self.what}; {self.note}" if self.note else self.what
        cells = [what, f"{_number(self.ours)} {self.unit}", peer, times, limit, share]
        return {**asdict(self), "of_limit": self.of_limit, "cells": cells}


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def start_rows(raw: dict[str, Any]) -> list[Row]:
    """Processor seconds; the limit is an interpreter that does nothing, or imports torch."""
    cpu = {name: one["cpu_s"] for name, one in raw["peers"].items()}
    memory = {name: one["mb"] for name, one in raw["peers"].items()}
    rows = []
    for what, peer, ours, theirs, least in (
        ("help of the command", "mergekit", "bequeath --help", "mergekit --help", "python"),
        ("imports of a distillation", "torchdistill", *_pair("torchdistill", "distil")),
        ("imports of a merge", "mergekit", *_pair("mergekit", "merge")),
    ):
        note = f"{memory[ours]:.0f} MB resident, {peer} {memory[theirs]:.0f} MB"
        times = cpu[theirs] / cpu[ours]
        limit = cpu[least]
        rows.append(Row(what, "cpu s", cpu[ours], cpu[theirs], peer, times, limit=limit, note=note))
    return rows


def _pair(peer: str, what: str) -> tuple[str, str, str]:
    return f"bequeath {what}", f"{peer} {what}", "import torch"


def train_rows(raw: dict[str, Any]) -> list[Row]:
    """Images a second of a distillation."""
    speed, limit, rows = raw["images_per_second"], raw["limit"], []
    job = f"ResNet-56 to ResNet-20, threads: {raw['threads']}"
    for arm, what in (("live", "with a live teacher"), ("cached", "with the teacher cached")):
        one = raw[arm]
        span = one["ratio"], one["low"], one["high"]
        ours, peer = speed[f"bequeath {arm}"], speed["torchdistill"]
        name, most = f"distillation {what}: {job}", limit[arm]
        rows.append(Row(name, "images/s", ours, peer, "torchdistill", *span, most, faster=True))
    return rows


def merge_rows(raw: dict[str, Any], disk: dict[str, float]) -> list[Row]:
    """Seconds and growth of memory of each rule, from and to the disk.

    The limit is the bytes over the disk's rates, reading and writing at the same time.
    """
    rows = []
    runs = [run for run in raw["runs"] if run.get("where", "disk") == "disk"]
    for rule in dict.fromkeys(run["rule"] for run in runs):
        arms: dict[str, list[dict[str, float]]] = {}
        for run in runs:
            if run["rule"] == rule:
                arms.setdefault(run["arm"], []).append(run)
        ours, theirs = arms["bequeath"], arms["mergekit"]
        each = [t["seconds"] / o["seconds"] for o, t in zip(ours, theirs, strict=True)]
        span = statistics.median(each), min(each), max(each)
        size, models = raw["gb"] * 1e9, 2 if rule == "linear" else 3
        limit = max(models * size / disk["read"], size / disk["write"])
        floor = statistics.median(one["seconds"] for one in arms["floor"])
        what = f"merge by {rule}, {raw['gb']:.2g} GB a model"
        mine, peer = (statistics.median(one["seconds"] for one in arm) for arm in (ours, theirs))
        note = f"plain copying took {floor:.3g} s in the same turn"
        rows.append(Row(what, "s", mine, peer, "mergekit", *span, limit, note=note))
        grown, more = (max(one["growth"] for one in arm) / 1e6 for arm in (ours, theirs))
        name = f"{what}: growth of memory"
        rows.append(Row(name, "MB", grown, more, "mergekit", more / grown))
    return rows


def link_rows(raw: dict[str, Any]) -> list[Row]:
    """Triples a second of training; the limit is the bytes a triple moves over the bandwidth."""
    rows = []
    for model, one in raw["models"].items():
        most = raw["limits"]["bandwidth"] / one["bytes_a_triple"]
        for arm, negatives in (("uniform", "uniform"), ("lemon", "from neighbourhoods")):
            what = f"training {model}, negatives {negatives}, threads: {raw['threads']}"
            span = (one[f"{arm}_{end}"] for end in ("ratio", "low", "high"))
            ours, peer = one[arm], one["pykeen"]
            rows.append(Row(what, "triples/s", ours, peer, "PyKEEN", *span, most, faster=True))
    return rows


def ranking_rows(raw: dict[str, Any]) -> list[Row]:
    """Triples a second of filtered ranking, both sides."""
    rows = []
    for model, states in raw["models"].items():
        for state, one in states.items():
            speed, rate = one["speed"], one["triples_per_second"]
            what = f"filtered ranks of {model}, {state} weights, threads: {raw['threads']}"
            span = speed["ratio"], speed["low"], speed["high"]
            most = raw["triples"] / one["limit_s"]
            note = f"{one['differing']} of {one['ranks']} ranks differ from PyKEEN in float64"
            note += f" (its float32: {one['theirs_differing']})"
            ours, peer = rate["bequeath"], rate["pykeen"]
            unit = "triples/s"
            rows.append(Row(what, unit, ours, peer, "PyKEEN", *span, most, faster=True, note=note))
    return rows


def loop_rows(raw: dict[str, Any]) -> list[Row]:
    """Milliseconds of a step beside the shortest loop; the limit is its operations at full rate."""
    rows = []
    for job, what in (("conv", "a small convolutional net"), ("mlp", "a tiny MLP")):
        one = raw[job]
        span = 1 / one["ratio"], 1 / one["high"], 1 / one["low"]
        most = one["flops_a_step"] / raw["limits"]["flops"] * 1e3
        ours, peer = one["fit_ms_a_step"], one["hand_ms_a_step"]
        name = f"a step of {what}, threads: {raw['threads']}"
        rows.append(Row(name, "ms", ours, peer, "by hand", *span, most))
    return rows
