"""Head and divergence of large vocabularies: all logits at once beside chunks of tokens.

    python benchmarks/vocabulary_loss.py [--short] [--tokens 1024] [--rounds 5] [--json FILE]

A student of width 512 learns from a teacher of width 768 by the forward KL, fp32, loss and gradient
by hidden states and head. For each vocabulary (32000, 128256, 256000):

    seconds   of CPU, median over the rounds; the arms alternate in one process
    memory    growth of the peak of resident memory over what was there before, each arm in a
              process of its own
    limit     seconds the products alone would take at the rate that a large product reaches on this
              machine: 2 N V (d_teacher + 3 d_student) operations / that rate; and limit / seconds

`dense` is F.kl_div of log_softmax, taken backward by autograd. Both arms give the same loss and
gradients, which is checked. An arm that needs more than half of the memory that is free is left
out and said so. Exit code 1 when the chunks take more memory than a third of dense, or more time
than 1.10 of it, at the two larger vocabularies.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import torch
from torch.nn import functional as F

from bequeath.losses.divergence import Divergence
from bequeath.losses.vocabulary import Projected, fused
from bequeath.train.budget import peak_memory

WIDTHS = (512, 768)
VOCABULARIES = (32_000, 128_256, 256_000)
MEMORY_LIMIT, TIME_LIMIT = 1 / 3, 1.10
DENSE_COPIES = 6  # tensors of tokens x vocabulary that the dense way has at once


def inputs(tokens: int, words: int) -> tuple[Projected, Projected]:
    g = torch.Generator().manual_seed(0)
    made = []
    for width in WIDTHS:
        hidden = torch.randn(tokens, width, generator=g)
        weight = torch.randn(words, width, generator=g).mul_(width**-0.5)
        made.append((hidden, weight))
    (h, w), (h_t, w_t) = made
    return Projected(h.requires_grad_(), w.requires_grad_()), Projected(h_t, w_t)


def dense_way(student: Projected, teacher: Projected) -> torch.Tensor:
    log_q, log_p = student[:].log_softmax(1), teacher[:].log_softmax(1)
    return F.kl_div(log_q, log_p, reduction="sum", log_target=True)


def chunked_way(student: Projected, teacher: Projected) -> torch.Tensor:
    return fused(student, teacher, Divergence("forward"))[0]


WAYS = {"dense": dense_way, "chunked": chunked_way}


def once(way: str, student: Projected, teacher: Projected) -> tuple[float, list[float]]:
    """CPU seconds, and the loss and norms of its gradients."""
    started = time.process_time()
    loss = WAYS[way](student, teacher)
    grads = torch.autograd.grad(loss, (student.hidden, student.weight))
    taken = time.process_time() - started
    return taken, [loss.item(), *(float(g.norm()) for g in grads)]


def rate() -> float:
    """Operations a second of a large product in fp32, in CPU time as the arms are."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 4096)
    best = 0.0
    for _ in range(5):
        started = time.process_time()
        a @ b
        best = max(best, 2 * 1024 * 1024 * 4096 / (time.process_time() - started))
    return best


def memory(way: str, tokens: int, words: int) -> int:
    command = [sys.executable, __file__, "--arm", way, "--tokens", str(tokens)]
    command += ["--words", str(words), "--threads", str(torch.get_num_threads())]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout.split()[-1])


def one_arm(way: str, tokens: int, words: int) -> None:
    """Print by how much the peak grew (what `memory` runs)."""
    student, teacher = inputs(tokens, words)
    once(way, *inputs(8, 64))  # libraries are loaded, their scratch taken
    before = psutil.Process().memory_info().rss
    with peak_memory() as peak:
        once(way, student, teacher)
    print(peak.resident - before)


def measure(words: int, tokens: int, rounds: int, speed: float) -> dict[str, Any]:
    need = DENSE_COPIES * 4 * tokens * words
    ways = list(WAYS) if need < psutil.virtual_memory().available / 2 else ["chunked"]
    student, teacher = inputs(tokens, words)
    times: dict[str, list[float]] = {way: [] for way in ways}
    said: dict[str, list[float]] = {}
    for number in range(rounds):
        for way in ways if number % 2 == 0 else ways[::-1]:
            taken, said[way] = once(way, student, teacher)
            times[way].append(taken)
    for values in said.values():
        for one, other in zip(values, said["chunked"]):
            assert abs(one - other) <= 1e-4 * abs(other), (values, said["chunked"])
    limit = 2 * tokens * words * (WIDTHS[1] + 3 * WIDTHS[0]) / speed
    found: dict[str, Any] = {"vocabulary": words, "tokens": tokens, "limit_s": limit}
    for way in ways:
        seconds = statistics.median(times[way])
        grown = memory(way, tokens, words)
        found[way] = {"seconds": seconds, "share_of_limit": limit / seconds, "bytes": grown}
    return found


def show(row: dict[str, Any]) -> str:
    parts = [f"V = {row['vocabulary']:7,}"]
    for way in WAYS:
        one = row.get(way)
        parts.append(
            f"{way} left out: too large"
            if one is None
            else f"{way} {one['seconds']:6.2f} s, +{one['bytes'] / 2**30:.2f} GiB, "
            f"{one['share_of_limit']:.0%} of the limit"
        )
    return "   ".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="256 tokens, one round")
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    parser.add_argument("--words", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.arm:
        one_arm(given.arm, given.tokens, given.words)
        return 0
    tokens, rounds = (256, 1) if given.short else (given.tokens, given.rounds)
    speed, rows = rate(), []
    for words in VOCABULARIES:
        rows.append(measure(words, tokens, rounds, speed))
        print(show(rows[-1]), flush=True)
    compared = [row for row in rows[1:] if "dense" in row]
    met = all(
        row["chunked"]["bytes"] <= MEMORY_LIMIT * row["dense"]["bytes"]
        and row["chunked"]["seconds"] <= TIME_LIMIT * row["dense"]["seconds"]
        for row in compared
    )
    if given.json:
        said = {"rate_flops": speed, "threads": given.threads, "rounds": rounds, "rows": rows}
        given.json.write_text(json.dumps({**said, "met": met}, indent=2) + "\n", encoding="utf-8")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
