"""Seeds trained as one batched model are what they are trained alone, or they are left alone."""

from __future__ import annotations

import json
import signal
from contextlib import closing
from dataclasses import asdict, replace

import pytest
import torch
from jobs import Points, context, cross_entropy, mlp, same, two_terms, weights
from torch import nn
from torch.nn import functional as F

from bequeath.kernel.errors import Interrupted
from bequeath.losses.kl import decoupled, soft_targets
from bequeath.signals.cached import CachedTeacher
from bequeath.signals.live import LiveTeacher
from bequeath.train import together
from bequeath.train.batches import Batches, BesideOneAnother
from bequeath.train.budget import Deadline
from bequeath.train.stack import stacked, tensors_of
from bequeath.train.terms import Term, mean_over, ramp
from bequeath.train.together import Verdict, asked, decide, train, unpromising

SEEDS = (3, 4, 8)
FOUND = Verdict(True, difference=1e-7, tolerance=1e-3, alone_s=3.0, together_s=1.0)
DOUBLE = torch.float64


def start(seed: int, dtype: torch.dtype, norm: bool = False) -> nn.Module:
    """A student of its own for each seed."""
    model = mlp(dropout=False, norm=norm, dtype=dtype)
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=g, dtype=dtype))
    return model


def group(folder, step_of=cross_entropy, *, dtype=DOUBLE, norm=False, data=None, **changes):
    made = []
    for seed in SEEDS:
        ctx = context(folder / str(seed), seed, **changes)
        model = start(seed, dtype, norm)
        samples = Points(dtype=dtype) if data is None else data(seed)
        step = step_of(model) if step_of.__code__.co_argcount == 1 else step_of(model, ctx)
        made.append(asked(ctx, model, samples, step))
    return made


def of_all(folder, **changes):
    return context(folder / "together", 99, **changes)


def alone(folder, **how):
    """The same runs, each by itself: weights, log lines."""
    found = []
    for one in group(folder, **how):
        one.ctx.fit(one.parts["model"], one.data, one.step)
        found.append((weights(one.parts["model"]), lines(one.ctx)))
    return found


def found_done(folder, **how):
    """What the runs find when they are made after they were trained as one."""
    found = []
    for one in group(folder, **how):
        result = one.ctx.fit(one.parts["model"], one.data, one.step)
        assert result.resumed == result.steps and result.together["runs"] == len(SEEDS)
        found.append((weights(one.parts["model"]), lines(one.ctx)))
    return found


def lines(ctx) -> list[dict]:
    said = [json.loads(line) for line in (ctx.store / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in x.items() if k not in ("seconds", "throughput")} for x in said]


def apart(a, b) -> float:
    return max(float((x - y).abs().max()) for x, y in zip(a, b, strict=True))


def agree(a, b, within: float) -> None:
    """Weights and every number of every line of the log."""
    for (w_a, log_a), (w_b, log_b) in zip(a, b, strict=True):
        assert apart(w_a, w_b) < within
        assert len(log_a) == len(log_b) > 5
        for x, y in zip(log_a, log_b):
            flat_x, flat_y = flat(x), flat(y)
            assert flat_x == pytest.approx(flat_y, rel=max(1e-9, 10 * within), abs=within)


def flat(values: dict, before: str = "") -> dict[str, float]:
    found: dict[str, float] = {}
    for key, value in values.items():
        inside = isinstance(value, dict)
        found |= flat(value, f"{before}{key}.") if inside else {before + key: value}
    return found


def table(model=None, dtype=DOUBLE) -> CachedTeacher:
    g = torch.Generator().manual_seed(5)
    answers = torch.randn(40, 3, generator=g, dtype=dtype).numpy()
    data = Points(dtype=dtype)
    return CachedTeacher([{"logits": answers}], data, lambda idx, views: data.fetch(idx))


def live(dtype=DOUBLE) -> LiveTeacher:
    net = mlp(dtype=dtype)

    class Eyes(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, batch):
            assert batch["x"].dim() == 2 and float(batch["x"].sum()) is not None  # a plain batch
            return self.net(batch["x"])

    return LiveTeacher(Eyes())


def kd_by(answers):
    def step_of(model):
        def step(batch):
            z_s, z_t = model(batch["x"]), answers(batch).logits
            ce = F.cross_entropy(z_s, batch["y"], reduction="none")
            return {"kd": mean_over(soft_targets(z_s, z_t, 4.0), 0.9), "ce": mean_over(ce, 0.1)}

        return step

    return step_of


def dkd(model, ctx):
    answers = table()

    def step(batch):
        z = model(batch["x"])
        tckd, nckd = decoupled(z, answers(batch).logits.to(z.dtype), batch["y"], 4.0)
        rise = ramp(ctx.now.share, 0.5)
        ce = F.cross_entropy(z, batch["y"], reduction="none")
        return {"ce": mean_over(ce), "t": mean_over(tckd, rise), "n": mean_over(nckd, rise)}

    return step


CASES = {
    "sgd": {},
    "nesterov": {"optimizer": {"name": "sgd", "lr": 0.1, "nesterov": True}, "clip": 0.3},
    "adam": {"optimizer": {"name": "adam", "lr": 0.01}, "ema": 0.9},
    "adamw": {"optimizer": {"name": "adamw", "lr": 0.01}, "accumulate": 2, "epochs": 4},
    "rates": {"optimizer": {"name": "sgd", "lr": 0.1, "rates": {"0": 0.1, "*": 1}}},
    "norm": {"norm": True, "schedule": {"name": "multistep"}},
    "live teacher": {"step_of": kd_by(live())},
    "stored teacher": {"step_of": kd_by(table())},
    "dkd": {"step_of": dkd},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_together_is_alone_in_float64(tmp_path, case):
    ctx_of = {k: v for k, v in case.items() if k not in ("step_of", "norm")}
    train(group(tmp_path / "a", **case), of_all(tmp_path, **ctx_of), FOUND)
    agree(found_done(tmp_path / "a", **case), alone(tmp_path / "b", **case), 1e-11)


def test_together_is_alone_in_float32(tmp_path):
    case = {"dtype": torch.float32, "step_of": kd_by(table(dtype=torch.float32))}
    train(group(tmp_path / "a", **case), of_all(tmp_path), FOUND)
    agree(found_done(tmp_path / "a", **case), alone(tmp_path / "b", **case), 1e-5)


def test_each_seed_has_data_and_views_of_its_own(tmp_path):
    class Other(Points):
        def __init__(self, seed):
            super().__init__(dtype=DOUBLE)
            self.x = self.x + seed

    train(group(tmp_path / "a", data=Other), of_all(tmp_path), FOUND)
    agree(found_done(tmp_path / "a", data=Other), alone(tmp_path / "b", data=Other), 1e-11)


def test_one_look_into_the_data_is_the_same_batches():
    data = Points()
    sources = [Batches(data, 7, seed) for seed in SEEDS]
    for batch, *each in zip(BesideOneAnother(sources).epoch(2), *(s.epoch(2) for s in sources)):
        for key, value in batch.items():
            assert torch.equal(value, torch.stack([one[key] for one in each])), key


def test_the_trial_finds_agreement_and_leaves_no_trace(tmp_path):
    everyone = group(tmp_path, norm=True)
    before = [weights(one.parts["model"]) for one in everyone]
    found = decide(everyone, of_all(tmp_path), insist=True)
    assert found.batched and found.difference < 1e-12 and found.tolerance == 1e-9
    assert found.alone_s > 0 and found.together_s > 0
    assert all(same(b, weights(one.parts["model"])) for b, one in zip(before, everyone))
    assert not list(tmp_path.rglob("*.safetensors"))
    single = decide(group(tmp_path, dtype=torch.float32), of_all(tmp_path), insist=True)
    assert single.batched and single.difference < 1e-4


def test_what_is_not_faster_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(together, "race", lambda *_: (100.0, 95.0))
    found = decide(group(tmp_path), of_all(tmp_path))
    assert not found.batched and "0.95 of the time" in found.why
    assert (found.alone_s, found.together_s) == (100.0, 95.0)
    assert decide(group(tmp_path), of_all(tmp_path), insist=True).batched


def test_the_whole_rest_of_the_training_decides(tmp_path, monkeypatch):
    """What is quicker a step, and not by as much as it costs to begin with, is left alone."""
    monkeypatch.setattr(together, "race", lambda *_: (1.0, 0.5))
    one, *_ = everyone = group(tmp_path)
    assert decide(everyone, of_all(tmp_path), 0.1).batched
    with closing(one.alone()) as fit:
        gain = 0.5 * fit.total
    found = decide(everyone, of_all(tmp_path), gain)
    assert not found.batched and "1.0" in found.why
    assert decide(everyone, of_all(tmp_path), gain, insist=True).batched


def captured(scale: float, warmup: float):
    """A step with a target that is each run's own, as with a teacher for each seed."""

    def step_of(model, ctx):
        own = ctx.seed * scale

        def step(batch):
            z = model(batch["x"])
            pull = ramp(ctx.now.share, warmup) if warmup else 1.0
            ce = F.cross_entropy(z, batch["y"], reduction="none")
            return {"ce": mean_over(ce), "own": mean_over((z - own).pow(2).sum(1), pull)}

        return step

    return step_of


def draws(model):
    def step(batch):
        noise = torch.randn_like(batch["x"])
        return {"ce": mean_over(F.cross_entropy(model(batch["x"] + noise), batch["y"]))}

    return step


def forks(model):
    def step(batch):
        z = model(batch["x"])
        return {"z": Term(z.sum() if z.mean() > 0 else z.pow(2).sum(), len(z))}

    return step


def counts_calls(model):
    calls = [0]

    def step(batch):
        calls[0] += 1
        return {"z": Term(model(batch["x"]).pow(2).sum(), len(batch["x"]), float(calls[0]))}

    return step


def keeps(model):
    kept = []

    def step(batch):
        z = model(batch["x"])
        kept.append(z.detach())
        return {"z": Term((z - kept[0]).pow(2).sum(), len(z))}

    return step


def breaks(model):
    def step(batch):
        z = model(batch["x"])
        return {"z": Term(z.sum() * float("nan"), len(z))}

    return step


ALONE = {
    "no number": (breaks, "gradients differ by inf"),
    "a teacher of its own": (captured(0.5, 0), "gradients differ by"),
    "one that comes into play later": (captured(0.5, 0.4), "gradients differ by"),
    "one that differs by little": (captured(1e-6, 0), "gradients differ by"),
    "noise": (draws, "draws random numbers"),
    "a decision": (forks, "cannot be batched"),
    "counts that are data": (two_terms, "cannot be batched"),
    "state outside": (counts_calls, "gradients differ by"),
    "tensors kept": (keeps, "cannot be batched"),
}


@pytest.mark.parametrize("step_of, why", ALONE.values(), ids=ALONE)
def test_what_is_not_the_same_is_caught(tmp_path, step_of, why):
    found = decide(group(tmp_path, step_of), of_all(tmp_path), insist=True)
    assert not found.batched and why in found.why
    json.dumps(asdict(found), allow_nan=False)  # it is kept


def test_what_cannot_be_compared_is_not_tried(tmp_path):
    class Own:
        def epoch(self, number, start=0): ...

        def __len__(self):
            return 3

    def why(**how):
        one, *_ = group(tmp_path, **how)
        return unpromising(one, 3, 0.0)

    assert "its own batches" in unpromising(replace(group(tmp_path)[0], data=Own()), 3, 0.0)
    assert "bf16" in why(precision="bf16", dtype=torch.float32)
    assert "before a trial has paid" in why()
    assert "too few" in unpromising(group(tmp_path, steps=9000)[0], 2, 0.0)
    assert why(steps=9000) == "" and unpromising(group(tmp_path)[0], 3, 0.0, insist=True) == ""
    assert "before a trial has paid" in unpromising(group(tmp_path, steps=9000)[0], 3, 1e4)
    uneven = group(tmp_path, data=lambda seed: Points(40 + seed, dtype=DOUBLE))
    assert "different numbers" in decide(uneven, of_all(tmp_path)).why
    other = group(tmp_path)
    other[1] = replace(other[1], parts={"model": nn.Linear(6, 3).to(DOUBLE)})
    assert "not of the same shapes" in decide(other, of_all(tmp_path)).why


def test_shared_tensors_stay_shared():
    one = [nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)) for _ in range(2)]
    for net in one:
        net[1].weight = net[0].weight
    both = stacked([{"model": net} for net in one])["model"]
    assert both[0].weight is both[1].weight and both[0].weight.shape == (2, 4, 4)
    assert set(tensors_of(both)) == set(tensors_of(one[0])) and len(list(both.parameters())) == 3


def test_an_interrupted_group_goes_on_to_the_last_bit(tmp_path):
    def stops(at):
        def step_of(model):
            inner, calls = cross_entropy(model), [0]

            def step(batch):
                calls[0] += 1
                if calls[0] == at:
                    signal.raise_signal(signal.SIGINT)
                return inner(batch)

            return step

        return step_of

    how = {"dtype": torch.float32, "ema": 0.9}
    train(group(tmp_path / "a", **how), of_all(tmp_path / "a", ema=0.9), FOUND)
    for at in (4, 3):
        with pytest.raises(Interrupted, match="run it again"):
            parts = group(tmp_path / "b", stops(at), **how)
            train(parts, of_all(tmp_path / "b", ema=0.9), FOUND)
        assert not (tmp_path / "b" / "3" / "checkpoints").exists()
    train(group(tmp_path / "b", **how), of_all(tmp_path / "b", ema=0.9), FOUND)
    whole, parts = found_done(tmp_path / "a", **how), found_done(tmp_path / "b", **how)
    for (w_a, log_a), (w_b, log_b) in zip(whole, parts):
        assert same(w_a, w_b) and log_a == log_b


def test_a_budget_stops_all_of_them(tmp_path):
    ctx = of_all(tmp_path)
    ctx.budget = Deadline(0.0)
    train(group(tmp_path / "a"), ctx, FOUND)
    for one in group(tmp_path / "a"):
        result = one.ctx.fit(one.parts["model"], one.data, one.step)
        assert (result.stopped, result.steps) == ("budget", 1)


def test_each_run_bears_its_share(tmp_path):
    train(group(tmp_path), of_all(tmp_path), FOUND, spent=(30.0, 60.0))
    for one in group(tmp_path):
        share = one.ctx.fit(one.parts["model"], one.data, one.step).together
        assert 10 < share["wall_s"] < 20 and share["cpu_s"] > 20 and share["faster"] == 3.0
