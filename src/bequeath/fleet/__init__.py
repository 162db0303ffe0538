"""From a job to its results: the last gates, one run, many runs, reproductions, the demo."""

from bequeath.fleet.demo import demo
from bequeath.fleet.gates import check_deep
from bequeath.fleet.reproduce import reproduce
from bequeath.fleet.sweep import render_report, run_job

__all__ = ["check_deep", "demo", "render_report", "reproduce", "run_job"]
