"""What a denoising network may say of x = alpha x_0 + sigma eps: x_0, eps or v, and their relation.

    v = alpha eps - sigma x_0      x_0 = alpha x - sigma v      eps = sigma x + alpha v

(Salimans and Ho 2022, arXiv 2202.00512, appendix D; for alpha^2 + sigma^2 = 1.)
"""

from __future__ import annotations

from torch import Tensor

from bequeath.given.zoo.denoiser import data_of

__all__ = ["convert", "data_of", "noise_of", "said"]


def said(x0: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor, form: str) -> Tensor:
    """What a network of that form should say, x_0 and eps known. All broadcast; ValueError."""
    if form == "x0":
        return x0
    if form == "eps":
        return noise
    if form == "v":
        return alpha * noise - sigma * x0
    raise ValueError(f"a network says x0, eps or v, not {form!r}")


def noise_of(output: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor, form: str) -> Tensor:
    """eps from what a network says of x. Not defined at sigma = 0 for `x0`."""
    if form == "eps":
        return output
    if form == "v":
        return sigma * x + alpha * output
    return (x - alpha * output) / sigma


def convert(
    output: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor, form: str, into: str
) -> Tensor:
    """What a network of one form says of x, in another form."""
    if form == into:
        return output
    x0 = data_of(output, x, alpha, sigma, form)
    return said(x0, noise_of(output, x, alpha, sigma, form), alpha, sigma, into)
