"""`tsv:FILE`: all triples in one file; test (and valid) triples are drawn from it.

A triple is drawn only while its entities and its relation still occur among those left to train
on, so nothing is asked of an embedding that was never trained.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from bequeath.given.data_schemes.source import fail, local
from bequeath.given.graph_schemes.source import Found, Splits, Triple, find_files, read_files


def find(rest: str, options: Any) -> Found:
    return find_files({"train": local(rest)}, options.sep, options)


def read(rest: str, options: Any) -> Splits:
    splits = read_files({"train": local(rest)}, options.sep, options)
    every = splits.triples["train"]
    triples = list(dict.fromkeys(every))
    if len(every) > len(triples):
        splits.notes["repeated triples, kept once"] = {"train": len(every) - len(triples)}
    splits.triples = _divided(triples, options)
    return splits


def _divided(triples: list[Triple], options: Any) -> dict[str, list[Triple]]:
    import numpy as np

    wanted = {
        "test": round(len(triples) * options.test_size),
        "valid": round(len(triples) * options.val_size),
    }
    if triples and not wanted["test"]:
        fail(
            "D282",
            f"a share of {options.test_size:g} of {len(triples)} triples leaves none for test",
            at=("test_size",),
            remedies=("raise `test_size`",),
        )
    entities = Counter(name for h, _, t in triples for name in (h, t))
    relations = Counter(r for _, r, _ in triples)
    drawn: dict[str, list[Triple]] = {"train": [], "valid": [], "test": []}
    for i in np.random.default_rng(options.split_seed).permutation(len(triples)).tolist():
        h, r, t = triples[i]
        spare = entities[h] > (2 if h == t else 1) and entities[t] > 1 and relations[r] > 1
        split = next((s for s in ("test", "valid") if len(drawn[s]) < wanted[s]), "train")
        if split != "train" and spare:
            entities.subtract((h, t))
            relations.subtract((r,))
            drawn[split].append(triples[i])
        else:
            drawn["train"].append(triples[i])
    for split, count in wanted.items():
        if len(drawn[split]) < count:
            message = f"only {len(drawn[split])} of {count} triples for {split} could be drawn"
            fail(
                "D282",
                message,
                at=("test_size" if split == "test" else "val_size",),
                label="the others hold the only mention of an entity or relation",
                remedies=("lower `test_size` or `val_size`", "give more triples"),
            )
    return drawn
