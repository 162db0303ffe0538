"""Supermasks: a network whose weights stay, or mostly stay, and whose mask is learnt.

Each linear or convolution layer keeps the `density` of its weights whose scores are largest in
magnitude. The mask is a torch parametrisation of `weight`, so the layers, and whatever model they
are in, remain what they are.

    M = top-k of |S|;  forward: W * M;  straight-through: dL/d|S| := dL/dM

so that dL/dS = sign(S) W dL/d(W M). Ramanujan et al. (2020), "What's hidden in a randomly weighted
neural network?"; Wortsman et al. (2020), "Supermasks in superposition", arXiv 2006.14769.

Weights that a task may not change are read from a copy that no optimizer sees. They are the same
afterwards to the last bit, whatever optimizer, momentum, weight decay or average was used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bequeath.kernel.errors import Problem, RunError

Phase = Literal["still", "scores", "weights"]
_MASKED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_SEAM = "parametrizations."
_SHOWN = 3


def kept(density: float, n: int) -> int:
    """How many of n weights a density keeps: ceil(density n), rounding errors left aside."""
    return max(1, min(n, math.ceil(round(density * n, 6))))


def top_k(values: Tensor, k: int) -> Tensor:
    """bool, the shape of `values`: True at its k largest; among equals those that come first.

    Deterministic on every device, which `torch.topk` is not where values are equal.
    """
    flat = values.detach().reshape(-1)
    n = flat.numel()
    if not 0 < k <= n:
        raise ValueError(f"k must lie in 1..{n}, not {k}")
    least = _kth(flat, n - k)
    mask = flat >= least
    if (surplus := int(mask.sum()) - k) > 0:
        equal = (flat == least).nonzero().flatten()
        mask[equal[len(equal) - surplus :]] = False
    return mask.view_as(values)


def _kth(flat: Tensor, place: int) -> Tensor:
    """The value at `place` in ascending order, 0-d."""
    if flat.device.type == "cpu" and flat.dtype in (torch.float32, torch.float64):
        # NumPy's selection takes a fifth of the time of torch's, and it is needed at every step.
        return torch.from_numpy(np.partition(flat.numpy(), place)[place : place + 1])[0]
    return flat.kthvalue(place + 1).values


class _StraightThrough(torch.autograd.Function):
    """|S| -> its top-k mask as 0 and 1; the gradient passes as if the mask were |S| itself."""

    @staticmethod
    def forward(ctx: Any, size: Tensor, k: int) -> Tensor:
        return top_k(size, k).to(size.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


def straight_through_top_k(scores: Tensor, k: int) -> Tensor:
    """0/1 mask of the k scores largest in magnitude; differentiable in `scores`, see above."""
    return _StraightThrough.apply(scores.abs(), k)


class Supermask(nn.Module):
    """The parametrisation of one weight: W -> W masked.

    phase: `scores` (the mask follows the scores, which learn), `weights` (the stored mask; the
    weights in `free` learn, the others are read from the copy made at `open`) or `still`.
    """

    mask: Tensor
    free: Tensor
    copy: Tensor

    def __init__(self, weight: Tensor, density: float):
        super().__init__()
        self.k = kept(density, weight.numel())
        self.phase: Phase = "still"
        self.scores = nn.Parameter(torch.zeros_like(weight), requires_grad=False)
        self.register_buffer("mask", torch.ones_like(weight, dtype=torch.bool))
        for name in ("free", "copy"):  # made at the start of a phase, so not in any checkpoint
            self.register_buffer(name, None, persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        if self.phase == "scores":
            return weight * straight_through_top_k(self.scores, self.k)
        if self.phase == "weights":
            weight = torch.where(self.free, weight, self.copy)
        # `where` and not a product: a masked weight is +0, whatever the sign of what lies there.
        return torch.where(self.mask, weight, torch.zeros_like(weight))


class Masked:
    """The masked layers of a network, by the path of their weight (`body.0.weight`).

    density: share of each layer's weights that a mask keeps. Parameters that are not masked
    (biases, norms, embeddings) are frozen: a task that changed them would change every other.
    Raises RunError G430 (nothing to mask) and G431 (a weight that a mask cannot own).
    """

    def __init__(self, net: nn.Module, density: float):
        self.net = net
        layers = _layers(net)
        net.requires_grad_(False)
        self.masks: dict[str, Supermask] = {}
        for path, layer in layers.items():
            mask = Supermask(layer.weight, density)
            parametrize.register_parametrization(layer, "weight", mask)
            self.masks[f"{path}.weight".lstrip(".")] = mask
        self.originals: dict[str, nn.Parameter] = {
            f"{path}.weight".lstrip("."): layer.parametrizations.weight.original
            for path, layer in layers.items()
        }
        self.still()

    def still(self) -> None:
        """Nothing learns. Weights that were free until now are taken over, the others put back."""
        for name, mask in self.masks.items():
            if mask.phase == "weights":
                with torch.no_grad():
                    original = self.originals[name]
                    original.copy_(torch.where(mask.free, original, mask.copy))
            mask.phase, mask.free, mask.copy = "still", None, None  # type: ignore[assignment]
            mask.scores.requires_grad_(False)
            self.originals[name].requires_grad_(False)

    def learn_scores(self) -> None:
        """From now on the scores learn and the mask follows them; the weights stay."""
        self.still()
        for mask in self.masks.values():
            mask.phase = "scores"
            mask.scores.requires_grad_(True)

    def learn_weights(self, free: Mapping[str, Tensor]) -> None:
        """From now on the weights in `free` (bool, by name) learn, under the stored masks."""
        self.still()
        for name, mask in self.masks.items():
            original = self.originals[name].requires_grad_(True)
            mask.phase, mask.free, mask.copy = "weights", free[name], original.detach().clone()

    @torch.no_grad()
    def fix(self) -> dict[str, Tensor]:
        """Make the scores' top-k the stored masks; -> them, bool by name."""
        for mask in self.masks.values():
            mask.mask.copy_(top_k(mask.scores.abs(), mask.k))
        return {name: mask.mask.clone() for name, mask in self.masks.items()}

    @torch.no_grad()
    def set_scores(self, scores: Mapping[str, Tensor]) -> None:
        for name, mask in self.masks.items():
            mask.scores.copy_(scores[name])

    def scores(self) -> dict[str, Tensor]:
        return {name: mask.scores.detach().clone() for name, mask in self.masks.items()}

    def weights(self) -> dict[str, Tensor]:
        """The weights without masks, by name."""
        return {name: w.detach().clone() for name, w in self.originals.items()}

    def state(self) -> dict[str, Tensor]:
        """The state of the network as it is now, under the names it has without masks."""
        state = {n: v.detach().clone() for n, v in self.net.state_dict().items() if _SEAM not in n}
        for name, mask in self.masks.items():
            state[name] = mask(self.originals[name]).detach().clone()
        return state

    @torch.no_grad()
    def set_masks(self, masks: Mapping[str, Tensor]) -> None:
        for name, mask in self.masks.items():
            mask.mask.copy_(masks[name])

    @torch.no_grad()
    def set_weights(self, weights: Mapping[str, Tensor]) -> None:
        for name, original in self.originals.items():
            original.copy_(weights[name])


def random_scores(masked: Masked, rng: Callable[[int], torch.Generator]) -> dict[str, Tensor]:
    """Fresh scores, kaiming_uniform(a = sqrt 5): U(-b, b), b = 1 / sqrt(fan_in).

    rng: number of the layer -> its random stream (on the CPU).
    """
    found = {}
    for i, (name, w) in enumerate(masked.originals.items()):
        bound = 1.0 / math.sqrt(fan_in(w))
        drawn = torch.rand(w.shape, generator=rng(i), dtype=torch.float32)
        found[name] = ((2 * drawn - 1) * bound).to(w.device, w.dtype)
    return found


def signed_constants(
    masked: Masked, rng: Callable[[int], torch.Generator], share: float = 1.0
) -> dict[str, Tensor]:
    """Fresh weights of one size and random sign: +-sqrt(2 / (share fan_in)), by name.

    share: of the inputs that count; 1 as for a dense layer. rng: as in `random_scores`.
    """
    found = {}
    for i, (name, w) in enumerate(masked.originals.items()):
        positive = torch.rand(w.shape, generator=rng(i), dtype=torch.float32) < 0.5
        size = math.sqrt(2.0 / (share * fan_in(w)))
        found[name] = torch.where(positive, size, -size).to(w.device, w.dtype)
    return found


def fan_in(weight: Tensor) -> int:
    """Inputs of one output: [out, in, ...] -> in times the size of the kernel."""
    return max(1, weight[0].numel())


@torch.no_grad()
def plain_start(net: nn.Module) -> None:
    """Biases 0; norms multiply by 1 and add 0. Call before masking: masked nets train neither."""
    for module in net.modules():
        affine = getattr(module, "weight", None)
        if hasattr(module, "eps") and isinstance(affine, nn.Parameter):  # a norm
            affine.fill_(1.0)
        if isinstance(bias := getattr(module, "bias", None), nn.Parameter):
            bias.zero_()


def _layers(net: nn.Module) -> dict[str, Any]:
    """path -> layer, those that can be masked. RunError G430, G431."""
    found = {path: m for path, m in net.named_modules() if isinstance(m, _MASKED)}
    if not found:
        raise RunError(
            Problem(
                "G430",
                "the model has no linear or convolution layer, so there is nothing to mask",
                at=("models", "model"),
                remedies=("give a model of linear and convolution layers",),
            )
        )
    holders: dict[int, list[str]] = {}
    for path, module in net.named_modules():
        for name, p in module.named_parameters(recurse=False):
            holders.setdefault(id(p), []).append(f"{path}.{name}".lstrip("."))
    said = [
        f"`{' and '.join(holders[id(layer.weight)][:_SHOWN])}` share one tensor"
        for layer in found.values()
        if len(holders.get(id(layer.weight), ())) > 1
    ]
    said += [
        f"`{path}.weight` is computed from other tensors (weight norm, another parametrisation)"
        for path, layer in found.items()
        if id(layer.weight) not in holders
    ]
    if said:
        raise RunError(
            Problem(
                "G431",
                "a mask cannot own every weight of the model, so old tasks would not stay as they "
                "are",
                at=("models", "model"),
                notes=tuple(dict.fromkeys(said[:_SHOWN])),
                remedies=("untie the weights, or take weight normalisation off the model",),
            )
        )
    return found
