"""Zero-cost proxies: what one batch, and no training, says of a network.

Each is a function of a network, images x float [B, C, H, W] and labels y int64 [B], and returns a
float; NaN or infinity where it has no value. The network is left as it was: what is computed is
computed on a copy. "Weights" are those of convolutions and linear layers, without biases.

    grad_norm   sum over layers |g|                            g = dCE/dw, BN on the batch
    snip        sum |g w|                                      Lee et al. 2019, 1810.02340
    grasp       - sum w (H g)                                  Wang et al. 2020, 2002.07376
    fisher      sum over channels of mean over samples of      Turner et al. 2020, 1906.04113
                (sum over positions of a da)^2 / 2             a: outputs of weight layers
    synflow     sum w dR/dw, R = sum of outputs for x = 1,     Tanaka et al. 2020, 2006.05467
                |w|, without BN, in double precision
    jacob_cov   - sum log(v + k) + 1 / (v + k), v: eigen-      Mellor et al. 2021, 2006.04647v1
                values of the correlation of input gradients
    naswot      log |K|, K_ij: ReLUs with the same state       Mellor et al. 2021, 2006.04647v3
                for samples i and j
    params, flops  trainable numbers; multiply-adds of one sample in weight layers

The form of each follows Abdelfattah et al., "Zero-Cost Proxies for Lightweight NAS", ICLR 2021,
arXiv 2101.08134.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

VERSION = 1  # raised when a proxy's value changes: what was computed before no longer counts
LOGGED = ("grad_norm", "snip", "fisher", "synflow", "params", "flops")  # they span decades
GRADIENT = {"grad_norm", "snip", "grasp", "fisher"}
WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def grad_norm(net: nn.Module, x: Tensor, y: Tensor) -> float:
    """Sum over layers of the norm of the loss's gradient."""
    return _by_gradient(net, x, y, ("grad_norm",))["grad_norm"]


def snip(net: nn.Module, x: Tensor, y: Tensor) -> float:
    """How much the loss would change, to first order, if each weight were gone."""
    return _by_gradient(net, x, y, ("snip",))["snip"]


def grasp(net: nn.Module, x: Tensor, y: Tensor) -> float:
    """Minus weight times Hessian times gradient: what pruning does to the flow of gradients."""
    return _by_gradient(net, x, y, ("grasp",))["grasp"]


def fisher(net: nn.Module, x: Tensor, y: Tensor) -> float:
    """The Fisher information of the channels, through activations and their gradients."""
    return _by_gradient(net, x, y, ("fisher",))["fisher"]


def synflow(net: nn.Module, x: Tensor, y: Tensor | None = None) -> float:
    """Synaptic flow: no data, no labels, only the shape of x."""
    net = _fresh(net).double()
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, NORMS):
                setattr(module, name, nn.Identity())
    with torch.no_grad():
        for p in net.parameters():
            p.abs_()
    flow = net(torch.ones_like(x[:1], dtype=torch.float64)).sum()
    return _snip(net, _gradients(net, flow))


def jacob_cov(net: nn.Module, x: Tensor, y: Tensor | None = None) -> float:
    """How differently samples pull at the output: the correlation of their input gradients."""
    net = _fresh(net)
    x = x.detach().clone().requires_grad_(True)
    (jacobian,) = torch.autograd.grad(net(x).sum(), x, allow_unused=True)
    if jacobian is None:  # nothing of the input reaches the output
        return math.nan
    corr = torch.corrcoef(jacobian.flatten(1).double())
    if not bool(corr.isfinite().all()):
        return math.nan
    v, k = torch.linalg.eigvalsh(corr), 1e-5
    return -float((torch.log(v + k) + 1 / (v + k)).sum())


def naswot(net: nn.Module, x: Tensor, y: Tensor | None = None) -> float:
    """In how many different ways the ReLUs are on or off over the batch; -inf for a singular K."""
    net = _fresh(net)
    same = torch.zeros(len(x), len(x), dtype=torch.float64)
    with torch.no_grad(), _outputs(net, (nn.ReLU,)) as found:
        net(x)
    for out in found:
        on = (out.flatten(1) > 0).to(x.dtype)
        same += (on @ on.T + (1 - on) @ (1 - on).T).double().cpu()
    sign, value = torch.linalg.slogdet(same)
    return float(value) if sign > 0 else -math.inf


def params(net: nn.Module, x: Tensor | None = None, y: Tensor | None = None) -> float:
    """How many numbers could be trained."""
    return float(sum(p.numel() for p in net.parameters() if p.requires_grad))


def flops(net: nn.Module, x: Tensor, y: Tensor | None = None) -> float:
    """Multiply-adds of one sample in convolutions and linear layers (half of the operations)."""
    total = 0.0

    def count(module: nn.Module, _: object, out: Tensor) -> None:
        nonlocal total
        weight: Tensor = module.weight  # type: ignore[assignment]
        total += out[0].numel() * weight[0].numel()

    net = _fresh(net)
    hooks = [m.register_forward_hook(count) for m in net.modules() if isinstance(m, WEIGHTED)]
    with torch.no_grad():
        net.eval()(x[:1])
    for hook in hooks:
        hook.remove()
    return total


Proxy = Callable[[nn.Module, Tensor, Tensor], float]
PROXIES: dict[str, Proxy] = {
    "grad_norm": grad_norm,
    "snip": snip,
    "grasp": grasp,
    "fisher": fisher,
    "synflow": synflow,
    "jacob_cov": jacob_cov,
    "naswot": naswot,
    "params": params,
    "flops": flops,
}


def proxies(net: nn.Module, x: Tensor, y: Tensor, names: Iterable[str]) -> dict[str, float]:
    """Several proxies of one network; those that begin with the loss's gradient share it."""
    names = list(names)
    found = _by_gradient(net, x, y, shared) if (shared := GRADIENT & set(names)) else {}
    return {name: found[name] if name in found else PROXIES[name](net, x, y) for name in names}


def readable(name: str, values: Sequence[float]) -> list[float]:
    """Values as a search uses them: the logarithm of those that span decades, NaN for log 0."""
    if name not in LOGGED:
        return [float(v) for v in values]
    return [math.log10(v) if 0 < v < math.inf else math.nan for v in values]


def _by_gradient(net: nn.Module, x: Tensor, y: Tensor, names: Collection[str]) -> dict[str, float]:
    net = _fresh(net)
    weights, keep = _weights(net), "grasp" in names
    with _outputs(net, WEIGHTED) as outs:
        loss = F.cross_entropy(net(x), y)
    both = torch.autograd.grad(loss, [*weights, *outs], create_graph=keep, allow_unused=True)
    g = [_or_zero(one, w) for one, w in zip(both, weights)]
    found = {
        "grad_norm": _total(one.norm() for one in g),
        "snip": _snip(net, g),
        "fisher": _fisher(outs, both[len(weights) :]),
    }
    if keep:
        half = torch.stack([one.square().sum() for one in g]).sum() / 2
        found["grasp"] = 0.0
        if half.requires_grad:  # not where no weight reaches the loss
            hessian_g = _gradients(net, half)  # the gradient of g.g / 2 is the Hessian times g
            found["grasp"] = -_total((w * h).sum() for w, h in zip(weights, hessian_g))
    return {name: found[name] for name in names}


def _snip(net: nn.Module, grads: Sequence[Tensor]) -> float:
    return _total((w * g).abs().sum() for w, g in zip(_weights(net), grads))


def _total(parts: Iterable[Tensor]) -> float:
    return math.fsum(float(part.detach()) for part in parts)


def _fisher(outs: Sequence[Tensor], grads: Sequence[Tensor | None]) -> float:
    total = 0.0
    for a, da in zip(outs, grads):
        if da is not None:
            by_channel = (a * da).flatten(2).sum(2) if a.ndim > 2 else a * da  # [B, C]
            total += float(by_channel.detach().square().mean(0).sum() / 2)
    return total


def _fresh(net: nn.Module) -> nn.Module:
    """A copy to compute on, with batch statistics."""
    return copy.deepcopy(net).train().requires_grad_(True)


def _weights(net: nn.Module) -> list[Tensor]:
    return [m.weight for m in net.modules() if isinstance(m, WEIGHTED)]


def _gradients(net: nn.Module, value: Tensor) -> list[Tensor]:
    """Gradients to the weights; zeros for those that `value` does not depend on."""
    weights = _weights(net)
    grads = torch.autograd.grad(value, weights, allow_unused=True)
    return [_or_zero(g, w) for g, w in zip(grads, weights)]


def _or_zero(g: Tensor | None, w: Tensor) -> Tensor:
    return torch.zeros_like(w) if g is None else g


@contextmanager
def _outputs(net: nn.Module, kinds: tuple[type[nn.Module], ...]) -> Iterator[list[Tensor]]:
    """What modules of these kinds put out in the block, in the order they run."""
    found: list[Tensor] = []
    hooks = [
        m.register_forward_hook(lambda _m, _i, out: found.append(out))
        for m in net.modules()
        if isinstance(m, kinds)
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
