from __future__ import annotations

from pathlib import Path

import pytest
from made_runs import add_arm, answers, record
from pydantic import ValidationError

from bequeath.evidence.claims import Claim, Statement, find_claim, load_claim, scale_jobs
from bequeath.evidence.compare import compare
from bequeath.evidence.judge import decide, judge
from bequeath.evidence.record import find_runs, load_records
from bequeath.evidence.verdicts import load_judgements, save_judgement, verdict_table
from bequeath.kernel.errors import JobError, RunError

CLAIM = """\
id: 62-nd
title: ND makes student features long and well aimed
card: 62
paper: arXiv 2305.17007
want: distill
baseline: kd
source:
  - {says: "CIFAR-100 R56/R20, KD 70.66 to KD++ 72.53", where: README}
scales:
  smoke:
    seeds: 3
    prepare:
      teacher: {method: ce, models: {student: {ref: "zoo:mlp"}}}
    job:
      method: [kd, nd]
      models: {teacher: {ref: "file:{teacher}"}}
  small:
    seeds: 5
    needs_data: [cifar10]
    job:
      method: [kd, nd]
      data: {train: {ref: "npz:{data}/cifar10/train.npz"}, list: ["{data}/x", 3]}
statements:
  - {name: nd beats kd, kind: effect, arm: nd, versus: kd, metric: accuracy,
     direction: higher, least: 0.003, decides: [small, paper]}
  - {name: longer features, kind: mechanism, arm: nd, versus: kd, metric: notes.norm_ratio,
     direction: higher, least: 0.1}
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "62-nd.yaml").write_text(CLAIM)
    return tmp_path


@pytest.fixture
def claim(folder) -> Claim:
    return load_claim(folder / "62-nd.yaml")


def make_runs(out: Path, *, kd: float, nd: float, ratios=(1.0, 2.0)) -> None:
    for stream, (arm, rate, ratio) in enumerate([("kd", kd, ratios[0]), ("nd", nd, ratios[1])]):
        add_arm(out, arm, answers(rate, 4, 500, stream=stream), notes={"norm_ratio": ratio})


def judged(claim: Claim, out: Path, scale="small"):
    comparison = compare(out, claim.primary, claim.margin, claim.baseline)
    return judge(claim, comparison, load_records(find_runs(out)), scale)


def test_all_three_verdicts_from_runs(claim, tmp_path):
    cases = {
        "supported": {"kd": 0.70, "nd": 0.85},
        "not supported": {"kd": 0.85, "nd": 0.70},
        "inconclusive": {"kd": 0.800, "nd": 0.803},
    }
    for verdict, rates in cases.items():
        out = tmp_path / verdict
        make_runs(out, **rates)
        found = judged(claim, out)
        assert found.statements[0].verdict == verdict
        assert found.verdict == verdict
        assert found.statements[0].seeds == [0, 1, 2, 3]
        assert found.statements[0].over == "seeds and samples"
        assert found.statements[0].p_sign_flip_least == 0.125


def test_a_mechanism_is_read_from_the_notes_and_paired_by_seed(claim, tmp_path):
    make_runs(tmp_path / "out", kd=0.8, nd=0.8, ratios=(1.0, 1.05))
    found = judged(claim, tmp_path / "out", "smoke")
    effect, mechanism = found.statements
    assert (mechanism.arm_mean, mechanism.versus_mean) == (1.05, 1.0)
    assert mechanism.difference == pytest.approx(0.05)
    # 0.05 in every seed is less than the 0.1 that counts.
    assert mechanism.verdict == found.verdict == "not supported"
    assert not effect.decides


def test_what_only_reports_does_not_decide(claim, tmp_path):
    make_runs(tmp_path / "out", kd=0.85, nd=0.70)
    found = judged(claim, tmp_path / "out", "smoke")
    assert found.statements[0].verdict == "not supported"
    assert found.verdict == "supported"


def test_a_number_that_is_not_there_is_inconclusive_and_named(claim, tmp_path):
    make_runs(tmp_path / "out", kd=0.8, nd=0.9)
    found = judge(
        claim,
        compare(tmp_path / "out", baseline="kd"),
        [record(arm, 0, 0.5, 10) for arm in ("kd", "nd")],
        "smoke",
    )
    assert found.statements[1].verdict == "inconclusive"
    assert "`notes.norm_ratio`" in found.statements[1].why


def test_one_seed_supports_no_claim(claim, tmp_path):
    for stream, (arm, rate) in enumerate([("kd", 0.6), ("nd", 0.9)]):
        right = answers(rate, 1, 500, stream=stream)
        add_arm(tmp_path / "out", arm, right, notes={"norm_ratio": float(stream)})
    found = judged(claim, tmp_path / "out")
    assert [s.verdict for s in found.statements] == ["inconclusive", "inconclusive"]
    assert found.statements[0].low > 0.2


def statement(**changes) -> Statement:
    usual = {"name": "s", "kind": "effect", "arm": "a", "versus": "b", "metric": "accuracy",
             "direction": "higher", "least": 0.01}  # fmt: skip
    return Statement.model_validate(usual | changes)


@pytest.mark.parametrize(
    ("changes", "bounds", "verdict"),
    [
        ({}, (0.011, 0.03), "supported"),
        ({}, (0.009, 0.03), "inconclusive"),
        ({}, (-0.02, 0.009), "not supported"),
        ({}, (-0.02, 0.02), "inconclusive"),
        ({"least": 0.0}, (0.0, 0.0), "not supported"),
        ({"direction": "lower"}, (-0.03, -0.011), "supported"),
        ({"direction": "lower"}, (-0.03, -0.009), "inconclusive"),
        ({"direction": "lower"}, (-0.009, 0.02), "not supported"),
        ({"direction": "same"}, (-0.009, 0.009), "supported"),
        ({"direction": "same"}, (-0.02, 0.009), "inconclusive"),
        ({"direction": "same"}, (0.02, 0.03), "not supported"),
        ({"direction": "not lower"}, (-0.009, 0.09), "supported"),
        ({"direction": "not lower"}, (-0.02, 0.09), "inconclusive"),
        ({"direction": "not lower"}, (-0.09, -0.02), "not supported"),
        ({"direction": "not higher"}, (-0.09, 0.009), "supported"),
        ({"direction": "not higher"}, (-0.09, 0.02), "inconclusive"),
        ({"direction": "not higher"}, (0.02, 0.09), "not supported"),
        ({"versus": None, "least": 2.0}, (2.1, 2.5), "supported"),
        ({"versus": None, "least": 2.0, "direction": "lower"}, (1.1, 1.5), "supported"),
        ({"versus": None, "least": 2.0, "direction": "lower"}, (2.1, 2.5), "not supported"),
        ({}, None, "inconclusive"),
    ],
)
def test_verdicts_by_hand(changes, bounds, verdict):
    assert decide(statement(**changes), bounds, bounds)[0] == verdict


def test_the_stricter_rule_asks_the_sign_flip_too():
    strict = statement(rule="interval and sign-flip")
    assert decide(strict, (0.015, 0.03), (0.015, 0.03), 0.03125)[0] == "supported"
    assert decide(strict, (0.015, 0.03), (0.015, 0.03), 0.0625)[0] == "inconclusive"


def test_statements_that_mean_nothing_are_refused():
    for changes in (
        {"least": -0.1},
        {"versus": "a"},
        {"direction": "same", "least": 0.0},
        {"direction": "not lower", "least": 0.0},
        {"direction": "not lower", "versus": None},
    ):
        with pytest.raises(ValidationError):
            statement(**changes)


def test_a_claim_is_found_by_id_number_or_method(folder):
    assert {find_claim(n, folder).id for n in ("62-nd", "62", "nd")} == {"62-nd"}
    with pytest.raises(JobError, match="did you mean `nd`") as caught:
        find_claim("ndd", folder)
    assert caught.value.problems[0].code == "J153"


def test_the_job_of_a_scale(claim, tmp_path):
    _, job = scale_jobs(claim, "smoke")
    assert (job["want"], job["seeds"], job["method"]) == ("distill", 3, ["kd", "nd"])
    first, job = scale_jobs(claim, "smoke", made={"teacher": Path("made")})
    assert (first["teacher"]["seeds"], first["teacher"]["method"]) == (1, "ce")
    assert job["models"]["teacher"]["ref"] == "file:made/seed-0/model"
    (tmp_path / "cifar10").mkdir()
    _, job = scale_jobs(claim, "small", tmp_path)
    assert job["data"]["train"]["ref"] == f"npz:{tmp_path}/cifar10/train.npz"
    assert job["data"]["list"] == [f"{tmp_path}/x", 3]
    with pytest.raises(JobError) as caught:
        scale_jobs(claim, "paper")
    assert caught.value.problems[0].code == "J154"
    for data in (None, tmp_path / "elsewhere"):
        with pytest.raises(JobError, match="BEQUEATH_DATA") as caught:
            scale_jobs(claim, "small", data)
        assert caught.value.problems[0].code == "J155"


def test_a_wrong_claim_file_is_refused_at_its_place(folder):
    path = folder / "62-nd.yaml"
    path.write_text(CLAIM.replace("card: 62", "card: many").replace("kind: effect", "sort: effect"))
    with pytest.raises(JobError) as caught:
        load_claim(path)
    problems = {p.at: p for p in caught.value.problems}
    assert set(problems) == {
        ("card",), ("statements", 0, "kind"), ("statements", 0, "sort")
    }  # fmt: skip
    assert {p.code for p in caught.value.problems} == {"J152"}
    assert problems[("card",)].place.line == 3
    assert (
        problems[("statements", 0, "sort")].place.line
        == CLAIM.splitlines().index(
            next(line for line in CLAIM.splitlines() if "nd beats kd" in line)
        )
        + 1
    )
    path.write_text("id: [")
    with pytest.raises(JobError) as caught:
        load_claim(path)
    assert caught.value.problems[0].code == "J151"


def test_judgements_are_kept_and_tabled(claim, tmp_path):
    assert verdict_table(tmp_path / "evidence") == "No claim has been judged yet.\n"
    make_runs(tmp_path / "out", kd=0.70, nd=0.85)
    found = judged(claim, tmp_path / "out")
    path = save_judgement(found, tmp_path / "evidence")
    save_judgement(judged(claim, tmp_path / "out", "smoke"), tmp_path / "evidence")
    assert path.relative_to(tmp_path).as_posix() == "evidence/62-nd/small.json"
    assert load_judgements(tmp_path / "evidence")[1] == found
    rows = verdict_table(tmp_path / "evidence").splitlines()
    assert [row.split(" | ")[1] for row in rows[2:]] == ["smoke", "small"]
    points = 100 * found.statements[0].difference
    assert f"nd - kd, accuracy +{points:.1f} points [" in rows[3]
    assert "**supported**" in rows[3]
    assert "reported, does not decide" in rows[2]
    path.write_text("{}")
    with pytest.raises(RunError) as caught:
        verdict_table(tmp_path / "evidence")
    assert caught.value.problem.code == "R568"


def test_every_claim_of_the_project_is_readable():
    claims = sorted((Path(__file__).parents[2] / "claims").glob("*.yaml"))
    if not claims:
        pytest.skip("no claim files in this checkout")
    for path in claims:
        assert load_claim(path).id == path.stem
