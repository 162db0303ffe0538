"""Error codes of training (T)."""

from __future__ import annotations

from bequeath.kernel.codes.code import Code

CODES = {
    "T601": Code(
        "a loss term is not finite",
        "A term of the loss became infinite or not a number. Going on would spoil every "
        "weight, so training stopped before they were changed (on an accelerator at most "
        "sixteen steps later).",
        "Look at the samples that are named; lower `train.optimizer.lr`, set `train.clip`, or"
        " use `precision: fp32`.",
    ),
    "T602": Code(
        "the gradient is not finite",
        "The loss was finite and its gradient was not: the derivative of a term is infinite "
        "where it was taken (a square root or a norm at 0), or it overflowed.",
        "Set `train.clip`, lower `train.optimizer.lr`, or keep the term away from the point "
        "where it has no derivative.",
    ),
    "T603": Code(
        "nothing to train",
        "No parameter of the models that the method trains wants a gradient.",
        "Unfreeze what should be trained, or name another model.",
    ),
    "T604": Code(
        "a training step returned something else",
        "A step returns a dict of named terms, each with a 0-d tensor as its numerator and a "
        "count; terms over the same things share one count.",
        'Return `{"name": Term(value, count)}`, or use `mean_over(losses)` for losses given '
        "one a sample.",
    ),
    "T605": Code(
        "the loss does not depend on what is trained",
        "No gradient reaches a trained parameter: the loss was computed from detached "
        "tensors, from labels alone, or from another model.",
        "Compute the loss from the output of the model that is trained, outside of `no_grad`.",
    ),
    "T606": Code(
        "no such device",
        "`train.device` names a device that this machine does not have, or that this torch "
        "was not built for.",
        "Use `train.device: auto`, which takes what is there.",
    ),
    "T607": Code(
        "precision not possible on the device",
        "The CPU computes in fp32 and bf16, not in fp16.",
        "Use `train.precision: bf16` or `fp32`.",
    ),
    "T608": Code(
        "nothing to train on",
        "The training data has no sample.",
        "Correct the split or the selection of the data.",
    ),
    "T609": Code(
        "way of distributing not supported",
        "The launcher asked for sharded training (FSDP, DeepSpeed); checkpoints and exact "
        "gradients are only tested for data parallelism.",
        "Launch with plain data parallelism, for example `accelerate launch --multi_gpu`.",
    ),
    "T610": Code(
        "too few samples for batch normalisation",
        "Batch normalisation measures the spread of a batch; one sample has none.",
        "Set `train.batch_size` to 2 or more.",
    ),
    "T611": Code(
        "a step does not fit into memory",
        "The activations of one forward and backward pass take more memory than there is.",
        "Lower `train.batch_size` and raise `train.accumulate` by as much; the result is the same.",
    ),
    "T620": Code(
        "a method handed back nothing",
        "A method of this family returns its model under a fixed role, and this one did not.",
        "It is a fault of the method: `Outcome(models={...})`.",
    ),
}
