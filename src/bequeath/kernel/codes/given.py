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
    "G470": Code(
        "nobody judges the samples",
        "Made samples have no labels to be held against; how near they come to real ones is seen "
        "in the features of a classifier that no method sees.",
        "Add `judge:` under `models:`, a classifier trained on such data (`want: distill`, "
        "`method: ce`).",
    ),
    "G471": Code(
        "the judge is no trained classifier",
        "Samples are compared in what goes into the judge's classifier, so that must be known, and "
        "the weights must have been trained.",
        "Give a trained classifier, as `file:FOLDER`; say `head: PATH` where its last layer is not "
        "found.",
    ),
    "G472": Code(
        "a metric that needs a teacher",
        "`trajectory_error` is the distance from where the teacher's walk ends; the job has none.",
        "Name a teacher, or leave the metric out.",
    ),
    "G473": Code(
        "too few samples to compare",
        "Precision, recall, density and coverage look at the k nearest of each sample, so there "
        "must be more than k made ones and more than k real ones.",
        "Raise `protocol.samples`, give more data to judge by, or lower `protocol.neighbours`.",
    ),
    "G474": Code(
        "student and teacher make samples of different shape",
        "A student learns to end where the teacher's walk ends, so both work on samples of one "
        "shape.",
        "Leave the student out (it begins as a copy of the teacher), or give both the same "
        "`preprocess: {size: N}`.",
    ),
    "G480": Code(
        "entities without text",
        "A method chooses by the texts of entities, and the graph has none.",
        "Give a file of lines `entity TAB text` as `text: FILE`, or take the entities' own names "
        "with `text: names`.",
    ),
    "G481": Code(
        "more clusters than entities",
        "K-means cannot make more clusters than there are entities.",
        "Lower `clusters`.",
    ),
    "G482": Code(
        "more clusters in a pool than there are",
        "`nearest` clusters make a pool. With more than there are, every pool is everyone, and the "
        "method would be uniform sampling under another name.",
        "Lower `nearest` or raise `clusters`.",
    ),
    "G460": Code(
        "too few candidates",
        "A search chooses among candidates; with one, or with fewer than asked for, it cannot.",
        "Give a table with more rows, or ask for fewer with `protocol.pool`.",
    ),
    "G461": Code(
        "no pool of candidates",
        "A search needs candidates with cheap scores and an objective; the data set named `pool` "
        "holds samples to learn from.",
        "Give a table with a row for each candidate: `pool:FILE`.",
    ),
    "G462": Code(
        "the budget pays for every candidate",
        "With as many queries as candidates the best is known for sure, and all methods are equal.",
        "Lower `protocol.budget`, or give more candidates.",
    ),
    "G463": Code(
        "two candidates of one name",
        "Queries are counted by candidate, and random choices are made by name.",
        "Keep one row for each candidate, or name another column with `id`.",
    ),
    "G464": Code(
        "no scores to search with",
        "Methods of this family rank candidates by what is cheap to know; no column is taken "
        "unasked, because one of them might be what is to be found out.",
        "Name them with `metrics: [...]` of the pool; cells of NAS-Bench-201 can be counted or "
        "computed (`protocol.metrics`).",
    ),
    "G465": Code(
        "the candidates' names mean nothing",
        "Scores can be counted or computed only where it is known how to build a candidate.",
        "Say `space: nas201` of the pool, or give the scores as columns.",
    ),
    "G466": Code(
        "candidates that are no cells",
        "A cell of NAS-Bench-201 is written |op~0|+|op~0|op~1|+|op~0|op~1|op~2|.",
        "Name the column that holds the cells with `id`.",
    ),
    "G467": Code(
        "no images to compute proxies on",
        "Zero-cost proxies are computed on one batch of labelled images.",
        "Add `data.batch`, for example `npz:train.npz?take=64`, and set `protocol.batch` to no "
        "more than it holds.",
    ),
    "G468": Code(
        "a weight for no score",
        "`weights` names a score that the pool does not have.",
        "Choose among the scores listed.",
    ),
    "G469": Code(
        "a metric that cannot be known here",
        "Regret and rank compare with the best candidate of all, which is unknown while the "
        "objective is computed as it is asked for; `reported` needs a column to report.",
        "Judge by `best_found`, or name a column with `report`.",
    ),
    "G490": Code(
        "the method is for other answers",
        "A classifier answers once for a sample, a language model once for each token, and a "
        "diffusion model makes samples of noise. Most methods are written for one of them.",
        "Choose a method for this kind of model: `ce`, `kd`, `swing`, `gkd`, `minillm` and `uld` "
        "distil language models, "
        "`want: generate` is for diffusion models (`zoo:denoiser`, `zoo:unet`).",
    ),
    "G491": Code(
        "language models with different tokens",
        "A student learns what its teacher says of each token, so both must cut texts alike and "
        "number the tokens alike.",
        "Let the student take over the teacher's: `vocabulary: FOLDER` for zoo:gpt; two models of "
        "transformers must have the same tokenizer. `method: uld` aligns models with other tokens.",
    ),
    "G492": Code(
        "the metric is not measured here",
        "Language models and classifiers have different metrics; those of canaries or of "
        "membership need the data they are about.",
        "Name one of those in the message with `evaluate: {metrics: [...]}`.",
    ),
    "G493": Code(
        "nothing to audit with",
        "An audit looks for canaries in a language model, or tells members of the training data "
        "from others; the data for neither is there, or of another kind.",
        "Add `data.canaries` (canaries:FILE.csv), or `data.members` and `data.nonmembers`.",
    ),
    "G494": Code(
        "the model cannot read the canaries",
        "A canary has characters that are not in the model's vocabulary, or more tokens than the "
        "model reads. It can then not have learnt it, and an exposure would mean nothing.",
        "Give the canaries that its training text held.",
    ),
    "G495": Code(
        "nobody can judge what students write",
        "`protocol.write` lets each student write and its teacher say how likely that is; for this "
        "both must be language models that number the same tokens.",
        "Leave `protocol.write` out, or give a teacher with the student's tokens.",
    ),
    "G496": Code(
        "prompts leave nothing to learn",
        "`prompt` names what comes before the answers, which alone are learnt. Which tokens are "
        "the prompt's is told by the characters they stand for; a tokenizer in plain Python does "
        "not say. And a model reads so many tokens at most, which here the prompts fill.",
        "Do what the message says.",
    ),
    "G420": Code(
        "the source's classes have no names",
        "Which classes source and target share is told by their names. A file of weights alone "
        "does not hold them, or another number was named than the model has outputs.",
        "Name the outputs in order: `protocol: {classes: [...]}`; folders saved by bequeath know "
        "them.",
    ),
    "G421": Code(
        "source and target share no class",
        "Adaptation carries over what the source knows; with no class in common there is nothing, "
        "and mostly the same classes are written differently.",
        "Give the classes the same names, in the data or with `protocol: {classes: [...]}`.",
    ),
    "G422": Code(
        "another setting than the classes show",
        "The names of the classes tell whether the target lacks some or has some of its own.",
        "Leave `protocol.setting` out, or choose other classes of the data (`?classes=`).",
    ),
    "G423": Code(
        "no unknown samples to judge by",
        "The H-score and its parts ask whether samples of classes the source never saw are found; "
        "the judging data have none.",
        "Judge by `accuracy`, or give judging data with such classes.",
    ),
    "G424": Code(
        "target and judge are different data",
        "A model adapted to one sort of data (their kind and shape) is judged on another.",
        "Read both alike; images of two sizes need a model with `preprocess: {size: N}`.",
    ),
    "G425": Code(
        "only images in memory can be changed",
        "`turn` and `invert` make another domain of images; text and vectors have none, and images "
        "that stay in their files are not changed.",
        "Leave the setting out, or read fewer or smaller images (`take`, `size`).",
    ),
    "G430": Code(
        "nothing to mask",
        "Masks lie on linear and convolution layers, and the model has none.",
        "Give a model of linear and convolution layers.",
    ),
    "G431": Code(
        "a mask cannot own a weight",
        "Two layers share one tensor, or a weight is computed from others (weight normalisation). "
        "A task that trains it would change what another task reads, so old tasks would not stay "
        "as they are.",
        "Untie the weights, or take the weight normalisation off the model.",
    ),
    "G432": Code(
        "too many tasks for the classes",
        "A stream of kind `split` gives every task classes of its own: two at least where the "
        "task's number is given, one otherwise.",
        "Lower `protocol.tasks`, or choose another kind of stream.",
    ),
    "G433": Code(
        "these data do not make this stream",
        "Rotated tasks turn images, permuted ones reorder pixels or numbers; texts have neither.",
        "Use `stream: split`, or read the data as images where they are.",
    ),
    "G434": Code(
        "the method must be told the task",
        "The method has a network for each task. With `task_ids: false` nothing says which of "
        "them a sample is for.",
        "Say `protocol: {task_ids: true}`, or leave the method out.",
    ),
    "G435": Code(
        "too short for two phases",
        "The method divides the training of a task between its masks and its weights; one epoch "
        "(or step) cannot be divided.",
        "Train for two epochs or more, or learn masks only (`weights: none`).",
    ),
    "G436": Code(
        "a task has no samples",
        "The data that are learnt from or those that judge have no sample of the classes of a "
        "task, or fewer of a class than there are tasks to share them.",
        "Take more samples, fewer tasks, or other classes.",
    ),
    "G450": Code(
        "trials are larger than what is revealed",
        "A small trial draws up to n1 samples of one source, and the pilots hold fewer.",
        "Lower `protocol.sizes`, reveal more with `protocol.pilot`, or give more data.",
    ),
    "G451": Code(
        "the sources hold fewer samples than are to be trained on",
        "A mixture of N samples takes up to N from the sources, and together they have fewer.",
        "Lower `protocol.size`; or leave the judge out, and the selection is made but not trained.",
    ),
    "G452": Code(
        "too few mixtures to fit a law",
        "A surface has more coefficients than there are mixtures that may be tried, so it would "
        "fit anything.",
        "Use a smaller `protocol.step`, a larger `protocol.held_out`, or a simpler `form`.",
    ),
    "G453": Code(
        "texts without a model that embeds them",
        "Distances between data sets are taken between vectors, and texts are none.",
        "Add a frozen text classifier as model `embedder`.",
    ),
    "G454": Code(
        "the target has no labels to judge with",
        "A selection for a target is judged by training a classifier of the target's classes. "
        "Methods do not see those labels; the protocol needs them.",
        "Give labelled data as `target`, or leave the judge out: then the selection is the result.",
    ),
    "G455": Code(
        "there is nothing to train on the selection",
        "The selection is judged by what a model trained on it reaches, and the job has no model "
        "`model`, or one whose classifier cannot be replaced by one of the target's classes.",
        "Add `model:` under `models:`; with a `target` its last layer must be a linear one.",
    ),
    "G456": Code(
        "the number of clusters is not known",
        "A source without classes is grouped into clusters, as many as it has classes unless "
        "`clusters` says how many.",
        "Say `clusters: N` of the method.",
    ),
    "G457": Code(
        "POT is not installed",
        "Distances between data sets are solved by the library POT.",
        "Install it with `pip install 'bequeath[ot]'`.",
    ),
    "G458": Code(
        "optimal transport did not converge",
        "The solver gave up before its duals were good; gradients from them would mislead.",
        "Raise `blur`, or set it to 0 for the exact solver.",
    ),
    "G459": Code(
        "a manifest of rows cannot be used",
        "Its files are missing, or are not those it was written with.",
        "Make the selection again, or copy its folder whole.",
    ),
    "G440": Code(
        "nothing to measure forgetting against",
        "The gap to the gold, and everything else that is said relative to a model that never "
        "learnt the forgotten samples, needs the runs of `retrain`.",
        "Leave the baselines on, add `retrain` to `method`, or ask in `evaluate.metrics` for what "
        "needs no gold (`forget_accuracy`, `mia_advantage`).",
    ),
    "G441": Code(
        "a request that cannot be met",
        "It names a class, a task or a position that is not there, or more samples than are held.",
        "Correct the request; classes, tasks and positions are numbered from 0.",
    ),
    "G442": Code(
        "samples to forget that were never learnt",
        "Taking out of a model what was never put in takes out something else.",
        "Send samples exactly as they were learnt: the same pixels, numbers or text.",
    ),
    "G443": Code(
        "samples to forget twice",
        "They are named twice, or an earlier request has forgotten them already. A second removal "
        "would take out something else.",
        "Ask for each sample once.",
    ),
    "G444": Code(
        "nothing would be left",
        "After this request no sample is held, and no model can be made.",
        "Forget less.",
    ),
    "G445": Code(
        "texts need a model",
        "A head in closed form works on numbers; a model must make them from the texts.",
        "Give `models: {model: ...}` whose classifier the head replaces.",
    ),
}
