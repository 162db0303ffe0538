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
        "The launcher asked for FSDP, DeepSpeed or Megatron-LM. What is shared out is a setting of "
        "the job here, so that a job means the same wherever it is launched, and it is done with "
        "torch's FSDP2; DeepSpeed and Megatron-LM are not used (docs/many-devices.md).",
        "Set `train.shard: gradients` or `full`, and launch plain processes, for example "
        "`accelerate launch --multi_gpu`.",
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
    "T612": Code(
        "another process of the job has ended",
        "Several processes share this job, and one of them failed, was killed or lost its "
        "connection. The others cannot go on without it, so they end too.",
        "Mend what that process complained of, and launch the job again: it goes on from its last "
        "checkpoint.",
    ),
    "T613": Code(
        "not with several processes",
        "The launcher started several processes that share each run. They cannot also run several "
        "runs at a time (`--jobs`), nor all compute on one named GPU.",
        "Leave `--jobs` away or launch one process; set `train.device: auto`.",
    ),
    "T614": Code(
        "a model cannot be compiled",
        "`train.compile` hands what is trained to `torch.compile`, which needs a C++ compiler on "
        "the CPU and does not know every operation.",
        "Leave `train.compile` away: it changes the time, and not what is learnt but for rounding "
        "and the random draws of dropout.",
    ),
    "T615": Code(
        "seeds that cannot be batched",
        "`train.batch_seeds: on` asks for the seeds of a method as one batched model. Its training "
        "step cannot be batched, or a seed's gradient is another when it is.",
        "Set `train.batch_seeds: auto`: such methods then train one seed after the other.",
    ),
    "T616": Code(
        "a seed that asks for no training",
        "The seeds of a method were to be trained as one model, and one of them ended without "
        "training. They are made one by one.",
        "Nothing: it is a remark, and no run fails by it.",
    ),
    "T617": Code(
        "not with shards",
        "`train.shard` shares out what several processes train. It does not go with "
        "`train.compile`, with fp16 (whose loss scaler looks at whole gradients), with trained "
        "weights of two types, or with a torch whose FSDP2 is too old.",
        "Change the setting that is named, or leave `train.shard` away.",
    ),
    "T618": Code(
        "a step that shards do not allow",
        "With `train.shard` a training step finds weights whole where they are gathered: with "
        "`gradients` anywhere in the step, with `full` inside the forward pass of their block. "
        "This step read them elsewhere, used a block's weights before the block's own forward "
        "pass, or did something else in each process, which must exchange the same things in the "
        "same order.",
        "Set `train.shard: gradients`, under which any part may be read, or leave `train.shard` "
        "away.",
    ),
    "T620": Code(
        "a method handed back something else",
        "A method returns an `Outcome`: the model of its family under a fixed role, or a folder "
        "with it, and notes that JSON can hold. This one did not.",
        "It is a fault of the method: end it with `return Outcome(models={...})`.",
    ),
    "T670": Code(
        "PyKEEN is missing",
        "Embeddings of knowledge graphs are PyKEEN's models.",
        "Install the extra: `pip install 'bequeath[graph]'`.",
    ),
    "T671": Code(
        "a text encoder is missing",
        "The encoder is a package or a folder that is not on this machine, or its library is not "
        "installed. Nothing is downloaded unasked.",
        "Install it, give the folder of a sentence-transformers model, or say `encoder: tfidf`.",
    ),
    "T672": Code(
        "texts without words",
        "TF-IDF found no word in any of the texts.",
        "Check the text file, or use a sentence encoder.",
    ),
    "T673": Code(
        "embeddings cannot rank",
        "A score is not a number, so there is no order among entities.",
        "Lower the learning rate or the margin.",
    ),
    "T660": Code(
        "the budget of queries is spent",
        "A method asked about one more candidate than `protocol.budget` allows. Comparisons hold "
        "at equal numbers of queries only.",
        "A method asks while `oracle.left` is above 0; raise the budget for all of them.",
    ),
    "T661": Code(
        "a search found nothing",
        "What a search hands back must be a candidate it asked about: anything else is a guess.",
        "Hand back `Found(oracle.best, oracle.asked)`.",
    ),
    "T662": Code(
        "the objective has no answer",
        "The function given as `objective` raised an error, or answered no finite number.",
        "Mend it and run again; the answers it gave before are kept.",
    ),
    "T640": Code(
        "a model's answers to the target are not finite",
        "Source-free adaptation asks the model about every target sample at the start of an epoch; "
        "NaN or infinity came back, because training has diverged or the source model is spoilt.",
        "Lower `train.optimizer.lr`, set `train.clip`, or give another source model.",
    ),
    "T641": Code(
        "a learning rate for no parameter",
        "A name in `train.optimizer.rates` fits no parameter that is trained.",
        "Name a module or parameter of the model (`fc`, `layer4.*`); the first that fits counts.",
    ),
    "T642": Code(
        "too few target samples",
        "Neighbours, clusters and the statistics of a batch need several samples; one sample has "
        "no neighbour and is a cluster of its own.",
        "Give more target samples, or ask for fewer neighbours.",
    ),
    "T645": Code(
        "a task was not handed over",
        "A method of continual learning hands over its model after the last task, so that it can "
        "be measured; this one did not.",
        "It is a fault of the method: `ctx.stage(task.name, model=model)`.",
    ),
    "T650": Code(
        "forgetting what was never learnt",
        "The ledger of what the model holds has no sample of this content and label.",
        "Name samples as they were learnt: the same content under the same label.",
    ),
    "T651": Code(
        "forgetting twice",
        "By the ledger these samples are forgotten already, or the request names them twice.",
        "Ask for each sample once.",
    ),
    "T652": Code(
        "a head cannot forget these samples",
        "What would remain of the head's state is not positive definite, so it cannot have learnt "
        "all of these rows (or, with a very small `gamma`, rounding has hidden it).",
        "Forget what was learnt, with the same features and labels; or raise `gamma`.",
    ),
    "T653": Code(
        "the classifier cannot be replaced",
        "A head in closed form takes the place of a linear layer; this model ends in something "
        "else.",
        "Give a model that ends in a linear layer, or name it: `head: PATH`.",
    ),
    "T690": Code(
        "the job's own code failed",
        "A model, a data set or a method that is Python code of the user's raised an error while "
        "it was used. The line is the last of it that was running.",
        "Mend the code at that line. From Python, `run_job(...)` raises it with all its lines.",
    ),
    "T691": Code(
        "a model that answers something else than logits",
        "A model gives one row of floating-point numbers for each sample it is shown, as many as "
        "there are classes (of a language model, as many as there are words, for each token): as "
        "a tensor, first in a tuple, or as `logits` of a mapping or an object. This holds for "
        "every batch, in training and in evaluation, also for the last one, which may be smaller.",
        "Let `forward` return such numbers at the end of every way through it.",
    ),
    "T692": Code(
        "a model whose answers are not finite",
        "A model that is done, or a reference, answers with NaN or infinity, so nothing can be "
        "measured. Its loss may have been finite all along: batch normalisation counts otherwise "
        "in evaluation, and half precision ends at 65504.",
        "Lower `train.optimizer.lr` or set `train.clip`, train in fp32, and look at the samples "
        "named; of a model of your own, look at what it does in evaluation.",
    ),
    "T693": Code(
        "a part of a model did not run",
        "What goes into or out of a part of the model is read while the model answers, and the "
        "model answered without that part, or the part gave no tensor.",
        "Call that part in every `forward`, or name another one (`head`, `layers`).",
    ),
    "T694": Code(
        "no gradient of the loss",
        "The loss is a number, but the way back from it is not open: a model or a method changed a "
        "tensor in place that the gradient needs, or used an operation that has none.",
        "In the model's code write `y = y * 2` in place of `y *= 2` or `y.mul_(2)`, and leave "
        "`.data` alone.",
    ),
    "T665": Code(
        "a model that makes no samples",
        "The methods of `generate` work on diffusion models: networks that are told how noisy "
        "their input is.",
        "Train one with `want: generate`, `method: diffusion`, of `zoo:unet` or `zoo:denoiser`.",
    ),
}
