"""Error codes of models and their weights (M)."""

from __future__ import annotations

from bequeath.kernel.codes.code import Code

CODES = {
    "M300": Code(
        "not a reference to a model",
        "A model is named as `scheme:name`, with settings after `?`. The scheme says which "
        "library or file it comes from.",
        "Write for example `zoo:resnet8`, `timm:resnet10t` or `file:PATH`; the schemes are "
        "file, hf, py, timm, torchvision and zoo.",
    ),
    "M301": Code(
        "a model's file is not there",
        "The path does not exist, cannot be read, or is a folder where a file is needed. It "
        "counts from the folder the command runs in.",
        "Correct the path; the message names the nearest one there is.",
    ),
    "M302": Code(
        "a weights file is cut short or damaged",
        "The lengths in its header do not agree with the file's size, which mostly means that"
        " a copy or a download stopped early.",
        "Copy or download the file again and compare its size with the source's.",
    ),
    "M303": Code(
        "a weights file would run code",
        "A torch file is a pickle. This one holds more than tensors, and opening it freely "
        "would run whatever its author put in; it is opened with weights only.",
        "If you trust it, write its tensors out as safetensors once, in an environment where "
        "the model's code is; else ask for a safetensors file.",
    ),
    "M304": Code(
        "not a weights file",
        "The file is neither safetensors nor written by torch.save, or there is no mapping of"
        " names to tensors in it.",
        "Give a safetensors file, or a torch file with a state dict, alone or under `state_dict`.",
    ),
    "M305": Code(
        "weights without an architecture",
        "A bare weights file holds named tensors; which network they belong to cannot be read"
        " from it.",
        "Add `arch:`, for example `arch: zoo:resnet56`, or give the folder of a saved model.",
    ),
    "M306": Code(
        "architecture and weights do not match",
        "Names or shapes of the tensors in the file differ from those of the network. Loading"
        " a part of them would give a model that looks right and is not.",
        "Name the architecture the weights were trained in; the first differing tensors are "
        "in the message.",
    ),
    "M307": Code(
        "no model of this name",
        "The library or the zoo has no model, or no trained weights, of this name.",
        "Take one of the names in the message.",
    ),
    "M308": Code(
        "a library is not installed",
        "The core install is small; timm, torchvision and transformers are extras.",
        'Install the extra: `pip install "bequeath[vision]"` or `pip install "bequeath[hf]"`.',
    ),
    "M309": Code(
        "trained weights are not on this machine",
        "Nothing is downloaded behind your back, and the weights are neither in the library's"
        " cache nor at a path you gave.",
        "Set BEQUEATH_DOWNLOAD=1 to allow the download, give `weights: PATH`, or begin fresh "
        "with `pretrained: false`.",
    ),
    "M310": Code(
        "the classifier is not where `head` says",
        "`head` is the module path of the final classifier; what goes into it is the model's "
        "embedding. No module has this path, or it is no layer that can be replaced.",
        "Take one of the near paths in the message, or leave `head` out to have it found.",
    ),
    "M311": Code(
        "a model given as code cannot be used",
        "`py:FILE.py:NAME` names a callable that takes the number of classes and returns a "
        "torch.nn.Module. It is missing, fails to import, returns something else, or lies in "
        "a saved folder, whose code is not run unasked.",
        "Correct the reference; for a saved folder write `py:FOLDER/architecture.py:NAME` "
        "with `weights:`.",
    ),
    "M312": Code(
        "a model's settings do not work together",
        "A setting is for another model, is missing where it is needed, contradicts another "
        "one, or the library refuses to build the model with it.",
        "Follow the message; `bequeath schema` lists the settings of each scheme.",
    ),
    "M313": Code(
        "a model folder or config cannot be used",
        "The folder was written neither by bequeath nor by transformers, or a file in it is "
        "damaged, missing, or says too little.",
        "Give the folder that `save` or `save_pretrained` wrote, whole; or name the bare "
        "weights file and its `arch`.",
    ),
    "M314": Code(
        "the weights are not finite",
        "Some tensors hold NaN or infinity; everything computed with them would too.",
        "Use an earlier checkpoint of the model.",
    ),
    "M320": Code(
        "the classifier is not known",
        "A method reads what goes into the classifier of this model, and which of its modules"
        " that is could not be found.",
        "Say `head: path.of.the.module` with the model.",
    ),
    "M340": Code(
        "no such module in the model",
        "A tap names a module by its path, and the model has none at that path.",
        "Use a path as `named_modules()` of the model gives it. The error lists near matches "
        "and the paths there are.",
    ),
}
