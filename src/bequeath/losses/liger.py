"""The kernels of liger-kernel in place of our chunks, on a GPU that has them, where they agree.

`LigerFusedLinearJSD` computes, for hidden states and heads without bias, the mean over rows of

    jsd_beta 0: sum p log(p / q);  1: sum q log(q / p);  b: b KL(p || M) + (1 - b) KL(q || M)

with both logits divided by the temperature and no factor T^2 (liger-kernel 0.8.5, its docstring
and kernel). So it stands in for `forward`, `reverse` and `jsd` where every row counts alike and
there is no cross-entropy in the same pass; the skew divergences, sparse teachers and weights of
rows stay with ours. Sums are made of its means, and T^2 is put back.

It has been run on no GPU here: there was none. The test of agreement needs one.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from bequeath.losses.divergence import Divergence
from bequeath.losses.vocabulary import Projected


@cache
def has_liger() -> bool:
    """Whether liger-kernel and the compiler of its kernels are installed; nothing is imported."""
    return find_spec("liger_kernel") is not None and find_spec("triton") is not None


def liger_beta(measure: Divergence) -> float | None:
    """Its `jsd_beta` for a divergence; None for one that it does not have."""
    known = {"forward": 0.0, "reverse": 1.0, "jsd": measure.amount}
    return known.get(measure.kind)


def fits_liger(student: Projected, teacher: Any, measure: Divergence, weights: Any) -> bool:
    """Whether its kernel gives what is asked for: on a GPU, of this kind, with nothing more."""
    plain = weights.hard == 0 and weights.soft_rows is None
    if not (student.hidden.is_cuda and plain and isinstance(teacher, Projected)):
        return False
    biases = student.bias is not None or teacher.bias is not None
    same = student.weight.shape[0] == teacher.weight.shape[0]
    kinds = {student.hidden.dtype, student.weight.dtype, teacher.hidden.dtype, teacher.weight.dtype}
    known = len(kinds) == 1 and kinds <= {torch.float32, torch.bfloat16}
    return not biases and same and known and liger_beta(measure) is not None and has_liger()


def liger_divergence(
    student: Projected, teacher: Any, measure: Divergence, temperature: float
) -> Tensor:
    """T^2 times the sum over rows, 0-d, with gradients to the student's hidden states and head."""
    from liger_kernel.transformers import LigerFusedLinearJSD  # type: ignore[import-not-found]

    beta = liger_beta(measure)
    assert beta is not None, "ask `fits_liger` first"
    mean = LigerFusedLinearJSD(jsd_beta=beta, temperature=temperature)
    value: Tensor = mean(student.hidden, student.weight, teacher.hidden, teacher.weight, None)
    return value * (len(student.hidden) * temperature**2)
