"""Error codes of arithmetic on checkpoints (W)."""

from __future__ import annotations

from bequeath.kernel.codes.code import Code

CODES = {
    "W801": Code(
        "no safetensors weights",
        "Models are merged tensor by tensor from safetensors files. The folder holds none, or "
        "several without an index that says what is where.",
        "Save the model with `save_pretrained(..., safe_serialization=True)`, or name the file.",
    ),
    "W802": Code(
        "the index of a sharded model is wrong",
        "`model.safetensors.index.json` says in which file each tensor lies. It is damaged, "
        "names files outside its own folder, or belongs to other files than those beside it.",
        "Copy or download the index and all its files again, from the same revision.",
    ),
    "W803": Code(
        "a file of a sharded model is missing",
        "The index names files that are not in the folder, so some tensors are not there.",
        "Copy or download the missing files.",
    ),
    "W810": Code(
        "the models have other tensors",
        "Tensors are merged by name. Names that only one model has cannot be merged, and leaving "
        "them out would give a model that looks right and is not.",
        "Merge models that were fine-tuned from one model, saved by the same class, with the same"
        " kind of head.",
    ),
    "W811": Code(
        "tensors of one name have other shapes",
        "Elements are merged by place. Mostly a vocabulary was extended, or the models are of "
        "different sizes.",
        "Resize the embeddings to the base's tokenizer, or merge models of one size.",
    ),
    "W812": Code(
        "the models have different architectures",
        "Weights of one architecture mean nothing in another, even where a name is the same.",
        "Merge models that were fine-tuned from one model, or use distillation.",
    ),
    "W813": Code(
        "a checkpoint that cannot be averaged",
        "Quantised weights are codes, not numbers, and an adapter is a factor of a difference: "
        "the average of either is not the average of the models.",
        "Merge the models before they are quantised; merge an adapter into its model first.",
    ),
    "W820": Code(
        "the rule needs other models",
        "A rule has its number of models, and those on task vectors need the base that the others"
        " were fine-tuned from.",
        "Add or remove models, or name the base.",
    ),
    "W821": Code(
        "there is no such merge rule",
        "The name of the rule is not one that bequeath has.",
        "Take one of the names in the message.",
    ),
    "W822": Code(
        "an unknown or misplaced parameter of a merge",
        "A parameter that a rule does not have, or that stands where it has no effect, would be "
        "ignored in silence.",
        "Correct the name, or move it to where the message says.",
    ),
    "W823": Code(
        "a parameter of a merge has a wrong value",
        "The value is of another kind, or out of its bounds.",
        "Give a value as in the message; a list is a gradient over the layers, and entries with "
        "`filter` and `value` differ by tensor name.",
    ),
    "W824": Code(
        "a filter that matches nothing",
        "A value for certain tensor names has no effect, because no name contains the text.",
        "Correct the text; it is a part of a tensor's name, not a pattern.",
    ),
    "W825": Code(
        "weights that sum to zero",
        "An average divides by the sum of its weights.",
        "Change the weights, or set `normalize: false`.",
    ),
    "W830": Code(
        "not a mergekit file that can be read",
        "The file has keys that mergekit does not have, lacks some that it needs, or has them in "
        "the wrong place. mergekit ignores many of these in silence.",
        "Correct the key that is named.",
    ),
    "W831": Code(
        "something of mergekit that is not supported",
        "bequeath reads mergekit files that merge whole models of one architecture with the "
        "methods it has. It does not build models of other layers, other tokenizers or adapters.",
        "Leave the part out that is named, or use mergekit for it.",
    ),
    "W840": Code(
        "the result's place is taken",
        "A merge never overwrites a model: neither its inputs nor what is there already.",
        "Choose another place, or remove what is there.",
    ),
    "W841": Code(
        "the disk is too small for the result",
        "The size of the result is known from the headers, and the disk has less room.",
        "Make room, choose another disk, or a smaller `dtype`.",
    ),
    "W850": Code(
        "a model holds NaN or infinity",
        "One such element spreads through a merge and mostly ruins the result. Nothing was left "
        "behind.",
        "Take an earlier checkpoint of the model that is named, or leave it out.",
    ),
    "W851": Code(
        "the result does not fit into its type",
        "An element is larger than the type can hold (65504 for float16), or the sum overflowed. "
        "Nothing was left behind.",
        "Use smaller weights, or `dtype: bfloat16` or `float32`.",
    ),
    "W852": Code(
        "the merge stopped at the disk",
        "A model could not be read, or the result not be written: the disk is full, gone, or a "
        "file changed meanwhile. Nothing was left behind.",
        "Mend what the message says, and run it again.",
    ),
}
