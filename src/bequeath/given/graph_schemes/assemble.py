"""From triples by names to numbered ones, and every check that needs the whole graph."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from bequeath.given.graph_schemes.source import NAMES, SPLITS, Splits, Triple, named, text_of
from bequeath.kernel.errors import JobError, Problem


@dataclass
class Numbered:
    """triples: split -> list of (head, relation, tail) by number. texts: one an entity, or None.

    notes: what was left out, repaired or kept in spite of something, by kind, with counts.
    """

    entities: tuple[str, ...]
    relations: tuple[str, ...]
    triples: dict[str, list[tuple[int, int, int]]]
    texts: tuple[str | None, ...]
    notes: dict[str, Any] = field(default_factory=dict)


def assemble(splits: Splits, options: Any) -> Numbered:
    """Names are numbered in the order of their sorted texts, as PyKEEN numbers them.

    JobError with every problem: D282 empty, D283 unseen names, D284 overlap, D285 texts missing,
    D287 too few entities.
    """
    notes = dict(splits.notes)
    triples = {split: _once(splits, split, notes) for split in SPLITS}
    _refuse([_empty(splits, split) for split in ("train", "test") if not triples[split]])
    if options.entities is not None:
        triples = _part(triples, options.entities)
    problems = _overlap(splits, triples, options, notes)
    problems += _unseen(splits, triples, options, notes)
    _refuse(problems)
    _refuse([_empty(splits, split) for split in ("train", "test") if not triples[split]])
    entities = tuple(
        sorted({name for part in triples.values() for h, _, t in part for name in (h, t)})
    )
    relations = tuple(sorted({r for h, r, t in triples["train"]}))
    texts, problems = _texts(entities, splits, options, notes)
    _refuse(problems)
    entity = {name: i for i, name in enumerate(entities)}
    relation = {name: i for i, name in enumerate(relations)}
    numbered = {
        split: [(entity[h], relation[r], entity[t]) for h, r, t in part]
        for split, part in triples.items()
    }
    return Numbered(entities, relations, numbered, texts, notes)


def _refuse(problems: list[Problem]) -> None:
    if problems:
        raise JobError(problems)


def _once(splits: Splits, split: str, notes: dict[str, Any]) -> list[Triple]:
    """The triples of a split without repetitions, in their order."""
    all_, kept = splits.triples[split], list(dict.fromkeys(splits.triples[split]))
    if len(kept) < len(all_):
        notes.setdefault("repeated triples, kept once", {})[split] = len(all_) - len(kept)
    return kept


def _empty(splits: Splits, split: str) -> Problem:
    at = splits.where.get(split, ("ref",))
    return Problem(
        "D282",
        f"there are no {split} triples",
        at=at,
        label="nothing to train on" if split == "train" else "nothing to judge by",
        remedies=("check the file, and `unseen`, `overlap`, `entities` if they are set",),
    )


def _part(triples: dict[str, list[Triple]], size: int) -> dict[str, list[Triple]]:
    """The triples among `size` entities, found breadth first from the most connected one.

    Neighbours are taken in the order of their names, so the part is the same everywhere.
    """
    near: dict[str, set[str]] = {}
    for h, _, t in triples["train"]:
        near.setdefault(h, set()).add(t)
        near.setdefault(t, set()).add(h)
    if size > len(near):
        message = f"`entities` asks for {size}, and train has {len(near)}"
        raise JobError(Problem("D287", message, at=("entities",), label=f"at most {len(near)}"))
    starts = sorted(near, key=lambda name: (-len(near[name]), name))
    chosen: set[str] = set()
    waiting: deque[str] = deque()
    for start in starts:
        waiting.append(start)
        while waiting and len(chosen) < size:
            name = waiting.popleft()
            if name not in chosen:
                chosen.add(name)
                waiting.extend(sorted(near[name] - chosen))
    inside = {
        s: [x for x in part if x[0] in chosen and x[2] in chosen] for s, part in triples.items()
    }
    known = {r for _, r, _ in inside["train"]}
    return {split: [x for x in part if x[1] in known] for split, part in inside.items()}


def _overlap(
    splits: Splits, triples: dict[str, list[Triple]], options: Any, notes: dict[str, Any]
) -> list[Problem]:
    """Valid and test triples that were trained on; test triples that are in valid too."""
    problems = []
    for split, others in (("valid", ("train",)), ("test", ("train", "valid"))):
        for other in others:
            known = set(triples[other])
            both = [x for x in triples[split] if x in known]
            if not both:
                continue
            if options.overlap == "drop":
                kind = f"{split} triples left out that are in {other} too"
                notes[kind] = len(both)
                triples[split] = [x for x in triples[split] if x not in known]
                continue
            first = " ".join(both[0])
            problems.append(
                Problem(
                    "D284",
                    f"{len(both)} of {len(triples[split])} {split} triples are in {other} too",
                    at=splits.where.get(split, ("ref",)),
                    notes=(f"the first: {first}",),
                    remedies=("leave them out with `overlap: drop`", "or mend the files"),
                )
            )
    return problems


def _unseen(
    splits: Splits, triples: dict[str, list[Triple]], options: Any, notes: dict[str, Any]
) -> list[Problem]:
    """Names in valid and test that train does not have. Relations are never kept untrained."""
    entities = {name for h, _, t in triples["train"] for name in (h, t)}
    relations = {r for _, r, _ in triples["train"]}
    problems = []
    for split in ("valid", "test"):
        strange = dict.fromkeys(
            name for h, _, t in triples[split] for name in (h, t) if name not in entities
        )
        unknown = dict.fromkeys(r for _, r, _ in triples[split] if r not in relations)
        bad = [
            x
            for x in triples[split]
            if x[1] in unknown
            or (options.unseen != "keep" and (x[0] in strange or x[2] in strange))
        ]
        if strange and options.unseen == "keep":
            notes.setdefault("entities never trained on, kept", {})[split] = len(strange)
        if bad and options.unseen == "drop":
            notes.setdefault("triples left out, their names do not occur in train", {})[split] = (
                len(bad)
            )
            gone = set(bad)
            triples[split] = [x for x in triples[split] if x not in gone]
        elif bad:
            problems.append(_strangers(splits, split, len(bad), unknown, strange, options))
    return problems


def _strangers(
    splits: Splits,
    split: str,
    bad: int,
    relations: dict[str, None],
    entities: dict[str, None],
    options: Any,
) -> Problem:
    notes = []
    if relations:
        notes.append(f"unknown relations: {named(relations, len(relations))}")
    if entities and options.unseen != "keep":
        notes.append(f"unknown entities: {named(entities, len(entities))}")
    remedies = ["leave these triples out with `unseen: drop`"]
    if not relations:
        remedies.append("keep the entities, untrained, with `unseen: keep`")
    return Problem(
        "D283",
        f"{bad} of {len(splits.triples[split])} {split} triples name what train does not have",
        at=splits.where.get(split, ("ref",)),
        notes=tuple(notes),
        remedies=tuple(remedies),
    )


def _texts(
    entities: tuple[str, ...], splits: Splits, options: Any, notes: dict[str, Any]
) -> tuple[tuple[str | None, ...], list[Problem]]:
    if options.text == NAMES:
        return tuple(text_of(name) for name in entities), []
    if splits.texts is None:
        return (None,) * len(entities), []
    known = splits.texts
    lacking = [name for name in entities if name not in known]
    if not lacking or options.missing_text != "refuse":
        if lacking:
            what = "its name instead" if options.missing_text == "name" else "none instead"
            notes[f"entities without a text, {what}"] = len(lacking)
        own = text_of if options.missing_text == "name" else lambda name: None
        return tuple(known.get(name) or own(name) for name in entities), []
    problem = Problem(
        "D285",
        f"{len(lacking)} of {len(entities)} entities have no text",
        at=("text",) if options.text is not None else ("ref",),
        notes=(f"without text: {named(lacking, len(lacking))}",),
        remedies=(
            "add them to the text file",
            "take their names with `missing_text: name`",
            "leave them without with `missing_text: none`",
        ),
    )
    return (), [problem]
