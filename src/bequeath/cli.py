"""The command line. What only looks (`list`, `show`, `check`, ...) never imports torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bequeath.terminal import (
    close_stdout,
    complain,
    done,
    print_json,
    print_problem,
    print_rich,
)

if TYPE_CHECKING:
    from bequeath.job.job import Job

HELP = """Move knowledge between models, and prove what came of it.

A job file says what you own and what you want: `bequeath run job.yaml`. Begin with `bequeath demo`.
"""
MOST_JOBS = 10_000
MOST = 100  # problems printed; `--json` has them all
EPILOG = "Exit codes: 0 done, 1 the run failed, 2 the job is wrong, 130 interrupted (run it again \
to go on)."

app = typer.Typer(
    help=HELP,
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

JobFile = Annotated[Path, typer.Argument(metavar="JOB", help="The job file (YAML).")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change the job: train.epochs=3. Repeatable."),
]
AllowCode = Annotated[
    bool, typer.Option("--allow-code", help="Let the job run Python of its own (py:, ./file.py).")
]
AsJson = Annotated[bool, typer.Option("--json", help="For machines: JSON on standard output.")]
Want = Annotated[str | None, typer.Option(metavar="FAMILY", help="Only this family.")]
Jobs = Annotated[
    str, typer.Option(metavar="N|auto", help="Runs at a time; auto decides by job and machine.")
]
On = Annotated[
    str,
    typer.Option(metavar="PLACE", help="local, ray, ray:auto, ray:HOST:PORT or ray://HOST:PORT."),
]
Out = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where the result goes.")]


class Scale(StrEnum):
    smoke = "smoke"
    small = "small"
    paper = "paper"


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        from bequeath import __version__

        typer.echo(f"bequeath {__version__}")
        raise typer.Exit


@app.command()
def run(
    job: JobFile,
    overrides: Sets = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over; else go on where it stopped.")
    ] = False,
    jobs: Jobs = "auto",
    on: On = "local",
    seeds: Annotated[int | None, typer.Option(min=1, help="How many seeds.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    allow_code: AllowCode = False,
) -> None:
    """Do a job: train, measure, compare, report."""
    more = [f"seeds={seeds}"] if seeds is not None else []
    at_a_time = _jobs(jobs)
    loaded = _load(job, [*(overrides or []), *more], allow_code)
    from bequeath.train.processes import hush, launched

    hush()
    from bequeath.fleet import run_job

    out = run_job(loaded, fresh=fresh, jobs=at_a_time, on=on, quiet=quiet)
    if launched().main:
        done(out)


@app.command()
def check(
    job: JobFile,
    overrides: Sets = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also open the models and the data.")
    ] = False,
    as_json: AsJson = False,
    allow_code: AllowCode = False,
) -> None:
    """Say everything that is wrong with a job, before anything runs."""
    from bequeath.kernel.errors import JobError

    try:
        loaded = _load(job, overrides or [], allow_code)
        if deep:
            from bequeath.fleet import check_deep

            check_deep(loaded)
    except JobError as error:
        if not as_json:
            raise
        print_json({"problems": [problem.to_dict() for problem in error.problems]})
        raise typer.Exit(error.exit_code) from None
    if as_json:
        print_json({"problems": []})
    else:
        from bequeath.kernel.errors import visible

        asked = len([arm for arm in loaded.arms if not arm.added])
        added = [arm.label for arm in loaded.arms if arm.added]
        extra = f" (and {', '.join(added)} to compare with)" if added else ""
        runs = len(loaded.arms) * len(loaded.seeds)
        typer.echo(
            f"{visible(str(job))}: nothing wrong. {_count(asked, 'method')}{extra}, "
            f"{_count(len(loaded.seeds), 'seed')}: {_count(runs, 'run')}."
        )


@app.command()
def show(
    job: JobFile, overrides: Sets = None, as_json: AsJson = False, allow_code: AllowCode = False
) -> None:
    """Print a job in full, with where each value came from."""
    from bequeath.job.load import load_document
    from bequeath.job.resolve import resolve

    resolved = resolve(load_document(job, overrides or []), allow_code=allow_code)
    if as_json:
        print_json(resolved.to_dict())
    else:
        typer.echo(resolved.to_yaml(origins=True), nl=False)


@app.command()
def schema(want: Want = None) -> None:
    """Print the JSON Schema of a job, for editors."""
    from bequeath.job.schema import job_schema

    _known_family(want)
    print_json(job_schema(want))


@app.command(name="list")
def list_(want: Want = None, as_json: AsJson = False) -> None:
    """List the methods, by family."""
    from bequeath.job.tell import method_facts
    from bequeath.methods.catalog import all_methods

    _known_family(want)
    methods = [m for m in all_methods().values() if want in (None, m.want)]
    if as_json:
        rows = ",\n".join(json.dumps(method_facts(m), ensure_ascii=False) for m in methods)
        typer.echo(f"[\n{rows}\n]")
        return
    from bequeath.job.screen import method_table

    print_rich(method_table(methods))


@app.command()
def suggest(
    job: JobFile, overrides: Sets = None, as_json: AsJson = False, allow_code: AllowCode = False
) -> None:
    """Say what can be done with what a job owns."""
    from bequeath.job.suggest import suggest as suggest_methods

    found = suggest_methods(job, overrides or [], allow_code=allow_code)
    past = _past_verdicts()
    if as_json:
        print_json(
            [
                {
                    "want": one.method.want,
                    "method": one.method.name,
                    "title": one.method.title,
                    "applies": one.applies,
                    "lacks": list(one.lacks),
                    "cost": one.cost,
                    "unused": list(one.unused),
                    "evidence": past.get(one.method.name, []),
                }
                for one in found
            ]
        )
        return
    from bequeath.job.screen import suggestion_table

    print_rich(suggestion_table(found, past))


@app.command()
def explain(
    topic: Annotated[str, typer.Argument(help="J103, kd, kd.temperature or train.optimizer.lr")],
) -> None:
    """Explain an error code, a method or a setting."""
    from bequeath.job import tell
    from bequeath.job.screen import topic_page

    try:
        found = tell.topic(topic)
    except LookupError as error:
        complain(str(error.args[0]))
        raise typer.Exit(2) from None
    print_rich(topic_page(found))


@app.command()
def report(out: Annotated[Path, typer.Argument(metavar="OUT", help="A job's folder.")]) -> None:
    """Make the report of a finished job again."""
    from bequeath.fleet import render_report

    done(render_report(out))


@app.command()
def doctor(
    out: Annotated[Path, typer.Argument(metavar="RUN", help="A job's folder.")],
    as_json: AsJson = False,
) -> None:
    """Say what is the matter with finished runs, and what to do."""
    from bequeath.evidence.doctor import diagnose

    found = diagnose(out)
    if as_json:
        print_json([finding.model_dump(mode="json") for finding in found])
        return
    from bequeath.job.screen import finding_list

    print_rich(finding_list(found))


@app.command()
def reproduce(
    name: Annotated[str, typer.Argument(help="The claim, e.g. nd.")],
    scale: Annotated[Scale, typer.Option(help="How much of the published work.")] = Scale.smoke,
    out: Out = None,
    jobs: Jobs = "auto",
    on: On = "local",
) -> None:
    """Test a published claim."""
    at_a_time = _jobs(jobs)
    from bequeath.fleet import reproduce as reproduce_claim

    reproduce_claim(name, scale.value, out, jobs=at_a_time, on=on)


@app.command()
def demo(out: Out = None) -> None:
    """Distil a small model on data that is here, in about a minute."""
    from bequeath.fleet import demo as run_demo

    done(run_demo(out or Path("bequeath-demo")))


@app.command()
def cache(
    key: Annotated[str | None, typer.Argument(help="With --clear: only this one.")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Delete what is kept.")] = False,
) -> None:
    """Show, or clear, the teachers' answers kept on disk."""
    from bequeath.job.screen import cache_table
    from bequeath.signals import cache as answers

    if clear:
        answers.clear(key)
    print_rich(cache_table(answers.contents()))


def run_cli(arguments: Sequence[str]) -> int:
    """The whole program: 0 done, 1 the run failed, 2 the job (or the command) is wrong, 130."""
    from bequeath.kernel.errors import BequeathError, JobError, RunError, Spoken

    try:
        code = app(list(arguments), standalone_mode=False, prog_name="bequeath")
        return code if isinstance(code, int) else 0
    except JobError as error:
        for problem in error.problems[:MOST]:
            print_problem(problem)
        count = len(error.problems)
        if count > 1:
            shown = f"; the first {MOST} are above" if count > MOST else ""
            complain(f"{count} problems{shown}")
        return error.exit_code
    except RunError as error:
        print_problem(error.problem)
        return error.exit_code
    except Spoken as error:
        return error.exit_code
    except BequeathError as error:
        complain(str(error))
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        complain("interrupted; run the same command again to go on")
        return 130
    except BrokenPipeError:
        close_stdout()
        return 0
    except Exception as error:
        return _usage(error)


def _usage(error: Exception) -> int:
    """Click's own errors (an unknown option) as it words them; anything else goes up."""
    shown = getattr(error, "show", None)
    if shown is None:
        raise error
    shown()
    return int(getattr(error, "exit_code", 2))


def _load(path: Path, overrides: Sequence[str], allow_code: bool) -> Job:
    from bequeath.job.api import load_job

    return load_job(path, overrides, allow_code=allow_code)


def _jobs(text: str) -> int | Literal["auto"]:
    if text == "auto":
        return "auto"
    if text.isascii() and text.isdigit() and 0 < int(text) <= MOST_JOBS:
        return int(text)
    raise typer.BadParameter(
        f"`{text}` is neither `auto` nor a number from 1 to {MOST_JOBS}", param_hint="--jobs"
    )


def _past_verdicts() -> dict[str, list[str]]:
    """method -> what its claim came to, where the checkout's evidence is at hand."""
    from bequeath.evidence.verdicts import evidence_folder, past_verdicts

    folder = evidence_folder()
    return past_verdicts(folder) if folder is not None else {}


def _known_family(want: str | None) -> None:
    from bequeath.job.words import one_of
    from bequeath.methods.family import families

    if want is not None and want not in families():
        raise typer.BadParameter(f"there is no family `{want}`; {one_of(want, families())}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
