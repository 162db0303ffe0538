"""Error codes of the job file: syntax, keys, values, methods, claims (J)."""

from __future__ import annotations

from bequeath.kernel.codes.code import Code

CODES = {
    "J100": Code(
        "the job file cannot be read",
        "There is no such file, it may not be opened, or it is not UTF-8 text.",
        "Check the path and the encoding.",
    ),
    "J101": Code(
        "not YAML",
        "The file breaks the rules of YAML 1.2 at the place shown, so nothing after it can be"
        " understood.",
        "Indent with spaces, close brackets and quotes, and quote text that holds `: ` or "
        "begins with a sign such as `@` or `*`.",
    ),
    "J102": Code(
        "wrong value",
        "The key is right, the value is of the wrong type or out of its bounds. `yes`, `no`, "
        "`on` and `off` are texts in YAML 1.2; a quoted number is a text too.",
        "Write a value as described beside the caret.",
    ),
    "J103": Code(
        "unknown key",
        "A key nobody reads would be a setting that silently does nothing; so it is refused.",
        "Take the key that was suggested, or remove it. `bequeath explain METHOD` lists a "
        "method's settings, `bequeath show JOB` all of a job's.",
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
        "A job file is bounded in bytes, in depth and in values (aliases followed), so that a"
        " file from a stranger cannot fill the memory.",
        "Put data into data files; a job only refers to them.",
    ),
    "J107": Code(
        "a tag is refused",
        "YAML tags (`!!python/...`, `!include`) can make objects or run code. A job is plain data.",
        "Remove the tag. To share parts between jobs use `extends:`.",
    ),
    "J108": Code(
        "`extends` does not lead to a job",
        "`extends:` takes the path of one job file, from the folder of the file that says it;"
        " the files may not form a circle.",
        "Correct the path, or break the circle.",
    ),
    "J109": Code(
        "`--set` cannot be applied",
        "`--set a.b=1` names a place in the job by keys, and by numbers in lists, counted from 0.",
        "Correct the path; `bequeath show JOB` shows what there is.",
    ),
    "J110": Code(
        "the job wants to run code",
        "`py:` references and methods in `./file.py:name` run Python from outside bequeath. A"
        " job may come from anybody, so that happens only when you say so.",
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
        "`method: ./file.py:name` points at a file that does not exist; the path starts at "
        "the working directory.",
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
        "Each arm of a comparison has its own folder and its own line in the report, so each "
        "needs its own label. Labels that differ only in case count as the same.",
        "Give one of them a label: `{name: kd, as: kd-hot, temperature: 8}`.",
    ),
    "J126": Code(
        "unknown variable",
        "`${name}` stands for a text under `vars:`, and there is none of that name.",
        "Define it under `vars:`, with `--set vars.name=...`, or correct the name.",
    ),
    "J151": Code(
        "a claim file cannot be read",
        "A claim is one YAML 1.2 file; this one is not there, not UTF-8 or not YAML.",
        "Mend the syntax at the place shown.",
    ),
    "J152": Code(
        "a claim file says something a claim cannot",
        "Claims are typed like jobs: unknown keys, missing fields and statements that cannot "
        "turn out false are refused.",
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
        "Set BEQUEATH_DATA to the folder that holds what the message names, or choose a "
        "smaller scale.",
    ),
    "J156": Code(
        "there are no claims here",
        "`reproduce` runs the claims that lie in `claims/`, and neither this folder nor the "
        "checkout has any.",
        "Run it in a checkout of bequeath.",
    ),
}
