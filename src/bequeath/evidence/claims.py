"""A published claim as data: what is run, what would support it, what would not. No torch.

A claim file is one YAML per published system. Its statements are judged on a comparison:

- supported: the 95 % interval of the difference lies beyond `least` in the stated direction
  (`same`: the 90 % interval lies within +-least, two one-sided tests; `not lower`, `not higher`:
  the 90 % interval excludes a loss as large as `least`, one one-sided test);
- not supported: the interval excludes an effect as large as `least`;
- inconclusive: neither. More seeds or more test samples would tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bequeath.kernel.errors import JobError, Place, Problem
from bequeath.kernel.read_json import read_small

Scale = Literal["smoke", "small", "paper"]
ClaimVerdict = Literal["supported", "not supported", "inconclusive"]
MOST_VALUES = 20_000
SCALES: tuple[Scale, ...] = ("smoke", "small", "paper")
Name = Annotated[str, Field(min_length=1, max_length=200)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Fact(_Strict):
    """A figure as the source gives it."""

    says: Name
    where: Name


class AtScale(_Strict):
    """What to run at one scale.

    job: the job without `out`; the text `{data}` in it becomes the folder of the real data, and
    `{NAME}` the model that the job NAME of `prepare` made. prepare: jobs of one method that run
    first, in order, each with one seed (a teacher, a source model); where `{NAME@seed}` is written,
    with all seeds, and each seed of what follows has the model of its own.
    """

    job: dict[str, Any]
    prepare: dict[str, dict[str, Any]] = Field(default_factory=dict)
    seeds: int = Field(ge=1, le=1000)
    needs_data: tuple[str, ...] = Field(
        default=(), description="what must lie in the data folder, as paths below it"
    )
    minutes: float | None = Field(default=None, gt=0, description="about how long, on two cores")


class Statement(_Strict):
    """One thing the claim says, in a form that can turn out false.

    versus: another arm, or a reference's role; empty, the arm's own value is judged.
    metric: a metric of the record, or a number in its notes (`norm_ratio`, `notes.norm_ratio`).
    least: the smallest effect that counts, in the metric's unit.
    """

    name: Name
    kind: Literal["effect", "mechanism"]
    arm: Name
    versus: str | None = None
    metric: Name
    direction: Literal["higher", "lower", "same", "not lower", "not higher"]
    least: float = Field(default=0.0)
    rule: Literal["interval", "interval and sign-flip"] = "interval"
    decides: tuple[Scale, ...] = Field(
        default=SCALES, description="scales at which the verdict counts; elsewhere it is reported"
    )

    @model_validator(mode="after")
    def _sensible(self) -> Statement:
        if self.versus is not None and self.least < 0:
            raise ValueError("least is the size of an effect and not negative")
        bounded = self.direction not in ("higher", "lower")
        if bounded and (self.versus is None or self.least <= 0):
            raise ValueError(f"`{self.direction}` needs `versus` and a `least` above 0")
        if self.arm == self.versus:
            raise ValueError("an arm is not compared with itself")
        return self


class Claim(_Strict):
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,60}$", description="e.g. 62-nd")
    title: Name
    card: int = Field(ge=1, description="number of the system's card")
    paper: Name
    want: Name
    source: tuple[Fact, ...] = Field(min_length=1, description="the published figures")
    primary: str = "accuracy"
    margin: float = Field(default=0.01, ge=0, description="in the primary metric's unit")
    baseline: str | None = None
    scales: dict[Scale, AtScale] = Field(min_length=1)
    statements: tuple[Statement, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _distinct(self) -> Claim:
        names = [s.name for s in self.statements]
        if len(set(names)) != len(names):
            raise ValueError("two statements share a name")
        return self


def load_claim(path: Path) -> Claim:
    """Read a claim file. JobError J151 (no YAML), J152 (every wrong field, each with its place)."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        text = read_small(path).decode("utf-8")
        tree = YAML(typ="rt").load(text)
        values = _plain(tree)
    except (OSError, ValueError, RecursionError, YAMLError) as error:
        mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
        raise JobError(
            Problem(
                "J151",
                f"the claim file `{path.name}` cannot be read",
                label=(str(getattr(error, "problem", None) or error).splitlines() or [""])[0],
                place=None if mark is None else _place(path, text, mark.line, mark.column),
            )
        ) from error
    try:
        return Claim.model_validate(values)
    except ValidationError as error:
        raise JobError(
            [
                Problem(
                    "J152",
                    f"claim `{path.name}`: {e['msg'].removeprefix('Value error, ')}",
                    at=tuple(e["loc"]),
                    place=_locate(path, text, tree, tuple(e["loc"])),
                )
                for e in error.errors()
            ]
        ) from error


def find_claim(name: str, folder: Path) -> Claim:
    """The claim `name`: its id (`62-nd`), its card's number, or the id without it (`nd`)."""
    paths = sorted(folder.glob("*.yaml"))
    for path in paths:
        number, _, short = path.stem.partition("-")
        if name in (path.stem, number, short):
            return load_claim(path)
    import difflib

    known = [path.stem for path in paths]
    near = difflib.get_close_matches(name, known + [k.partition("-")[2] for k in known], n=1)
    raise JobError(
        Problem(
            "J153",
            f"there is no claim `{name}`",
            label=f"did you mean `{near[0]}`?" if near else "",
            notes=(f"claims here: {', '.join(known) or 'none'}",),
            remedies=("name a claim by its id or its method, e.g. `bequeath reproduce nd`",),
        )
    )


def scale_jobs(
    claim: Claim, scale: str, data: Path | None = None, made: Mapping[str, Path] | None = None
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """(the jobs to prepare by name, the job) of a claim at a scale, all without `out`.

    In their texts `{data}` becomes `data`, and `{NAME}` a model below `made[NAME]`, the runs of the
    job NAME. JobError J154 (the
    claim has no such scale), J155 (its data are not there).
    """
    at = next((v for k, v in claim.scales.items() if k == scale), None)
    if at is None:
        raise JobError(
            Problem(
                "J154",
                f"claim `{claim.id}` has no scale `{scale}`",
                label=f"it has: {', '.join(claim.scales)}",
                remedies=tuple(f"--scale {name}" for name in claim.scales),
            )
        )
    absent = [n for n in at.needs_data if data is None or not (data / n).exists()]
    if absent or (data is None and "{data}" in str([at.job, at.prepare])):
        raise JobError(
            Problem(
                "J155",
                f"claim `{claim.id}` at scale `{scale}` needs data that the project does not ship",
                label=f"missing: {', '.join(absent)}" if absent else "no data folder given",
                remedies=(
                    "set BEQUEATH_DATA to the folder that holds "
                    + (", ".join(at.needs_data) or "the data"),
                    *(f"--scale {n}" for n, v in claim.scales.items() if not v.needs_data),
                ),
            )
        )
    texts = {"data": str(data)}
    for name, folder in (made or {}).items():
        texts[name] = str(folder / "seed-0" / "model")
        texts[f"{name}@seed"] = str(folder / "seed-{seed}" / "model")
    written = str([at.job, at.prepare])
    first = {
        name: _filled(
            {
                "want": claim.want,
                **job,
                "seeds": at.seeds if f"{{{name}@seed}}" in written else 1,
            },
            texts,
        )
        for name, job in at.prepare.items()
    }
    return first, _filled({"want": claim.want, **at.job, "seeds": at.seeds}, texts)


def _filled(value: Any, texts: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        for name, text in texts.items():
            value = value.replace(f"{{{name}}}", text)
        return value
    if isinstance(value, dict):
        return {k: _filled(v, texts) for k, v in value.items()}
    return [_filled(v, texts) for v in value] if isinstance(value, list) else value


def _plain(tree: Any, room: list[int] | None = None) -> Any:
    """Round-trip nodes as plain dicts, lists and scalars. ValueError where aliases explode."""
    room = [MOST_VALUES] if room is None else room
    room[0] -= 1
    if room[0] < 0:
        raise ValueError(f"more than {MOST_VALUES} values, aliases followed")
    if isinstance(tree, dict):
        return {str(k): _plain(v, room) for k, v in tree.items()}
    if isinstance(tree, list):
        return [_plain(v, room) for v in tree]
    for kind in (bool, int, float, str):
        if isinstance(tree, kind):
            return kind(tree)
    return tree


def _locate(path: Path, text: str, tree: Any, loc: tuple[int | str, ...]) -> Place | None:
    """The deepest node on the way to `loc` that the file has."""
    place: tuple[int, int] | None = (0, 0)
    node: Any = tree
    for key in loc:
        try:
            lc: Any = node.lc
            place = lc.item(key) if isinstance(key, int) else lc.key(key)
            node = node[key]
        except (AttributeError, KeyError, IndexError, TypeError):
            break
    return None if place is None else _place(path, text, *place)


def _place(path: Path, text: str, line: int, column: int) -> Place:
    lines = text.splitlines()
    source = lines[line] if line < len(lines) else ""
    word = source[column:].split(":")[0].strip() or " "
    return Place(path.name, line + 1, column + 1, len(word), source)
