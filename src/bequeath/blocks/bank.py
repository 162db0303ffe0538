"""Feature and prediction memory: what a network said of every sample, and who is near whom.

    bank = Bank(len(target), width, classes)
    fill(bank, model, tap, target)                  # an evaluation pass: all rows
    near = nearest(z, bank.features, 4)             # cosine, in chunks
    bank.write(batch["idx"], z, p)                  # rows of a batch, in place

A bank is a module of buffers without parameters: put it among what `fit` trains and it survives a
stop. With several processes each writes the rows of its own batches, and those of the first count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bequeath.kernel.errors import Problem, RunError

if TYPE_CHECKING:
    from bequeath.blocks.taps import Taps
    from bequeath.given.bound import BoundModel

_CELLS = 4_000_000  # similarities held at once: 16 MB
_BLOCK = 64  # columns that are reduced to their maximum before the best are looked for
PASS = 256  # samples of one forward pass in `fill`


class Bank(nn.Module):
    """features: [N, d], of length 1. predictions: [N, C], probabilities. targets: [N, C], what
    training asks of each sample. filled: int64, the epoch in which `fill` came last, -1 before.
    """

    features: Tensor
    predictions: Tensor
    targets: Tensor
    filled: Tensor

    def __init__(self, n: int, width: int, classes: int, device: torch.device | str = "cpu"):
        super().__init__()
        self.register_buffer("features", torch.zeros(n, width, device=device))
        self.register_buffer("predictions", torch.zeros(n, classes, device=device))
        self.register_buffer("targets", torch.zeros(n, classes, device=device))
        self.register_buffer("filled", torch.tensor(-1, device=device))

    def __len__(self) -> int:
        return len(self.features)

    def due(self, epoch: int) -> bool:
        """Whether this epoch has not been begun; once, in each epoch."""
        if int(self.filled) == epoch:
            return False
        self.filled.fill_(epoch)
        return True

    @torch.no_grad()
    def write(self, idx: Tensor, features: Tensor, predictions: Tensor) -> None:
        """Overwrite rows `idx` [B]. features [B, d] of any length; predictions [B, C]."""
        self.features[idx] = F.normalize(features.float(), dim=1)
        self.predictions[idx] = predictions.float()

    @torch.no_grad()
    def neighbours(self, idx: Tensor, features: Tensor, k: int, drop: str = "first") -> Tensor:
        """Rows of the k nearest of each of `features` [B, d] by cosine, int64 [B, k].

        The samples are rows `idx` [B] themselves. drop: `first` takes k + 1 and leaves out the
        nearest, whoever that is; `self` leaves out the sample's own row. k < N.
        """
        z = F.normalize(features.float(), dim=1)
        if drop == "self":
            return nearest(z, self.features, k, without=idx)[1]
        return nearest(z, self.features, k + 1)[1][:, 1:]


@torch.no_grad()
def nearest(
    queries: Tensor, rows: Tensor, k: int, *, without: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The k rows of the largest dot product with each query: (products, places), each [B, k].

    queries: [B, d]. rows: [N, d]. Best first. without: int64 [B], a row that each query leaves out.
    B x N products are never held, some 4 million at most. ValueError where there are not k rows.
    """
    there = len(rows) - (without is not None)
    if not 1 <= k <= there:
        raise ValueError(f"{k} neighbours are asked for, and there are {there}")
    chunk = min(max(1, _CELLS // len(rows)), len(queries))
    values = queries.new_empty(len(queries), k)
    places = torch.empty(len(queries), k, dtype=torch.int64, device=queries.device)
    held = queries.new_empty(chunk, len(rows))  # one buffer for all chunks: the heap stays whole
    for start in range(0, len(queries), max(1, chunk)):
        part = slice(start, min(start + chunk, len(queries)))
        products = torch.mm(queries[part], rows.T, out=held[: part.stop - start])
        if without is not None:
            products.scatter_(1, without[part, None], -torch.inf)
        values[part], places[part] = top(products, k)
    return values, places


def top(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """`values.topk(k, dim=1)` of [B, N], faster where N is large and k small.

    The k largest lie in the k blocks of columns with the largest maxima, so only those are sorted.
    Of equal values any may be taken, as with `topk`.
    """
    rows, n = values.shape
    blocks = n // _BLOCK
    if blocks < 4 * k or values.device.type != "cpu":
        return values.topk(k, dim=1)
    whole = values[:, : blocks * _BLOCK].view(rows, blocks, _BLOCK)
    chosen = whole.amax(2).topk(k, dim=1, sorted=False).indices
    columns = (chosen[:, :, None] * _BLOCK + torch.arange(_BLOCK)).flatten(1)
    if n > blocks * _BLOCK:  # the columns after the last whole block
        rest = torch.arange(blocks * _BLOCK, n).expand(rows, -1)
        columns = torch.cat([columns, rest], dim=1)
    best, at = values.gather(1, columns).topk(k, dim=1)
    return best, columns.gather(1, at)


def vectors(embedding: Tensor) -> Tensor:
    """What goes into a classifier, [B, d]; maps [B, d, H, W] (a 1x1 convolution) are averaged."""
    return embedding.mean((2, 3)) if embedding.ndim == 4 else embedding.flatten(1)


@torch.no_grad()
def fill(bank: Bank, model: BoundModel, tap: Taps, data: Any) -> None:
    """Write every row from an evaluation pass over `data`, without random views.

    tap: holds the model's `embedding`. The model is left in the mode it was in. RunError T640 where
    what it says is not finite.
    """
    was_training = model.training
    model.eval()
    for idx in torch.arange(len(data)).split(PASS):
        p = model(data.fetch(idx)).float().softmax(dim=1)
        bank.write(idx.to(p.device), vectors(tap["embedding"]), p)
    model.train(was_training)
    bad = (~(bank.features.isfinite().all(1) & bank.predictions.isfinite().all(1))).nonzero()
    if len(bad):
        few = ", ".join(map(str, bad[:5, 0].tolist()))
        message = f"the model's answers to {len(bad)} of {len(bank)} samples are not finite"
        notes = (f"among them samples {few} (the first is 0)",)
        remedies = ("lower `train.optimizer.lr`, or set `train.clip`",)
        raise RunError(Problem("T640", message, notes=notes, remedies=remedies))
