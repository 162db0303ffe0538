"""Error codes of resources, folders, records (R)."""

from __future__ import annotations

from bequeath.kernel.codes.code import Code

CODES = {
    "R501": Code(
        "no place to write",
        "The output folder cannot be made or written into.",
        "Choose another with `out:` or `--set out=FOLDER`.",
    ),
    "R502": Code(
        "the models do not fit into memory",
        "The weights of all models, and for the one that trains its gradients and the optimizer's"
        " moments, take more memory than is free.",
        "Choose a smaller model, or a machine with more memory.",
    ),
    "R503": Code(
        "the disk is too small",
        "The models and checkpoints of all runs would not fit on the disk of the output folder.",
        "Make room, or choose a folder on another disk.",
    ),
    "R504": Code(
        "the disk budget is too small",
        "The models and checkpoints of all runs are larger than `budget.disk`.",
        "Fewer seeds or methods, or a larger budget.",
    ),
    "R505": Code(
        "the memory budget is too small",
        "A few steps of each method were tried on the job's own data, and took more memory "
        "than `budget.memory`.",
        "Lower `train.batch_size` and raise `train.accumulate` by as much, or raise the budget.",
    ),
    "R506": Code(
        "the time budget is too small",
        "A few steps of each method were timed on the job's own data; at that speed all runs "
        "would take more than twice `budget.time`.",
        "Lower `train.epochs`, `seeds` or the number of methods, take fewer samples, or raise"
        " the budget.",
    ),
    "R510": Code(
        "another process is at work here",
        "Two processes writing into one output folder would lose each other's results. The lock is "
        "the system's, and free as soon as its process ends, however it ends; a job that was "
        "killed while it did several runs at a time holds it until those have ended.",
        "Wait for it, or choose another folder.",
    ),
    "R511": Code(
        "the folder holds another job's results",
        "A run there was made with other settings, models or data than this job has; a "
        "comparison of the two would compare nothing.",
        "Choose another `out:`, or start over with `--fresh`, which removes those results.",
    ),
    "R512": Code(
        "the folder is not ours",
        "The output folder holds files and was not made by bequeath.",
        "Choose an empty or a new folder.",
    ),
    "R520": Code(
        "out of the memory budget",
        "The run holds more memory than `budget.memory` allows, so it was stopped. Its last "
        "checkpoint is kept.",
        "Lower `train.batch_size` and raise `train.accumulate` by the same factor (the result"
        " is the same), or raise the budget.",
    ),
    "R521": Code(
        "a checkpoint could not be written",
        "The disk did not take the file: it is full, or not writable. The checkpoint before "
        "it is untouched.",
        "Free some space or choose another `out`, then run the same command again: it goes on.",
    ),
    "R522": Code(
        "a result could not be written",
        "The system did not take a file of the output folder: the disk is full or fails, or "
        "writing is not allowed. What was complete before is untouched, and nothing half-written "
        "is left.",
        "Free some space, or allow writing there, then run the same command again: it goes on.",
    ),
    "R523": Code(
        "what is kept for later runs cannot be written",
        "Vectors of texts are computed once and kept beside the teachers' answers, for all jobs. "
        "The disk there is full or fails, or writing is not allowed.",
        "Set the environment variable BEQUEATH_CACHE to a folder with room, or free some space; "
        "then run the same command again: it goes on.",
    ),
    "R530": Code(
        "workers were lost again and again",
        "The process of a run ended without a word, or its machine went away, and so it did when "
        "the run was started again. Most often the system has ended it because memory ran out.",
        "Run the same command again with fewer runs at a time (`--jobs 1`); it goes on from the "
        "last checkpoints.",
    ),
    "R531": Code(
        "another process is still at a run",
        "Two processes at one run would spoil each other's checkpoints. The lock goes when its "
        "holder ends, however it ends, so there is one.",
        "Wait for that process, or end it; then run the same command again.",
    ),
    "R532": Code(
        "Ray is missing",
        "Runs on several machines are handed out by Ray, which is not installed here.",
        "Install the extra: `pip install 'bequeath[ray]'`.",
    ),
    "R533": Code(
        "no such place to run",
        "`--on` names this machine (`local`) or a Ray cluster: `ray` starts one here, `ray:auto` "
        "is the one that is running, `ray:HOST:PORT` and `ray://HOST:PORT` are others.",
        "Correct the place, or start a cluster with `ray start --head`.",
    ),
    "R534": Code(
        "a worker sees other files",
        "Runs on several machines read the models and data and write their results under the same "
        "paths. On the machine that is named these are missing, or hold something else, or its "
        "bequeath is another.",
        "Let `out` and the data lie on a file system that all machines share, under one path.",
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
        "Differences are paired by sample; that needs the same samples, labels and classes in"
        " every run and reference.",
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
    "R569": Code(
        "a metric means different things in two runs",
        "Runs are compared metric by metric, by name. Under one name two runs keep numbers of"
        " another unit, or one where more is better and one where less is.",
        "Give the two quantities different names, or run the job again with `--fresh`.",
    ),
}
