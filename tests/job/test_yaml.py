"""YAML as data: places, YAML 1.2 scalars, and files that mean harm."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bequeath.job.document import Document, leaves, plain
from bequeath.job.show import quoted
from bequeath.job.yaml import MAX_BYTES, MAX_DEPTH, parse
from bequeath.kernel.errors import JobError

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


def refused(text: str) -> str:
    with pytest.raises(JobError) as error:
        parse(text, "job.yaml")
    (problem,) = error.value.problems
    assert problem.place is not None or problem.code == "J106"
    return problem.code


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("12:30", "12:30"),
        ("0o17", 15),
        ("0x1F", 31),
        ("017", 17),
        ("1_000", "1_000"),
        ("~", None),
        ("'1'", "1"),
        ("-.inf", float("-inf")),
        ("2024-01-01", "2024-01-01"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    got = parse(f"a: {text}", "job.yaml").plain["a"]
    assert got == value and type(got) is type(value)


def test_a_directive_does_not_bring_back_yaml_1_1() -> None:
    assert parse("%YAML 1.1\n---\na: no\n", "job.yaml").plain == {"a": "no"}


def test_an_empty_file_is_nothing() -> None:
    assert parse("# only a comment\n", "job.yaml").plain is None


@given(values)
@settings(max_examples=60, deadline=None)
def test_json_is_read_as_json(value: object) -> None:
    """Every JSON text is YAML; places point at the text of each scalar."""
    text = json.dumps(value)
    try:
        document = parse(text, "job.yaml")
    except JobError as error:  # only for nesting
        assert error.problems[0].code == "J106"
        return
    assert document.plain == value
    for _, leaf in leaves(document.root):
        place = leaf.place
        assert place is not None
        piece = place.text[place.column - 1 : place.column - 1 + place.length]
        if isinstance(leaf.value, str):
            assert json.loads(piece) == leaf.value
        elif not isinstance(leaf.value, dict | list):
            assert plain(parse(piece, "x").root) == leaf.value


@given(scalars)
@settings(max_examples=200, deadline=None)
def test_what_show_writes_is_read_back(value: object) -> None:
    text = quoted(value)
    assert "\n" not in text
    got = parse(f"a: {text}  # comment\n", "job.yaml").plain["a"]
    assert got == value and type(got) is type(value)


@given(st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_text_is_read_or_refused_at_a_place(text: str) -> None:
    try:
        document = parse(text, "job.yaml")
    except JobError as error:
        place = error.problems[0].place
        assert place is not None and place.line >= 1 and place.column >= 1
    else:
        assert isinstance(document, Document)


@given(st.text(alphabet="abc: -[]{},'\"\n\t#&*!|>?%@", max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_punctuation_is_read_or_refused_at_a_place(text: str) -> None:
    try:
        parse(text, "job.yaml")
    except JobError as error:
        place = error.problems[0].place
        assert place is not None and place.line <= text.count("\n") + 2


def test_places_count_characters_and_start_at_one() -> None:
    document = parse("größe: {名前: ä, b: [1,\n  22]}\n", "job.yaml")
    value = document.place(("größe", "b", 1))
    assert value is not None and (value.line, value.column, value.length) == (2, 3, 2)
    key = document.place(("größe", "名前"), key=True)
    assert key is not None and (key.line, key.column, key.length) == (1, 9, 2)
    assert key.text[key.column - 1 :].startswith("名前")


def test_a_mapping_is_pointed_at_by_its_key() -> None:
    document = parse("a:\n  b:\n    c: 1\n", "job.yaml")
    place = document.place(("a", "b"))
    assert place is not None and (place.line, place.column) == (2, 3)
    # what is not there: the nearest thing above it
    assert document.place(("a", "b", "x", "y")) == place


def test_a_key_written_twice_is_found_with_the_line_of_the_first() -> None:
    document = parse("a: 1\nb: {c: 1, c: 2}\na: 3\n", "job.yaml")
    lines = {(p.code, p.place.line, p.place.column) for p in document.problems if p.place}
    assert lines == {("J105", 2, 11), ("J105", 3, 1)}
    assert "line 1" in next(p.label for p in document.problems if p.place and p.place.line == 3)
    assert document.plain == {"a": 1, "b": {"c": 1}}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a: 1\n\tb: 2\n", "J101"),
        ("a: b: c", "J101"),
        ("a: [1, 2", "J101"),
        ("a: 'x", "J101"),
        ("a: \x00", "J101"),
        ("a: *b", "J101"),
        ("a: &x [*x]", "J101"),
        ("a: 1\n---\nb: 2", "J101"),
        ("? [a]\n: 1", "J101"),
        ("a: !!python/object/apply:os.system [ls]", "J107"),
        ("a: !include b.yaml", "J107"),
        ("a: " + "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "J106"),
        ("a: '" + "x" * MAX_BYTES + "'", "J106"),
    ],
)
def test_what_is_no_job_is_refused(text: str, code: str) -> None:
    assert refused(text) == code


def test_a_tab_is_named() -> None:
    with pytest.raises(JobError, match="replace the tab"):
        parse("train:\n\tepochs: 2\n", "job.yaml")


def test_aliases_are_counted_before_they_are_followed() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    assert refused("\n".join(lines)) == "J106"


def test_aliases_are_followed() -> None:
    document = parse("a: &x {lr: 0.1}\nb: *x\n", "job.yaml")
    assert document.plain["b"] == {"lr": 0.1}
    assert document.origin(("b", "lr")) == "job.yaml:1:12"
