"""Keep random classes, or random samples: the controls of every pruning.

    class    a share of the classes, drawn under the seed, with all of their samples
    sample   the same share of all samples, drawn without regard to their classes

Use it beside `dp4tl` at the same `keep`. Random samples of all classes are often a strong
baseline where the target needs general features; random classes say what the choice is worth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from bequeath.given.access import Access, DataNeed, Labels, ModelNeed, Needs
from bequeath.methods.contract import Identity, MethodConfig, Outcome, method
from bequeath.methods.select import Selection

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.train.context import Context

PAPER = "controls of Zhang et al. 2023"


class Config(MethodConfig):
    unit: Literal["class", "sample"] = Field(
        "class", description="what is drawn", json_schema_extra={"source": PAPER}
    )
    keep: float = Field(
        0.4,
        gt=0,
        le=1,
        description="share of the classes kept, at least one; or of the samples",
        json_schema_extra={"source": "as `dp4tl`"},
    )


def needs(cfg: Config) -> Needs:
    return Needs(
        models={"model": ModelNeed(Access.WEIGHTS, optional=True)},
        data={
            "source": DataNeed(Labels.ALL if cfg.unit == "class" else Labels.NONE),
            "target": DataNeed(Labels.NONE, optional=True),
        },
    )


@method(
    want="select",
    paper="control in Zhang et al. 2023, arXiv 2310.08782",
    needs=needs,
    identity=(
        Identity("all classes kept is the source whole", "start", config={"keep": 1.0}),
        Identity("and so is every sample kept", "start", config={"unit": "sample", "keep": 1.0}),
    ),
)
def random_subset(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """Keeps random classes of the source, or as many random samples."""
    import torch

    from bequeath.blocks.class_mapping import rows_of_classes

    source = given.data("source")
    k = len(source.classes)
    keep = max(1, round(cfg.keep * k))  # classes, whose share of the samples is drawn in both
    if cfg.unit == "class":
        y = source.labels
        assert y is not None, "the gate refuses a source without labels"
        rows = rows_of_classes(y, torch.randperm(k, generator=ctx.rng("classes"))[:keep])
    else:
        order = torch.randperm(len(source), generator=ctx.rng("samples"))
        rows = order[: round(len(source) * keep / k)].sort().values
    return Outcome(answer=Selection({"source": 1.0}, rows={"source": rows.numpy()}))
