"""What a saved model says about opening it with torch alone: its preprocessing, as code."""

from __future__ import annotations

from pathlib import Path

from bequeath.given import characters, pixels
from bequeath.given.preprocess import (
    CharacterPreprocess,
    ImagePreprocess,
    Preprocess,
    TextPreprocess,
    VectorPreprocess,
)
from bequeath.kernel.files import write_text

PREPROCESS_FILE = "preprocess.py"


def save_preprocess(eyes: Preprocess, folder: Path) -> str:
    """Write `preprocess.py`, which needs only torch; -> the lines that use it.

    Its `transform` does what `eyes` does to a batch, number for number.
    """
    if isinstance(eyes, CharacterPreprocess):
        return _characters(eyes, folder)
    if isinstance(eyes, TextPreprocess):
        return _tokenizer(eyes, folder)
    tail = _images(eyes) if isinstance(eyes, ImagePreprocess) else _vectors(eyes)
    code = Path(pixels.__file__).read_text(encoding="utf-8")
    write_text(folder / PREPROCESS_FILE, f"{code}\n\n{tail}")
    what = "uint8 images [B, H, W, C]" if isinstance(eyes, ImagePreprocess) else "[B, D]"
    return (
        f"from preprocess import transform  # {PREPROCESS_FILE} of this folder\n"
        f"# logits = model(transform(x)), x: {what}\n"
    )


def _characters(eyes: CharacterPreprocess, folder: Path) -> str:
    code = Path(characters.__file__).read_text(encoding="utf-8")
    tail = (
        f"CHARACTERS = {eyes.characters!r}\n\n\n"
        "def transform(texts: Sequence[str]) -> dict[str, Tensor]:\n"
        '    """Texts -> what the model eats."""\n'
        f"    tokens, mask = encode(texts, CHARACTERS, {eyes.max_length})\n"
        '    return {"input_ids": tokens, "attention_mask": mask}\n'
    )
    write_text(folder / PREPROCESS_FILE, f"{code}\n\n{tail}")
    return (
        f"from preprocess import transform  # {PREPROCESS_FILE} of this folder\n"
        "# logits = model(**transform(texts)), texts: list of str\n"
    )


def _tokenizer(eyes: TextPreprocess, folder: Path) -> str:
    """The tokenizer lies beside the weights."""
    from bequeath.given.model_schemes.hf import open_tokenizer

    open_tokenizer(eyes.tokenizer, eyes.revision).save_pretrained(folder)
    how = f"padding=True, truncation=True, max_length={eyes.max_length}, return_tensors='pt'"
    return (
        "from transformers import AutoTokenizer\n"
        "tokenizer = AutoTokenizer.from_pretrained('.')  # . is this folder\n"
        f"# logits = model(tokenizer(texts, {how}).input_ids), texts: list of str\n"
    )


def _images(eyes: ImagePreprocess) -> str:
    size = eyes.size and tuple(eyes.size)
    return (
        f"SCALE, SHIFT = affine({tuple(eyes.mean)!r}, {tuple(eyes.std)!r})\n\n\n"
        "def transform(x: Tensor) -> Tensor:\n"
        '    """uint8 images [B, H, W, C] -> what the model eats."""\n'
        f"    how = ({size!r}, {eyes.crop!r}, {eyes.interpolation!r}, {eyes.channels!r})\n"
        "    return images(x, *how, SCALE.to(x.device), SHIFT.to(x.device))\n"
    )


def _vectors(eyes: Preprocess) -> str:
    assert isinstance(eyes, VectorPreprocess)
    said = '    """[B, D] (uint8 images too, which are flattened) -> what the model eats."""\n'
    if eyes.mean is None or eyes.std is None:
        return f"def transform(x: Tensor) -> Tensor:\n{said}    return flat(x)\n"
    return (
        f"MEAN = torch.tensor({list(eyes.mean)!r})\n"
        f"STD = torch.tensor({list(eyes.std)!r})\n\n\n"
        f"def transform(x: Tensor) -> Tensor:\n{said}"
        "    return (flat(x) - MEAN.to(x.device)) / STD.to(x.device)\n"
    )
