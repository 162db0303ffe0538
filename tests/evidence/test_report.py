"""The report as text: complete, inert, deterministic, small, and whole when things are missing."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from synthetic_out import make_out

from bequeath.evidence import measure
from bequeath.evidence.inputs import read_inputs
from bequeath.evidence.report import svg, words, write_report
from bequeath.evidence.report.build import split_answer
from bequeath.evidence.report.figures import Point, pareto
from bequeath.kernel.errors import RunError

VOID = {"meta", "link", "br"}


class Outline(HTMLParser):
    """Checks nesting, collects ids, headings, attributes that fetch, and the visible text."""

    def __init__(self, page: str):
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.scripts: list[dict[str, str | None]] = []
        self.levels: list[int] = []
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        assert not any(name.startswith("on") for name in named), named
        if named.get("id"):
            self.ids.append(str(named["id"]))
        if tag == "script":
            self.scripts.append(named)
        if re.fullmatch("h[1-6]", tag):
            self.levels.append(int(tag[1]))
        if tag == "svg":
            self.images.append(named)
        self.links += [str(v) for k, v in attrs if k in ("href", "src", "action", "srcset")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.text += data + " "


@pytest.fixture(scope="module")
def normal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = make_out(tmp_path_factory.mktemp("normal") / "out")
    write_report(out)
    return out


def page_of(out: Path) -> str:
    return write_report(out).read_text(encoding="utf-8")


def test_the_page_is_whole_and_fetches_nothing(normal: Path) -> None:
    page = (normal / "report.html").read_text(encoding="utf-8")
    outline = Outline(page)
    assert len(outline.ids) == len(set(outline.ids))
    assert all(link.startswith("#") or link == "data:," for link in outline.links)
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy and "default-src &#39;none&#39;" in policy[1]
    assert [s.get("type") for s in outline.scripts] == ["application/json", None]
    assert len(page) < 1_500_000


def test_headings_do_not_skip_and_every_picture_speaks(normal: Path) -> None:
    outline = Outline((normal / "report.html").read_text(encoding="utf-8"))
    assert outline.levels[0] == 1 and outline.levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(outline.levels))
    assert len(outline.images) >= 8
    assert all(i["role"] == "img" and len(i["aria-label"] or "") > 20 for i in outline.images)


def test_it_says_what_the_comparison_says(normal: Path) -> None:
    text = Outline((normal / "report.html").read_text(encoding="utf-8")).text
    comparison = read_inputs(normal).comparison
    for clause in comparison.sentence.split(";"):
        assert clause.strip() in text
    for arm in comparison.arms:
        assert f"{100 * arm.metrics['accuracy'].mean:.1f}" in text
    for word in ("5e748fb0c1d2", "torch 2.6.0", "load_file", "bequeath run job.yaml", "all labels",
                 "uncommitted", "saved", "not distinguishable"):  # fmt: skip
        assert word in text, word


@pytest.mark.parametrize(
    ("sentence", "first"),
    [("a (b; c) d; e; f.", "a (b; c) d."), ("only one.", "only one."), ("a (b; c).", "a (b; c).")],
)
def test_the_first_clause_is_set_large(sentence: str, first: str) -> None:
    large, rest = split_answer(sentence)
    assert large == first
    assert (f"{large[:-1]}; {rest}" if rest else large) == sentence


def test_the_twin_holds_the_comparison_and_every_record(normal: Path) -> None:
    twin = json.loads((normal / "report.json").read_text(encoding="utf-8"))
    assert twin["headline"]["arm"] == "kd"
    assert twin["headline"]["model"] == "runs/kd/seed-0/model"
    assert len(twin["runs"]) == 9
    assert twin["comparison"]["sentence"] == twin["sentence"] != ""
    page = (normal / "report.html").read_text(encoding="utf-8")
    brief = re.search(r'<script type="application/json" id="brief">(.*?)</script>', page, re.DOTALL)
    assert brief and json.loads(brief[1])["sentence"] == twin["sentence"]


def test_the_same_folder_gives_the_same_bytes(normal: Path) -> None:
    before = (normal / "report.html").read_bytes(), (normal / "report.json").read_bytes()
    write_report(normal)
    assert before == ((normal / "report.html").read_bytes(), (normal / "report.json").read_bytes())


def test_the_headline_is_the_arm_asked_for_not_the_best(tmp_path: Path) -> None:
    out = make_out(tmp_path / "out", arms=("ce", "kd", "nd"), n=200, steps=20)
    inputs = read_inputs(out)
    best = max(inputs.comparison.arms, key=lambda a: a.metrics["accuracy"].mean).arm
    assert (inputs.headline, best) == ("kd", "nd")
    assert inputs.order == ["kd", "nd", "ce"]


def test_one_arm_one_seed_no_teacher_no_log_no_job(tmp_path: Path) -> None:
    out = make_out(tmp_path / "out", arms=("ce",), seeds=1, teacher=False, baseline=None, n=60)
    (out / "job.yaml").unlink()
    (out / "runs/ce/seed-0/log.jsonl").unlink()
    outline = Outline(page_of(out))
    assert "Quality against cost" not in outline.text  # there is nothing to set it against
    assert "Learning curves" not in outline.text
    assert outline.images == []


def test_a_missing_seed_is_stated(tmp_path: Path) -> None:
    import shutil

    out = make_out(tmp_path / "out", arms=("ce", "kd"), n=100, steps=20)
    shutil.rmtree(out / "runs/kd/seed-2")
    assert "kd, seed 2: missing" in Outline(page_of(out)).text


def test_it_says_how_seeds_trained_and_why_alone(tmp_path: Path, normal: Path) -> None:
    out = make_out(tmp_path / "out", arms=("ce", "kd"), seeds=2, n=60)
    both = {"runs": 2, "alone_s": 0.004, "together_s": 0.0025}
    share = {"wall_s": 1.0, "cpu_s": 1.0, "peak_rss_bytes": 1}
    for arm, how in (
        ("kd", {"together": both | share | {"faster": 1.6}}),
        ("ce", {"alone": both | {"why": "as one they would take 0.95 <b> of the time"}}),
    ):
        for path in out.glob(f"runs/{arm}/*/record.json"):
            record = json.loads(path.read_text(encoding="utf-8"))
            record["train"] |= how
            path.write_text(json.dumps(record), encoding="utf-8")
    text = Outline(page_of(out)).text
    assert "2 seeds (2.5 ms a step of all, 4 ms one by one)" in text
    assert "no: as one they would take 0.95 <b> of the time (2.5 ms a step" in text
    assert "seeds as one" in text and "seeds as one" not in Outline(page_of(normal)).text


def test_a_log_cut_by_a_crash_is_read_to_its_last_whole_line(tmp_path: Path) -> None:
    out = make_out(tmp_path / "out", arms=("kd",), seeds=1, n=60, steps=20, baseline=None)
    log = out / "runs/kd/seed-0/log.jsonl"
    log.write_text(log.read_text(encoding="utf-8") + '{"step": 25, "ter', encoding="utf-8")
    assert len(read_inputs(out).logs["kd", 0]) == 5


@pytest.mark.parametrize("k", [100, 1000])
def test_many_classes_show_the_most_changed_only(tmp_path: Path, k: int) -> None:
    names = [f"class number {i}" for i in range(k)]
    out = make_out(tmp_path / "out", arms=("ce", "kd"), seeds=2, n=1500, classes=names, steps=20)
    page = page_of(out)
    assert "most frequent mistakes" in page
    assert 'class="heat"' not in page
    assert len(page) < 400_000


def test_many_arms_stay_small(tmp_path: Path) -> None:
    arms = ("ce", *(f"kd-{i}" for i in range(12)))
    out = make_out(tmp_path / "out", arms=arms, seeds=1, n=60, steps=50)
    page = page_of(out)
    assert "the tables below have all" in page
    assert len(page) < 1_000_000


HOSTILE = ("<script>alert(1)</script>", "$x_{$", "</style><img src=x onerror=alert(2)>", "‮evil",
           'quote"\'&amp;', "日本語")  # fmt: skip


def test_names_from_data_are_text_only(tmp_path: Path) -> None:
    out = make_out(tmp_path / "out", arms=("ce", "kd"), seeds=1, n=200, classes=HOSTILE, steps=20)
    record = out / "runs/kd/seed-0/record.json"
    text = record.read_text(encoding="utf-8").replace("file:teacher/", "</code><script>x</script>")
    record.write_text(text.replace("A CPU", "<b>CPU</b>"), encoding="utf-8")
    page = page_of(out)
    outline = Outline(page)  # also refuses any attribute that starts with `on`
    assert len(outline.scripts) == 2
    assert "<script>alert" not in page and "<img" not in page and "<b>" not in page
    assert "<script>alert(1)</script>" in outline.text  # seen, as text
    assert "‮" not in page


def test_an_empty_folder_is_a_located_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="R564"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_svg_takes_colours_from_the_page_and_leaves_text_alone() -> None:
    name = 'id="a" 12.3456 $x$ #010203'
    drawing = pareto("p", [Point(name, 10, 0.5), Point("b", 20, 0.9)], cost="c", quality="q",
                     percent=True, higher=True, log=False)  # fmt: skip
    assert "var(--ink)" in drawing and "DejaVu" not in drawing
    assert '>id="a" 12.3456 $x$…<' in drawing
    assert not re.search(r"[:\"]#01", drawing)
    assert all(i.startswith("p-") for i in re.findall(r'<[^>]* id="([^"]*)"', drawing))


def test_labels_are_pushed_apart_and_kept_inside() -> None:
    placed = svg.spread([0.5, 0.51, 0.52, 0.99, 0.99], 0.1, 0.0, 1.0)
    order = sorted(placed)
    assert all(b - a >= 0.1 - 1e-9 for a, b in pairwise(order))
    assert placed == order and order[-1] <= 1.0
    assert svg.spread([], 0.1, 0, 1) == []


def test_words() -> None:
    assert words.count(25_557_032) == "25.6 M"
    assert words.milliseconds(0.06) == "60 µs"
    assert words.times(0.0925) == "1/11"
    assert words.p_value(0.0004) == "< 0.001"
    assert words.clean("a\nb\x00\u202ec") == "a b c"


def test_numbers_are_said_in_their_unit() -> None:
    accuracy, nll = measure.measure_of("accuracy"), measure.measure_of("nll")
    assert measure.value(0.9312, accuracy) == "93.1 %"
    assert measure.change(-0.0204, accuracy, unit=True) == "−2.0 points"
    assert measure.change(-0.00001, accuracy) == "0.0"
    assert measure.interval(0.9, 1.02, accuracy) == "90.0 to 100.0 %"
    assert measure.amount(0.018, accuracy) == "1.8 points of accuracy"
    assert measure.amount(0.042, nll) == "0.042 in nll"
    assert measure.value(12_345.6, nll) == "12,346"
    transfer = nll.model_copy(update={"unit": "points", "label": "backward transfer"})
    assert measure.value(-0.123, transfer) == "−12.3 points"
    assert measure.interval(-0.02, 0.01, transfer) == "−2 to 1 points"  # not cut at zero
    assert measure.amount(-0.02, transfer) == "2 points of backward transfer"
    wait = nll.model_copy(update={"unit": "ms", "label": "wait"})
    assert measure.amount(3.0, wait) == "3 ms in wait" and measure.level(3.0, wait) == "3 ms"
    names = {"hits@10": "share", "top5_accuracy": "share", "ece": "share", "macro_f1": "share",
             "mrr": "", "stop_steps": "", "notes.feature_cosine": ""}  # fmt: skip
    assert {name: measure.unit_of(name, None) for name in names} == names
    assert measure.unit_of("accuracy", "") == ""
