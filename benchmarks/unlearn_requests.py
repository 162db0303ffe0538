"""Time and error of deletion requests to a closed-form head, against making it anew.

    python benchmarks/unlearn_requests.py --data FOLDER --out result.json

FOLDER holds mnist_train.npz (x uint8 [N, 28, 28], y). A head on 2000 random features in float64
learns 15, 30 and 60 thousand pictures (where the file has fewer, the rest are the same pictures
moved by one pixel; the time of a request does not depend on what is in them) and then forgets 20
requests of 50. Measured, for each number held:

- a request to the head (the pictures' features included), in the (R, W) form with and without its
  watch, and in the (G, Q) form;
- making the head anew from the raw features: the random features of all that is held, X^T X, solve;
- the same from X^T X kept at hand less the request: what the (G, Q) form does;
- the relative error max |W - W'| / max |W'| after all requests, and whether predictions agree.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bequeath.blocks.analytic_head import CHUNK, AnalyticHead, NormalHead, one_hot
from bequeath.given.zoo.random_features import RandomFeatures

GAMMAS = (10.0, 0.1)
REQUESTS, SIZE = 20, 50


class Seconds(NamedTuple):
    """Of the clock, and of the processor: on a machine that does other work the latter tells."""

    wall: float
    cpu: float


def pictures(folder: Path, n: int) -> tuple[Tensor, Tensor, int]:
    """x [n, 784] in 0..1, y [n], and how many of them are in the file as they are."""
    held = np.load(folder / "mnist_train.npz")
    x = torch.from_numpy(held["x"].reshape(len(held["x"]), 28, 28))
    y = torch.from_numpy(held["y"].astype(np.int64))
    moves = [(0, 0), (0, 1), (1, 0), (0, -1), (-1, 0)]
    copies = [x.roll(move, dims=(1, 2)) for move in moves[: -(-n // len(x))]]
    every = torch.cat(copies)[:n].flatten(1).float() / 255
    return every, y.repeat(len(copies))[:n], min(n, len(x))


def timed(what: Callable[[], Any]) -> tuple[Seconds, Any]:
    began, busy = time.perf_counter(), time.process_time()
    found = what()
    return Seconds(time.perf_counter() - began, time.process_time() - busy), found


def learn(head: AnalyticHead | NormalHead, phi: RandomFeatures, x: Tensor, y: Tensor) -> None:
    for some, labels in zip(x.split(CHUNK), y.split(CHUNK)):
        head.learn(phi(some), one_hot(labels, 10))


def anew(phi: RandomFeatures, x: Tensor, y: Tensor, gamma: float) -> Tensor:
    head = NormalHead(phi.out_features, gamma)
    learn(head, phi, x, y)
    return head.weight


def forget(
    head: AnalyticHead | NormalHead, phi: RandomFeatures, x: Tensor, y: Tensor
) -> tuple[list[Seconds], Tensor]:
    """Seconds of each request, until W is there; and the last W."""
    seconds = []
    for i in range(REQUESTS):
        some = slice(i * SIZE, (i + 1) * SIZE)

        def request(some=some) -> Tensor:
            head.forget(phi(x[some]), one_hot(y[some], 10))
            return head.weight

        took, W = timed(request)
        seconds.append(took)
    return seconds, W


def error(W: Tensor, wanted: Tensor) -> float:
    return float((W - wanted).abs().max() / wanted.abs().max())


def at(n: int, x: Tensor, y: Tensor, phi: RandomFeatures, gamma: float) -> dict[str, Any]:
    """Everything for one number of pictures and one ridge."""
    x, y = x[:n], y[:n]
    normal = NormalHead(phi.out_features, gamma)
    learn(normal, phi, x, y)
    kept = REQUESTS * SIZE
    retrain_s, wanted = timed(lambda: anew(phi, x[kept:], y[kept:], gamma))
    probe = phi(x[:2000])
    result: dict[str, Any] = {"held": n, "gamma": gamma}
    result |= {"retrain_s": retrain_s.wall, "retrain_cpu_s": retrain_s.cpu}
    for name, tolerance in (("recursive", None), ("watched", 1e-6)):
        head = AnalyticHead(phi.out_features, gamma, tolerance=tolerance)
        # R from X^T X at once: learning by the recursion gives the same, later
        head.R = torch.cholesky_inverse(torch.linalg.cholesky(normal.G))
        head.weight = normal.weight.clone()
        if head.normal is not None:
            head.normal.G, head.normal.Q = normal.G.clone(), normal.Q.clone()
        seconds, W = forget(head, phi, x, y)
        result[name] = told(seconds, W, wanted, probe, retrain_s)
    seconds, W = forget(normal, phi, x, y)
    result["normal"] = told(seconds, W, wanted, probe, retrain_s)
    return result


def told(
    seconds: list[Seconds], W: Tensor, wanted: Tensor, probe: Tensor, retrain: Seconds
) -> dict[str, Any]:
    wall, cpu = (statistics.median(each) for each in zip(*seconds))
    same = (probe @ W).argmax(1) == (probe @ wanted).argmax(1)
    return {
        "request_s": wall,
        "request_cpu_s": cpu,
        "request_s_min": min(one.wall for one in seconds),
        "speedup": retrain.wall / wall,
        "speedup_cpu": retrain.cpu / cpu,
        "error": error(W, wanted),
        "agreement": float(same.double().mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--width", type=int, default=2000)
    parser.add_argument("--held", type=int, nargs="+", default=[15_000, 30_000, 60_000])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    x, y, real = pictures(args.data, max(args.held))
    phi = RandomFeatures(784, args.width, generator=torch.Generator().manual_seed(0))
    runs = []
    for n in args.held:
        for gamma in GAMMAS if n == max(args.held) else GAMMAS[1:]:
            runs.append(found := at(n, x, y, phi, gamma))
            for form in ("recursive", "watched", "normal"):
                r = found[form]
                print(
                    f"held {n:6}, gamma {gamma:4}: {form:9} {1e3 * r['request_s']:6.1f} ms a "
                    f"request ({1e3 * r['request_cpu_s']:.1f} of processor), "
                    f"{r['speedup']:4.0f} x faster ({r['speedup_cpu']:.0f} x) than "
                    f"{found['retrain_s']:.1f} s ({found['retrain_cpu_s']:.1f} s), "
                    f"error {r['error']:.1e}, agreement {r['agreement']:.4f}",
                    flush=True,
                )
    result = {
        "torch": torch.__version__,
        "machine": platform.machine(),
        "threads": args.threads,
        "width": args.width,
        "request": SIZE,
        "pictures": len(x),
        "pictures_as_they_are": real,
        "runs": runs,
    }
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
