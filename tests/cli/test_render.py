"""Located errors as text: the caret stands under the span, whatever the line holds."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from bequeath.job.screen import coloured
from bequeath.kernel.errors import WIDEST, Place, Problem, render

LINE = st.text(st.characters(exclude_categories=["Cs", "Zl", "Zp"]), min_size=1, max_size=400)


def columns(text: str) -> int:
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) != 0 for c in text)


def problem(text: str, column: int, length: int, label: str = "") -> Problem:
    return Problem("J102", "m", label=label, place=Place("f", 3, column, length, text))


def test_the_caret_counts_terminal_cells() -> None:
    source, caret = render(problem("学習: 値", 5, 1)).splitlines()[3:5]
    assert source == "3 | 学習: 値" and caret == "  |       ^^"


def test_control_characters_are_written_out() -> None:
    text = render(problem("a: \x1b[31mred\x07", 4, 3, label="\x1b[0m"))
    assert "\x1b" not in text and "\x07" not in text and "\\x1b[31m" in text


@given(LINE, st.data())
def test_any_line_gets_a_caret_under_what_is_shown(text: str, data: st.DataObject) -> None:
    column = data.draw(st.integers(1, len(text)))
    length = data.draw(st.integers(1, len(text) - column + 1))
    lines = render(problem(text, column, length)).splitlines()
    assert len(lines) == 6  # with what the code says to do
    source, caret = lines[3][4:], lines[4][4:]
    assert set(caret) <= {" ", "^"} and "^" in caret
    assert columns(caret) <= max(columns(source), 1) + 1
    if text.isprintable() and len(text) <= WIDEST:
        before = text[: column - 1]
        assert caret.index("^") == columns(before)


def test_colours_change_no_word() -> None:
    one = Problem("G401", "x", ("a",), "l", ("r",), ("n",), Place("f", 1, 1, 1, "a: 1"))
    assert coloured(one).plain.rstrip() == render(one)
    assert coloured(Problem("G401", "x", ("a",), "l")).plain.rstrip() == render(
        Problem("G401", "x", ("a",), "l")
    )
