"""Every method of the catalog keeps the contract. A new one is in here without a line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import method_cases
import pytest
from method_cases import CLASSES, NoTinyCase, case, run
from pydantic import Field

from bequeath.given.access import Access, DataNeed, Labels, ModelNeed, Needs
from bequeath.job.api import load_job
from bequeath.kernel.errors import AccessDenied, JobError
from bequeath.methods.catalog import all_methods, family_of
from bequeath.methods.contract import Identity, Method, MethodConfig, Outcome, method

METHODS = list(all_methods().values())
every_method = pytest.mark.parametrize("one", METHODS, ids=lambda m: m.key)


def test_there_are_methods():
    assert {m.name for m in METHODS} >= {"ce", "kd", "dkd", "nd"}


@every_method
def test_result_is_an_ordinary_model(one: Method, tmp_path: Path):
    method_cases.check_result(one, tmp_path)


@every_method
def test_repeatable(one: Method, tmp_path: Path):
    method_cases.check_repeatable(one, tmp_path)


@every_method
def test_goes_on_where_it_was_stopped(one: Method, tmp_path: Path):
    assert method_cases.check_resumes(one, tmp_path) >= 2


@every_method
def test_frozen_models_stay_frozen(one: Method, tmp_path: Path):
    method_cases.check_frozen(one, tmp_path)


@every_method
def test_sees_what_it_declares_and_no_more(one: Method, tmp_path: Path):
    method_cases.check_sealed(one, tmp_path)
    done = run(case(one), tmp_path / "strangers")
    with pytest.raises(AccessDenied):
        done.given.model("stranger")
    with pytest.raises(AccessDenied):
        done.given.data("stranger")
    assert len(done.given.attempts) == 2


@every_method
def test_identities(one: Method, tmp_path: Path):
    method_cases.check_identities(one, tmp_path)


def job_for(one: Method, without: tuple[str, str] | None = None) -> dict:
    """A job with every role the method declares, but one."""
    if own := method_cases.own_case(one, "job"):
        job = own(one)
        if without is not None:
            job[without[0]].pop(without[1])
        return job
    needs = method_cases.needs_of(case(one))
    models = {role: {"ref": "zoo:mlp?hidden=16,8"} for role in needs.models}
    data = {role: {"ref": "sklearn:digits?split=train"} for role in needs.data}
    if without is not None:
        {"models": models, "data": data}[without[0]].pop(without[1])
    data.setdefault("test", {"ref": "sklearn:digits?split=test"})
    return {"want": one.want, "method": one.name, "models": models, "data": data}


@every_method
def test_every_declared_role_is_asked_for(one: Method, tmp_path: Path):
    load_job(job_for(one), [f"out={tmp_path / 'out'}"])
    required = [("models", r) for r, n in one.needs.models.items() if not n.optional]
    required += [("data", r) for r, n in one.needs.data.items() if not n.optional]
    required += [("graphs", r) for r in one.needs.graphs]
    assert required
    for section, role in required:
        if role == "*":
            continue
        with pytest.raises(JobError) as caught:
            load_job(job_for(one, (section, role)), [f"out={tmp_path / 'out'}"])
        found = {p.code: p for p in caught.value.problems}
        assert "G401" in found and f"`{role}`" in found["G401"].message


@every_method
def test_needs_name_roles_the_family_has(one: Method):
    result = family_of(one.want).result
    if result in one.needs.models:
        assert one.needs.models[result].trains


@every_method
def test_config(one: Method):
    for config in method_cases.configs(one):
        typed = one.Config.model_validate(config)
        assert one.Config.model_validate_json(typed.model_dump_json()) == typed
    schema = one.Config.model_json_schema()
    assert schema["additionalProperties"] is False
    for name, setting in schema.get("properties", {}).items():
        assert setting["description"].strip(), name
        assert setting["source"].strip(), f"`{name}` does not say where its default is from"
        if "search" in setting:
            how, *rest = setting["search"]
            assert how in ("log", "linear", "choice")
            if how != "choice":
                low, high = rest
                assert low <= setting["default"] <= high and (low > 0 or how == "linear"), name
                for end in (low, high):
                    one.Config.model_validate({name: end})


@every_method
def test_documented(one: Method):
    assert one.paper.strip() and one.title.endswith(".") and "\n" not in one.title
    assert len(one.doc.splitlines()) > 4
    assert Path(one.file).stem == one.name and Path(one.file).parent.name == one.want


def test_reading_the_catalog_imports_no_torch():
    code = (
        "import sys; from bequeath.methods.catalog import all_methods; "
        "[m.Config.model_json_schema() for m in all_methods().values()]; "
        "print(*sorted({'torch', 'numpy', 'accelerate', 'transformers'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


# What the tests above would say of a method that does not keep the contract.

STUDENT_AND_TEACHER = Needs(
    models={
        "teacher": ModelNeed(Access.WEIGHTS),
        "student": ModelNeed(Access.WEIGHTS, trains=True),
    },
    data={"train": DataNeed(Labels.NONE)},
)
UNCHANGED = (Identity("no training leaves the student as it was", "start", train={"epochs": 0}),)


class Config(MethodConfig):
    weight: float = Field(1.0, description="unused")


def made(body, needs=STUDENT_AND_TEACHER, identity=UNCHANGED) -> Method:
    def bad(ctx, given, cfg: Config) -> Outcome:
        """A method that does not keep the contract."""
        return body(ctx, given)

    return method(want="distill", paper="none", needs=needs, identity=identity)(bad)


def fitting(trained=lambda student, teacher: student, noise=lambda: 1.0, reach=None):
    """A body that trains, with something wrong in it."""

    def body(ctx, given):
        from bequeath.train.terms import mean_over

        student, teacher = given.model("student").load(), given.model("teacher").load()
        factor = noise()

        def step(batch):
            if reach is not None:
                reach(given, batch)
            apart = (student(batch) - factor * teacher(batch)).square().mean(dim=1)
            return {"apart": mean_over(apart)}

        ctx.fit(trained(student, teacher), given.data("train"), step)
        return Outcome(models={"student": student})

    return body


def test_a_well_behaved_method_passes(tmp_path):
    good = made(fitting())
    method_cases.check_result(good, tmp_path / "result")
    method_cases.check_repeatable(good, tmp_path / "repeat")
    method_cases.check_resumes(good, tmp_path / "resume")
    method_cases.check_frozen(good, tmp_path / "frozen")
    method_cases.check_sealed(good, tmp_path / "sealed")
    method_cases.check_identities(good, tmp_path / "identity")


def test_no_identity_is_refused():
    with pytest.raises(TypeError, match="at least one Identity"):
        made(fitting(), identity=())


def test_a_false_identity_fails(tmp_path):
    false = (Identity("training leaves the student as it was", "start"),)
    with pytest.raises(AssertionError, match="leaves the student as it was: weights are"):
        method_cases.check_identities(made(fitting(), identity=false), tmp_path)


def test_no_tiny_case_fails(tmp_path):
    needs = Needs(STUDENT_AND_TEACHER.models, STUDENT_AND_TEACHER.data, graphs=("facts",))
    with pytest.raises(NoTinyCase, match="needs a graph"):
        method_cases.check_result(made(fitting(), needs=needs), tmp_path)


def test_no_result_fails(tmp_path):
    with pytest.raises(AssertionError, match="handed back no result"):
        method_cases.check_result(made(lambda ctx, given: Outcome()), tmp_path)


def test_chance_outside_the_seed_fails(tmp_path):
    import random

    dice = random.SystemRandom()
    with pytest.raises(AssertionError):
        method_cases.check_repeatable(made(fitting(noise=dice.random)), tmp_path)


def test_state_outside_the_checkpoint_fails(tmp_path):
    def counting(ctx, given):
        from bequeath.train.terms import mean_over

        student, calls = given.model("student").load(), [0]

        def step(batch):
            calls[0] += 1
            return {"size": mean_over(student(batch).square().mean(dim=1), float(calls[0]))}

        ctx.fit(student, given.data("train"), step)
        return Outcome(models={"student": student})

    with pytest.raises(AssertionError, match="stopped at look"):
        method_cases.check_resumes(made(counting), tmp_path)


def test_a_trained_teacher_fails(tmp_path):
    from torch import nn

    both = made(fitting(lambda student, teacher: nn.ModuleList([student, teacher])))
    with pytest.raises(AssertionError, match="`teacher` was changed"):
        method_cases.check_frozen(both, tmp_path)


def test_a_teacher_in_the_checkpoint_fails(tmp_path):
    from torch import nn

    def carried(student, teacher):
        return nn.ModuleList([student, teacher.requires_grad_(False)])

    with pytest.raises(AssertionError, match="lies in a checkpoint"):
        method_cases.check_frozen(made(fitting(carried)), tmp_path)


def test_a_peek_at_labels_fails(tmp_path):
    def peek(given, batch):
        try:
            batch["y"]
        except AccessDenied:
            given.data("train")  # swallowed, and seen all the same

    with pytest.raises(AssertionError):
        method_cases.check_sealed(made(fitting(reach=peek)), tmp_path)


def test_tiny_data_has_every_class():
    assert set(method_cases.vectors(0).y.tolist()) == set(range(len(CLASSES)))
