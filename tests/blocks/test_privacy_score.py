"""How private a token is: patterns, mass on private tokens, what only the teacher knows."""

from __future__ import annotations

import math

import pytest
import torch

from bequeath.blocks.privacy_score import (
    PATTERNS,
    detector,
    memorised,
    private_mass,
    private_tokens,
)
from bequeath.given.preprocess import CharacterPreprocess


def found(text: str, patterns=PATTERNS) -> str:
    """The text with every character that is private in the place of which a # stands."""
    eyes = CharacterPreprocess("".join(sorted(set(text))), 200)
    rho = detector(eyes, patterns)({"idx": torch.arange(1), "text": [text]})[0]
    assert rho[0] == 0 and rho[-1] == 0  # where a text begins and ends
    return "".join("#" if r else c for r, c in zip(rho[1:-1].tolist(), text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the pin of ada is 4711", "the pin of ada is ####"),
        ("id 123456789.", "id #########."),
        ("on 12 may 1987 she left", "on 12 may 1987 she left"),
        ("call +49 (30) 123 45 67", "call ##################"),
        ("mail a.b-c@de.org now", "mail ############ now"),
        ("19875 and 2050 and 2150", "##### and 2050 and ####"),
        ("no numbers", "no numbers"),
    ],
)
def test_detector(text, expected):
    assert found(text) == expected


def test_patterns_of_ones_own_and_padding():
    assert found("a sigma b", [r"s\w+"]) == "a ##### b"
    eyes = CharacterPreprocess("0123456789ab", 200)
    rho = detector(eyes, [r"\d+"])({"idx": torch.arange(2), "text": ["a1", "ab123"]})
    assert rho.tolist() == [[0, 0, 1, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1, 0]]
    cut = CharacterPreprocess("0123456789ab", 3)
    assert detector(cut, [r"\d+"])({"idx": torch.arange(1), "text": ["123"]}).tolist() == [
        [0, 1, 1]
    ]


def test_private_mass():
    private = private_tokens(["", "\ufffd", "a", "1", " 2", "1a"], "0123456789")
    assert private.tolist() == [False, False, False, True, True, False]
    logits = torch.tensor([[0.0] * 6, [-99, -99, -99, 5, -99, -99]])
    assert private_mass(logits, private).tolist() == pytest.approx([2 / 6, 1.0])


def test_memorised():
    teacher = torch.tensor([[9.0, 0.0], [0.0, 0.0]]).log_softmax(1)
    other = torch.zeros(2, 2)
    rho = memorised(teacher, other, torch.tensor([0, 1]), scale=2.0)
    gap = float(teacher[0, 0]) + math.log(2)
    assert rho.tolist() == pytest.approx([math.tanh(gap / 2), 0.0])
    assert float(memorised(other, teacher, torch.tensor([0, 1]), 2.0).max()) == 0.0
