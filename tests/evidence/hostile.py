"""Finished jobs of every family in which every text is an attack on who reads its report."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import families
import hostile_runs
from ruamel.yaml import YAML
from synthetic_out import make_out

LONG = "an_unbroken_name_" * 8
ATTACKS = (
    "<script>window.hit=1</script>",
    "</script><script>window.hit=2</script>",
    "\"'><img src=x onerror=window.hit=3>",
    "<svg onload=window.hit=4>",
    "[a](javascript:window.hit=5)",
    "' onmouseover='window.hit=6",
    "\u2028\u2029\u202eevitrever\u202c\u2066",
    "</style><style>*{display:none}",
    "<!--", "]]>", "{{ 7 * 7 }}${out}", "$\\frac{", "`code` | cell\n# head\n---\n",
    "<a href='data:text/html,<script>window.hit=7</script>'>", LONG,
    "\u00e9\u0301\u4e2d\u6587\u0639\u0631\u0628\u064a\U0001f600",
)  # fmt: skip
# What a reader of the record decides by; all other text is free.
FIXED = {"direction", "kind", "stopped", "started", "unit", "want", "arm"}
FREE_KEYS = {"series", "versions", "config", "notes", "models", "data"}
SHORT = {"counts": 40, "unit": 24}


def attacked(value: Any, key: str, number: count) -> Any:
    """A record with an attack in each of its texts, and in those of its keys that are names."""
    if isinstance(value, dict):
        named = key in FREE_KEYS
        return {
            (ATTACKS[next(number) % len(ATTACKS)][:60].strip() if named else k):
            attacked(v, k, number) if k not in FIXED else v
            for k, v in value.items()
        }  # fmt: skip
    if isinstance(value, list):
        return [attacked(one, key, number) for one in value]
    if isinstance(value, str):
        return f"{ATTACKS[next(number) % len(ATTACKS)]}{value}"[: SHORT.get(key, 190)]
    return value


def of_family(make: Callable[..., Path]) -> Callable[[Path], Path]:
    def made(out: Path) -> Path:
        make(out)
        number = count()
        for path in sorted(out.rglob("record.json")):
            record = attacked(json.loads(path.read_text(encoding="utf-8")), "", number)
            record["notes"]["told"] = list(ATTACKS)
            path.write_text(json.dumps(record), encoding="utf-8")
            (path.parent / "<img src=x onerror=window.hit=8>.txt").write_text("x")
        job = YAML(typ="safe").load(out / "job.yaml")
        job |= {"out": "runs/\u202e$(touch hit)`id`'\"<b>", "vars": {"note": " ".join(ATTACKS)}}
        text = json.dumps(job, ensure_ascii=False)
        (out / "job.yaml").write_text(text, encoding="utf-8")
        for path in out.glob("runs/*/*/model/bequeath.json"):
            about = json.loads(path.read_text(encoding="utf-8"))
            hit = "```\n</code></pre><script>window.hit=10</script>\n# \u202e\n"
            about["load"] = hit + str(about.get("load"))
            path.write_text(json.dumps(about), encoding="utf-8")
        return out

    return made


def classifier(out: Path) -> Path:
    """Class names and arms that attack."""
    arms = ("ce", "<img src=x onerror=window.hit=9>", LONG[:70])
    return make_out(out, arms=arms, classes=ATTACKS, seeds=2, n=300, steps=20)


MADE: dict[str, Callable[[Path], Path]] = {
    "classifier": of_family(classifier),
    "ranking": of_family(lambda out: families.ranking(out, seeds=2, n=100)),
    "merge": of_family(families.merge),
    "continual": of_family(lambda out: families.continual(out, seeds=2)),
    "search": of_family(lambda out: families.search(out, seeds=2, queries=40)),
    **{
        name: of_family(lambda out, run=run: run(out, ATTACKS))
        for name, run in hostile_runs.MADE.items()
    },
}
