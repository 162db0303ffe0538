from __future__ import annotations

import numpy as np
import pytest
from made_runs import CLASSES, add_arm, add_run, answers

from bequeath.evidence.compare import compare
from bequeath.evidence.comparison import Comparison
from bequeath.kernel.errors import RunError

N = 400


def test_a_clear_gain_is_better_and_the_sentence_says_by_how_much_and_at_what_price(tmp_path):
    ce, nd = answers(0.80, 5, N, stream=1), answers(0.87, 5, N, stream=2)
    add_arm(tmp_path, "ce", ce, baseline=True, train_s=2.0)
    add_arm(tmp_path, "nd", nd, train_s=2.24)
    found = compare(tmp_path)
    pair = found.versus_baseline[0]
    assert found.baseline == "ce"
    assert (pair.arm, pair.versus, pair.verdict) == ("nd", "ce", "better")
    assert pair.difference == pytest.approx(nd.mean() - ce.mean())
    assert pair.interval.low < pair.difference < pair.interval.high
    assert pair.interval.over == "seeds and samples"
    assert pair.p_sign_flip == pair.p_sign_flip_least == 0.0625
    assert pair.time_ratio == pytest.approx(1.12)
    points = 100 * pair.difference
    assert found.sentence.startswith(f"nd beats ce by {points:.1f} points of accuracy (95 % CI ")
    assert "5 seeds, paired) and costs 12 % more time." in found.sentence
    assert any("0.0625" in note for note in found.notes)
    assert Comparison.model_validate_json(found.model_dump_json()) == found


def test_equal_arms_differ_by_exactly_nothing_and_are_never_better(tmp_path):
    same = answers(0.8, 3, N, stream=1, spread=0.03)
    add_arm(tmp_path, "ce", same, baseline=True)
    add_arm(tmp_path, "copy", same)
    for margin, verdict in ((0.0, "not distinguishable"), (0.01, "equivalent")):
        pair = compare(tmp_path, margin=margin).versus_baseline[0]
        assert pair.difference == pair.gain == 0.0
        assert pair.interval.low < 0 < pair.interval.high  # half a flip either way
        assert (pair.verdict, pair.p_sign_flip) == (verdict, 1.0) and pair.p > 0.9
    found = compare(tmp_path)
    assert "copy is as good as ce within 1.0 point of accuracy (90 % CI" in found.sentence
    assert found.flips[0].mended == found.flips[0].broken == 0
    assert found.flips[0].mended_samples == []


def test_a_small_difference_among_noise_is_not_distinguishable(tmp_path):
    add_arm(tmp_path, "ce", answers(0.80, 3, 100, stream=1, spread=0.03), baseline=True)
    add_arm(tmp_path, "kd", answers(0.81, 3, 100, stream=2, spread=0.03))
    found = compare(tmp_path)
    pair = found.versus_baseline[0]
    assert pair.verdict == "not distinguishable"
    assert pair.interval.low < 0 < pair.interval.high
    assert pair.least_detectable > abs(pair.difference)
    assert "kd and ce are not distinguishable" in found.sentence
    assert "would have been seen" in found.sentence


def test_lower_is_better_turns_gain_and_verdict(tmp_path):
    for arm, level in (("ce", 0.5), ("kd", 0.3)):
        for seed in range(4):
            nll = {"nll": {"value": level + 0.01 * seed, "direction": "lower", "n": N}}
            folder = tmp_path / "runs" / arm / f"seed-{seed}"
            right = answers(1 - level / 2, 1, N, stream=seed)[0]
            add_run(folder, arm, seed, right, metrics=nll, baseline=arm == "ce")
    found = compare(tmp_path, "nll", margin=0.02)
    pair = found.versus_baseline[0]
    assert pair.verdict == "better"
    assert pair.difference == pytest.approx(-0.2)
    assert pair.gain == pytest.approx(0.2)
    assert pair.interval.high < 0
    assert "kd beats ce by 0.2 in nll (95 % CI 0.1" in found.sentence
    assert found.other_metrics[0].metric == "accuracy"


def test_one_seed_has_an_interval_over_samples_and_says_so(tmp_path):
    ce, kd = answers(0.75, 1, N, stream=1), answers(0.85, 1, N, stream=2)
    add_arm(tmp_path, "ce", ce, baseline=True)
    add_arm(tmp_path, "kd", kd)
    found = compare(tmp_path)
    pair = found.versus_baseline[0]
    assert pair.interval.over == "samples"
    assert pair.sd_seeds is pair.p_sign_flip is None
    assert pair.why.endswith("of these two models only, there is one seed")
    assert "over test samples only, 1 seed" in found.sentence
    assert any(note.startswith("One seed") for note in found.notes)
    assert found.flips[0].p_mcnemar < 0.001
    assert found.arms[0].metrics["accuracy"].sd is None


def test_a_metric_without_terms_has_seeds_only_and_with_one_seed_nothing(tmp_path):
    for seed in range(3):
        for arm, value in (("ce", 0.7 + 0.01 * seed), ("kd", 0.8 + 0.011 * seed)):
            f1 = {"macro_f1": {"value": value, "direction": "higher", "n": N}}
            right = answers(value, 1, N, stream=seed)[0]
            add_run(tmp_path / f"runs/{arm}/seed-{seed}", arm, seed, right, metrics=f1,
                    baseline=arm == "ce")  # fmt: skip
    found = compare(tmp_path, "macro_f1")
    assert found.versus_baseline[0].interval.over == "seeds"
    assert found.versus_baseline[0].verdict == "better"
    assert any("no mean over samples" in note for note in found.notes)
    for arm in ("ce", "kd"):
        for seed in (1, 2):
            (tmp_path / f"runs/{arm}/seed-{seed}/record.json").unlink()
    alone = compare(tmp_path, "macro_f1").versus_baseline[0]
    assert alone.interval is alone.p is alone.equivalent is None
    assert alone.verdict == "not distinguishable"
    assert "no interval" in alone.why


def test_missing_seeds_are_stated_and_pairs_use_what_both_have(tmp_path):
    ce, kd = answers(0.75, 4, N, stream=1), answers(0.85, 4, N, stream=2)
    add_arm(tmp_path, "ce", ce, baseline=True)
    add_arm(tmp_path, "kd", kd[:3])
    found = compare(tmp_path)
    assert [(m.arm, m.seed) for m in found.missing] == [("kd", 3)]
    assert found.versus_baseline[0].seeds == [0, 1, 2]
    expected = kd[:3].mean() - ce[:3].mean()
    assert found.versus_baseline[0].difference == pytest.approx(expected)
    assert any("kd seed 3" in note for note in found.notes)
    asked = compare(tmp_path, expected={"ce": range(4), "kd": range(5), "nd": [0]})
    assert [(m.arm, m.seed) for m in asked.missing] == [("kd", 3), ("kd", 4), ("nd", 0)]


def test_no_seed_in_common_pairs_nothing(tmp_path):
    right = answers(0.8, 2, N, stream=1)
    add_run(tmp_path / "runs/ce/seed-0", "ce", 0, right[0], baseline=True)
    add_run(tmp_path / "runs/kd/seed-1", "kd", 1, right[1])
    pair = compare(tmp_path).versus_baseline[0]
    assert (pair.verdict, pair.interval) == ("not distinguishable", None)
    assert "no seed in common" in pair.why


def test_holm_can_take_a_verdict_back(tmp_path):
    add_arm(tmp_path, "ce", np.tile(np.arange(N) % 5 > 0, (4, 1)), baseline=True)
    for arm in range(12):
        rows = np.tile(np.arange(N) % 5 > 0, (4, 1))
        # Five samples mended in every seed: p near 0.03 alone, lost among twelve.
        rows[:, [0, 5, 10, 15, 20]] = True
        add_arm(tmp_path, f"m{arm:02d}", rows)
    pair = compare(tmp_path, margin=0.001).versus_baseline[0]
    assert pair.interval.low > 0
    assert pair.p < 0.05 < pair.p_holm
    assert pair.verdict == "not distinguishable"
    assert "not after Holm over 12" in pair.why


def test_flips_classes_confusions_and_calibration_by_hand(tmp_path):
    ce = np.array([[1, 1, 0, 0, 1, 1], [1, 1, 0, 1, 1, 1]], dtype=bool)
    kd = np.array([[1, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]], dtype=bool)
    add_arm(tmp_path, "ce", ce, baseline=True)
    add_arm(tmp_path, "kd", kd)
    add_run(tmp_path / "references/teacher", "teacher", 0, np.ones(6, dtype=bool), parameters=9000)
    found = compare(tmp_path)
    flips = found.flips[0]
    assert (flips.mended, flips.broken) == (1.5, 0.5)
    # idx is 5 + 2 * position: sample 2 is mended in both seeds, sample 3 in one.
    assert [(f.idx, f.frequency) for f in flips.mended_samples] == [(9, 1.0), (11, 0.5)]
    assert [(f.idx, f.frequency) for f in flips.broken_samples] == [(7, 0.5)]
    assert {c.label: (c.mended, c.broken) for c in flips.by_class} == {
        0: (0.5, 0), 1: (0, 0.5), 2: (1, 0)
    }  # fmt: skip
    rows = {r.name: (r.n, r.before, r.after) for r in found.class_change[0].rows}
    assert rows == {"cat": (2, 0.75, 1.0), "dog": (2, 1.0, 0.75), "owl": (2, 0.5, 1.0)}
    confusion = found.confusion[0]
    assert confusion.counts == [[3, 1, 0], [0, 4, 0], [2, 0, 2]]
    assert [(m.label, m.pred, m.count) for m in confusion.top] == [(2, 0, 2), (0, 1, 1)]
    calibration = found.calibration[0]
    # 9 right at 0.9 and 3 wrong at 0.8, in bins of their own
    assert calibration.ece == pytest.approx((9 * 0.1 + 3 * 0.8) / 12, abs=1e-6)
    assert sum(b.n for b in calibration.bins) == 12
    teacher = next(f for f in found.flips if f.arm == "kd" and f.versus == "teacher")
    assert (teacher.mended, teacher.broken) == (0, 0.5)
    assert found.classes == list(CLASSES)
    assert "of the teacher" not in found.sentence
    assert "behind the teacher with 11 % of its parameters" in found.sentence


def test_pairs_among_the_methods_and_their_order(tmp_path):
    for stream, (arm, rate) in enumerate([("ce", 0.7), ("kd", 0.85), ("nd", 0.85)]):
        add_arm(tmp_path, arm, answers(rate, 4, N, stream=stream), baseline=arm == "ce")
    found = compare(tmp_path, order=["nd", "kd", "ce"], margin=0.03)
    assert [a.arm for a in found.arms] == ["nd", "kd", "ce"]
    assert [(p.arm, p.versus) for p in found.pairs] == [("nd", "kd")]
    assert found.pairs[0].verdict == "equivalent"
    assert "nd and kd are equivalent within 3.0 points of accuracy" in found.sentence


def test_without_a_baseline_each_arm_speaks_for_itself(tmp_path):
    add_arm(tmp_path, "kd", answers(0.85, 3, N, stream=1))
    found = compare(tmp_path)
    assert found.baseline is None
    assert found.versus_baseline == []
    assert found.sentence.startswith("kd reaches 8")
    assert "3 seeds" in found.sentence


@pytest.mark.parametrize(
    ("break_it", "code"),
    [
        (lambda out: compare(out / "nothing"), "R564"),
        (lambda out: compare(out, "auc"), "R565"),
        (lambda out: compare(out, baseline="ghost"), "R567"),
    ],
)
def test_what_cannot_be_compared_is_said(tmp_path, break_it, code):
    add_arm(tmp_path, "kd", answers(0.85, 2, N, stream=1))
    with pytest.raises(RunError) as caught:
        break_it(tmp_path)
    assert caught.value.problem.code == code


def test_runs_on_different_test_data_are_not_compared(tmp_path):
    add_arm(tmp_path, "kd", answers(0.85, 1, N, stream=1))
    add_arm(tmp_path, "nd", answers(0.85, 1, N - 1, stream=1))
    with pytest.raises(RunError, match="399 samples, the others 400") as caught:
        compare(tmp_path)
    assert caught.value.problem.code == "R566"
