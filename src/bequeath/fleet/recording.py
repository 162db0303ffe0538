"""What a run leaves in writing besides its numbers: cost, provenance, what it was allowed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import torch

from bequeath.evidence.provenance import provenance
from bequeath.evidence.record import Cost, DataSource, ModelSource, Run, RunRecord
from bequeath.fleet.gates import Opened
from bequeath.fleet.measured import Measured
from bequeath.given.access import Needs
from bequeath.train.budget import cpu_seconds, peak_memory, peak_resident


class Clock:
    """Wall and processor time since it was made, and the time and memory of the training in it."""

    def __init__(self, device: torch.device):
        self.device = device
        self.began = datetime.now(UTC)
        self._start, self._cpu = time.perf_counter(), cpu_seconds()
        self._train_s = 0.0
        self._peak: tuple[int, int | None] | None = None

    @contextmanager
    def training(self) -> Iterator[None]:
        start = time.perf_counter()
        with peak_memory(self.device) as peak:
            yield
        self._train_s = time.perf_counter() - start
        self._peak = (peak.resident, peak.device)

    def cost(self) -> Cost:
        resident, device = self._peak or (peak_resident(), None)
        return Cost(
            wall_s=time.perf_counter() - self._start,
            train_s=self._train_s,
            cpu_s=cpu_seconds() - self._cpu,
            peak_rss_bytes=resident,
            peak_device_bytes=device,
        )


def record_of(opened: Opened, run: Run, key: str, measured: Measured, clock: Clock) -> RunRecord:
    """The record of what was measured, with its cost and where everything came from."""
    job = opened.job
    there: dict[str, Any] = {**opened.samples, **opened.graphs}
    return RunRecord(
        run=run,
        metrics=measured.metrics,
        cost=clock.cost(),
        model=measured.model,
        tables=measured.tables,
        curves=measured.curves,
        provenance=provenance(
            job_hash=key,
            device=str(opened.device),
            threads=torch.get_num_threads(),
            started=clock.began,
            models={
                role: ModelSource(
                    ref=ref.ref,
                    hash=opened.model_facts[role].hash,
                    licence=opened.model_facts[role].licence,
                )
                for role, ref in job.model_refs.items()
            },
            data={
                role: DataSource(ref=ref.ref, hash=held.hash, n=len(held))
                for role, ref in {**job.data_refs, **job.graph_refs}.items()
                for held in [there[role]]
            },
        ),
    )


def describe_needs(needs: Needs) -> dict[str, Any]:
    """The declared needs as plain values, for records and lists."""
    models = {
        role: {"access": need.access.name.lower(), "trains": need.trains}
        for role, need in needs.models.items()
    }
    data = {role: {"labels": need.labels.name.lower()} for role, need in needs.data.items()}
    return {"models": models, "data": data, "graphs": list(needs.graphs)}
