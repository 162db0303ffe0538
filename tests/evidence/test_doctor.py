"""Each check of the doctor: a run made to have the trouble, and one made without."""

from __future__ import annotations

import json

import numpy as np
import pytest
from made_runs import CLASSES, add_arm, add_run, answers, labels, record

from bequeath.evidence.answer import sentence
from bequeath.evidence.compare import compare
from bequeath.evidence.doctor import Finding, diagnose
from bequeath.evidence.predictions import from_arrays, save_predictions
from bequeath.evidence.record import load_record, save_record
from bequeath.kernel.errors import RunError

N = 300


def only(found: list[Finding], check: str, arm: str | None = None) -> Finding:
    (one,) = [f for f in found if f.check == check and (arm is None or f.arm == arm)]
    return one


def with_log(out, arm, lines, seeds=3):
    for seed in range(seeds):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (out / "runs" / arm / f"seed-{seed}" / "log.jsonl").write_text(text)


def two_arms(out, better=0.9, seeds=3, n=N):
    add_arm(out, "ce", answers(0.8, seeds, n, stream=1), baseline=True)
    add_arm(out, "kd", answers(better, seeds, n, stream=2))


@pytest.mark.parametrize(
    ("rate", "level", "words"),
    [(0.97, "fine", "there is something to hand on"), (0.6, "wrong", "ahead of `teacher`")],
)
def test_a_teacher_is_worth_imitating_where_it_is_better_than_the_student_alone(
    tmp_path, rate, level, words
):
    two_arms(tmp_path)
    teacher = answers(rate, 1, N, stream=3)[0]
    add_run(tmp_path / "references" / "teacher", "teacher", 0, teacher)
    found = only(diagnose(tmp_path), "teacher")
    assert (found.level, words in found.says) == (level, True)
    gap = answers(0.8, 3, N, stream=1).mean() - teacher.mean()
    assert found.numbers["difference"] == pytest.approx(gap)
    assert bool(found.do) == (level == "wrong")


def test_a_teacher_that_equals_the_student_is_looked_at(tmp_path):
    two_arms(tmp_path)
    same = answers(0.8, 3, N, stream=1)[0]
    add_run(tmp_path / "references" / "teacher", "teacher", 0, same)
    assert only(diagnose(tmp_path), "teacher").level == "look"


def test_a_source_that_was_made_worse_is_wrong_and_a_taught_model_behind_its_teacher_is_not(
    tmp_path,
):
    add_arm(tmp_path, "shot", answers(0.7, 3, N, stream=1))
    for role in ("source", "teacher"):
        better = answers(0.9, 1, N, stream=3)[0]
        add_run(tmp_path / "references" / role, role, 0, better)
    found = {f.level: f for f in diagnose(tmp_path) if f.check == "as it came"}
    assert set(found) == {"wrong", "fine"}
    assert "behind `source`" in found["wrong"].says and "made it worse" in found["wrong"].says
    assert "behind `teacher`" in found["fine"].says


def test_a_difference_within_noise_says_how_many_seeds_would_show_it(tmp_path):
    add_arm(tmp_path, "ce", answers(0.80, 3, 100, stream=1, spread=0.03), baseline=True)
    add_arm(tmp_path, "kd", answers(0.81, 3, 100, stream=2, spread=0.03))
    found = only(diagnose(tmp_path), "difference")
    needed, least = found.numbers["seeds_needed"], found.numbers["least_detectable"]
    assert found.level == "look" and "within noise" in found.says
    assert needed == np.ceil(3 * (least / abs(found.numbers["difference"])) ** 2) > 3
    assert f"{int(needed)} seeds" in found.do.replace(",", "")


def test_a_clear_gain_is_fine_and_a_clear_loss_is_not(tmp_path):
    two_arms(tmp_path / "gain", better=0.9)
    two_arms(tmp_path / "loss", better=0.6)
    gain, loss = (only(diagnose(tmp_path / f), "difference") for f in ("gain", "loss"))
    assert (gain.level, loss.level) == ("fine", "wrong")
    assert gain.numbers["low"] > 0 > loss.numbers["high"]


def test_a_difference_below_the_margin_is_nothing_wrong(tmp_path):
    right = answers(0.8, 3, 2000, stream=1)
    fewer = right.copy()
    for row in fewer:
        row[np.flatnonzero(row)[:8]] = 0
    add_arm(tmp_path, "ce", right, baseline=True)
    add_arm(tmp_path, "kd", fewer)
    found = only(diagnose(tmp_path), "difference")
    assert found.numbers["high"] < 0 and found.level == "fine" and not found.do
    assert "less than the margin of 1.0 point of accuracy" in found.says
    said = sentence(compare(tmp_path))
    assert "kd loses to ce by 0.4 points of accuracy, less than the margin of 1.0 point" in said


def test_one_seed_says_nothing_of_the_next(tmp_path):
    two_arms(tmp_path, seeds=1)
    found = only(diagnose(tmp_path), "difference")
    assert found.level == "look" and "--seeds" in found.do


def test_gradients_that_point_apart_fight(tmp_path):
    two_arms(tmp_path)
    with_log(tmp_path, "kd", [{"step": s, "cosines": {"ce & kd": -0.6}} for s in (1, 51)])
    with_log(tmp_path, "ce", [{"step": 1, "cosines": {"a & b": 0.2}}])
    found = diagnose(tmp_path)
    assert only(found, "gradients", "kd").level == "wrong"
    assert only(found, "gradients", "kd").numbers == {"cosine": -0.6, "lowest": -0.6, "looks": 6.0}
    assert only(found, "gradients", "ce").level == "fine"


def share(step, kd):
    return {"step": step, "terms": {"kd": {"value": 1.0, "share": kd}, "ce": {"share": 1 - kd}}}


@pytest.mark.parametrize(("kd", "level"), [(0.0, "wrong"), (0.004, "look"), (0.4, "fine")])
def test_a_term_without_a_part_in_the_gradient_is_silent(tmp_path, kd, level):
    two_arms(tmp_path)
    with_log(tmp_path, "kd", [share(s, kd) for s in (1, 51, 101)])
    found = only(diagnose(tmp_path), "silent term")
    assert found.level == level
    assert found.numbers["share"] == pytest.approx(kd)


def test_a_term_that_was_seen_in_the_first_step_only_is_not_called_silent(tmp_path):
    two_arms(tmp_path)
    with_log(tmp_path, "kd", [share(1, 0.0), {"step": 2, "terms": {"kd": {"value": 1.0}}}])
    assert only(diagnose(tmp_path), "silent term").level == "unknown"


@pytest.mark.parametrize(
    ("loss", "level", "words"),
    [
        (lambda t: 2.0, "look", "from its first tenth to its last"),
        (lambda t: 2.0 - 1.5 * t, "look", "still fell"),
        (lambda t: 0.5 + 1.5 * np.exp(-9 * t), "fine", "fell by"),
    ],
)
def test_a_loss_that_did_not_fall_or_had_not_ended_falling(tmp_path, loss, level, words):
    two_arms(tmp_path)
    with_log(tmp_path, "kd", [{"step": s + 1, "loss": loss(s / 99)} for s in range(100)])
    found = only(diagnose(tmp_path), "learning")
    assert found.level == level and words in found.says


def collapsed_run(folder, arm, seed, pred):
    n = len(pred)
    label = labels(n)
    save_record(record(arm, seed, float((pred == label).mean()), n), folder)
    p = np.full(n, 0.4)
    said = {"classes": CLASSES, "label": label, "pred": pred, "confidence": p, "p_label": p}
    terms = from_arrays(arm=arm, seed=seed, idx=np.arange(n), answers={**said, "nll": p})
    save_predictions(terms, folder)


def test_answers_of_one_class_are_a_collapse(tmp_path):
    label = labels(N)
    for arm, pred in {
        "all": label,
        "one": np.zeros(N, dtype=int),
        "two": np.where(label == 2, 0, label),
        "most": np.where(np.arange(N) < N - 12, 0, label),
    }.items():
        collapsed_run(tmp_path / "runs" / arm / "seed-0", arm, 0, pred)
    found = diagnose(tmp_path)
    assert {a: only(found, "collapse", a).level for a in ("all", "one", "two", "most")} == {
        "all": "fine",
        "one": "wrong",
        "two": "look",
        "most": "wrong",
    }
    assert "commonest" in only(found, "collapse", "one").says
    assert "`owl`" in only(found, "collapse", "two").says
    assert only(found, "collapse", "all").numbers["effective_classes"] == pytest.approx(1.0)
    assert only(found, "collapse", "most").numbers["effective_classes"] < 0.5


def test_a_seal_that_was_tried_is_told_with_what_was_reached_for(tmp_path):
    two_arms(tmp_path)
    assert only(diagnose(tmp_path), "seal").level == "fine"
    folder = tmp_path / "runs" / "kd" / "seed-1"
    one = load_record(folder)
    one.seal.attempts.append("data.test: labels")
    save_record(one, folder)
    found = only(diagnose(tmp_path), "seal")
    assert (found.level, found.arm, found.numbers) == ("wrong", "kd", {"attempts": 1.0})
    assert "data.test: labels" in found.says


def test_seeds_that_change_nothing_and_runs_that_the_budget_ended(tmp_path):
    add_arm(tmp_path, "ce", answers(0.8, 3, N, stream=1, spread=0.03), baseline=True)
    add_arm(tmp_path, "kd", np.repeat(answers(0.8, 1, N, stream=2), 3, axis=0))
    folder = tmp_path / "runs" / "ce" / "seed-2"
    cut = load_record(folder).model_dump()
    cut["train"] = {"steps": 5, "epochs": 0.5, "stopped": "budget"}
    save_record(type(load_record(folder)).model_validate(cut), folder)
    found = diagnose(tmp_path)
    assert only(found, "seeds").arm == "kd"
    assert only(found, "budget").numbers == {"runs": 1.0, "epochs": 0.5}


def test_a_missing_run_is_told(tmp_path):
    add_arm(tmp_path, "ce", answers(0.8, 3, N, stream=1), baseline=True)
    add_arm(tmp_path, "kd", answers(0.9, 2, N, stream=2))
    found = only(diagnose(tmp_path), "runs")
    assert "`kd`, seed 2" in found.says


def test_the_worst_comes_first_and_an_empty_folder_is_refused(tmp_path):
    two_arms(tmp_path, better=0.6)
    levels = [f.level for f in diagnose(tmp_path)]
    assert levels == sorted(levels, key=["wrong", "look", "unknown", "fine"].index)
    with pytest.raises(RunError, match="R564"):
        diagnose(tmp_path / "nothing")
