"""What each distillation does to a student, on jobs of a second."""

from __future__ import annotations

import importlib.metadata
import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from method_cases import SETTINGS, farthest, weights
from torch import Tensor
from torch.nn import functional as F

from bequeath.blocks.taps import Tap, Taps
from bequeath.fleet import check_deep
from bequeath.given.bound import BoundModel, hash_tensors
from bequeath.given.given import Given
from bequeath.given.models import model_handle
from bequeath.given.samples import ArraySamples
from bequeath.job.api import load_job
from bequeath.kernel.errors import JobError
from bequeath.methods import catalog
from bequeath.methods.catalog import all_methods
from bequeath.train.config import Train
from bequeath.train.context import LOG, Context
from bequeath.train.seeds import seed_everything
from bequeath.train.terms import mean_over

CLASSES = ("a", "b", "c")
QUICK = {**SETTINGS, "epochs": 20, "optimizer": {"name": "adam", "lr": 0.01, "weight_decay": 0}}


@dataclass
class Setting:
    """A teacher on disk that says class y + 1 where the label is y, and the data."""

    teacher: str
    samples: Any

    def run(
        self, name: str, store: Path, student: str = "zoo:mlp?hidden=16,8", /, **config: Any
    ) -> BoundModel:
        """The student of a method; settings of training under `train`."""
        train = Train.model_validate({**QUICK, **config.pop("train", {})})
        method = all_methods()[f"distill/{name}"]
        cfg = method.Config.model_validate(config)
        handles = {"teacher": model_handle("teacher", self.teacher)}
        handles["student"] = model_handle("student", student)
        facts = {role: handle.examine(self.samples.facts) for role, handle in handles.items()}
        loaders = {
            role: lambda handle=handle: handle.load(n_classes=3, data=self.samples, seed=1)
            for role, handle in handles.items()
        }
        needs = method.needs_for(cfg)
        given = Given(needs, loaders=loaders, facts=facts, data={"train": self.samples})
        seed_everything(1)
        self.ctx = Context(1, train, store, show=False)
        return method(self.ctx, given, cfg).models["student"]

    def open_teacher(self) -> BoundModel:
        return model_handle("teacher", self.teacher).load()

    def everything(self) -> dict[str, Any]:
        return self.samples.fetch(torch.arange(len(self.samples)))


def features(model: BoundModel, batch: dict[str, Any]) -> Tensor:
    with torch.no_grad(), Taps(model.module, {"f": Tap(model.facts.head, "input")}) as tap:
        model.eval()(batch)
        return tap["f"].flatten(1)


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    folder = tmp_path_factory.mktemp("setting")
    g = torch.Generator().manual_seed(0)
    y = torch.arange(90) % 3
    x = 2 * torch.randn(3, 10, generator=g)[y] + torch.randn(90, 10, generator=g)
    samples = ArraySamples("vector", x, y, CLASSES)
    teacher = model_handle("teacher", "zoo:mlp?hidden=16,8").load(n_classes=3, data=samples, seed=9)
    ctx = Context(0, Train.model_validate({**QUICK, "epochs": 30}), folder / "store", show=False)

    def step(batch):
        wrong = (batch["y"] + 1) % 3
        return {"ce": mean_over(F.cross_entropy(teacher(batch), wrong, reduction="none"))}

    ctx.fit(teacher, samples, step)
    teacher.save(folder / "teacher")
    return Setting(f"file:{folder / 'teacher'}", samples)


def agreement(a: BoundModel, b: BoundModel, batch: dict[str, Any]) -> float:
    with torch.no_grad():
        return float((a(batch).argmax(1) == b(batch).argmax(1)).float().mean())


def test_students_follow_their_teacher_and_not_the_label(setting, tmp_path):
    batch, teacher = setting.everything(), setting.open_teacher()
    says = teacher(batch).argmax(1)
    assert (says == (batch["y"] + 1) % 3).float().mean() > 0.9
    alone = setting.run("ce", tmp_path / "ce")
    assert agreement(alone, teacher, batch) < 0.2
    for name, config in {
        "kd": {"kd": 50.0},
        "dkd": {"ce": 0.0, "beta": 8.0, "alpha": 8.0, "warmup": 0.0},
        "nd": {"kd": 50.0, "nd": 0.0, "warmup": 0.0},
    }.items():
        taught = setting.run(name, tmp_path / name, **config)
        assert agreement(taught, teacher, batch) > 0.8, name


def test_kd_between_label_and_teacher(setting, tmp_path):
    """The more the teacher's term weighs, the nearer its probabilities come."""
    batch, teacher = setting.everything(), setting.open_teacher()
    wanted = teacher(batch).detach().softmax(1)

    def apart(weight: float) -> float:
        student = setting.run("kd", tmp_path / f"{weight}", ce=1.0, kd=weight, temperature=1.0)
        with torch.no_grad():
            return float(F.kl_div(student(batch).log_softmax(1), wanted, reduction="batchmean"))

    found = [apart(weight) for weight in (0.0, 1.0, 20.0)]
    assert found[0] > found[1] > found[2]


@pytest.mark.parametrize("base", ["kd", "dkd"])
def test_every_form_of_nd(setting, tmp_path, base):
    made = {
        form: setting.run("nd", tmp_path / form, base=base, form=form, train={"epochs": 2})
        for form in ("nd", "direction", "norm", "l2")
    }
    assert len({hash_tensors(model.module) for model in made.values()}) == 4
    line = json.loads((tmp_path / "nd" / LOG).read_text().splitlines()[-1])
    assert {"kd", "ce", "nd"} <= set(str(line).replace("'", " ").replace(":", " ").split())


def test_what_the_forms_of_nd_are_for(setting, tmp_path):
    batch, teacher = setting.everything(), setting.open_teacher()
    f_t, y = features(teacher, batch), batch["y"]
    means = torch.stack([f_t[y == k].mean(0) for k in range(3)])

    def look(name: str, **config: Any) -> dict[str, float]:
        student = setting.run("nd", tmp_path / name, ce=0.1, kd=0.1, warmup=0.0, **config)
        f = features(student, batch)
        return {
            "norm": float(f.norm(dim=1).mean()),
            "cosine": float(F.cosine_similarity(f, means[y]).mean()),
            "distance": float((f - f_t).square().sum(1).mean()),
        }

    none = look("none", nd=0.0)
    assert look("nd", nd=20.0)["cosine"] > none["cosine"] + 0.05
    assert look("direction", nd=20.0, form="direction")["cosine"] > none["cosine"] + 0.05
    assert look("norm", nd=5.0, form="norm")["norm"] > 1.2 * none["norm"]
    assert look("l2", nd=1.0, form="l2")["distance"] < 0.7 * none["distance"]


def test_other_widths_meet_in_an_adapter_that_is_dropped(setting, tmp_path):
    narrow = "zoo:mlp?hidden=16,5"
    student = setting.run("nd", tmp_path / "run", narrow, train={"epochs": 2})
    plain = setting.run("nd", tmp_path / "plain", narrow, nd=0.0, train={"epochs": 2})
    assert (
        farthest(weights(student), weights(plain)) > 0
    )  # the term reached the student through the adapter
    student.save(tmp_path / "model")
    again = model_handle("again", f"file:{tmp_path / 'model'}").load()
    assert set(again.module.state_dict()) == set(plain.module.state_dict())
    assert torch.equal(again(setting.everything()), student.eval()(setting.everything()))


@pytest.mark.parametrize("cache", ["on", "off"])
def test_class_means_are_of_the_images_as_they_are(tmp_path, monkeypatch, cache):
    """Training sees random views; the class means see none."""
    from bequeath.blocks import prototypes

    g = torch.Generator().manual_seed(3)
    y = torch.arange(24) % 3
    x = torch.randint(0, 256, (24, 8, 8, 3), generator=g, dtype=torch.uint8)
    samples = ArraySamples("image", x, y, CLASSES)
    model_handle("t", "zoo:resnet8").load(n_classes=3, data=samples, seed=4).save(tmp_path / "t")
    pictures = Setting(f"file:{tmp_path / 't'}", samples)
    taken: list[Tensor] = []
    real = prototypes.class_means

    def noted(batches, n_classes):
        taken.append(real(batches, n_classes))
        return taken[-1]

    monkeypatch.setattr(prototypes, "class_means", noted)
    train = {"epochs": 2, "cache": cache, "augment": {"crop": 2, "flip": True, "views": 2}}
    pictures.run("nd", tmp_path / "run", "zoo:resnet8", train=train)
    f = features(pictures.open_teacher(), pictures.everything())
    expected = torch.stack([f[y == k].mean(0) for k in range(3)])
    assert len(taken) == 1 and torch.allclose(taken[0], expected, atol=1e-5)


def test_cached_and_live_teacher_teach_the_same(setting, tmp_path):
    for name in ("kd", "nd"):
        live = setting.run(name, tmp_path / f"{name}-live", train={"cache": "off"})
        assert "cache" not in setting.ctx.notes
        first = setting.run(name, tmp_path / f"{name}-first", train={"cache": "on"})
        assert setting.ctx.notes["cache"]["hit"] is False
        second = setting.run(name, tmp_path / f"{name}-second", train={"cache": "on"})
        assert setting.ctx.notes["cache"]["hit"] is True
        assert farthest(weights(first), weights(second)) == 0.0
        assert farthest(weights(first), weights(live)) < 1e-4


UNKNOWN_HEAD = """\
import torch
from torch import nn

class Bare(nn.Module):
    def __init__(self, k):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(64, k))

    def forward(self, x):
        return x @ self.weight

def bare(n_classes):
    return Bare(n_classes)
"""


def digits_job(**changes: Any) -> dict[str, Any]:
    return {
        "want": "distill",
        "method": "kd",
        "models": {"teacher": "zoo:mlp?hidden=8", "student": "zoo:mlp?hidden=8"},
        "data": {
            "train": "sklearn:digits?split=train&take=60",
            "test": "sklearn:digits?split=test&take=40",
        },
        "train": {"epochs": 1, "threads": 1, "device": "cpu"},
        **changes,
    }


def test_nd_wants_to_know_the_classifier(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("bare.py").write_text(UNKNOWN_HEAD)
    models = {"teacher": "zoo:mlp?hidden=8", "student": "py:bare.py:bare"}
    check_deep(load_job(digits_job(models=models), allow_code=True))  # kd does not care
    with pytest.raises(JobError) as caught:
        check_deep(load_job(digits_job(models=models, method="nd"), allow_code=True))
    (problem,) = caught.value.problems
    assert problem.code == "M320" and problem.at == ("models", "student")
    assert "head" in problem.remedies[0]


THEIRS = '''\
"""A method of somebody else's: the student alone, with the logits kept small.

    L = CE(z_S, y) + w |z_S|^2
"""
from pydantic import Field

from bequeath.given.access import Access, DataNeed, Labels, ModelNeed, Needs
from bequeath.methods.contract import Identity, MethodConfig, Outcome, method


class Config(MethodConfig):
    w: float = Field(0.1, ge=0, description="weight of the size")


@method(
    want="distill",
    paper="none",
    needs=Needs(
        models={"student": ModelNeed(Access.WEIGHTS, trains=True)},
        data={"train": DataNeed(Labels.ALL)},
        same_classes=True,
    ),
    identity=(Identity("without the size it is ce", "ce", config={"w": 0.0}),),
)
def small(ctx, given, cfg: Config) -> Outcome:
    """Cross-entropy and small logits."""
    from torch.nn import functional as F

    from bequeath.train.terms import mean_over

    student = given.model("student").load()

    def step(batch):
        z = student(batch)
        return {
            "ce": mean_over(F.cross_entropy(z, batch["y"], reduction="none")),
            "size": mean_over(z.square().mean(1), cfg.w),
        }

    ctx.fit(student, given.data("train"), step)
    return Outcome(models={"student": student})
'''
STUDENT_ALONE = {"models": {"student": "zoo:mlp?hidden=8"}}


def test_a_method_from_a_file(tmp_path, monkeypatch):
    from bequeath.fleet import run_job

    monkeypatch.chdir(tmp_path)
    Path("theirs.py").write_text(THEIRS)
    job = digits_job(method={"name": "./theirs.py:small", "w": 0.5}, **STUDENT_ALONE)
    with pytest.raises(JobError) as caught:
        load_job(job)
    (problem,) = caught.value.problems
    assert problem.code == "J110" and "--allow-code" in problem.remedies[0]
    loaded = load_job(job, [f"out={tmp_path / 'out'}"], allow_code=True)
    assert [arm.label for arm in loaded.arms] == ["small", "ce"]
    out = run_job(loaded, quiet=True)
    assert (out / "runs" / "small" / "seed-0" / "record.json").is_file()


def test_another_version_of_that_file_is_another_experiment(tmp_path, monkeypatch):
    from bequeath.fleet import run_job

    monkeypatch.chdir(tmp_path)
    Path("theirs.py").write_text(THEIRS)
    job = digits_job(method="./theirs.py:small", **STUDENT_ALONE)
    run_job(load_job(job, ["out=out"], allow_code=True), quiet=True)
    Path("theirs.py").write_text(THEIRS.replace("z.square()", "z.abs()"))
    with pytest.raises(JobError) as caught:
        run_job(load_job(job, ["out=out"], allow_code=True), quiet=True)
    assert [p.code for p in caught.value.problems] == ["R511"]


@pytest.mark.parametrize("bring", ["the method", "its module"])
def test_a_method_by_entry_point(tmp_path, monkeypatch, bring):
    Path(tmp_path / "theirs.py").write_text(THEIRS)
    theirs = catalog.from_file("theirs.py:small", tmp_path)
    module = SimpleNamespace(__name__=theirs.run.__module__, small=theirs)
    point = SimpleNamespace(name="small", load=lambda: theirs if bring == "the method" else module)

    def points(group):
        assert group == catalog.ENTRY_POINTS == "bequeath.methods"
        return [*importlib.metadata.entry_points(group=group), point]

    monkeypatch.setattr(catalog, "entry_points", points)
    all_methods.cache_clear()
    try:
        assert "small" in catalog.methods_of("distill")
        job = load_job(digits_job(method={"name": "small", "w": 0.0}, **STUDENT_ALONE))
        assert job.arms[0].method.title == "Cross-entropy and small logits."
    finally:
        monkeypatch.undo()
        all_methods.cache_clear()
    assert "distill/small" not in all_methods()
