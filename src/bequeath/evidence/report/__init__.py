"""The report of a job: `write_report(out)` makes `report.html` and `report.json`."""

from __future__ import annotations

from pathlib import Path


def write_report(out: Path) -> Path:
    """Write `out/report.html` and its machine twin `out/report.json`; returns the page's path.

    Needs at least one finished run under `out/runs/` (RunError R564 otherwise).
    """
    from bequeath.evidence.report.build import write_report as build

    return build(out)


__all__ = ["write_report"]
