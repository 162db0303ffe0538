"""BOOT and its company where the answer is known: the diffusion of a Gaussian."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import gaussian_diffusion as gauss
import pytest
import torch
from method_cases import farthest, weights
from torch import Tensor, nn

from bequeath.given.bound import BoundModel
from bequeath.given.given import Given
from bequeath.given.models import model_handle
from bequeath.given.samples import ArraySamples
from bequeath.given.zoo.denoiser import Clock, build
from bequeath.kernel.errors import RunError
from bequeath.methods.catalog import methods_of
from bequeath.train.config import Train
from bequeath.train.context import Context

T_MAX = 0.99
PLAIN = {"name": "adam", "lr": 3e-3, "weight_decay": 0.0}


class Affine(nn.Module):
    """noise, t -> a(t) noise + b(t), a and b a small network's: the Gaussian's answer has this
    form."""

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.out = Clock(64), nn.Linear(64, 6)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        a, b = self.out(torch.tanh(self.clock(t))).chunk(2, dim=1)
        return a * x + b


def ran(
    name: str, store: Path, models: dict[str, BoundModel], data: Any = None, **config: Any
) -> tuple[BoundModel, dict[str, Any]]:
    """(the generator a method hands back, its notes). `train`: settings of training."""
    train = {"steps": 100, "batch_size": 128, "threads": 1, "device": "cpu", "optimizer": PLAIN}
    train |= config.pop("train", {})
    method = methods_of("generate")[name]
    cfg = method.Config.model_validate(config)
    loaders = {role: lambda model=model: copy.deepcopy(model) for role, model in models.items()}
    given = Given(method.needs_for(cfg), loaders, {}, {} if data is None else {"train": data})
    ctx = Context(1, Train.model_validate(train), store, show=False)
    outcome = method(ctx, given, cfg)
    model: Any = outcome.models["model"]
    return model, outcome.notes


def teacher() -> BoundModel:
    return gauss.bound(gauss.model(gauss.Best("x0"), "x0").float())


def apart(model: BoundModel) -> float:
    """Relative L2 distance of a one-step generator to the end of the exact walk."""
    noise = torch.randn(4000, 3, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        made = model.module(noise).double()
    exact = gauss.signal(noise.double(), torch.zeros(4000, dtype=torch.float64), T_MAX)
    return float((made - exact).norm() / exact.norm())


def test_boot_reaches_the_map_of_the_gaussian(tmp_path):
    torch.manual_seed(0)
    models = {"teacher": teacher(), "student": gauss.bound(gauss.model(Affine(), "x0"))}
    before = apart(models["student"])
    train = {"steps": 800, "batch_size": 64, "optimizer": {**PLAIN, "lr": 1e-2}}
    model, _ = ran("boot", tmp_path, models, delta=0.05, order=2, train=train)
    assert before > 0.5
    assert apart(model) < 0.06  # further down with more steps: the slow test


@pytest.mark.slow
def test_a_perceptron_reaches_the_map_of_the_gaussian(tmp_path):
    """Claim (a) of the card, with a network that knows nothing of the answer's form."""
    torch.manual_seed(0)
    net = build("denoiser", None, (3,), width=64, layers=2, predicts="x0")
    models = {"teacher": teacher(), "student": gauss.bound(net)}  # type: ignore[arg-type]
    train = {"steps": 8000, "optimizer": {**PLAIN, "lr": 4e-3}}
    model, _ = ran("boot", tmp_path, models, delta=0.05, order=2, train=train)
    assert apart(model) < 0.03


def test_the_exact_student_has_no_loss_but_that_of_the_step(tmp_path):
    """The bootstrapping term over d^2 is the square of a step's error: it falls with delta^2; the
    boundary term is zero to rounding."""
    models = {
        "teacher": gauss.bound(gauss.model(gauss.Best("x0"), "x0")),
        "student": gauss.bound(gauss.model(gauss.Ends(), "x0")),
    }
    losses = {}
    for order in (1, 2):
        for delta in (0.02, 0.01):
            store = tmp_path / f"{order}-{delta}"
            frozen = {"steps": 1, "optimizer": {**PLAIN, "lr": 1e-12}}
            ran("boot", store, models, delta=delta, order=order, train=frozen)
            terms = json.loads((store / "log.jsonl").read_text().splitlines()[0])["terms"]
            losses[order, delta] = terms["bootstrap"]["value"]
            assert terms["boundary"]["value"] < 1e-12
    assert losses[1, 0.02] < 2e-3
    for order in (1, 2):
        rate = losses[order, 0.02] / losses[order, 0.01]
        assert 0.6 * 4**order < rate < 1.6 * 4**order
    assert losses[2, 0.02] < losses[1, 0.02] / 10


def test_boot_counts_the_teacher_and_needs_no_data(tmp_path):
    for order, calls in ((1, 3 * 128 * 2), (2, 3 * 128 * 3)):
        train = {"steps": 3}
        _, notes = ran(
            "boot", tmp_path / f"{order}", {"teacher": teacher()}, order=order, train=train
        )
        assert notes["teacher_calls"] == calls
    needs = methods_of("generate")["boot"].needs
    assert not needs.data


def test_the_student_sees_the_data_as_its_teacher_does(tmp_path):
    """A student of its own takes over the teacher's noise levels and preprocessing."""
    other = gauss.bound(build("denoiser", None, (3,), width=8, layers=1, schedule="linear"))  # type: ignore[arg-type]
    of = teacher()
    model, _ = ran("boot", tmp_path, {"teacher": of, "student": other}, train={"steps": 2})
    assert model.module.schedule == "cosine" and model.preprocess == of.preprocess
    assert model.source.kwargs["schedule"] == "cosine"
    assert model.source.kwargs["sampler"] == "direct"


def test_the_boundary_term_alone_learns_the_beginning(tmp_path):
    """y(noise, T) = f(noise, T) of the teacher; nothing is learnt of earlier times."""
    models = {"teacher": teacher(), "student": gauss.bound(gauss.model(Affine(), "x0"))}
    model, _ = ran("boot", tmp_path, models, bootstrap=0.0, train={"steps": 400})
    noise = torch.randn(500, 3, generator=torch.Generator().manual_seed(2))
    end = torch.full((500,), T_MAX)
    with torch.no_grad():
        off = model.module.signal(noise, end) - models["teacher"].module.data(noise, end)
    assert float(off.norm(dim=1).mean()) < 0.02
    assert apart(model) > 0.2


def test_ddim_changes_the_walk_and_nothing_else(tmp_path):
    of = teacher()
    model, _ = ran("ddim", tmp_path, {"teacher": of}, steps=3)
    assert model.module.evaluations == 3 and farthest(weights(model), weights(of)) == 0.0


def test_pairs_are_learnt_at_as_many_calls_of_the_teacher(tmp_path):
    """The ends of a walk of the Gaussian are affine in the noise, which the student can say."""
    torch.manual_seed(0)
    learnt, _ = ran(
        "diffusion",
        tmp_path / "a",
        {"model": gauss.bound(gauss.model(Affine(), "x0"))},
        vectors_of_the_gaussian(),
        train={"steps": 400},
    )
    noise = torch.randn(2000, 3, generator=torch.Generator().manual_seed(5))
    walked, _ = ran("ddim", tmp_path / "d", {"teacher": learnt}, steps=8)
    model, notes = ran("pairs", tmp_path / "p", {"teacher": learnt}, walk=8, train={"steps": 400})
    assert notes == {"teacher_calls": 2 * 400 * 128, "pairs": 2 * 400 * 128 // 8}
    with torch.no_grad():
        ends = walked.module(noise)
        before = (learnt.module.data(noise, torch.full((2000,), T_MAX)) - ends).norm()
        assert float((model.module(noise) - ends).norm()) < 0.1 * float(before)
    assert model.module.evaluations == 1


def test_progressive_distillation_goes_in_one_step_where_the_teacher_goes_in_many(tmp_path):
    """Of an affine student: one step leads near where eight of the teacher do, from data's own
    noisy versions."""
    torch.manual_seed(0)
    net = gauss.model(Affine(), "x0")
    data = vectors_of_the_gaussian()
    # the student is a copy of its teacher, so the teacher is an affine network that has learnt
    learnt, _ = ran(
        "diffusion", tmp_path / "a", {"model": gauss.bound(net)}, data, train={"steps": 400}
    )
    noise = torch.randn(2000, 3, generator=torch.Generator().manual_seed(5))

    def ends(steps: int) -> Tensor:
        model, _ = ran("ddim", tmp_path / f"d{steps}", {"teacher": learnt}, steps=steps)
        with torch.no_grad():
            return model.module(noise)

    eight, one = ends(8), ends(1)
    model, _ = ran("progressive", tmp_path / "p", {"teacher": learnt}, data, halvings=3,
                   train={"steps": 600})  # fmt: skip
    assert model.module.evaluations == 1
    with torch.no_grad():
        made = model.module(noise)
    assert float((made - eight).norm()) < 0.25 * float((one - eight).norm())


def test_progressive_gives_each_halving_its_share(tmp_path):
    data = vectors_of_the_gaussian(64)
    ran("progressive", tmp_path, {"teacher": teacher()}, data, halvings=3, train={"steps": 8})
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    done = {line["fit"]: line["step"] for line in lines}
    assert done == {"to-4-steps": 2, "to-2-steps": 3, "to-1-steps": 3}


def vectors_of_the_gaussian(n: int = 4000) -> ArraySamples:
    g = torch.Generator().manual_seed(8)
    x = torch.tensor(gauss.MEAN) + torch.tensor(gauss.STD) * torch.randn(n, 3, generator=g)
    return ArraySamples("vector", x.float())


def test_a_trained_model_sees_the_gaussian(tmp_path):
    torch.manual_seed(0)
    for form in ("eps", "v"):
        net = build("denoiser", None, (3,), width=64, layers=1, predicts=form)
        model = gauss.bound(net)  # type: ignore[arg-type]
        model, _ = ran("diffusion", tmp_path / form, {"model": model}, vectors_of_the_gaussian(),
                       train={"steps": 600})  # fmt: skip
        best = gauss.model(gauss.Best("x0"), "x0")
        x, t = torch.randn(500, 3), torch.full((500,), 0.5)
        with torch.no_grad():
            off = model.module.data(x, t) - best.data(x.double(), t.double())
        assert float(off.square().mean().sqrt()) < 0.12, form


def test_what_is_no_diffusion_model_is_refused(tmp_path):
    wrong = model_handle("teacher", "zoo:mlp").load(data=vectors_of_the_gaussian(8), n_classes=2)
    for name in ("boot", "ddim"):
        with pytest.raises(RunError, match="no diffusion model"):
            ran(name, tmp_path / name, {"teacher": wrong})
