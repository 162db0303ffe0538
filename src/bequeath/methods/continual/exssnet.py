"""ExSSNeT: every task a subnetwork of one fixed network, trained only where no older one lives.

For task t, with weights W shared by all tasks and a mask M_t of density k in each layer:

    1. scores S_t begin at random, or (KKT) as those of the task whose network tells t apart best
    2. W still, S_t learns:  M_t = top-k of |S_t|, forward W * M_t, straight-through gradient
    3. M_t still, W learns where E_t = M_t and not (M_1 or ... or M_{t-1}); forward all of M_t
    4. M_t (one bit a weight) and the statistics of batch normalisation are kept for task t

E_t is disjoint from every older mask, so no weight that an old task reads is ever changed: its
network is the same to the last bit for ever. KKT: in the penultimate features of each old network
a kNN classifier is tried on a sample of the new task; the best one passes on its scores if it beats
chance.

Prateek Yadav, Mohit Bansal, "Exclusive Supermask Subnetwork Training for Continual Learning",
Findings of ACL 2023, arXiv 2210.10209. `weights: none` is SupSup (Wortsman et al. 2020, arXiv
2006.14769), `weights: shared` is SSNeT, which takes E_t = M_t and so forgets.

Linear and convolution layers are masked. Everything else (biases, the affine part of norms,
embeddings) is shared by all tasks and so is not trained: it begins neutral, or as given with
`start: given`. The reference keeps the mask that was best on held-out data; here the last one is
kept. It needs the number of the task at test, and capacity: a layer whose weights are all taken
learns masks only (`free_capacity` in the notes). The model it hands over is the network of the
last task; `tasks.safetensors` beside it has all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from bequeath.given.access import Access, DataNeed, Labels, ModelNeed, Needs
from bequeath.methods.contract import Identity, MethodConfig, Outcome, method

if TYPE_CHECKING:
    from bequeath.given.given import Given
    from bequeath.methods.continual._stream import Stream
    from bequeath.train.context import Context

CODE = "the paper's repository"


class Config(MethodConfig):
    needs_task_ids: ClassVar[bool] = True

    density: float = Field(
        0.1,
        gt=0,
        le=1,
        description="k, the share of each layer's weights that a task uses",
        json_schema_extra={"source": f"vision.yaml of {CODE}", "search": ["log", 0.02, 0.5]},
    )
    weights: Literal["exclusive", "shared", "none"] = Field(
        "exclusive",
        description="which weights of its mask a task trains: those no other has (ExSSNeT), all "
        "(SSNeT), none (SupSup)",
        json_schema_extra={"source": "the paper"},
    )
    transfer: Literal["knn", "none"] = Field(
        "knn",
        description="where scores begin: at those of the most useful task (KKT), or at random",
        json_schema_extra={"source": "the paper"},
    )
    share: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="share of a task's epochs in which the weights learn; the mask has the others",
        json_schema_extra={"source": f"50 of 100 epochs in the README of {CODE}"},
    )
    mask_lr: float | None = Field(
        None,
        gt=0,
        lt=100,
        description="learning rate of the scores (default: as in `train.optimizer`)",
        json_schema_extra={"source": f"{CODE} uses one rate for both"},
    )
    start: Literal["signed_constant", "given"] = Field(
        "signed_constant",
        description="weights before the first task: +-sqrt(2 / fan_in), or as the model has them",
        json_schema_extra={"source": f"vision.yaml of {CODE}"},
    )
    neighbours: int = Field(
        200,
        ge=1,
        description="KKT: neighbours that vote, no more than a class has in the sample",
        json_schema_extra={"source": f"args.py of {CODE}"},
    )
    probe: float = Field(
        0.2,
        gt=0,
        le=1,
        description="KKT: share of the task's samples that is looked at, a third of it held out",
        json_schema_extra={"source": f"args.py of {CODE}"},
    )


@method(
    want="continual",
    paper="Yadav, Bansal 2023, arXiv 2210.10209",
    needs=Needs(
        models={"model": ModelNeed(Access.WEIGHTS, trains=True, embedding=True)},
        data={"train": DataNeed(Labels.ALL)},
        same_classes=True,
    ),
    identity=(
        Identity(
            "with all weights in every mask and none trained it is the model given",
            "start",
            config={"density": 1.0, "weights": "none", "start": "given"},
        ),
    ),
)
def exssnet(ctx: Context, given: Given, cfg: Config) -> Outcome:
    """Each task trains a subnetwork of its own in one network; none is ever changed again."""
    from bequeath.blocks.supermask import plain_start, random_scores, signed_constants
    from bequeath.blocks.task_nets import TaskNets
    from bequeath.methods.continual import _phases

    stream: Stream = given.protocol
    lengths = _phases.lengths(ctx.train, cfg.share, both=cfg.weights != "none")
    net = given.model("model").load()
    names = [task.name for task in stream.tasks]

    def fresh(task):
        return random_scores(nets.masked, lambda layer: ctx.rng("scores", task, layer))

    nets = TaskNets(net, cfg.density, names, stream.classes, stream.n_classes, fresh)
    if cfg.start == "signed_constant":
        plain_start(net.module)
        drawn = signed_constants(nets.masked, lambda layer: ctx.rng("weights", layer))
        nets.masked.set_weights(drawn)
    ctx.stage("start", model=nets)
    from_task, free_after = {}, []
    for task in stream:
        source = _phases.most_useful(ctx, nets, task, cfg) if cfg.transfer == "knn" else None
        from_task[task.name] = source
        nets.begin(task.index, nets.bank.scores(source) if source else fresh(task.index))
        ctx.stage(f"{task.name}/start", model=nets)

        free = nets.free()
        masks = _phases.learn_mask(ctx, nets, task, lengths, cfg.mask_lr)
        if cfg.weights != "none":
            mine = (
                {n: m & free[n] for n, m in masks.items()} if cfg.weights == "exclusive" else masks
            )
            nets.masked.learn_weights(mine)
            _phases.fit(ctx, nets, task, "weights", lengths[1])
        nets.keep()
        free_after.append(nets.free())
        ctx.stage(task.name, model=nets)
    answer, notes = _phases.capacity(nets, free_after)
    return Outcome({"model": nets.result()}, answer, notes={**notes, "scores_from": from_task})
