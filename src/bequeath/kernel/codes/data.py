"""Error codes of data sets (D)."""

from __future__ import annotations

from bequeath.kernel.codes.code import Code

CODES = {
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
    "D270": Code(
        "a list of canaries lacks columns or cells",
        "Canaries are read from a CSV file with a header and the columns `prefix` (what comes "
        "before the secret) and `secret`; `alphabet` and `repeat` may be added.",
        "Name the columns so and fill every row.",
    ),
    "D271": Code(
        "two canaries share a prefix",
        "A secret is asked for by its prefix. With two secrets behind one prefix a model that "
        "knows both would look as if it knew half of each.",
        "Give each canary a prefix of its own.",
    ),
    "D272": Code(
        "canaries cannot be made or used as described",
        "An exposure needs to know what the secret was drawn from: all texts of its length over an "
        "alphabet. The secret has other characters, or the numbers make no sense.",
        "Follow the message; for secrets other than digits or letters add a column `alphabet`.",
    ),
    "D273": Code(
        "not a reference to canaries",
        "`canaries` of a text says which secrets to hide in it, by the same reference as an audit "
        "uses to look for them.",
        "Write canaries:digits?count=20&length=4 or canaries:FILE.csv.",
    ),
    "D280": Code(
        "a graph lacks a split",
        "A knowledge graph is learnt from train triples and judged by test triples. The folder "
        "has no file for one of them.",
        "Name the files (`train: FILE`, `test: FILE`), or give one file of all triples as "
        "`tsv:FILE`, from which test triples are drawn.",
    ),
    "D281": Code(
        "lines are no triples",
        "Each line of a graph's file is head, relation and tail with one character between them; "
        "some have more or fewer columns, or an empty name.",
        "Mend the lines named, or say `sep` if the character is another one.",
    ),
    "D282": Code(
        "a graph is empty",
        "There is no triple to train on, or none to judge by, in the file or after `unseen`, "
        "`overlap` and `entities` have left triples out.",
        "Check the file and these settings.",
    ),
    "D283": Code(
        "triples name what was never trained",
        "A valid or test triple has an entity or a relation that does not occur in train. There is "
        "nothing learnt to answer it with, and how it is counted changes the result.",
        "Say `unseen: drop` to leave such triples out, or `unseen: keep` to keep their entities, "
        "untrained. Many of them mean mostly that the files do not belong together.",
    ),
    "D284": Code(
        "the same triple in two splits",
        "A triple that judges is also one that is trained on (or chosen by), so part of the result "
        "would be memory.",
        "Say `overlap: drop` to leave such triples out of valid and test, or mend the files.",
    ),
    "D285": Code(
        "entities without text",
        "A text file is given for the graph, and some entities do not occur in it.",
        "Complete the file, or say `missing_text: name` or `missing_text: none`.",
    ),
    "D286": Code(
        "lines say no text",
        "Each line of a graph's text file is an entity, a tab and its text; some are not.",
        "Mend the lines named.",
    ),
    "D287": Code(
        "fewer entities than asked for",
        "`entities` asks for a part of the graph that is larger than the graph.",
        "Ask for fewer, or leave `entities` out.",
    ),
}
