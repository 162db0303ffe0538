"""Stop anywhere, go on, and nothing differs by a bit."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from jobs import Points, context, mlp, same, two_terms, weights

from bequeath.kernel.errors import Interrupted
from bequeath.train import checkpoint


def _run(store: Path, step_of=two_terms, stop_at: int | None = None, data=None, **changes):
    """A fit of ten steps; stop_at: Ctrl-C during that call of the step."""
    model = mlp()
    inner, calls = step_of(model), 0

    def step(batch):
        nonlocal calls
        calls += 1
        if calls == stop_at:
            signal.raise_signal(signal.SIGINT)
        return inner(batch)

    ctx = context(store, **changes)
    if stop_at is None:
        result = ctx.fit(model, data or Points(), step)
        return model, result, ctx
    with pytest.raises(Interrupted, match="run it again"):
        ctx.fit(model, data or Points(), step)
    return model, None, ctx


def _log(store: Path) -> list[dict]:
    lines = [json.loads(line) for line in (store / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in x.items() if k not in ("seconds", "throughput")} for x in lines]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True}},
        {"optimizer": {"name": "adamw", "lr": 0.01}, "clip": 0.5},
        {"optimizer": {"name": "adam", "lr": 0.01}, "ema": 0.9},
        {"accumulate": 2, "steps": 10},
        {"accumulate": 3, "steps": 10, "ema": 0.95, "schedule": {"name": "multistep"}},
        {"precision": "bf16"},
        {"steps": 10, "batch_size": 3},
    ],
    ids=str,
)
def test_ten_steps_are_five_and_five(tmp_path, changes):
    whole, full, _ = _run(tmp_path / "whole", **changes)
    # An epoch of five micro-batches is cut 2 + 2 + 1, or 3 + 2.
    in_the_fifth = {1: 5, 2: 9, 3: 12}[changes.get("accumulate", 1)]
    _run(tmp_path / "parts", stop_at=in_the_fifth, **changes)
    again, result, _ = _run(tmp_path / "parts", **changes)
    assert result.resumed == 5 and full.resumed == 0
    assert same(weights(whole), weights(again))
    assert (result.steps, result.stopped) == (full.steps, "done") == (10, "done")
    assert _log(tmp_path / "whole") == _log(tmp_path / "parts")


def test_stopped_at_every_step(tmp_path):
    whole, _, _ = _run(tmp_path / "whole", ema=0.9)
    for _ in range(9):
        _run(tmp_path / "parts", stop_at=1, ema=0.9)
    again, result, _ = _run(tmp_path / "parts", ema=0.9)
    assert result.resumed == 9
    assert same(weights(whole), weights(again))
    assert _log(tmp_path / "whole") == _log(tmp_path / "parts")


def test_stopped_in_the_last_step(tmp_path):
    model, _, _ = _run(tmp_path, stop_at=10)
    again, result, _ = _run(tmp_path)
    assert result.resumed == 10 and same(weights(model), weights(again))


def test_random_views_go_on(tmp_path):
    pytest.importorskip("bequeath.given.views")

    class Images(Points):
        def fetch(self, idx):
            shade = (self.x[idx][:, :, None, None].abs() * 80).clamp(max=255).to(torch.uint8)
            return {"idx": idx, "x": shade.expand(-1, -1, 6, 1).contiguous(), "y": self.y[idx]}

    def on_images(model):
        inner = two_terms(model)

        def step(batch):
            assert batch["x"].dtype == torch.uint8 and batch["view"].dtype == torch.int64
            return inner(batch | {"x": batch["x"].float().mean(dim=(2, 3)) / 255})

        return step

    changes = {"augment": {"crop": 2, "flip": True, "views": 3}, "epochs": 2}
    whole, _, _ = _run(tmp_path / "whole", on_images, data=Images(), **changes)
    _run(tmp_path / "parts", on_images, stop_at=7, data=Images(), **changes)
    again, result, _ = _run(tmp_path / "parts", on_images, data=Images(), **changes)
    plain, _, _ = _run(tmp_path / "plain", _without_view, data=Images())
    assert result.resumed == 7
    assert same(weights(whole), weights(again))
    assert not same(weights(whole), weights(plain))


def _without_view(model):
    inner = two_terms(model)

    def step(batch):
        assert "view" not in batch
        return inner(batch | {"x": batch["x"].float().mean(dim=(2, 3)) / 255})

    return step


def test_a_run_of_several_fits_goes_on_in_the_second(tmp_path):
    def two_fits(store, stop_at=None):
        model, calls = mlp(), 0
        inner = two_terms(model)

        def step(batch):
            nonlocal calls
            calls += 1
            if calls == stop_at:
                signal.raise_signal(signal.SIGTERM)
            return inner(batch)

        ctx = context(store)
        ctx.log({"about": "to begin"})
        first = ctx.fit(model, Points(), step, name="first")
        noise = torch.rand(3)  # a method may draw between two fits
        second = ctx.fit(model, Points(), step, name="second")
        return model, noise, calls, first, second

    whole, noise, calls, first, second = two_fits(tmp_path / "whole")
    assert calls == 20 and first.steps == second.steps == 10
    with pytest.raises(Interrupted):
        two_fits(tmp_path / "parts", stop_at=13)
    again, same_noise, calls, first, second = two_fits(tmp_path / "parts")
    assert calls == 7 and first.resumed == 10 and second.resumed == 3
    assert torch.equal(noise, same_noise) and same(weights(whole), weights(again))
    assert _log(tmp_path / "whole") == _log(tmp_path / "parts")
    assert len(_log(tmp_path / "whole")) == 21


def test_a_finished_run_is_not_done_again(tmp_path):
    model, _, _ = _run(tmp_path)
    again, result, _ = _run(tmp_path, step_of=lambda model: pytest.fail)
    assert result.resumed == result.steps == 10
    assert same(weights(model), weights(again)) and not again.training


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "pickle"])
def test_a_damaged_checkpoint_starts_over(tmp_path, damage):
    whole, _, _ = _run(tmp_path / "whole")
    _run(tmp_path / "parts", stop_at=5)
    path = tmp_path / "parts" / "checkpoints" / "fit.safetensors"
    content = path.read_bytes()
    if damage == "pickle":
        torch.save({"a": torch.zeros(3)}, path)
    else:
        flipped = content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]
        path.write_bytes({"truncated": content[:-50], "flipped": flipped, "empty": b""}[damage])
    with pytest.warns(UserWarning, match="damaged, training starts over"):
        again, result, _ = _run(tmp_path / "parts")
    assert result.resumed == 0 and same(weights(whole), weights(again))
    assert _log(tmp_path / "whole") == _log(tmp_path / "parts")


def test_a_checkpoint_of_other_settings_starts_over(tmp_path):
    _run(tmp_path, stop_at=5)
    with pytest.warns(UserWarning, match="of other settings"):
        _, result, _ = _run(tmp_path, optimizer={"name": "sgd", "lr": 0.2})
    assert result.resumed == 0


def test_checkpoints_hold_what_is_trained_and_no_more(tmp_path):
    _run(tmp_path, stop_at=5)
    state = checkpoint.load(tmp_path / "checkpoints" / "fit.safetensors")
    assert set(state["trainables"]) == {"model"} and state["step"] == 5
    assert set(state["trainables"]["model"]) == set(mlp().state_dict())
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["fit.safetensors"]


_CHILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from jobs import Points, context, mlp, two_terms
model = mlp()
inner = two_terms(model)
def step(batch):
    time.sleep(0.004)
    return inner(batch)
ctx = context(Path(sys.argv[1]), epochs=60, ema=0.99, checkpoint_every=0.001)
result = ctx.fit(model, Points(), step)
torch.save([result.resumed, model.state_dict()], sys.argv[1] + ".pt")
"""


@pytest.mark.slow
def test_kill_9_at_any_instant(tmp_path):
    script = tmp_path / "child.py"
    script.write_text(_CHILD.format(tests=str(Path(__file__).parent)))

    def start(store: str) -> subprocess.Popen:
        return subprocess.Popen([sys.executable, str(script), str(tmp_path / store)])

    whole, full, _ = _run(tmp_path / "whole", epochs=60, ema=0.99)
    seed = random.randrange(2**32)
    delays = random.Random(seed)
    path = tmp_path / "parts" / "checkpoints" / "fit.safetensors"
    for _ in range(2):
        before = path.stat().st_mtime_ns if path.exists() else 0
        child = start("parts")
        give_up = time.monotonic() + 60
        while not (path.exists() and path.stat().st_mtime_ns > before):
            assert child.poll() is None and time.monotonic() < give_up
            time.sleep(0.005)
        time.sleep(delays.random() * 0.4)
        os.kill(child.pid, signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    assert start("parts").wait() == 0
    resumed, state = torch.load(tmp_path / "parts.pt", weights_only=True)
    assert 0 < resumed < full.steps == 300
    assert same(weights(whole), list(state.values())), f"delays of seed {seed}"
    assert _log(tmp_path / "whole") == _log(tmp_path / "parts")
