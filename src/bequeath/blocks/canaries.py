"""What a language model kept of canaries: exposures, and secrets that it gives back.

A model here is anything that answers batches of texts with logits at each token: a BoundModel or a
Predictor. Nothing but answers is used.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bequeath.blocks.targets import Targets, characters, targets
from bequeath.given.canaries import Canary
from bequeath.kernel.files import write_json
from bequeath.kernel.read_json import read_json
from bequeath.metrics.exposure import Exposure, by_fit, by_rank

BATCH = 512
LARGEST = 2**24  # numbers in the answers to a batch, 64 MB in float32


@dataclass(frozen=True)
class Layout:
    """Where the secrets of a canary lie, if all of them have one token a character.

    start: the token with which a secret begins; symbols: int64 [A], the token of each character.
    """

    start: int
    symbols: Tensor


@dataclass(frozen=True)
class Kept:
    """One canary: its exposure, how it was found, and whether its secret comes out.

    how: "all" or "sample" of the space. greedy: the likeliest token, again and again, after the
    prefix gives the secret. beam: the best of a beam search among the secrets there could be is it.
    even: all candidates have as many tokens. space: how many were compared; where they are not
    even, those with as many tokens as the secret, since fewer tokens are likelier by themselves.
    """

    exposure: Exposure
    how: str
    greedy: bool
    beam: bool
    even: bool
    space: int


class Found(dict[int, Kept]):
    """What was found out so far, canary by canary, also on disk: a long audit can be stopped."""

    def __init__(self, path: Path):
        self._path = path
        if path.is_file():
            for i, (exposure, *rest) in read_json(path, at=()).items():
                super().__setitem__(int(i), Kept(Exposure(*exposure), *rest))

    def __setitem__(self, i: int, kept: Kept) -> None:
        super().__setitem__(i, kept)
        write_json(self._path, {str(k): list(astuple(v)) for k, v in self.items()})


def canaries_in(data: Any) -> list[Canary]:
    """The canaries of a data set of the scheme `canaries:`."""
    batch = data.fetch(torch.arange(len(data)))
    columns = (batch[name] for name in ("prefix", "secret", "alphabet", "repeat"))
    return [Canary(*row) for row in zip(*columns)]


@torch.no_grad()
def audit(
    model: Any, canary: Canary, rng: torch.Generator, *, most: int, samples: int, beams: int
) -> Kept:
    """most: spaces up to this size are gone through whole; samples: drawn of larger ones."""
    layout = layout_of(model, canary, rng)
    if canary.space > most:
        secret, n = nll_of_secrets(model, canary, [canary.secret])
        drawn, tokens = nll_of_secrets(model, canary, _draw(canary, samples, rng))
        alike = drawn[tokens == n]
        space = max(len(alike), round(canary.space * len(alike) / samples))
        exposure, how = by_fit(float(secret), alike, space), "sample"
    elif layout is not None:
        everyone = nll_of_space(model, canary, layout)
        space, exposure, how = (
            canary.space,
            by_rank(float(everyone[_place(canary)]), everyone),
            "all",
        )
    else:
        product = itertools.product(canary.alphabet, repeat=len(canary.secret))
        everyone, tokens = nll_of_secrets(model, canary, map("".join, product))
        alike = everyone[tokens == tokens[_place(canary)]]
        space, exposure, how = len(alike), by_rank(float(everyone[_place(canary)]), alike), "all"
    beam = layout is not None and beam_search(model, canary, layout, beams)[0] == canary.secret
    return Kept(exposure, how, greedy(model, canary), beam, layout is not None, space)


def layout_of(model: Any, canary: Canary, rng: torch.Generator) -> Layout | None:
    """Where secrets lie; None where they are cut into tokens of several characters.

    Found on secrets of one character each, then held against random ones.
    """
    length = len(canary.secret)
    rows = _tokens(model, [canary.prefix + a * length for a in canary.alphabet])
    if len({len(row) for row in rows}) > 1:
        return None
    table = torch.tensor(rows)
    varied = (table != table[0]).any(0).nonzero().flatten()
    if len(varied) != length or int(varied[-1] - varied[0]) + 1 != length:
        return None
    start = int(varied[0])
    block = table[:, start : start + length]
    symbols = block[:, 0].contiguous()
    if bool((block != symbols[:, None]).any()) or len(symbols.unique()) < len(symbols):
        return None
    drawn = [*_draw(canary, 32, rng), canary.secret]
    wanted = table[0].repeat(len(drawn), 1)
    places = [[canary.alphabet.index(c) for c in secret] for secret in drawn]
    wanted[:, start : start + length] = symbols[torch.tensor(places)]
    if _tokens(model, [canary.prefix + secret for secret in drawn]) != wanted.tolist():
        return None
    return Layout(start, symbols)


def nll_of_space(model: Any, canary: Canary, layout: Layout) -> Tensor:
    """-log p(secret | prefix) of every secret, float64 [R], in the order of `itertools.product`.

    One text tells of all secrets that differ in their last character only.
    """
    length, alphabet = len(canary.secret), canary.alphabet
    found = []
    places = itertools.product(range(len(alphabet)), repeat=length - 1)
    for heads in _chunks(places, _batch_size(model, canary)):
        texts = [canary.prefix + "".join(alphabet[i] for i in head) + alphabet[0] for head in heads]
        log_p = _log_p(model, texts, layout, range(length))
        which = torch.tensor(heads, dtype=torch.long).view(len(heads), length - 1, 1)
        before = log_p[:, :-1].gather(2, which).sum((1, 2))
        found.append(-(before[:, None] + log_p[:, -1]).flatten())
    return torch.cat(found)


def nll_of_secrets(model: Any, canary: Canary, secrets: Iterable[str]) -> tuple[Tensor, Tensor]:
    """-log p of each text prefix + secret, its beginning and end aside, and its tokens; [n] each.

    The whole text counts, since a token may reach across the border; the prefix adds the same to
    all of them.
    """
    found, counts = [], []
    for part in _chunks(secrets, _batch_size(model, canary)):
        texts = [canary.prefix + secret for secret in part]
        asked, rows = _rows(model, texts)
        nll = -rows.double().log_softmax(1).gather(1, asked.y[:, None])[:, 0].cpu()
        said = characters(model, texts, asked)
        real = (said[:, 1] > said[:, 0]).double()
        zero, sample = torch.zeros(len(texts), dtype=torch.float64), asked.sample.cpu()
        found.append(zero.index_add(0, sample, nll * real))
        counts.append(zero.index_add(0, sample, real))
    return torch.cat(found), torch.cat(counts)


def greedy(model: Any, canary: Canary) -> bool:
    """Whether the likeliest token after the prefix, again and again, spells the secret.

    It does if each token of the secret is the likeliest after all before it: one pass tells.
    """
    asked, rows = _rows(model, [canary.text])
    said = characters(model, [canary.text], asked)
    secret = (said[:, 1] > said[:, 0]) & (said[:, 1] > len(canary.prefix))
    return bool((rows.argmax(1) == asked.y).cpu()[secret].all())


def beam_search(model: Any, canary: Canary, layout: Layout, beams: int) -> list[str]:
    """The likeliest secrets that a beam of so many finds, best first: an attacker's guesses."""
    heads, scores = [""], torch.zeros(1, dtype=torch.float64)
    for i in range(len(canary.secret)):
        texts = [canary.prefix + head + canary.alphabet[0] for head in heads]
        log_p = _log_p(model, texts, layout, range(i, i + 1))
        total = (scores[:, None] + log_p[:, 0]).flatten()
        best = total.topk(min(beams, len(total)))
        scores = best.values
        size = len(canary.alphabet)
        heads = [heads[k // size] + canary.alphabet[k % size] for k in best.indices.tolist()]
    return heads


def _log_p(model: Any, texts: list[str], layout: Layout, places: range) -> Tensor:
    """log p of each character at these places of the secret, float64 [B, places, A], on the CPU."""
    first = layout.start - 1 + places.start
    logits = model(_batch(texts))[:, first : first + len(places)]
    return logits.double().log_softmax(-1)[..., layout.symbols.to(logits.device)].cpu()


def _rows(model: Any, texts: list[str]) -> tuple[Targets, Tensor]:
    """What the texts ask, and the logits of each row [N, V]."""
    batch = _batch(texts)
    logits = model(batch)
    asked = targets(model, {**batch, "idx": batch["idx"].to(logits.device)})
    return asked, asked.rows(logits)


def _batch(texts: list[str]) -> dict[str, Any]:
    return {"idx": torch.arange(len(texts)), "text": texts}


def _batch_size(model: Any, canary: Canary) -> int:
    vocabulary = model.facts.n_classes or 1
    return max(1, min(BATCH, LARGEST // (vocabulary * (len(canary.text) + 2))))


def _tokens(model: Any, texts: list[str]) -> list[list[int]]:
    """Without padding."""
    said = model.preprocess(_batch(texts), torch.device("cpu"))
    pairs = zip(said["input_ids"].tolist(), said["attention_mask"].tolist())
    return [[token for token, real in zip(*pair) if real] for pair in pairs]


def _place(canary: Canary) -> int:
    """The number of the secret in the order of `itertools.product`."""
    place = 0
    for character in canary.secret:
        place = place * len(canary.alphabet) + canary.alphabet.index(character)
    return place


def _draw(canary: Canary, n: int, rng: torch.Generator) -> list[str]:
    """Secrets there could be, drawn evenly."""
    size = (n, len(canary.secret))
    places = torch.randint(len(canary.alphabet), size, generator=rng).tolist()
    return ["".join(canary.alphabet[i] for i in row) for row in places]


def _chunks(items: Iterable[Any], size: int) -> Iterable[list[Any]]:
    waiting = iter(items)
    while part := list(itertools.islice(waiting, size)):
        yield part


__all__ = [
    "Found", "Kept", "Layout", "audit", "beam_search", "canaries_in", "greedy", "layout_of",
    "nll_of_secrets", "nll_of_space",
]  # fmt: skip
