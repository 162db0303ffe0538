"""Filtered ranks of a graph's test triples, by bequeath and by PyKEEN's evaluator, in alternation.

    python benchmarks/ranking_speed.py [--threads 1] [--rounds 3] [--triples 512] [--json FILE]
                                       [--graph FOLDER]

A graph of the size of FB15k-237 (14,541 entities, 237 relations, 272,115 triples to train on);
`--graph` holds FB15k-237_train.tsv.gz and FB15k-237_valid.tsv.gz, and without it triples are drawn
by chance. The same weights in both, as they are drawn and after `--steps` of training. Both rank
the same triples on both sides, filter the same known triples and have their own batch size; each
builds its index of the known triples anew. PyKEEN works in float32, as it is used.

    speed      seconds of PyKEEN / of bequeath                                     >= 3
    differing  ranks that are not those of PyKEEN in float64, of `--check` triples  = 0

Ranks of scores in float32 hang on how a sum was rounded, and so on the batch: bequeath's are those
of float64. How many of PyKEEN's float32 ranks are not is said beside it (`theirs_differing`).
The limit is the operations of one score for every entity and different question (2 D for a product,
3 D for an L1 distance, which is three of one operand where a product counts two at once) over the
rate of a matrix product, or the scores written and read over the bandwidth, whatever takes longer.

Exit code 1 when a speed is below 3 or a rank differs.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import json
import logging
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _measure import alternate, facts, limits, ratio
from torch import Tensor

from bequeath.blocks.link_model import LinkModel, link_model
from bequeath.blocks.negatives import NegativeSampler
from bequeath.blocks.neighbourhoods import everyone
from bequeath.given.graphs import Graph, GraphView
from bequeath.methods.ground import Protocol
from bequeath.methods.ground._embed import embed
from bequeath.methods.ground.uniform import Config
from bequeath.metrics.ranking import SIDES, exact_ranks
from bequeath.train.config import Train
from bequeath.train.context import Context

ENTITIES, RELATIONS, TRAIN, VALID, LIMIT = 14_541, 237, 272_115, 17_535, 3.0


@dataclass(frozen=True)
class Task:
    """What is ranked: triples, what is known, and among how many."""

    train: Tensor
    test: Tensor
    entities: int
    relations: int

    @property
    def known(self) -> Tensor:
        return torch.cat([self.train, self.test])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--graph", type=Path, help="a folder with FB15k-237")
    parser.add_argument("--models", nargs="+", default=["transe", "rotate", "complex", "distmult"])
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--triples", type=int, default=512, help="ranked in a round")
    parser.add_argument("--check", type=int, default=256, help="ranked in float64 too")
    parser.add_argument("--steps", type=int, default=200, help="of training")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    logging.disable(logging.WARNING)
    task = opened(given.graph)
    asked = {key: getattr(given, key) for key in ("dim", "rounds", "threads", "triples", "check")}
    rates = limits(given.threads)
    found: dict[str, Any] = {"facts": facts(("torch", "pykeen")), **asked, "limits": rates}
    found |= {"graph": given.graph is not None, "steps": given.steps, "models": {}}
    for name in given.models:
        for state, steps in (("fresh", 0), ("trained", given.steps)):
            model = made(name, task, given.dim, steps)
            one = compare(model, task, given, rates)
            found["models"].setdefault(name, {})[state] = one
            told = f"{one['speed']['ratio']:6.1f} x PyKEEN, {one['of_limit']:.0%} of the limit"
            print(
                f"{name:9}{state:8}{told}; of {one['ranks']} ranks {one['differing']} differ "
                f"(PyKEEN's in float32: {one['theirs_differing']})",
                flush=True,
            )
    every = [one for states in found["models"].values() for one in states.values()]
    found["met"] = all(o["speed"]["ratio"] >= LIMIT and not o["differing"] for o in every)
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0 if found["met"] else 1


def compare(model: LinkModel, task: Task, given: Any, rates: dict[str, float]) -> dict[str, Any]:
    order = torch.randperm(len(task.test), generator=torch.Generator().manual_seed(1))
    some = task.test[order[: given.triples]]

    def timed(work: Any) -> float:
        began = time.perf_counter()
        work(model, some, task)
        return time.perf_counter() - began

    arms = {"pykeen": lambda: timed(by_pykeen), "bequeath": lambda: timed(by_bequeath)}
    by_bequeath(model, some[:8], task)  # the first pass through any code is slower
    by_pykeen(model, some[:8], task)
    speed = ratio(alternate(given.rounds, arms), "pykeen", "bequeath")
    least = limit(model, some, rates)
    few = some[: given.check]
    double = copy.deepcopy(model)
    double.module.double()
    right, ours = by_pykeen(double, few, task), by_bequeath(model, few, task)
    single = by_pykeen(model, few, task)
    return {
        "speed": speed,
        "triples_per_second": {k: len(some) / s for k, s in speed["seconds"].items()},
        "limit_s": least,
        "of_limit": least / speed["seconds"]["bequeath"],
        "ranks": right.numel(),
        "differing": int((ours != right).sum()),
        "theirs_differing": int((single != right).sum()),
        "mrr": float((1 / ours).mean()),
    }


def by_bequeath(model: LinkModel, some: Tensor, task: Task) -> Tensor:
    """float64 [2, T], realistic, as all ranks here."""
    rough, exact = model.rough_answers, model.exact_answers
    return exact_ranks(rough, exact, some, task.known, task.entities).realistic


def by_pykeen(model: LinkModel, some: Tensor, task: Task) -> Tensor:
    from pykeen.evaluation import RankBasedEvaluator

    evaluator = RankBasedEvaluator(clear_on_finalize=False)
    module: Any = model.module
    evaluator.evaluate(module.eval(), some, additional_filter_triples=[task.known], use_tqdm=False)
    rows = [np.concatenate(evaluator.ranks[side, "realistic"]) for side in SIDES]
    return torch.from_numpy(np.stack(rows)).double()


def limit(model: LinkModel, some: Tensor, rates: dict[str, float]) -> float:
    """Seconds that scoring the different questions of `some` takes at the least."""
    questions = sum(len(some[:, ends].unique(dim=0)) for ends in ([0, 1], [1, 2]))
    n, width = model.entities.shape
    # A processor that multiplies and adds in one instruction does half as many of other operations.
    operations = (2 if model.form != "l1" else 3 * 2) * width
    moved = 2 * 4 * questions * n
    return max(operations * questions * n / rates["flops"], moved / rates["bandwidth"])


def made(name: Any, task: Task, dim: int, steps: int) -> LinkModel:
    if not steps:
        draw = torch.Generator().manual_seed(0)
        model = link_model(name, dim, 6.0, task.entities, task.relations, draw)
        model.constrain()
        return model
    settings = Protocol(model=name, dim=dim, negatives=32)
    adam = {"name": "adam", "lr": 1e-2, "weight_decay": 0.0}
    train = {"steps": steps, "batch_size": 1024, "optimizer": adam, "device": "cpu"}
    sampler = NegativeSampler(everyone(task.entities), task.train, task.entities, task.relations)
    names = [tuple(map(str, range(n))) for n in (task.entities, task.relations)]
    none: Any = (None,) * task.entities
    graph = Graph(names[0], names[1], task.train, task.test, task.test[:0], none, "graph")
    with tempfile.TemporaryDirectory() as store:
        ctx = Context(0, Train.model_validate(train), Path(store), show=False)
        outcome = embed(ctx, GraphView("kg", graph), settings, Config(), sampler, {})
        found: LinkModel = outcome.answer.model.eval()
    return found


def opened(folder: Path | None) -> Task:
    if folder is None:
        draw = torch.Generator().manual_seed(0)
        high = torch.tensor([ENTITIES, RELATIONS, ENTITIES])
        drawn = torch.rand(TRAIN + VALID, 3, generator=draw, dtype=torch.float64)
        every = (drawn * high).long()
        return Task(every[:TRAIN], every[TRAIN:], ENTITIES, RELATIONS)
    rows = {}
    for split in ("train", "valid"):
        with gzip.open(folder / f"FB15k-237_{split}.tsv.gz", "rt", encoding="utf-8") as file:
            rows[split] = [line.rstrip("\n").split("\t") for line in file]
    both = [*rows["train"], *rows["valid"]]
    names = sorted({name for head, _, tail in both for name in (head, tail)})
    entity = {name: i for i, name in enumerate(names)}
    relation = {name: i for i, name in enumerate(sorted({row[1] for row in both}))}
    train, valid = (
        torch.tensor([[entity[h], relation[r], entity[t]] for h, r, t in rows[split]])
        for split in ("train", "valid")
    )
    return Task(train, valid, len(entity), len(relation))


if __name__ == "__main__":
    raise SystemExit(main())
