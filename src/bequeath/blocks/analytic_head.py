"""A linear head in closed form that learns and forgets batches exactly: recursive least squares.

After any order of learning and forgetting, W is ridge regression on what remains:

    G = X^T X + gamma I    Q = X^T Y    R = G^-1    W = R Q        X [n, d], Y [n, C] one-hot

Two forms hold that state.

`AnalyticHead` keeps R and W and updates them (Woodbury; Zhuang et al. 2022, arXiv 2205.14922, and
its reverse, arXiv 2505.12239), at O(n d^2 + n^3) a batch, however much was learnt before:

    learn    K = (I + X R X^T)^-1    R <- R - R X^T K X R    W <- W + R X^T (Y - X W)
    forget   K = (I - X R X^T)^-1    R <- R + R X^T K X R    W <- W - R X^T (Y - X W)

with the new R and the old W on the right. Its rounding grows with lambda_max / gamma.
`NormalHead` keeps G and Q, which add and subtract at rounding level, and solves with Cholesky when
W is wanted, at O(d^3). It is the reference, and what `AnalyticHead` falls back on.

Neither keeps a sample. All in float64: float32 is unusable here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from bequeath.kernel.errors import Problem, RunError

CHUNK = 4096  # rows worked on at once; the result is the same for any number
_PROBES = 4


class AnalyticHead:
    """The (R, W) form. Private by construction, and as fast for the last request as for the first.

    width: d. gamma: the ridge, above 0. tolerance: keep G and Q besides, watch the residual
    |R G v - v| / |v| of random v after each forgetting (O(d^2)), and make R and W anew from G and Q
    where it has passed this; None: hold R and W alone and trust them.

    weight: W, float64 [d, C]. residual: as last watched. refreshed: how often R was made anew.
    """

    def __init__(
        self,
        width: int,
        gamma: float,
        *,
        tolerance: float | None = None,
        device: torch.device | str = "cpu",
    ):
        _refuse_gamma(gamma)
        self.width, self.gamma, self.tolerance = width, gamma, tolerance
        like = {"dtype": torch.float64, "device": device}
        self.R = torch.eye(width, **like).div_(gamma)  # type: ignore[call-overload]
        self.weight = torch.zeros(width, 0, **like)  # type: ignore[call-overload]
        self.normal = NormalHead(width, gamma, device=device) if tolerance is not None else None
        g = torch.Generator().manual_seed(0)
        self._probes = torch.randn(width, _PROBES, generator=g, dtype=torch.float64).to(device)
        self.residual, self.refreshed = 0.0, 0

    def learn(self, X: Tensor, Y: Tensor) -> None:
        """X [n, d], Y [n, C]. Classes that W does not have yet begin as columns of zeros."""
        X, Y = _rows(X, Y, self.width, self.R)
        self.weight = _widened(self.weight, Y.shape[1])
        if self.normal is not None:
            self.normal.learn(X, Y)
            if len(X) > self.width:  # then d x d is the smaller system
                self._refresh()
                return
        for x, y in _chunks(X, Y, self.width):
            self._update(x, y, 1.0)

    def forget(self, X: Tensor, Y: Tensor) -> None:
        """Undo `learn` of these rows, whenever that was and with whatever other rows.

        RunError T652 when they cannot all have been learnt: what would remain is not positive
        definite then. W is as it was before. Not every stranger is noticed: keep a `Ledger`.
        """
        X, Y = _rows(X, Y, self.width, self.R)
        Y = _as_wide(Y, self.weight.shape[1])
        chunks = list(_chunks(X, Y, self.width))
        # One chunk is refused before anything has changed; of several the first ones are done.
        before = (self.R.clone(), self.weight) if len(chunks) > 1 else (self.R, self.weight)
        try:
            for x, y in chunks:
                self._update(x, y, -1.0)
        except RunError:
            self.R, self.weight = before
            if self.normal is None:
                raise
            self._fall_back(X, Y)
            return
        if self.normal is not None and self.tolerance is not None:
            self.normal.forget(X, Y)
            self.residual = self._watch(self.normal.G)
            if self.residual > self.tolerance:
                self._refresh()

    def drop(self, classes: Sequence[int]) -> None:
        """Set the columns of classes that are gone altogether to the zeros they are on paper."""
        self.weight[:, list(classes)] = 0.0
        if self.normal is not None:
            self.normal.drop(classes)

    def _update(self, X: Tensor, Y: Tensor, sign: float) -> None:
        XR = X @ self.R
        small = torch.eye(len(X), dtype=X.dtype, device=X.device).add_(XR @ X.T, alpha=sign)
        factor = _cholesky(small)
        # R X^T K X R as A^T A: symmetric and positive, which the inverse K written out is not. It
        # drifts little: 2e-12 after twenty requests at gamma 0.1 (measured).
        A = torch.linalg.solve_triangular(factor, XR, upper=False)
        self.R.addmm_(A.T, A, alpha=-sign)
        # R_new X^T = R X^T K, for learning and forgetting alike.
        gain = torch.linalg.solve_triangular(factor.T, A, upper=True).T
        self.weight = torch.addmm(self.weight, gain, Y - X @ self.weight, alpha=sign)

    def _fall_back(self, X: Tensor, Y: Tensor) -> None:
        """Rounding may hide in I - X R X^T what G still shows; if that cannot be solved either, the
        rows were never learnt."""
        assert self.normal is not None
        self.normal.forget(X, Y)
        try:
            self._refresh()
        except RunError:
            self.normal.learn(X, Y)
            raise

    def _watch(self, G: Tensor) -> float:
        apart = self.R @ (G @ self._probes) - self._probes
        return float((apart.norm(dim=0) / self._probes.norm(dim=0)).max())

    def _refresh(self) -> None:
        assert self.normal is not None
        factor = _cholesky(self.normal.G)
        self.R = torch.cholesky_inverse(factor)
        self.weight = torch.cholesky_solve(self.normal.Q, factor)
        self.residual, self.refreshed = self._watch(self.normal.G), self.refreshed + 1


class NormalHead:
    """The (G, Q) form: the state is exact to rounding, W costs a Cholesky solve.

    width: d. gamma: the ridge, above 0.
    """

    def __init__(self, width: int, gamma: float, *, device: torch.device | str = "cpu"):
        _refuse_gamma(gamma)
        self.width, self.gamma = width, gamma
        like = {"dtype": torch.float64, "device": device}
        self.G = torch.eye(width, **like).mul_(gamma)  # type: ignore[call-overload]
        self.Q = torch.zeros(width, 0, **like)  # type: ignore[call-overload]
        self._solved: Tensor | None = None

    def learn(self, X: Tensor, Y: Tensor) -> None:
        """X [n, d], Y [n, C]. Classes that Q does not have yet begin as columns of zeros."""
        X, Y = _rows(X, Y, self.width, self.G)
        self.Q = _widened(self.Q, Y.shape[1])
        self._add(X, Y, 1.0)

    def forget(self, X: Tensor, Y: Tensor) -> None:
        """Undo `learn` of these rows. `weight` then raises T652 if they were never learnt, where
        that can be seen."""
        X, Y = _rows(X, Y, self.width, self.G)
        self._add(X, _as_wide(Y, self.Q.shape[1]), -1.0)

    def drop(self, classes: Sequence[int]) -> None:
        """Set the columns of classes that are gone altogether to the zeros they are on paper."""
        self.Q[:, list(classes)] = 0.0
        self._solved = None

    @property
    def weight(self) -> Tensor:
        """W, float64 [d, C]. RunError T652 when G is not positive definite."""
        if self._solved is None:
            self._solved = torch.cholesky_solve(self.Q, _cholesky(self.G))
        return self._solved

    def _add(self, X: Tensor, Y: Tensor, sign: float) -> None:
        self.G.addmm_(X.T, X, alpha=sign)
        self.Q.addmm_(X.T, Y, alpha=sign)
        self._solved = None


def one_hot(y: Tensor, n_classes: int) -> Tensor:
    """int64 [n] -> float64 [n, n_classes]."""
    return torch.nn.functional.one_hot(y, n_classes).to(torch.float64)


def _chunks(X: Tensor, Y: Tensor, width: int) -> Iterable[tuple[Tensor, Tensor]]:
    """Never more rows than features at once: n x n is then the smaller system."""
    rows = max(1, min(CHUNK, width))
    return zip(X.split(rows), Y.split(rows))


def _cholesky(matrix: Tensor) -> Tensor:
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if bool(failed.any()) or not bool(torch.isfinite(factor.diagonal()).all()):
        raise RunError(
            Problem(
                "T652",
                "these samples cannot be taken out of the head: it has never learnt all of them",
                notes=("what would remain of X^T X is not positive definite",),
                remedies=(
                    "forget what was learnt, with the same features and labels, and once only",
                    "with a very small `gamma` it may be rounding: raise it",
                ),
            )
        )
    return factor


def _rows(X: Tensor, Y: Tensor, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    if X.ndim != 2 or Y.ndim != 2 or X.shape[1] != width or len(X) != len(Y):
        raise ValueError(f"X [n, {width}] and Y [n, C], not {list(X.shape)} and {list(Y.shape)}")
    return X.to(like), Y.to(like)


def _widened(matrix: Tensor, classes: int) -> Tensor:
    more = classes - matrix.shape[1]
    return torch.cat([matrix, matrix.new_zeros(len(matrix), more)], 1) if more > 0 else matrix


def _as_wide(Y: Tensor, classes: int) -> Tensor:
    if Y.shape[1] > classes:
        if bool(Y[:, classes:].any()):
            raise ValueError(f"the head has learnt {classes} classes, these rows have more")
        return Y[:, :classes]
    return _widened(Y, classes)


def _refuse_gamma(gamma: float) -> None:
    if not gamma > 0:
        raise ValueError(f"gamma must be above 0, not {gamma}: without it nothing can be undone")
