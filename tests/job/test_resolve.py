"""The first gate: types and keys, all mistakes at once, each at its place."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bequeath.job.api import load_job
from bequeath.job.document import Document, from_plain
from bequeath.job.job import Job
from bequeath.job.load import load_document
from bequeath.job.resolve import resolve
from bequeath.job.yaml import parse
from bequeath.kernel.codes import CODES
from bequeath.kernel.errors import JobError, Problem, render

GOOD: dict[str, Any] = {
    "want": "distill",
    "method": "kd",
    "models": {"teacher": "zoo:mlp?hidden=8,8", "student": {"ref": "zoo:mlp"}},
    "data": {"train": "sklearn:digits?split=train", "test": "sklearn:digits?split=test"},
}


def job_of(**changes: Any) -> Job:
    return resolve(Document(from_plain({**GOOD, **changes})))


def problems_of(text: str) -> list[Problem]:
    with pytest.raises(JobError) as error:
        resolve(parse(text, "job.yaml"))
    for problem in error.value.problems:
        assert problem.code in CODES
        assert problem.place is not None
        assert problem.place.file == "job.yaml"
    return error.value.problems


def wrong(**changes: Any) -> list[Problem]:
    with pytest.raises(JobError) as error:
        job_of(**changes)
    return error.value.problems


def pointed(problem: Problem) -> str:
    place = problem.place
    assert place is not None
    return place.text[place.column - 1 : place.column - 1 + place.length]


def test_a_small_job_is_filled_with_defaults() -> None:
    job = job_of()
    assert [(arm.label, arm.added) for arm in job.arms] == [("kd", False), ("ce", True)]
    assert job.seeds == (0, 1, 2)
    assert job.out == Path("runs/job")
    assert job.evaluate.data == "test" and job.evaluate.metrics == ("accuracy",)
    assert job.model_refs["teacher"].ref == "zoo:mlp"
    assert job.model_refs["teacher"].options.hidden == (8, 8)


def test_baselines_can_be_switched_off_and_are_not_doubled() -> None:
    assert [arm.label for arm in job_of(baselines=False).arms] == ["kd"]
    arms = job_of(method=["ce", "kd"]).arms
    assert [(arm.label, arm.added) for arm in arms] == [("ce", False), ("kd", False)]


GOOD_WITH = (
    "want: distill\nmethod: kd\nmodels: {teacher: 'zoo:mlp', student: 'zoo:mlp'}\n"
    "data: {train: 'sklearn:digits', test: 'sklearn:wine'}\nevaluate: {%s}\n"
)


def test_the_house_example_is_reported_as_designed() -> None:
    text = (
        "want: distill\n"
        "method:\n"
        "  - name: kd\n"
        "    temprature: 4\n"
        "models: {teacher: 'zoo:mlp', student: 'zoo:mlp'}\n"
        "data: {train: 'sklearn:digits', test: 'sklearn:wine'}\n"
    )
    (problem,) = problems_of(text)
    assert render(problem) == (
        "error[J103]: unknown key `temprature` in method `kd`\n"
        " --> job.yaml:4:5\n"
        "  |\n"
        "4 |     temprature: 4\n"
        "  |     ^^^^^^^^^^ did you mean `temperature`? (number > 0 and <= 1000, default 4.0)"
    )


def test_metrics_are_the_family_s_own() -> None:
    found = {p.at: p for p in problems_of(GOOD_WITH % "metrics: [acuracy, nll, nll]")}
    assert "did you mean `accuracy`?" in found[("evaluate", "metrics", 0)].label
    assert "named twice" in found[("evaluate", "metrics", 2)].message


def test_a_family_without_a_protocol_takes_none() -> None:
    text = "want: merge\nmethod: linear\nmodels: {a: {ref: 'file:a'}, b: {ref: 'file:b'}}\n"
    found = {(p.code, p.at) for p in problems_of(text + "protocol: {tasks: 3}\n")}
    assert ("J103", ("protocol",)) in found


def test_a_protocol_is_the_family_s_own() -> None:
    (problem,) = problems_of(GOOD_WITH % "" + "protocol: {tasks: 3}\n")
    assert (problem.code, problem.at) == ("J103", ("protocol", "tasks"))


def test_all_problems_come_at_once_in_the_order_of_the_file() -> None:
    text = """\
want: distil
metod: kd
models:
  teacher: {ref: "zoo:mlp", hiden: 3, größe: 1}
  student: "timm:resnet18?in_chans=x"
  2x: zoo:mlp
data:
  train: {ref: "npz:a.npz", take: -3}
  test: "floder:b"
seeds: [1, 1]
seeds: 3
evaluate: {metrics: acuracy, margin: -2}
budget: {time: 3 parsecs}
train:
  epochs: "12"
  lr: 0.1
  optimizer: {name: sgdd, lr: .nan, betas: [0.9]}
  augment: {flip: yes}
out: 3
"""
    found = problems_of(text)
    assert [(p.code, pointed(p)) for p in found] == [
        ("J102", "distil"),
        ("J104", "distil"),
        ("J103", "metod"),
        ("J103", "hiden"),
        ("J103", "größe"),
        ("J102", "in_chans=x"),
        ("J111", "2x"),
        ("J102", "-3"),
        ("J112", '"floder:b"'),
        ("J102", "seeds"),
        ("J105", "seeds"),
        ("J102", "acuracy"),
        ("J102", "-2"),
        ("J102", "3 parsecs"),
        ("J102", '"12"'),
        ("J103", "lr"),
        ("J102", "sgdd"),
        ("J102", ".nan"),
        ("J102", "betas"),
        ("J102", "yes"),
        ("J102", "3"),
    ]
    labels = " ".join(p.label for p in found)
    for word in ("`distill`", "`method`", "`hidden`", "`folder:`", "`sgd`"):
        assert f"did you mean {word}" in labels
    assert any("`optimizer.lr`" in r for p in found for r in p.remedies)


def test_the_place_is_right_in_flow_style_after_wide_characters() -> None:
    text = """{want: distill, "method": [{name: kd, temprature: 1}], 'models': {学: "zoo:mlp"}}"""
    found = problems_of(text)
    assert [pointed(p) for p in found] == ["temprature", "学"]
    source, caret = render(found[0]).splitlines()[3:5]
    assert source.index("temprature") == caret.index("^")


@pytest.mark.parametrize(
    "value", [True, "4", [4], {"a": 1}, None, 0, -1, float("nan"), 1e9, "warm"]
)
def test_a_temperature_is_a_number_in_its_bounds(value: Any) -> None:
    (problem,) = wrong(method={"name": "kd", "temperature": value})
    assert problem.code == "J102" and "number > 0 and <= 1000" in problem.label


@pytest.mark.parametrize("value", [1, "1", "yes", "no", None, [], 0])
def test_a_switch_is_true_or_false(value: Any) -> None:
    (problem,) = wrong(train={"augment": {"flip": value}})
    assert problem.code == "J102"


@pytest.mark.parametrize("value", [0, -1, [], [1, 1], [-1], "3", True, [True], 1.5, 1001, {}])
def test_seeds_are_a_count_or_different_numbers(value: Any) -> None:
    (problem,) = wrong(seeds=value)
    assert problem.code == "J102" and problem.at == ("seeds",)


def test_seeds_are_counted_from_zero_or_taken_as_they_are() -> None:
    assert job_of(seeds=4).seeds == (0, 1, 2, 3)
    assert job_of(seeds=[7, 3]).seeds == (7, 3)


def test_methods_may_stand_twice_under_labels() -> None:
    job = job_of(method=["kd", {"name": "kd", "as": "kd-hot", "temperature": 9}])
    assert [arm.label for arm in job.arms] == ["kd", "kd-hot", "ce"]
    assert job.arms[1].config.model_dump()["temperature"] == 9.0
    (problem,) = wrong(method=["kd", {"name": "kd", "temperature": 9}])
    assert problem.code == "J125" and problem.at == ("method", 1) and "as:" in problem.remedies[0]
    (problem,) = wrong(method=["kd", {"name": "nd", "as": "KD"}])
    assert problem.code == "J125"
    (problem,) = wrong(method={"name": "kd", "as": "ce"})
    assert problem.code == "J125" and "baseline" in problem.label


@pytest.mark.parametrize("label", ["..", ".a", "a/b", "", "a" * 61, 3, "a b", "ü"])
def test_a_label_is_safe_as_a_folder(label: Any) -> None:
    (problem,) = wrong(method={"name": "kd", "as": label})
    assert problem.code == "J102"


@pytest.mark.parametrize("method", [3, {}, {"temperature": 3}, {"name": 3}, [[]], [None]])
def test_what_is_no_method_is_refused(method: Any) -> None:
    assert wrong(method=method)[0].code in ("J102", "J104")


def test_no_method_and_too_many_are_refused() -> None:
    assert wrong(method=None)[0].code == "J104"
    assert wrong(method=[])[0].code == "J104"
    assert wrong(method=["kd"] * 51)[0].code == "J102"


@pytest.mark.parametrize("key", ["models", "data", "train", "evaluate", "budget"])
@pytest.mark.parametrize("value", [3, "x", [1]])
def test_a_section_is_a_mapping(key: str, value: Any) -> None:
    assert ("J102", (key,)) in [(p.code, p.at) for p in wrong(**{key: value})]


def test_empty_sections_are_defaults() -> None:
    assert job_of(train=None, budget=None, evaluate=None).train.epochs == job_of().train.epochs


@pytest.mark.parametrize("text", ["", "# nothing", "- a", "kd", "3"])
def test_what_is_no_mapping_is_no_job(text: str) -> None:
    assert problems_of(text)[0].code in ("J102", "J104")


def test_a_query_is_typed_like_settings_and_may_not_contradict_them() -> None:
    job = job_of(data={"train": "sklearn:digits?take=10&labels=false", "test": "sklearn:wine"})
    options = job.data_refs["train"].options
    assert (options.take, options.labels) == (10, False)
    (problem,) = wrong(models={"teacher": {"ref": "zoo:mlp?dropout=0.1", "dropout": 0.2}})
    assert problem.code == "J113"


def test_code_runs_only_when_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    witness = tmp_path / "ran"
    (tmp_path / "mine.py").write_text(
        '"""A method."""\n'
        "from pathlib import Path\n"
        "from bequeath.given.access import Needs\n"
        "from bequeath.methods.contract import Identity, MethodConfig, method\n"
        f"Path({str(witness)!r}).touch()\n"
        "@method(want='distill', paper='none', needs=Needs(), identity=(Identity('x', 'start'),))\n"
        "def mine(ctx, given, cfg: MethodConfig):\n"
        '    """Mine."""\n'
    )
    (tmp_path / "broken.py").write_text("1 / 0\n")
    data = {**GOOD, "method": "./mine.py:mine"}
    for changes in (
        {"method": "./mine.py:mine"},
        {"models": {"teacher": "py:mine.py:mine"}},
        {"models": {"teacher": {"ref": "file:a.safetensors", "arch": "py:mine.py:mine"}}},
        {"data": {"train": "py:mine:x"}},
    ):
        assert [p.code for p in wrong(**changes)] == ["J110"]
    assert not witness.exists()
    job = resolve(Document(from_plain(data)), allow_code=True)
    assert witness.exists() and job.arms[0].label == "mine"
    assert job.to_dict()["method"]["name"] == "./mine.py:mine"
    for name, code in (
        ("./none.py:mine", "J120"),
        ("./mine.py:other", "J121"),
        ("./broken.py:mine", "J123"),
    ):
        with pytest.raises(JobError) as error:
            resolve(Document(from_plain({**data, "method": name})), allow_code=True)
        assert [p.code for p in error.value.problems] == [code]


def test_a_shown_job_is_the_same_job(tmp_path: Path) -> None:
    path = tmp_path / "a b: ü.yaml"
    path.write_text(
        "want: distill\n"
        "method: [{name: kd, as: '3.0', temperature: 2}, nd]\n"
        "models: {teacher: 'zoo:mlp?hidden=4,4', student: {ref: zoo:mlp, weights: 'a: #b'}}\n"
        "data: {train: 'csv:x.csv?sep=%3B', test: {ref: 'npz:no', classes: ['a,b', 'c']}}\n"
        "seeds: [3]\nbudget: {time: 1h30m}\n",
        encoding="utf-8",
    )
    job = resolve(load_document(path, ["train.optimizer.lr=1e-4"]))
    for origins in (False, True):
        again = resolve(parse(job.to_yaml(origins=origins), "again"))
        assert again.to_dict() == job.to_dict()
    assert resolve(Document(from_plain(job.to_dict()))).to_dict() == job.to_dict()
    lines = {line.split("#")[0].strip(): line for line in job.to_yaml(origins=True).splitlines()}
    assert lines["lr: 0.0001"].endswith("# --set")
    assert lines["time: 5400.0"].endswith("a b: ü.yaml:6:16")
    assert lines["hidden: [4, 4]"].endswith("a b: ü.yaml:3:19")
    assert lines["clip: null"].endswith("# default")
    assert lines["- name: kd"].endswith("a b: ü.yaml:2:17")


def test_a_job_survives_a_process_boundary(tmp_path: Path) -> None:
    job = job_of().with_out(tmp_path / "x")
    again = pickle.loads(pickle.dumps(job))
    assert again.to_dict() == job.to_dict() and again.arms[0].method is job.arms[0].method


def test_python_and_the_file_give_the_same_errors(tmp_path: Path) -> None:
    with pytest.raises(JobError) as error:
        load_job({**GOOD, "seeds": 0, "traim": {}})
    assert [p.at for p in error.value.problems] == [("traim",), ("seeds",)]
    assert all(p.place is None for p in error.value.problems)
    with pytest.raises(JobError):
        load_job({"want": object()})


junk = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "ref", "as", "lr", "x", "time"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)
paths = st.sampled_from(
    [
        *("want", "method", "models", "models.teacher", "data.train", "data.train.ref", "graphs"),
        *("evaluate", "evaluate.metrics", "seeds", "budget.time", "train", "train.optimizer"),
        *("train.optimizer.betas", "train.schedule.milestones", "out", "baselines", "extends"),
        "x",
    ]
)


@given(st.dictionaries(paths, junk, max_size=3))
@settings(max_examples=150, deadline=None)
def test_no_value_makes_the_gate_itself_fail(changes: dict[str, Any]) -> None:
    """Whatever stands where: a job, or problems with known codes; never another exception."""
    data: dict[str, Any] = {**GOOD, "models": dict(GOOD["models"]), "data": dict(GOOD["data"])}
    for path, value in changes.items():
        *above, last = path.split(".")
        into = data
        for part in above:
            if not isinstance(into.get(part), dict):
                into[part] = {}
            into = into[part]
        into[last] = value
    try:
        job = resolve(Document(from_plain(data)))
    except JobError as error:
        assert error.problems and all(p.code in CODES for p in error.problems)
    else:
        assert resolve(parse(job.to_yaml(), "again")).to_dict() == job.to_dict()
