"""Every error code: what it means, why it is an error, how to mend it. `bequeath explain CODE`."""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """title: one line; why: the reason; fix: what to do."""

    title: str
    why: str
    fix: str


CODES: dict[str, Code] = {
    "D201": Code(
        "data is not there",
        "The file or folder that a data reference names does not exist, or is a folder where "
        "a file is needed, or the other way round.",
        "Correct the path; it counts from the folder the command runs in.",
    ),
    "D202": Code(
        "a data file is damaged",
        "The file cannot be read as what its reference says it is: cut short, altered, or of "
        "another format.",
        "Copy, download or write it again. The note says what was found.",
    ),
    "D203": Code(
        "no class folders",
        "`folder:` takes the class of an image from the folder it lies in, and there is none,"
        " or one without images.",
        "Make one folder for each class, or say `labels: false` for images without labels.",
    ),
    "D204": Code(
        "a column or array is missing",
        "A table or archive has no column or array of the name that was asked for.",
        "Name the right one (`label`, `features`, `text`, `x_key`, `y_key`), or say `labels: "
        "false` when there are no labels.",
    ),
    "D205": Code(
        "the data is empty",
        "After the split, the classes and the unreadable files there is no sample left, so "
        "nothing could be learnt or measured.",
        "Check the path and `split`, `classes`, `test_size`, `val_size`.",
    ),
    "D206": Code(
        "images do not decode",
        "Some image files are cut short or are no images. They are all looked for before a "
        "run begins, so that it does not stop in the middle.",
        "Mend or remove the files named, or say `skip_bad: true` to go on without them.",
    ),
    "D207": Code(
        "labels are wrong",
        "Labels are class numbers 0, 1, 2, ... or class names; some are missing, negative, "
        "not whole, beyond the number of classes, or unknown.",
        "Mend the rows named. Say `n_classes` when the highest class does not occur, `labels:"
        " false` for data without labels.",
    ),
    "D208": Code(
        "data holds NaN or infinity",
        "One such value makes the loss and then every weight NaN.",
        "Fill the gaps or take the rows named out.",
    ),
    "D209": Code(
        "an array holds Python objects",
        "Reading pickled objects runs whatever code the file brings along; bequeath does not "
        "open them.",
        "Write plain numbers, or texts as fixed-width strings (`numpy.array(texts, dtype=str)`).",
    ),
    "D210": Code(
        "the data is too large",
        "What the file says it unpacks to is more than the memory allowed for it. A small "
        "file may unpack to any size.",
        "Say `memory: 16GB` (or what is right) if it is meant, or make a smaller file.",
    ),
    "D211": Code(
        "unknown class",
        "`classes` names a class that the data does not have, or the same one twice.",
        "Choose among the classes listed: names, numbers, or ranges such as `0-4`.",
    ),
    "D212": Code(
        "fewer samples than asked for",
        "`take` asks for more samples than there are, after `split` and `classes`.",
        "Take fewer, or leave `take` out.",
    ),
    "D213": Code(
        "samples of an unknown form",
        "bequeath knows images (0..255, 1 or 3 channels), vectors of numbers and texts; the "
        "array or column is none of these.",
        "Give the data in one of the forms the message lists.",
    ),
    "D214": Code(
        "samples and labels differ in number",
        "There must be just one label for each sample.",
        "Write the file again from the source of both.",
    ),
    "D215": Code(
        "no such split",
        "The source has splits of its own and none of this name, or several and the job does "
        "not say which; sources without splits can be divided into train, val and test.",
        "Say `split:` with one of the names listed.",
    ),
    "D216": Code(
        "unknown data set",
        "The library named in the reference has no data set of this name.",
        "Use one of the names listed.",
    ),
    "D217": Code(
        "a library is missing",
        "This kind of reference needs a library outside the small core.",
        "Install the extra that the message names.",
    ),
    "D218": Code(
        "the data is not on this machine",
        "A library's data set was not found on disk, and nothing is downloaded unasked.",
        "Give its folder, or set BEQUEATH_DOWNLOAD=1 to let the library download it.",
    ),
    "D219": Code(
        "the data's own code failed",
        "A `py:` reference names a function that is not there, cannot be imported, raised an "
        "error or returned something else than data.",
        "Try it in Python: it takes no argument (or `split`) and returns a dict with `x` or "
        "`text`, and `y`; or a torch data set.",
    ),
    "D220": Code(
        "one class only",
        "With a single class there is nothing to tell apart; mostly a wrong column, or a "
        "folder too deep or too high.",
        "Check where the labels come from; say `n_classes` if the other classes do not occur here.",
    ),
    "D221": Code(
        "images differ in size",
        "A batch needs images of one size, and how to get there is a choice that changes "
        "results, so it is yours.",
        "Say `size: 224` (or what is right): images are scaled and their middle square is cut out.",
    ),
    "G401": Code(
        "a role is not given",
        "A method asks for its models and data by role (`teacher`, `student`, `train`). A role it "
        "cannot do without is not in the job.",
        "Add the role under `models:` or `data:`, or rename what you have. `bequeath explain "
        "METHOD` shows what a method needs.",
    ),
    "G402": Code(
        "something given is not used",
        "A model, data set or graph that no method touches is mostly a role with a wrong name, and "
        "the result would not be what the job seems to ask for.",
        "Remove it, or give it the role the method asks for.",
    ),
    "G403": Code(
        "nothing to judge by",
        "Every result is measured on a data set that no method trains on; the job has none of the "
        "name that `evaluate.data` says (`test` unless you say otherwise).",
        "Add it under `data:`, or name another one with `evaluate: {data: NAME}`.",
    ),
    "G404": Code(
        "the numbers of classes differ",
        "Teacher, student and data must speak of the same classes; a difference would end in a "
        "crash or, worse, in a quietly wrong comparison.",
        "Choose the matching data or model, take a part of the classes with `?classes=`, or say "
        "`classes:` of a fresh model.",
    ),
    "G405": Code(
        "the data sets have different classes",
        "The classes are as many, but their names or their order differ, so label 3 of one is not "
        "label 3 of the other.",
        "Give the folders or columns of both data sets the same class names.",
    ),
    "G406": Code(
        "the judge was seen in training",
        "The data set that judges is one a method trains on. The result would measure memory.",
        "Give another file or another part (`?split=test`).",
    ),
    "G407": Code(
        "the data sets are of different kinds",
        "One holds images, another vectors or text; one model cannot be trained on one and judged "
        "on the other.",
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
    "J100": Code(
        "the job file cannot be read",
        "There is no such file, it may not be opened, or it is not UTF-8 text.",
        "Check the path and the encoding.",
    ),
    "J101": Code(
        "not YAML",
        "The file breaks the rules of YAML 1.2 at the place shown, so nothing after it can be "
        "understood.",
        "Indent with spaces, close brackets and quotes, and quote text that holds `: ` or begins "
        "with a sign such as `@` or `*`.",
    ),
    "J102": Code(
        "wrong value",
        "The key is right, the value is of the wrong type or out of its bounds. `yes`, `no`, `on` "
        "and `off` are texts in YAML 1.2; a quoted number is a text too.",
        "Write a value as described beside the caret.",
    ),
    "J103": Code(
        "unknown key",
        "A key nobody reads would be a setting that silently does nothing; so it is refused.",
        "Take the key that was suggested, or remove it. `bequeath explain METHOD` lists a method's "
        "settings, `bequeath show JOB` all of a job's.",
    ),
    "J104": Code(
        "a key is missing",
        "The job cannot be understood without this key.",
        "Add it; the text beside the caret says what it takes.",
    ),
    "J105": Code(
        "a key is written twice",
        "Only one of the two values could count, and which one would be a guess.",
        "Remove one of them.",
    ),
    "J106": Code(
        "too large to be a job",
        "A job file is bounded in bytes, in depth and in values (aliases followed), so that a file "
        "from a stranger cannot fill the memory.",
        "Put data into data files; a job only refers to them.",
    ),
    "J107": Code(
        "a tag is refused",
        "YAML tags (`!!python/...`, `!include`) can make objects or run code. A job is plain data.",
        "Remove the tag. To share parts between jobs use `extends:`.",
    ),
    "J108": Code(
        "`extends` does not lead to a job",
        "`extends:` takes the path of one job file, from the folder of the file that says it; the "
        "files may not form a circle.",
        "Correct the path, or break the circle.",
    ),
    "J109": Code(
        "`--set` cannot be applied",
        "`--set a.b=1` names a place in the job by keys, and by numbers in lists, counted from 0.",
        "Correct the path; `bequeath show JOB` shows what there is.",
    ),
    "J110": Code(
        "the job wants to run code",
        "`py:` references and methods in `./file.py:name` run Python from outside bequeath. A job "
        "may come from anybody, so that happens only when you say so.",
        "Read that code; if you trust it, add `--allow-code` (in Python: `allow_code=True`).",
    ),
    "J111": Code(
        "not a name",
        "Roles become names in reports and in `--set`, so they are plain words.",
        "Begin with a letter; go on with letters, digits, `_` or `-`.",
    ),
    "J112": Code(
        "not a reference",
        "Models and data are named as `scheme:rest`, and the scheme says who finds them.",
        "Write for example `zoo:resnet8`, `timm:resnet18`, `folder:photos/train`, `npz:data.npz`.",
    ),
    "J113": Code(
        "a setting is said twice",
        "The reference says it after `?`, and the mapping around it says it again.",
        "Keep one of them.",
    ),
    "J120": Code(
        "the method's file is not there",
        "`method: ./file.py:name` points at a file that does not exist; the path starts at the "
        "working directory.",
        "Correct the path.",
    ),
    "J121": Code(
        "the file has no such method",
        "The file was found and read, but defines no method of that name.",
        "A method is a function under `@method(...)`; its name is the function's.",
    ),
    "J122": Code(
        "unknown method",
        "The family that `want:` names has no method of this name.",
        "`bequeath list` shows every method with its family.",
    ),
    "J123": Code(
        "the method's file fails",
        "Importing the file raised an error.",
        "Run the file with Python to see the whole error.",
    ),
    "J125": Code(
        "two arms of one name",
        "Each arm of a comparison has its own folder and its own line in the report, so each needs "
        "its own label. Labels that differ only in case count as the same.",
        "Give one of them a label: `{name: kd, as: kd-hot, temperature: 8}`.",
    ),
    "J151": Code(
        "a claim file cannot be read",
        "A claim is one YAML 1.2 file; this one is not there, not UTF-8 or not YAML.",
        "Mend the syntax at the place shown.",
    ),
    "J152": Code(
        "a claim file says something a claim cannot",
        "Claims are typed like jobs: unknown keys, missing fields and statements that cannot turn "
        "out false are refused.",
        "Correct the field at the place shown; `claims/62-nd.yaml` is an example.",
    ),
    "J153": Code(
        "there is no such claim",
        "A claim is named by its id (`62-nd`), its card's number or the id without it (`nd`).",
        "Name one of the claims that the message lists.",
    ),
    "J154": Code(
        "the claim has no such scale",
        "A claim says what to run at each of its scales; not every claim has all three.",
        "Choose one of the scales that the message lists.",
    ),
    "J155": Code(
        "the claim needs data that are not there",
        "The project ships no data sets; scales beyond the smallest read them from your folder.",
        "Set BEQUEATH_DATA to the folder that holds what the message names, or choose a smaller "
        "scale.",
    ),
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
    "M340": Code(
        "no such module in the model",
        "A tap names a module by its path, and the model has none at that path.",
        "Use a path as `named_modules()` of the model gives it. The error lists near "
        "matches and the paths there are.",
    ),
    "R501": Code(
        "no place to write",
        "The output folder cannot be made or written into.",
        "Choose another with `out:` or `--set out=FOLDER`.",
    ),
    "R520": Code(
        "out of the memory budget",
        "The run holds more memory than `budget.memory` allows, so it was stopped. Its last"
        " checkpoint is kept.",
        "Lower `train.batch_size` and raise `train.accumulate` by the same factor (the "
        "result is the same), or raise the budget.",
    ),
    "R521": Code(
        "a checkpoint could not be written",
        "The disk did not take the file: it is full, or not writable. The checkpoint before"
        " it is untouched.",
        "Free some space or choose another `out`, then run the same command again: it goes on.",
    ),
    "R561": Code(
        "the record of a run cannot be read",
        "`record.json` is missing, damaged or no run record. It is written whole, so it was "
        "changed afterwards or the disk is at fault.",
        "Remove that run's folder and run the job again; complete runs are kept.",
    ),
    "R562": Code(
        "a record of another schema version",
        "Records carry the version of their schema; this bequeath would misread that one.",
        "Use the bequeath that wrote it, or run the job again with `--fresh`.",
    ),
    "R563": Code(
        "the predictions of a run cannot be read",
        "`predictions.parquet` is missing, damaged or lacks columns.",
        "Remove that run's folder and run the job again; complete runs are kept.",
    ),
    "R564": Code(
        "there are no complete runs to compare",
        "A run counts when its folder `runs/<arm>/seed-<s>/` holds a record.",
        "Run the job first, or name the folder that its `out` names.",
    ),
    "R565": Code(
        "the metric that decides was not measured",
        "A comparison needs the same metric in every run.",
        "Name a metric that the runs have, or add it to `evaluate` and run the job again.",
    ),
    "R566": Code(
        "runs were measured on different test data",
        "Differences are paired by sample; that needs the same samples, labels and classes in "
        "every run and reference.",
        "Run the job again with `--fresh`, so that every run sees the same test data.",
    ),
    "R567": Code(
        "the baseline is not among the runs",
        "A comparison can only be made against an arm that was run.",
        "Name one of the arms that the message lists.",
    ),
    "R568": Code(
        "a kept judgement cannot be read",
        "A file under `evidence/` is damaged or of another version.",
        "Judge the claim again with `bequeath reproduce`.",
    ),
    "S701": Code(
        "the teacher cache is damaged again",
        "The teacher's kept answers failed their checksum, were made again, and fail it once more. "
        "Something between the program and the disk changes data.",
        "Set BEQUEATH_CACHE to a folder on another disk, or `train.cache: off`.",
    ),
    "S702": Code(
        "the teacher cache belongs to something else",
        "A cache is found by a digest of the teacher's tensors, its preprocessing, the data and "
        "the random views. The folder of that name says it was made from others: it was copied, "
        "renamed or edited.",
        "Remove it with `bequeath cache --clear KEY`; it will be made again.",
    ),
    "S703": Code(
        "the kept answers are not the teacher's",
        "Each time a cache is opened, 32 samples are put to the live teacher. Its answers differ "
        "from those kept by more than rounding: other kernels or threads, changed code, or answers "
        "that are random or depend on the rest of the batch.",
        "Remove the cache with `bequeath cache --clear KEY`, or set `train.cache: off` for a "
        "teacher that does not repeat itself.",
    ),
    "S704": Code(
        "endless views cannot be kept",
        "With `augment.views: 0` an image looks different in every epoch, so there is no finite "
        "set of answers to keep.",
        "Set `train.augment.views` to a number, or `train.cache` to `auto` or `off`.",
    ),
    "S705": Code(
        "the teacher's answers cannot be written",
        "The disk is full, or the folder of caches cannot be written. Nothing half-written is "
        "left; views that were complete are kept and used next time.",
        "Set BEQUEATH_CACHE to a folder with room, make room with `bequeath cache --clear`, or set "
        "`train.cache: off`.",
    ),
    "S706": Code(
        "a batch the teacher was not asked about",
        "A cached teacher knows answers by position in one data set, in certain views. A batch "
        "holds other samples at these positions; answering would be silently wrong.",
        "Use the data set the teacher was made with, or set `train.cache: off`.",
    ),
    "S707": Code(
        "the teacher's embedding is not known",
        "A method asked for what goes into the teacher's classifier, and the classifier could not "
        "be found in the model.",
        "Name its module: `models: {teacher: {ref: ..., head: path.of.the.classifier}}`.",
    ),
    "S708": Code(
        "the teacher's answer is not a number",
        "The teacher gave NaN or an infinity for some samples. No student can learn from that.",
        "Look at the samples that are named, at the teacher's weights and its preprocessing; in "
        "half precision try `train.precision: fp32`.",
    ),
    "S709": Code(
        "a teacher without a hash cannot be cached",
        "Kept answers are found by the teacher's content. A teacher that shows only its answers, "
        "and no hash, cannot be told from another one.",
        "Set `train.cache: auto`, or give the teacher with its weights.",
    ),
    "S710": Code(
        "there is no such teacher cache",
        "`bequeath cache --clear KEY` names a cache that is not there.",
        "See the keys with `bequeath cache`.",
    ),
    "T601": Code(
        "a loss term is not finite",
        "A term of the loss became infinite or not a number. Going on would spoil every "
        "weight, so training stopped before they were changed (on an accelerator at most "
        "sixteen steps later).",
        "Look at the samples that are named; lower `train.optimizer.lr`, set `train.clip`, "
        "or use `precision: fp32`.",
    ),
    "T602": Code(
        "the gradient is not finite",
        "The loss was finite and its gradient was not: the derivative of a term is infinite"
        " where it was taken (a square root or a norm at 0), or it overflowed.",
        "Set `train.clip`, lower `train.optimizer.lr`, or keep the term away from the point"
        " where it has no derivative.",
    ),
    "T603": Code(
        "nothing to train",
        "No parameter of the models that the method trains wants a gradient.",
        "Unfreeze what should be trained, or name another model.",
    ),
    "T604": Code(
        "a training step returned something else",
        "A step returns a dict of named terms, each with a 0-d tensor as its numerator and "
        "a count; terms over the same things share one count.",
        'Return `{"name": Term(value, count)}`, or use `mean_over(losses)` for losses given'
        " one a sample.",
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
}
