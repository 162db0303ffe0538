"""Pools made ready for a search: part of them drawn, scores counted or computed, answers kept.

What costs minutes (the proxies of a network, the user's objective) is kept on disk line by line,
as it comes, so a stop loses nothing and no other job pays for it again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from bequeath.blocks.cells import COUNTS, cell_counts, cell_network, parse_cell
from bequeath.blocks.pool import Pool, name_noise
from bequeath.blocks.zero_cost import VERSION, proxies, readable
from bequeath.given.pool import PoolSamples
from bequeath.given.samples import Samples
from bequeath.kernel.errors import Problem, RunError
from bequeath.kernel.files import canonical, digest
from bequeath.methods.search import Protocol
from bequeath.signals.cache import root
from bequeath.train.progress import Progress
from bequeath.train.seeds import generator


def metric_names(pool: PoolSamples, settings: Protocol) -> tuple[str, ...]:
    """The scores that the methods will see."""
    if settings.metrics == "table":
        return pool.names
    return tuple(COUNTS) if settings.metrics == "counts" else tuple(settings.proxies)


def prepared(
    pool: PoolSamples, batch: Samples | None, settings: Protocol, seed: int, device: torch.device
) -> PoolSamples:
    """The candidates and scores of one seed. Scores that are turned over have their signs too."""
    part = _drawn(pool, settings.pool, seed if settings.draw == "seed" else 0)
    if settings.metrics == "counts":
        part = _counted(part)
    elif settings.metrics == "computed":
        assert batch is not None  # the gate asks for it
        part = _computed(part, batch, settings, device)  # type: ignore[arg-type]
    if settings.signs == "given":
        return part
    coins = torch.randint(2, (len(part.names),), generator=generator(seed, "signs"))
    turned = 1.0 - 2.0 * coins.double().numpy()
    return part.with_metrics(part.names, _filled(part) * turned, part.signs * turned)


def public(pool: PoolSamples) -> Pool:
    """What a method may see of it without asking."""
    return Pool(pool.ids, pool.names, pool.metrics, pool.signs, _codes(pool))


def objective_of(pool: PoolSamples) -> Callable[[int], float]:
    """What candidate i is worth, as the user counts it. What was computed is kept."""
    held = pool.objective
    if not callable(held):
        values = held
        return lambda i: float(values[i])
    kept = Kept("objectives", [pool.code, pool.code_hash])

    def ask(i: int) -> float:
        name = pool.ids[i]
        if name not in kept.values:
            kept.add(name, {"objective": _answer(held, name, pool.code)})
        return float(kept.values[name]["objective"] or 0.0)

    return ask


class Kept:
    """A file of JSON lines [name, values], below the folder of the caches; a line cut short by a
    crash is passed over."""

    def __init__(self, kind: str, key: Any):
        """key: everything that the values depend on besides the name."""
        self.path = root() / kind / f"{digest(canonical(key))}.jsonl"
        self.values: dict[str, dict[str, float | None]] = {}
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                try:
                    name, values = json.loads(line)
                    self.values[name] = dict(values)
                except (ValueError, TypeError):
                    continue

    def add(self, name: str, values: dict[str, float | None]) -> None:
        self.values[name] = values
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            # the line before may have been cut short, so each begins a new one
            file.write("\n" + json.dumps([name, values], allow_nan=False) + "\n")


@lru_cache(maxsize=4)
def _drawn(pool: PoolSamples, n: int | None, seed: int) -> PoolSamples:
    if n is None or n == len(pool):
        return pool
    order = np.argsort(name_noise(pool.ids, generator(seed, "pool")), kind="stable")
    return pool.take(np.sort(order[:n]))


def _filled(pool: PoolSamples) -> np.ndarray:
    """The scores, the worst where there is none: so a score turned over is the mirror image of
    itself, and not besides a score whose gaps have become its best."""
    oriented = pool.metrics * pool.signs
    worst = np.where(np.isfinite(oriented), oriented, np.inf).min(axis=0, initial=np.inf)
    worst = np.where(np.isfinite(worst), worst, 0.0)
    return np.where(np.isfinite(oriented), oriented, worst) * pool.signs


@lru_cache(maxsize=4)
def _codes(pool: PoolSamples) -> np.ndarray | None:
    if pool.space is None:
        return None
    return np.array([parse_cell(name) for name in pool.ids], dtype=np.int64)


@lru_cache(maxsize=4)
def _counted(pool: PoolSamples) -> PoolSamples:
    codes = _codes(pool)
    assert codes is not None  # the gate asks for a space
    values = np.array([cell_counts(row) for row in codes.tolist()], dtype=np.float64)
    return pool.with_metrics(tuple(COUNTS), values, np.array([float(s) for s in COUNTS.values()]))


@lru_cache(maxsize=4)
def _computed(
    pool: PoolSamples, batch: Samples, settings: Protocol, device: torch.device
) -> PoolSamples:
    names = settings.proxies
    shape = [settings.width, settings.depth, settings.batch, len(batch.classes)]
    where = [] if device.type == "cpu" else [device.type]
    kept = Kept("proxies", [VERSION, pool.space, shape, batch.hash, *where])
    x, y = _images(batch, settings.batch, device)
    codes = _codes(pool)
    assert codes is not None  # the gate asks for a space
    done = [set(names) <= kept.values.get(one, {}).keys() for one in pool.ids]
    progress = Progress("proxies", len(pool), sum(done))
    try:
        for i in [i for i, is_done in enumerate(done) if not is_done]:
            before = kept.values.get(pool.ids[i], {})
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)  # all networks are drawn from one stream
                net = cell_network(
                    codes[i].tolist(),
                    width=settings.width,
                    depth=settings.depth,
                    n_classes=len(batch.classes),
                    channels=x.shape[1],
                ).to(device)
            fresh = proxies(net, x, y, [name for name in names if name not in before])
            finite = {k: v if math.isfinite(v) else None for k, v in fresh.items()}
            kept.add(pool.ids[i], {**before, **finite})
            done[i] = True
            progress.show(sum(done), 0.0, {}, {})
    finally:
        progress.close()
    columns = []
    for name in names:
        raw = [kept.values[one][name] for one in pool.ids]
        columns.append(readable(name, [math.nan if v is None else v for v in raw]))
    return pool.with_metrics(tuple(names), np.array(columns).T, np.ones(len(names)))


def _images(batch: Samples, n: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Images float [n, C, H, W], of mean 0 and deviation 1 in each channel, and labels."""
    order = torch.randperm(len(batch), generator=generator(0, "batch"))[:n]
    held = batch.fetch(order.sort().values)
    x = held["x"].to(device).float().permute(0, 3, 1, 2) / 255
    mean, std = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True)
    return (x - mean) / std.clamp_min(1e-6), held["y"].to(device)


def _answer(ask: Callable[[str], float], name: str, code: str) -> float:
    try:
        value = float(ask(name))
    except Exception as error:  # the user's code
        raise RunError(_failed(code, name, f"{type(error).__name__}: {error}"[:300])) from error
    if not math.isfinite(value):
        raise RunError(_failed(code, name, f"it answered {value}"))
    return value


def _failed(code: str, name: str, why: str) -> Problem:
    return Problem(
        "T662",
        f"the objective `{code}` has no answer for `{name}`",
        at=("data", "pool", "objective"),
        notes=(why,),
        remedies=("mend the function; what it answered before is kept, so the run goes on there",),
    )
