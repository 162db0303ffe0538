"""Error codes of a teacher's answers (S)."""

from __future__ import annotations

from bequeath.kernel.codes.code import Code

CODES = {
    "S701": Code(
        "the teacher cache is damaged again",
        "The teacher's kept answers failed their checksum, were made again, and fail it once "
        "more. Something between the program and the disk changes data.",
        "Set BEQUEATH_CACHE to a folder on another disk, or `train.cache: off`.",
    ),
    "S702": Code(
        "the teacher cache belongs to something else",
        "A cache is found by a digest of the teacher's tensors, its preprocessing, the data "
        "and the random views. The folder of that name says it was made from others: it was "
        "copied, renamed or edited.",
        "Remove it with `bequeath cache --clear KEY`; it will be made again.",
    ),
    "S703": Code(
        "the kept answers are not the teacher's",
        "Each time a cache is opened, 32 samples are put to the live teacher. Its answers "
        "differ from those kept by more than rounding: other kernels or threads, changed "
        "code, or answers that are random or depend on the rest of the batch.",
        "Remove the cache with `bequeath cache --clear KEY`, or set `train.cache: off` for a "
        "teacher that does not repeat itself.",
    ),
    "S704": Code(
        "endless views cannot be kept",
        "With `augment.views: 0` an image looks different in every epoch, so there is no "
        "finite set of answers to keep.",
        "Set `train.augment.views` to a number, or `train.cache` to `auto` or `off`.",
    ),
    "S705": Code(
        "the teacher's answers cannot be written",
        "The disk is full, or the folder of caches cannot be written. Nothing half-written is"
        " left; views that were complete are kept and used next time.",
        "Set BEQUEATH_CACHE to a folder with room, make room with `bequeath cache --clear`, "
        "or set `train.cache: off`.",
    ),
    "S706": Code(
        "a batch the teacher was not asked about",
        "A cached teacher knows answers by position in one data set, in certain views. A "
        "batch holds other samples at these positions; answering would be silently wrong.",
        "Use the data set the teacher was made with, or set `train.cache: off`.",
    ),
    "S707": Code(
        "the teacher's embedding is not known",
        "A method asked for what goes into the teacher's classifier, and the classifier could"
        " not be found in the model.",
        "Name its module: `models: {teacher: {ref: ..., head: path.of.the.classifier}}`.",
    ),
    "S708": Code(
        "the teacher's answer is not a number",
        "The teacher gave NaN or an infinity for some samples. No student can learn from that.",
        "Look at the samples that are named, at the teacher's weights and its preprocessing; "
        "in half precision try `train.precision: fp32`.",
    ),
    "S709": Code(
        "a teacher without a hash cannot be cached",
        "Kept answers are found by the teacher's content. A teacher that shows only its "
        "answers, and no hash, cannot be told from another one.",
        "Set `train.cache: auto`, or give the teacher with its weights.",
    ),
    "S711": Code(
        "answers to what a student says cannot be kept",
        "A method that learns on what the student itself writes asks the teacher about something "
        "new at each step; there is nothing that could be stored and used again.",
        "Set `train.cache` to `auto` or `off`.",
    ),
    "S710": Code(
        "there is no such teacher cache",
        "`bequeath cache --clear KEY` names a cache that is not there, or begins like several.",
        "See the keys with `bequeath cache`.",
    ),
}
