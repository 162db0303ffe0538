"""Each proxy against its definition, worked out another way in double precision."""

from __future__ import annotations

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bequeath.blocks.cells import cell_network, parse_cell
from bequeath.blocks.zero_cost import (
    LOGGED,
    PROXIES,
    fisher,
    flops,
    grad_norm,
    grasp,
    jacob_cov,
    naswot,
    params,
    proxies,
    readable,
    snip,
    synflow,
)

B, D, H, K = 6, 5, 4, 3


@pytest.fixture
def case():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(D, H), nn.ReLU(), nn.Linear(H, K)).double()
    return net, torch.randn(B, D).double(), torch.arange(B) % K


def by_hand(net, x, y):
    """Forward and backward of the small net: hidden, its gradient, logits' gradient."""
    w1, b1, w2, b2 = (p.detach() for p in net.parameters())
    pre = x @ w1.T + b1
    hidden = pre.clamp_min(0)
    p = torch.softmax(hidden @ w2.T + b2, 1)
    d_out = (p - F.one_hot(y, K)) / len(x)
    d_pre = (d_out @ w2) * (pre > 0)
    return w1, w2, pre, hidden, hidden @ w2.T + b2, d_pre, d_out


def test_snip_grad_norm_and_fisher_by_hand(case):
    net, x, y = case
    w1, w2, pre, hidden, out, d_pre, d_out = by_hand(net, x, y)
    g1, g2 = d_pre.T @ x, d_out.T @ hidden
    assert snip(net, x, y) == pytest.approx(float((w1 * g1).abs().sum() + (w2 * g2).abs().sum()))
    assert grad_norm(net, x, y) == pytest.approx(float(g1.norm() + g2.norm()))
    channels = [((a * da) ** 2).mean(0).sum() / 2 for a, da in ((pre, d_pre), (out, d_out))]
    assert fisher(net, x, y) == pytest.approx(float(sum(channels)))


def test_fisher_sums_positions_before_it_squares():
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, K)).double()
    x, y = torch.randn(B, 2, 4, 4).double(), torch.arange(B) % K
    a = net[0](x).detach().requires_grad_(True)
    out = net[3](F.relu(a).flatten(1))
    da, dout = torch.autograd.grad(F.cross_entropy(out, y), [a, out])
    want = 0.0
    for act, grad in ((a, da), (out, dout)):
        act = act.detach().reshape(B, act.shape[1], -1)
        grad = grad.reshape(act.shape)
        for channel in range(act.shape[1]):
            want += float((act[:, channel] * grad[:, channel]).sum(1).pow(2).mean()) / 2
    assert fisher(net, x, y) == pytest.approx(want)


def test_grasp_is_minus_w_hessian_g(case):
    """The whole Hessian of the weights (not the biases), by torch.func."""
    net, x, y = case
    names = ["0.weight", "2.weight"]
    held = {name: p.detach() for name, p in net.named_parameters()}
    sizes = [held[name].numel() for name in names]

    def loss(flat: torch.Tensor) -> torch.Tensor:
        parts = flat.split(sizes)
        named = {n: v.reshape(held[n].shape) for n, v in zip(names, parts)}
        return F.cross_entropy(torch.func.functional_call(net, {**held, **named}, x), y)

    w = torch.cat([held[name].flatten() for name in names])
    g, hessian = torch.func.grad(loss)(w), torch.func.hessian(loss)(w)
    assert grasp(net, x, y) == pytest.approx(-float(w @ hessian @ g))


def test_synflow_of_a_linear_net_is_layers_times_the_flow():
    """Each layer's sum w dR/dw is R itself, and R = 1' |W3| |W2| |W1| 1."""
    torch.manual_seed(2)
    sizes = [5, 7, 4, 3]
    layers = [nn.Linear(a, b, bias=False) for a, b in itertools.pairwise(sizes)]
    net = nn.Sequential(layers[0], nn.BatchNorm1d(7), nn.ReLU(), *layers[1:])
    flow = torch.ones(5).double()
    for layer in layers:
        flow = layer.weight.detach().double().abs() @ flow
    x = torch.randn(B, 5)
    assert synflow(net, x) == pytest.approx(3 * float(flow.sum()), rel=1e-12)
    assert synflow(net, 100 * torch.randn(2, 5)) == synflow(net, x)  # no data in it


def test_naswot_by_hand(case):
    net, x, _ = case
    on = (net[0](x) > 0).numpy()
    kernel = np.array([[(a == b).sum() for a in on] for b in on], dtype=float)
    sign, value = np.linalg.slogdet(kernel)
    want = value if sign > 0 else -math.inf
    assert naswot(net, x) == pytest.approx(want)
    assert naswot(net, x[:1].repeat(2, 1)) == -math.inf  # two samples of one code


def test_jacob_cov_by_hand(case):
    net, x, y = case
    w1, w2, pre, *_ = by_hand(net, x, y)
    jacobian = ((pre > 0) * w2.sum(0)) @ w1  # of the sum of a sample's outputs
    v = np.linalg.eigvalsh(np.corrcoef(jacobian.numpy()))
    assert jacob_cov(net, x) == pytest.approx(-(np.log(v + 1e-5) + 1 / (v + 1e-5)).sum(), rel=1e-4)


def test_params_and_flops_by_hand():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=4, bias=False), nn.Flatten(), nn.Linear(8 * 16, 10),
    )  # fmt: skip
    assert params(net) == (27 * 8 + 8) + 16 + 8 * 2 * 9 + (128 * 10 + 10)
    assert flops(net, torch.zeros(4, 3, 8, 8)) == 27 * 8 * 16 + 2 * 9 * 8 * 16 + 128 * 10


def test_the_network_is_left_as_it_was():
    torch.manual_seed(3)
    net = cell_network([3, 1, 2, 4, 3, 1], width=4, depth=1).eval()
    before = copy.deepcopy(net.state_dict())
    x, y = torch.randn(8, 3, 16, 16), torch.arange(8)
    one = proxies(net, x, y, PROXIES)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert not net.training and all(p.grad is None for p in net.parameters())
    assert one == {name: pytest.approx(f(net, x, y), rel=1e-6) for name, f in PROXIES.items()}
    assert all(math.isfinite(v) for v in one.values())


def test_a_cell_that_passes_nothing_has_values_or_none():
    net = cell_network(
        parse_cell("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"), width=4, depth=1
    )
    found = proxies(net, torch.randn(8, 3, 16, 16), torch.arange(8), PROXIES)
    assert math.isnan(found["jacob_cov"]) and found["naswot"] == -math.inf
    assert found["synflow"] == 0.0 and found["params"] > 0


def test_readable():
    assert readable("snip", [100.0, 0.0, math.inf, math.nan])[0] == 2.0
    assert all(math.isnan(v) for v in readable("snip", [0.0, math.inf, math.nan, -1.0]))
    assert readable("grasp", [-3.0]) == [-3.0] and set(LOGGED) < set(PROXIES)
