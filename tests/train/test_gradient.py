"""The gradient of an optimizer step does not depend on how its batch was cut."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from jobs import Points, context, cross_entropy, mlp, two_terms, weights

from bequeath.kernel.errors import RunError
from bequeath.train.gradient import Gradient
from bequeath.train.terms import Term


def _distance(a: list[torch.Tensor], b: list[torch.Tensor]) -> float:
    return max((x - y).abs().max().item() for x, y in zip(a, b, strict=True))


def _trained(store: Path, step_of, **changes) -> list[torch.Tensor]:
    model = mlp(dropout=False, norm=False, dtype=torch.float64)
    data = Points(43, dtype=torch.float64)
    context(store, **changes).fit(model, data, step_of(model))
    return weights(model)


@pytest.mark.parametrize("step_of", [cross_entropy, two_terms])
@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("micro, parts", [(4, 4), (2, 8), (8, 2)])
def test_an_accumulated_step_is_the_step_of_the_big_batch(tmp_path, step_of, clip, micro, parts):
    big = _trained(tmp_path / "big", step_of, batch_size=16, clip=clip)
    small = _trained(tmp_path / "small", step_of, batch_size=micro, accumulate=parts, clip=clip)
    start = weights(mlp(dropout=False, norm=False, dtype=torch.float64))
    assert _distance(big, start) > 1e-3
    assert _distance(big, small) < 1e-12


def test_the_balance_of_terms_is_that_of_their_own_gradients():
    """loss a = w.u, b = 3 w.v, c = 0: gradients u and 3 v, whose angle is known."""
    w = torch.nn.Parameter(torch.zeros(2))
    u, v = torch.tensor([1.0, 0.0]), torch.tensor([-0.6, 0.8])
    terms = {
        "a": Term((w * u).sum() * 4, 4),
        "b": Term((w * v).sum() * 4, 4, 3.0),
        "c": Term((w * 0).sum(), 4),
        "d": Term(torch.ones(()), 4),
    }
    gradient = Gradient(SimpleNamespace(num_processes=1), torch.nn.Module(), [w], 4)
    (found,) = gradient.balances(terms)
    assert found.shares == pytest.approx({"a": 0.25, "b": 0.75, "c": 0.0, "d": 0.0})
    assert found.cosines == pytest.approx({"a & b": -0.6})
    assert w.grad is None


def test_a_mean_of_means_would_have_been_seen(tmp_path):
    """The check above can fail: normalising each micro-batch by itself is off by far more."""

    def naive(model):
        inner = two_terms(model)

        def step(batch):
            terms = inner(batch)
            return {
                name: Term(t.value / max(t.count, 1), 1, t.weight, over=t.over)
                for name, t in terms.items()
            }

        return step

    big = _trained(tmp_path / "big", two_terms, batch_size=16)
    small = _trained(tmp_path / "small", naive, batch_size=4, accumulate=4)
    assert _distance(big, small) > 1e-4


def test_a_term_that_counts_nothing_is_left_out(tmp_path):
    def with_empty(model):
        inner = cross_entropy(model)

        def step(batch):
            return inner(batch) | {"none": Term(model(batch["x"]).sum() * 0, 0, over="nothing")}

        return step

    for changes in ({}, {"accumulate": 2}):
        plain = _trained(tmp_path / f"a{len(changes)}", cross_entropy, **changes)
        empty = _trained(tmp_path / f"b{len(changes)}", with_empty, **changes)
        assert _distance(plain, empty) < 1e-15


def test_tensor_counts_and_weights(tmp_path):
    def as_tensors(model):
        inner = two_terms(model)

        def step(batch):
            return {
                name: Term(t.value, torch.tensor(float(t.count)), torch.as_tensor(t.weight), t.over)
                for name, t in inner(batch).items()
            }

        return step

    for k in (1, 3):
        plain = _trained(tmp_path / f"a{k}", two_terms, accumulate=k)
        tensors = _trained(tmp_path / f"b{k}", as_tensors, accumulate=k)
        assert _distance(plain, tensors) < 1e-7  # a float32 weight of 0.3


@pytest.mark.parametrize(
    "returned, text",
    [
        ({}, "nothing"),
        (torch.zeros(()), "a Tensor"),
        ({"ce": torch.zeros(())}, "a Tensor as `ce`"),
        ({"ce": Term(torch.zeros(3), 3)}, r"shape \[3\] in term `ce`"),
        ({"a": Term(torch.zeros(()), 3), "b": Term(torch.zeros(()), 4)}, "two different counts"),
        ({"a": Term(torch.zeros(()), 3)}, "does not depend on anything that is trained"),
    ],
)
def test_a_step_that_is_none_is_told_so(tmp_path, returned, text):
    with pytest.raises(RunError, match=text):
        context(tmp_path).fit(mlp(), Points(), lambda batch: returned)


_WORKER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from jobs import Points, context, mlp, two_terms, weights
out = Path(sys.argv[1])
cases = {{"one": dict(batch_size=8), "many": dict(batch_size=4, accumulate=2)}}
for name, changes in cases.items():
    model = mlp(dropout=False, norm=False, dtype=torch.float64)
    ctx = context(out / name, clip=0.5, **changes)
    ctx.fit(model, Points(43, dtype=torch.float64), two_terms(model))
    if ctx.accelerator().is_main_process:
        torch.save(weights(model), out / f"{{name}}.pt")
# Threads of the process group that outlive the interpreter abort the process now and then.
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_are_one_with_twice_the_batch(tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(_WORKER.format(tests=str(Path(__file__).parent)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(script), str(tmp_path)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    alone = _trained(tmp_path / "alone", two_terms, batch_size=16, clip=0.5)
    for name in ("one", "many"):
        together = torch.load(tmp_path / f"{name}.pt", weights_only=True)
        assert _distance(alone, together) < 1e-12, name
        assert len((tmp_path / name / "log.jsonl").read_text().splitlines()) == 6
