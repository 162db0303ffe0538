"""Error codes of what is given and does not go together (G)."""

from __future__ import annotations

from bequeath.kernel.codes.code import Code

CODES = {
    "G401": Code(
        "a role is not given",
        "A method asks for its models and data by role (`teacher`, `student`, `train`). A "
        "role it cannot do without is not in the job.",
        "Add the role under `models:` or `data:`, or rename what you have. `bequeath explain "
        "METHOD` shows what a method needs.",
    ),
    "G402": Code(
        "something given is not used",
        "A model, data set or graph that no method touches is mostly a role with a wrong "
        "name, and the result would not be what the job seems to ask for.",
        "Remove it, or give it the role the method asks for.",
    ),
    "G403": Code(
        "nothing to judge by",
        "Every result is measured on a data set that no method trains on; the job has none of"
        " the name that `evaluate.data` says (`test` unless you say otherwise).",
        "Add it under `data:`, or name another one with `evaluate: {data: NAME}`.",
    ),
    "G404": Code(
        "the numbers of classes differ",
        "Teacher, student and data must speak of the same classes; a difference would end in "
        "a crash or, worse, in a quietly wrong comparison.",
        "Choose the matching data or model, take a part of the classes with `?classes=`, or "
        "say `classes:` of a fresh model.",
    ),
    "G405": Code(
        "the data sets have different classes",
        "The classes are as many, but their names or their order differ, so label 3 of one is"
        " not label 3 of the other.",
        "Give the folders or columns of both data sets the same class names.",
    ),
    "G406": Code(
        "the judge was seen in training",
        "The data set that judges is one a method trains on. The result would measure memory.",
        "Give another file or another part (`?split=test`).",
    ),
    "G407": Code(
        "the data sets are of different kinds",
        "One holds images, another vectors or text; one model cannot be trained on one and "
        "judged on the other.",
        "Give data of one kind, or say how to read it (`as: image`).",
    ),
    "G408": Code(
        "the model takes another kind of data",
        "A model of images cannot be shown vectors or text, nor the other way round; only "
        "images can be flattened into vectors.",
        "Choose a model for this kind of data; `zoo:mlp` takes vectors and images.",
    ),
    "G409": Code(
        "the model cannot take inputs of this shape",
        "The number of channels, the size of the images or the width of the vectors is not "
        "one the model, or its mean and deviation, is made for.",
        "Set `preprocess: {size: N}` of the model, give a `mean` and `std` of the right "
        "length, or choose another model.",
    ),
    "G410": Code(
        "labels are missing",
        "The data that judge the results, and those a supervised method learns from, need labels.",
        "Give labelled data, or choose a method that needs none (`kd` with `ce: 0`).",
    ),
    "G411": Code(
        "a model has the classes in another order",
        "The names of the model's outputs and of the data's classes are known, and the same name "
        "stands at different numbers. The model's answers would be taken for other classes.",
        "Give the data sets `classes:` in the order of the model; they are numbered anew so.",
    ),
}
