"""What the user wrote: schema, YAML with positions, located errors, overrides. No torch here."""

from bequeath.job.api import load_job
from bequeath.job.job import Arm, Job, Reference

__all__ = ["Arm", "Job", "Reference", "load_job"]
