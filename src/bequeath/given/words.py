"""The last step of a language model, from hidden states to the words, made when it is asked for.

    said = in_parts(model, batch)     # Projected: hidden [B, T, d] and the head
    said[rows]                        # logits of some of them

A model is run with its head switched off, so that the logits of all tokens, tokens x vocabulary,
are never there. Whether a model's answer is its head's and nothing more (some scale or bend it
after that) is tried out and not assumed: `has_parts`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bequeath.losses.divergence import TopK, top_k
from bequeath.losses.vocabulary import NUMBERS, Projected, rows_at_once

TRIED = 8  # tokens


def is_large(facts: Any, preprocess: Any, texts: int) -> bool:
    """Whether the logits of a batch of so many texts would be more than 2^24 numbers (64 MB)."""
    return texts * preprocess.max_length * (facts.n_classes or 1) > NUMBERS


def head_of(model: Any) -> nn.Linear | None:
    """The linear layer that a BoundModel's words come out of; None where there is none."""
    path = model.facts.head
    if not model.facts.per_token or path is None:
        return None
    head = dict(model.module.named_modules()).get(path)
    if isinstance(head, nn.Linear) and head.out_features == model.facts.n_classes:
        return head
    return None


@torch.no_grad()
def has_parts(model: Any) -> bool:
    """Whether what a BoundModel answers is its head's output, tried on a few tokens.

    Allows for the rounding of the type the model computes in.
    """
    head = head_of(model)
    if head is None:
        return False
    was_training = model.training
    model.eval()
    ids = torch.arange(min(TRIED, model.preprocess.max_length))[None] % head.out_features
    batch = {"idx": torch.zeros(1, dtype=torch.long), "tokens": whole(ids)}
    whole_answer, parts = model(batch), in_parts(model, batch)
    model.train(was_training)
    made = parts[:].to(whole_answer.dtype)
    close = 100 * torch.finfo(parts.hidden.dtype).eps
    return bool(torch.allclose(made, whole_answer, rtol=close, atol=close))


def whole(ids: Tensor) -> dict[str, Tensor]:
    """Tokens [B, T] of texts that are all T long, as a model eats them."""
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def in_parts(model: Any, batch: Mapping[str, Any]) -> Projected:
    """What a BoundModel with `head_of` says of each token, with its graph if there is one."""
    head = head_of(model)
    assert head is not None, "ask `has_parts` first"
    with _switched_off(head), _as_written(model.module):
        hidden = model(batch)
    return Projected(hidden, head.weight, head.bias)


def likeliest(said: Tensor | Projected, k: int) -> TopK:
    """The k likeliest words at each token, [B, T, k] each, in chunks of tokens."""
    if isinstance(said, Tensor):
        return top_k(said.float(), k)
    shape = said.hidden.shape[:-1]
    rows = said.over(lambda hidden: hidden.flatten(0, -2))
    step = rows_at_once(said.weight.shape[0])
    n = len(rows.hidden)
    parts = [top_k(rows[a : a + step].float(), k) for a in range(0, n, step)]
    joined = TopK(*(torch.cat([getattr(p, f) for p in parts]) for f in TopK.__match_args__))
    return TopK(
        joined.log_p.view(*shape, k), joined.index.view(*shape, k), joined.log_rest.view(shape)
    )


def parts_of(model: Any) -> Callable[[Mapping[str, Any]], Projected] | None:
    """How a model (a BoundModel, a Predictor) is asked for logits that are made rows at a time;
    None where it cannot be."""
    if hasattr(model, "in_parts"):
        found: Callable[[Mapping[str, Any]], Projected] | None = model.in_parts
        return found
    return partial(in_parts, model) if isinstance(model, nn.Module) and has_parts(model) else None


def answering(model: Any, texts: int) -> Callable[[Mapping[str, Any]], Tensor | Projected]:
    """What answers batches of so many texts for a model: itself, or, where all logits at once
    would be many and the model allows it, what makes them rows at a time."""
    if not model.facts.per_token or not is_large(model.facts, model.preprocess, texts):
        return model
    return parts_of(model) or model


class Speaker:
    """What a BoundModel says next, of texts that grow token by token: ids [B, t] -> logits [B, K].

    Models of transformers keep what they have read (`past_key_values`, newer ones `cache`), so
    that each call may only add to the ids of the call before; other models read all again.
    """

    def __init__(self, model: Any):
        self.model = model
        self.keeps = hasattr(model.module, "prepare_inputs_for_generation")
        self.name = "past_key_values"
        if self.keeps and "cache" in inspect.signature(model.module.forward).parameters:
            self.name = "cache"
        self.past: Any = None
        self.read = 0

    @torch.no_grad()
    def __call__(self, ids: Tensor) -> Tensor:
        if not self.keeps:
            idx = torch.zeros(len(ids), dtype=torch.long, device=ids.device)
            answer: Tensor = self.model({"idx": idx, "tokens": whole(ids)})
            return answer[:, -1]
        said = self.model.module(
            input_ids=ids[:, self.read :],
            attention_mask=torch.ones_like(ids),
            use_cache=True,
            **{self.name: self.past},
        )
        self.past, self.read = getattr(said, self.name), ids.shape[1]
        last: Tensor = said.logits[:, -1]
        return last


@contextmanager
def _as_written(module: nn.Module) -> Iterator[None]:
    """Not as it was compiled: what was compiled has the head switched on."""
    compiled = module._compiled_call_impl
    module._compiled_call_impl = None
    try:
        yield
    finally:
        module._compiled_call_impl = compiled


@contextmanager
def _switched_off(head: nn.Linear) -> Iterator[None]:
    """The layer hands on what it gets. Its place in the model and its weights stay as they are."""
    head.forward = lambda hidden: hidden  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        del head.forward
