"""BOOT and its company where the answer is known, and the way from a job to judged samples."""

from __future__ import annotations

import copy
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import gaussian_diffusion as gauss
import pytest
import torch
from method_cases import farthest, open_plainly, weights
from torch import Tensor, nn

from bequeath.blocks.diffusion import generator
from bequeath.fleet.gates import check_deep
from bequeath.fleet.sweep import run_job
from bequeath.given.bound import BoundModel
from bequeath.given.given import Given
from bequeath.given.models import load_model, model_handle
from bequeath.given.samples import ArraySamples
from bequeath.given.zoo.denoiser import Clock, build
from bequeath.job.api import load_job
from bequeath.kernel.errors import JobError, RunError
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


# -- from a job to judged samples


@pytest.fixture(scope="module")
def owned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A judge and a diffusion model of digits on disk, each a little trained."""
    home = tmp_path_factory.mktemp("owned")
    few = {"threads": 1, "batch_size": 64, "device": "cpu"}
    judge = {
        "want": "distill", "method": "ce", "seeds": 1,
        "models": {"student": "zoo:lenet"},
        "data": {"train": DIGITS + "train", "test": DIGITS + "test"},
        "train": {"epochs": 3, **few},
    }  # fmt: skip
    run_job(load_job(judge, [f"out={home / 'judge'}"]), quiet=True)
    judged_by = f"file:{home / 'judge/runs/ce/seed-0/model'}"
    diffusion = {
        "want": "generate", "method": "diffusion", "seeds": 1, "baselines": False,
        "models": {"model": "zoo:denoiser?width=32&layers=1", "judge": judged_by},
        "data": {"train": DIGITS + "train", "test": DIGITS + "test"},
        "protocol": {"samples": 60},
        "train": {"steps": 60, **few},
    }  # fmt: skip
    run_job(load_job(diffusion, [f"out={home / 'diffusion'}"]), quiet=True)
    return {"judge": judged_by, "teacher": f"file:{home / 'diffusion/runs/diffusion/seed-0/model'}"}


DIGITS = "sklearn:digits?as=image&split="


def job(owned: dict[str, str], **more: Any) -> dict[str, Any]:
    return {
        "want": "generate",
        "method": ["boot", {"name": "ddim", "as": "ddim-2", "steps": 2}],
        "models": {"teacher": owned["teacher"], "judge": owned["judge"]},
        "data": {"test": DIGITS + "test"},
        "protocol": {"samples": 70, "walk": 10, "steps": 5},
        "evaluate": {"metrics": ["frechet", "trajectory_error", "precision", "evaluations"]},
        "seeds": 2,
        "train": {"steps": 3, "threads": 1, "device": "cpu", "batch_size": 16},
    } | more  # fmt: skip


def test_a_job_leaves_judged_samples(owned, tmp_path):
    out = run_job(load_job(job(owned), [f"out={tmp_path / 'out'}"]), quiet=True)
    records = {
        path.parent.relative_to(out / "runs").as_posix(): json.loads(path.read_text())
        for path in out.glob("runs/*/*/record.json")
    }
    assert set(records) == {f"{arm}/seed-{s}" for arm in ("boot", "ddim-2") for s in (0, 1)}
    calls = {name: r["metrics"]["evaluations"]["value"] for name, r in records.items()}
    assert calls["boot/seed-0"] == 1 and calls["ddim-2/seed-1"] == 2
    values = {name: r["metrics"]["frechet"]["value"] for name, r in records.items()}
    assert values["ddim-2/seed-0"] == values["ddim-2/seed-1"] != values["boot/seed-0"]
    assert values["boot/seed-0"] != values["boot/seed-1"]
    assert records["boot/seed-0"]["notes"]["teacher_calls"] == 3 * 16 * 2
    assert records["boot/seed-0"]["seal"]["attempts"] == []
    for name in records:
        assert (out / "runs" / name / "samples.png").stat().st_size > 100
    reference = json.loads((out / "references/teacher/record.json").read_text())
    assert reference["metrics"]["evaluations"]["value"] == 5
    assert reference["metrics"]["trajectory_error"]["value"] > 0


def test_a_job_has_the_teacher_in_one_step_for_a_baseline(owned):
    arms = load_job(job(owned, method="boot")).arms
    assert [(arm.label, arm.added) for arm in arms] == [("boot", False), ("ddim", True)]
    assert arms[1].config.steps == 1


def test_the_walk_of_all_its_steps_ends_where_it_ends(owned, tmp_path):
    """`trajectory_error` of DDIM in as many steps as the reference walk is zero."""
    methods = [{"name": "ddim", "steps": k, "as": f"d{k}"} for k in (2, 5, 10)]
    one = job(owned, method=methods, baselines=False, seeds=1)
    out = run_job(load_job(one, [f"out={tmp_path / 'out'}"]), quiet=True)
    error = [
        json.loads((out / f"runs/d{k}/seed-0/record.json").read_text())["metrics"][
            "trajectory_error"
        ]["value"]
        for k in (2, 5, 10)
    ]
    assert error[2] == 0.0 and all(a > b for a, b in pairwise(error))


def test_a_generator_is_opened_by_plain_torch(owned, tmp_path):
    """And what `bequeath.json` says turns its samples into the pixels that were judged."""
    folder = Path(owned["teacher"].removeprefix("file:"))
    ours, plain = load_model(folder), open_plainly(folder)
    noise = generator.noises(5, plain.shape, 0)
    with torch.no_grad():
        samples = plain(noise)
        assert torch.equal(samples, ours.module(noise))
    code = (folder / "preprocess.py").read_text()
    names: dict[str, Any] = {}
    exec(code, names)
    pixels = ((samples - names["SHIFT"]) / names["SCALE"]).round().clamp(0, 255)
    judged = generator.as_data(ours, samples, (8, 8, 1), "image").x
    assert torch.equal(pixels.permute(0, 2, 3, 1).to(torch.uint8), judged)


BAD: dict[str, tuple[str, dict[str, Any]]] = {
    "no judge": ("G470", {"models": {"judge": None}}),
    "an untrained judge": ("G471", {"models": {"judge": "zoo:lenet"}}),
    "a judge that makes samples": ("G471", {"models": {"judge": "teacher"}}),
    "a teacher that judges": ("G490", {"models": {"teacher": "judge"}}),
    "too few samples": ("G473", {"protocol": {"samples": 5}}),
    "another shape": ("G474", {"models": {"student": "zoo:denoiser?preprocess.size=4"}}),
    "an unknown metric": ("J", {"evaluate": {"metrics": ["fid"]}}),
    "an unknown setting": ("J", {"protocol": {"sample": 5}}),
    "classes of a denoiser": ("M312", {"models": {"student": "zoo:denoiser?classes=10"}}),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_jobs_are_refused_before_anything_runs(what, owned, tmp_path):
    code, changes = BAD[what]
    wrong = job(owned)
    for section, values in changes.items():
        for key, value in values.items():
            wrong[section][key] = owned.get(value, value) if isinstance(value, str) else value
            if value is None:
                del wrong[section][key]
    if what == "another shape":
        wrong["models"]["student"] = {"ref": "zoo:denoiser", "preprocess": {"size": 4}}
    with pytest.raises(JobError) as caught:
        check_deep(load_job(wrong, [f"out={tmp_path / 'out'}"]))
    assert any(p.code.startswith(code) for p in caught.value.problems), caught.value
    assert not (tmp_path / "out").exists()


def test_a_metric_without_a_teacher_is_refused(owned, tmp_path):
    wrong = job(owned, method="diffusion", baselines=False)
    wrong["models"] = {"model": "zoo:unet?width=4", "judge": owned["judge"]}
    wrong["data"]["train"] = DIGITS + "train"
    with pytest.raises(JobError, match="needs a teacher"):
        check_deep(load_job(wrong, [f"out={tmp_path / 'out'}"]))


def test_a_denoiser_is_no_student_of_a_classifier(owned, tmp_path):
    wrong = {
        "want": "distill", "method": "kd",
        "models": {"teacher": owned["judge"], "student": "zoo:unet?width=4"},
        "data": {"train": DIGITS + "train", "test": DIGITS + "test"},
    }  # fmt: skip
    with pytest.raises(JobError, match="does not answer so"):
        check_deep(load_job(wrong, [f"out={tmp_path / 'out'}"]))


def test_vectors_are_generated_too(tmp_path):
    """Of a table: scaled as it was for training, and back."""
    few = {"threads": 1, "batch_size": 32, "device": "cpu"}
    data = {"train": "sklearn:wine?split=train", "test": "sklearn:wine?split=test"}
    judge = {"want": "distill", "method": "ce", "models": {"student": "zoo:mlp?hidden=8"},
             "data": data, "train": {"epochs": 5, **few}, "seeds": 1}  # fmt: skip
    run_job(load_job(judge, [f"out={tmp_path / 'judge'}"]), quiet=True)
    one = {
        "want": "generate", "method": "diffusion", "seeds": 1, "baselines": False,
        "models": {"model": "zoo:denoiser?width=32&layers=1",
                   "judge": f"file:{tmp_path / 'judge/runs/ce/seed-0/model'}"},
        "data": data, "protocol": {"samples": 50}, "train": {"steps": 200, **few},
    }  # fmt: skip
    out = run_job(load_job(one, [f"out={tmp_path / 'out'}"]), quiet=True)
    import numpy as np

    made = np.load(out / "runs/diffusion/seed-0/samples.npz")["x"]
    assert made.shape == (50, 13)
    assert 11 < made[:, 0].mean() < 15 and 400 < made[:, 12].mean() < 1200  # alcohol, proline
