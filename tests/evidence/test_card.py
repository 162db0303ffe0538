"""The model card: a front matter the hub reads, the results, no markup from names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from synthetic_out import make_out

from bequeath.evidence.card import write_card
from bequeath.evidence.inputs import read_inputs


def split(path: Path) -> tuple[dict[str, Any], str]:
    _, head, body = path.read_text(encoding="utf-8").split("---\n", 2)
    return YAML(typ="safe").load(head), body


def test_front_matter_and_body(tmp_path: Path) -> None:
    out = make_out(tmp_path / "out", n=200, steps=20)
    head, body = split(write_card(out))
    assert head["library_name"] == "pytorch"
    assert head["pipeline_tag"] == "tabular-classification"
    assert head["tags"] == ["bequeath", "distill", "kd"]
    assert (head["license"], head["license_name"]) == ("other", "see-the-section-licence")
    inputs = read_inputs(out)
    mean = inputs.arm("kd").metrics["accuracy"].mean
    metrics = head["model-index"][0]["results"][0]["metrics"]
    assert metrics[0]["type"] == "accuracy" and metrics[0]["value"] == pytest.approx(mean, abs=1e-6)
    assert inputs.comparison.sentence in body
    for words in ("load_file", "licence mit", "c" * 32, "teacher (as it came)", "first seed"):
        assert words in body, words
    pair = inputs.versus_baseline("kd")
    assert pair is not None and pair.interval is not None
    assert f"{100 * pair.difference:+.1f} ({100 * pair.interval.low:+.1f} to" in body


def test_a_copy_lies_beside_the_model_that_was_asked_for(tmp_path: Path) -> None:
    out = make_out(tmp_path / "out", n=60, steps=20)
    path = write_card(out)
    copies = sorted(p.relative_to(out).as_posix() for p in out.rglob("MODEL_CARD.md"))
    assert copies == ["MODEL_CARD.md", "runs/kd/seed-0/model/MODEL_CARD.md"]
    assert (out / copies[1]).read_bytes() == path.read_bytes()
    assert write_card(out).read_bytes() == (out / copies[1]).read_bytes()


@pytest.mark.parametrize(
    ("found", "expected"),
    [({"mit"}, "mit"), ({None}, "unknown"), ({"mit", None}, "other")],
)
def test_the_licence_is_never_guessed(tmp_path: Path, found: set[Any], expected: str) -> None:
    out = make_out(tmp_path / "out", arms=("kd",), seeds=1, n=60, steps=20, baseline=None)
    path = out / "runs/kd/seed-0/record.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    licences = sorted(found, key=str)
    record["provenance"]["models"]["teacher"]["licence"] = licences[0]
    record["provenance"]["models"]["student"]["licence"] = licences[-1]
    path.write_text(json.dumps(record), encoding="utf-8")
    assert split(write_card(out))[0]["license"] == expected


def test_no_folder_of_this_machine_is_published(tmp_path: Path) -> None:
    out = make_out(tmp_path / "out", arms=("kd",), seeds=1, n=60, steps=20, baseline=None)
    path = out / "runs/kd/seed-0/record.json"
    text = path.read_text(encoding="utf-8").replace("file:teacher/", "file:/home/someone/t/best")
    path.write_text(text, encoding="utf-8")
    _, body = split(write_card(out))
    assert "`file:best`" in body and "someone" not in body


def test_names_are_no_markup(tmp_path: Path) -> None:
    out = make_out(tmp_path / "out", arms=("ce", "kd"), seeds=1, n=60, steps=20)
    path = out / "runs/kd/seed-0/record.json"
    text = path.read_text(encoding="utf-8").replace("zoo:mlp?hidden=48", "a`|<b>x</b>")
    path.write_text(text.replace("A CPU", "<script>x</script> | [a](b)"), encoding="utf-8")
    about = out / "runs/kd/seed-0/model/bequeath.json"
    about.write_text(json.dumps({"load": "x = 1\n```\n# not a heading"}), encoding="utf-8")
    _, body = split(write_card(out))
    assert "\\<script\\>" in body and "<script>" not in body
    assert "`a'/<b>x</b>`" in body
    assert "````python\nx = 1\n```\n# not a heading\n````" in body


def test_the_hub_library_accepts_it(tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    out = make_out(tmp_path / "out", n=60, steps=20)
    loaded = hub.ModelCard.load(write_card(out))
    assert loaded.data.eval_results[0].metric_type == "accuracy"
    assert loaded.data.model_name == "zoo:mlp, kd"
