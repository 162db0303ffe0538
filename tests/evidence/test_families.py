"""Results that have nothing in common: rankings, merges, streams of tasks, searches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from families import TASKS, add, continual, merge, ranking, record, search
from made_runs import add_arm, answers
from pydantic import ValidationError
from ruamel.yaml import YAML

from bequeath.evidence.card import write_card
from bequeath.evidence.claims import Claim
from bequeath.evidence.compare import compare
from bequeath.evidence.inputs import read_inputs
from bequeath.evidence.judge import judge
from bequeath.evidence.predictions import load_predictions
from bequeath.evidence.record import find_runs, load_record, load_records
from bequeath.evidence.report import write_report
from bequeath.evidence.report.build import render
from bequeath.evidence.report.left import left_curves, left_tables
from bequeath.evidence.verdicts import statement_line
from bequeath.kernel.errors import RunError


def metric(value: float, **more: Any) -> dict[str, Any]:
    return {"value": value, "direction": "higher", "n": 4, **more}


def page(out: Path) -> str:
    return write_report(out).read_text(encoding="utf-8")


def card(out: Path) -> tuple[dict[str, Any], str]:
    _, head, body = write_card(out).read_text(encoding="utf-8").split("---\n", 2)
    return YAML(typ="safe").load(head), body


# --- rankings: per-query terms, no classes -------------------------------------------------------


def test_a_ranking_is_paired_by_query(tmp_path):
    out = ranking(tmp_path / "out")
    found = compare(out)
    pair = found.versus_baseline[0]
    assert (found.primary, found.n_samples, found.classes) == ("mrr", 800, [])
    assert (pair.verdict, pair.interval.over, pair.n_samples) == (
        "better",
        "seeds and samples",
        800,
    )
    lemon, transe = (
        np.mean([load_predictions(out / f"runs/{arm}/seed-{s}").terms["mrr"] for s in range(3)])
        for arm in ("lemon", "transe")
    )
    assert pair.difference == pytest.approx(lemon - transe, abs=1e-6)
    assert f"lemon beats transe by {pair.gain:.3g} in mean reciprocal rank (95 %" in found.sentence
    assert found.flips == found.class_change == found.confusion == found.calibration == []
    others = {p.metric: p for p in found.other_metrics}
    assert others["hits@10"].interval.over == "seeds and samples"
    assert others["tail_hits@1"].n_samples == 400  # head queries do not count in it
    assert (others["amr"].interval.over, others["amr"].verdict) == ("seeds", "better")
    assert "paired by seed and by query" in found.notes[0]


def test_one_seed_of_a_ranking_has_an_interval_over_its_queries(tmp_path):
    found = compare(ranking(tmp_path / "out", seeds=1))
    assert found.versus_baseline[0].interval.over == "samples"
    assert "over queries only, 1 seed" in found.sentence
    assert next(p for p in found.other_metrics if p.metric == "amr").interval is None


def test_its_page_and_card_speak_of_queries_and_of_no_class(tmp_path):
    out = ranking(tmp_path / "out")
    text = page(out)
    assert "800 queries" in text and "mean reciprocal rank" in text and "hits@10 ↑" in text
    for word in ("classes", "Confusion", "Which samples changed", "test samples", "teacher cache"):
        assert word not in text, word
    head, body = card(out)
    assert "pipeline_tag" not in head
    assert head["metrics"][0] == "mrr" and "model-index" not in head  # no data is named as judge
    assert "Measured on 800 queries. Differences are paired." in body


def test_different_queries_are_not_compared_but_only_where_both_measure_them(tmp_path):
    def run(arm, terms, n):
        metrics = {m: metric(float(np.mean(t)), terms=True) for m, t in terms.items()}
        add(tmp_path, record("ground", arm, 0, metrics=metrics), np.arange(n), terms)

    run("a", {"mrr": np.ones(5)}, 5)
    run("b", {"auc": np.ones(4)}, 4)
    assert compare(tmp_path).pairs == []  # nothing in common, nothing to align
    run("c", {"mrr": np.ones(6)}, 6)
    with pytest.raises(RunError, match="6 samples, the others 5") as caught:
        compare(tmp_path)
    assert caught.value.problem.code == "R566"


def test_terms_that_were_promised_and_are_gone_are_an_error(tmp_path):
    out = ranking(tmp_path / "out", seeds=1)
    (out / "runs/lemon/seed-0/predictions.parquet").unlink()
    with pytest.raises(RunError) as caught:
        compare(out)
    assert caught.value.problem.code == "R563"


def test_a_mean_over_other_samples_in_each_run_is_not_paired_by_sample(tmp_path):
    for arm, gone in (("a", 0), ("b", 1)):
        values = np.array([1.0, 0.5, 0.25])
        values[gone] = np.nan
        one = record("adapt", arm, 0, metrics={"kept": metric(float(np.nanmean(values)))})
        add(tmp_path, one, np.arange(3), {"kept": values})
    pair = compare(tmp_path, "kept").pairs[0]
    assert (pair.interval, pair.n_samples) == (None, 0)


# --- merges: nothing measured --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arms", "size", "sentence"),
    [
        (("linear",), 1_200_000_000, "linear merged 2 models of 1.2 GB into one in 12 s"),
        (("linear",), 600_000_000, "linear merged 2 models of 600.0 MB into one of 1.2 GB in 12 s"),
        (("linear",), None, "linear merged 2 models into one of 1.2 GB in 12 s"),
        (("linear", "ties"), 1_200_000_000,
         "linear merged 2 models of 1.2 GB into one in 12 s; ties took 31 s"),
    ],
)  # fmt: skip
def test_a_merge_without_test_data_says_what_it_did(tmp_path, arms, size, sentence):
    found = compare(merge(tmp_path / "out", arms, size))
    end = "; nothing was measured: give data.test to know what it is worth."
    assert found.sentence == sentence + end
    assert (found.primary, found.direction, found.measure, found.notes) == (None, None, None, [])
    assert found.versus_baseline == found.pairs == []


def test_the_page_of_a_merge_has_only_what_there_is(tmp_path):
    out = merge(tmp_path / "out", ("linear", "ties"))
    text = page(out)
    for section in ("Key figures", "Cost", "Runs", "Provenance", "Use the model", "Run it again"):
        assert section in text, section
    for absent in ("Metrics", "Quality against cost", "Differences", "Learning curves", "The seal",
                   "What the runs recorded", "test score", "None"):  # fmt: skip
        assert absent not in text, absent
    head, body = card(out)
    assert "metrics" not in head and "model-index" not in head and "pipeline_tag" not in head
    assert "## Results" not in body and "600,000,000 parameters" in body
    assert "Nothing was measured" in body
    twin = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert twin["comparison"]["primary"] is None


def test_a_run_without_model_or_metric_still_has_a_page(tmp_path):
    add(tmp_path, record("select", "projektor", 0))
    assert "projektor ran for 12 s and made no model; nothing was measured" in page(tmp_path)
    assert "No model" not in page(tmp_path)
    assert card(tmp_path)[1].startswith("\n# select, projektor")


# --- streams of tasks: a matrix a run ------------------------------------------------------------


def test_a_matrix_is_averaged_over_the_seeds_and_shaded(tmp_path):
    out = continual(tmp_path / "out")
    (group,) = left_tables(read_inputs(out))
    assert [item.arm for item in group.items] == ["exssnet", "finetune"]
    tables = [
        load_record(out / f"runs/finetune/seed-{s}").tables["accuracy_matrix"] for s in range(3)
    ]
    mean = np.mean([table.rows[-1][0] for table in tables])
    name, cells = group.items[1].rows[-1]
    assert (name, cells[0].text) == ("after task 5", f"{100 * mean:.1f}")
    assert group.items[1].rows[0][1][1].text == "·"  # not learnt yet
    shades = [float(cell.share) for item in group.items for _, row in item.rows for cell in row]
    assert min(shades) == 0.0 and max(shades) == 1.0  # one scale for all arms
    assert group.items[0].notes == ["Mean over 3 seeds.", "In per cent."]
    text = page(out)
    assert text.count('class="heat plain"') == 2 and "Rows are time" in text


def test_what_follows_from_the_matrix_is_said_in_points(tmp_path):
    found = compare(continual(tmp_path / "out"))
    assert found.sentence.startswith("exssnet beats finetune by ")
    assert "points of average accuracy" in found.sentence
    transfer = found.arms[1].metrics["bwt"]
    assert transfer.mean == 0.0 and found.measures["bwt"].unit == "points"
    other = next(p for p in found.other_metrics if p.metric == "bwt")
    assert (other.verdict, other.interval.over) == ("better", "seeds")
    text = page(tmp_path / "out")
    assert f"{100 * found.arms[0].metrics['bwt'].mean:.3g} points".replace("-", "−") in text
    assert f"{TASKS} tasks" in text


def test_seeds_whose_tables_differ_in_shape_are_not_averaged(tmp_path):
    for seed, columns in enumerate((["a"], ["a", "b"])):
        table = {"columns": columns, "rows": [[float(k) for k in range(len(columns))]]}
        add(tmp_path, record("continual", "er", seed, tables={"plan": table}))
    item = left_tables(read_inputs(tmp_path))[0].items[0]
    assert "differ in shape" in item.notes[0] and len(item.rows[0][1]) == 1


def test_below_zero_is_another_colour(tmp_path):
    table = {"columns": ["x"], "rows": [[-0.5], [0.25]], "kind": "matrix"}
    add(tmp_path, record("continual", "er", 0, tables={"gaps": table}))
    item = left_tables(read_inputs(tmp_path))[0].items[0]
    assert [(c.below, c.share) for _, (c,) in item.rows] == [(True, "1.000"), (False, "0.500")]


# --- searches: a regret curve, no model ----------------------------------------------------------


def test_regret_is_lower_the_better_and_drawn_for_all_arms_together(tmp_path):
    out = search(tmp_path / "out")
    found = compare(out)
    assert found.versus_baseline[0].verdict == "better"
    assert "robot beats random by" in found.sentence and "points of regret" in found.sentence
    assert "takes 3.9 s where random takes 0.1 s" in found.sentence
    (picture,) = left_curves(read_inputs(out))
    assert picture.title == "Regret" and "Mean over 5 seeds" in picture.caption
    assert "robot from" in picture.svg and "random from" in picture.svg
    text = page(out)
    assert "What the runs recorded" in text and "architectures queried" in text
    assert "runs/robot/seed-0/architecture.json" in text and "Use the result" in text
    assert "model hash" not in text
    head, body = card(out)
    assert "library_name" not in head and "model-index" not in head
    assert "| robot | " in body and "parameters" not in body


def test_a_curve_with_further_lines_is_drawn_arm_by_arm(tmp_path):
    for arm in ("a", "b"):
        curve = {"x": [3, 1, 2], "y": [0.3, None, 0.2], "x_label": "share", "y_label": "accuracy",
                 "series": {"predicted": [0.1, 0.2, 0.3]}}  # fmt: skip
        add(tmp_path, record("select", arm, 0, curves={"curve": curve}))
    pictures = left_curves(read_inputs(tmp_path))
    assert [p.title for p in pictures] == ["Curve, a", "Curve, b"]
    assert "a from 0.2 to 0.3; predicted from 0.2 to 0.1" in pictures[0].svg


def test_the_pages_are_the_same_twice_and_escape_names(tmp_path):
    bad = "<script>x</script>"
    table = {"columns": [bad], "rows": [[bad]], "row_names": [bad], "title": bad, "note": bad}
    curve = {"x": [1, 2], "y": [1, 2], "x_label": bad, "y_label": bad, "series": {bad: [1, 2]}}
    made = record(
        "search", "robot", 0, tables={bad: table}, curves={bad: curve},
        metrics={bad: metric(1.0, label=bad, unit=bad[:24], counts=bad)},
    )  # fmt: skip
    add(tmp_path, made)
    first = render(read_inputs(tmp_path))
    assert first == render(read_inputs(tmp_path))
    assert "<script>x" not in first
    assert "<script>" not in card(tmp_path)[1]


# --- what they share -----------------------------------------------------------------------------


def test_arms_with_other_metrics_are_compared_in_what_they_share(tmp_path):
    right = answers(0.8, 2, 60, stream=1)
    add_arm(tmp_path, "kd", right)
    for seed in range(2):
        metrics = {"accuracy": metric(0.5), "forgotten": metric(0.9)}
        add(tmp_path, record("unlearn", "acu", seed, metrics=metrics, baseline=True))
    found = compare(tmp_path)
    assert found.versus_baseline[0].interval.over == "seeds"
    assert found.other_metrics == []  # only acu has the other
    assert [c.arm for c in found.confusion] == ["kd"] and found.flips == []
    only = compare(tmp_path, "forgotten")
    assert only.versus_baseline == []
    assert only.sentence.startswith("acu reaches 0.9 forgotten (95 % CI")
    assert "not measured for kd" in " ".join(only.notes)
    assert page(tmp_path)


def test_one_name_for_two_metrics_is_refused(tmp_path):
    add(tmp_path, record("search", "a", 0, metrics={"regret": metric(1.0, direction="lower")}))
    add(tmp_path, record("search", "b", 0, metrics={"regret": metric(1.0)}))
    with pytest.raises(RunError, match="elsewhere: lower is better") as caught:
        compare(tmp_path)
    assert caught.value.problem.code == "R569"


def test_a_claim_is_judged_on_any_metric_and_on_notes(tmp_path):
    out = search(tmp_path / "out")
    said = {"kind": "effect", "arm": "robot", "versus": "random", "direction": "lower"}
    claim = Claim.model_validate(
        {
            "id": "61-robot", "title": "t", "card": 61, "paper": "p", "want": "search",
            "source": [{"says": "s", "where": "w"}], "primary": "regret", "baseline": "random",
            "scales": {"small": {"job": {}, "seeds": 5}},
            "statements": [{"name": "s", "metric": "regret", "least": 0.001, **said},
                           {"name": "n", "metric": "queries", "least": 0.0, **said}],
        }
    )  # fmt: skip
    found = compare(out, claim.primary, claim.margin, claim.baseline)
    judged = judge(claim, found, load_records(find_runs(out)), "small")
    assert [s.verdict for s in judged.statements] == ["supported", "inconclusive"]
    assert judged.arms["robot"].parameters is None
    assert "regret -2.74 points [" in statement_line(judged.statements[0])


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"tables": {"t": {"columns": ["a", "b"], "rows": [[1.0]]}}}, "one cell a column"),
        ({"tables": {"t": {"columns": ["a"], "rows": [["x"]], "kind": "matrix"}}}, "numbers and"),
        ({"tables": {"t": {"columns": ["a"], "rows": [[float("nan")]]}}}, "finite"),
        ({"tables": {"t": {"columns": ["a"], "rows": [[1.0]], "row_names": ["x", "y"]}}}, "a row"),
        ({"curves": {"c": {"x": [1, 2], "y": [1], "x_label": "x", "y_label": "y"}}}, "each `x`"),
        ({"tables": {"t": {"columns": ["a"] * 50, "rows": [[0.0] * 50] * 1001}}}, "50,000 numbers"),
        ({"metrics": {"a\nb": {"value": 1, "direction": "higher", "n": 1}}}, "pattern"),
        ({"metrics": {"": {"value": 1, "direction": "higher", "n": 1}}}, "at least 1"),
    ],
)  # fmt: skip
def test_tables_and_curves_that_are_not_whole_are_refused(parts, says):
    with pytest.raises(ValidationError, match=says):
        record("search", "robot", 0, **parts)
