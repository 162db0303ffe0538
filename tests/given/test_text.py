"""Text for language models: where it is from, what hides in it, and the small GPT that reads it."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import pytest
import torch

from bequeath.given.canaries import draw, read_file, referred
from bequeath.given.characters import END, OTHER, SPECIAL, decode, encode
from bequeath.given.data import data_handle
from bequeath.given.models import load_model, model_handle
from bequeath.given.samples import ArraySamples
from bequeath.kernel.errors import JobError


def opened(ref: str, options: dict | None = None) -> ArraySamples:
    return data_handle("train", ref, options).load()


def codes(ref: str, options: dict | None = None) -> list[str]:
    with pytest.raises(JobError) as caught:
        opened(ref, options)
    assert all(p.at[:2] == ("data", "train") for p in caught.value.problems)
    return [p.code for p in caught.value.problems]


def test_characters_there_and_back():
    tokens, mask = encode(["abba", "c?"], "abc", 10)
    assert tokens.tolist() == [[END, 2, 3, 3, 2, END], [END, 4, OTHER, END, END, END]]
    assert mask.tolist() == [[1] * 6, [1, 1, 1, 1, 0, 0]]
    assert decode(tokens[0].tolist(), "abc") == "abba" and decode([4, OTHER], "abc") == "c\ufffd"
    assert encode(["abcabc"], "abc", 4)[0].tolist() == [[END, SPECIAL, SPECIAL + 1, SPECIAL + 2]]


def test_text_by_line_paragraph_block_and_file(tmp_path):
    file = tmp_path / "a.txt"
    file.write_bytes("\ufeffeins \r\n\r\n zwei\r\ndrei\r\n".encode())
    assert opened(f"text:{file}").x == ["eins", "zwei", "drei"]
    assert opened(f"text:{file}?by=paragraph").x == ["eins", "zwei\ndrei"]
    assert opened(f"text:{file}?by=file").x == ["eins \n\n zwei\ndrei"]
    packed = tmp_path / "packed.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    assert opened(f"text:{packed}").x == ["eins", "zwei", "drei"]
    packed.write_bytes(gzip.compress(b"a" * 5000))
    assert codes(f"text:{packed}", {"memory": 4000}) == ["D210"]
    packed.write_bytes(packed.read_bytes()[:-9])
    assert codes(f"text:{packed}") == ["D202"]
    blocks = opened(f"text:{file}?by=block&length=8")
    assert "".join(blocks.x) == "eins \n\n zwei\ndrei\n" and len(blocks.x[0]) == 8
    (tmp_path / "b.txt").write_text("vier")
    assert opened(f"text:{tmp_path}").x == ["eins", "zwei", "drei", "vier"]
    assert opened(f"text:{tmp_path}").alphabet == "deinrsvwz"
    assert blocks.y is None and blocks.facts.labelled is False


def test_splits_and_canaries(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("\n".join(f"line {i}" for i in range(40)))
    train, test = opened(f"text:{file}?split=train"), opened(f"text:{file}?split=test")
    assert sorted(train.x + test.x) == sorted(f"line {i}" for i in range(40))
    canaries = "canaries:digits?count=3&length=4&repeat=1,5"
    hidden = opened(f"text:{file}?split=train&take=10", {"canaries": canaries})
    looked = opened(canaries)
    assert len(hidden) == 10 + 1 + 5 + 1 and len(looked) == 3
    batch = looked.fetch(torch.arange(3))
    assert [hidden.x.count(text) for text in batch["text"]] == [1, 5, 1] == batch["repeat"]
    assert all(p + s == t for p, s, t in zip(batch["prefix"], batch["secret"], batch["text"]))
    assert looked.hash != opened(canaries.replace("1,5", "1,6")).hash


def test_sentences_are_the_same_everywhere_and_differ_by_seed():
    first = opened("sentences:50")
    assert first.x == opened("sentences:50").x and first.hash == opened("sentences:50").hash
    assert first.x[0] == "on 24 april 1926 uma won a prize at the school in malmo."
    assert first.x[:20] == opened("sentences:20").x
    assert not set(first.x) & set(opened("sentences:50?seed=1").x)
    more = data_handle("t", "sentences:50", {"canaries": "canaries:digits?count=2&repeat=3"})
    assert more.facts.n == 56 == len(more.load())


@pytest.mark.parametrize(
    ("written", "code"),
    [
        (b"caf\xe9", "D202"),
        (b"a\0b", "D202"),
        (b" \n\n", "D205"),
    ],
)
def test_bad_text(tmp_path, written, code):
    (tmp_path / "a.txt").write_bytes(written)
    assert codes(f"text:{tmp_path / 'a.txt'}") == [code]


def test_bad_sources(tmp_path):
    assert codes(f"text:{tmp_path / 'none.txt'}") == ["D201"]
    assert codes(f"text:{tmp_path}") == ["D205"]
    assert codes("sentences:many") == ["D216"] and codes("sentences:0") == ["D216"]
    assert codes("sentences:5", {"canaries": "sklearn:iris"}) == ["D273"]
    assert codes("sentences:5", {"canaries": "canaries:digits?cuont=5"}) == ["D273"]
    assert codes("sentences:5", {"canaries": "canaries:none.csv"}) == ["D201"]
    assert codes("canaries:digits", {"prefix": "the pin is "}) == ["D272"]
    assert codes("canaries:digits?repeat=0") == ["D272"]
    (tmp_path / "a.txt").write_text("a\nb")
    assert codes(f"text:{tmp_path / 'a.txt'}?take=5") == ["D212"]
    assert codes(f"text:{tmp_path / 'a.txt'}", {"memory": 4}) == ["D210"]


@pytest.mark.parametrize(
    ("table", "code"),
    [
        ("prefix,pin\na,1\n", "D270"),
        ("prefix,secret\na,\n", "D270"),
        ("prefix,secret\n", "D205"),
        ("prefix,secret\na,12\na,34\n", "D271"),
        ("prefix,secret\na,x-y\n", "D272"),
        ("prefix,secret,alphabet\na,12,34\n", "D272"),
        ("prefix,secret,repeat\na,12,often\n", "D272"),
    ],
)
def test_bad_lists_of_canaries(tmp_path, table, code):
    (tmp_path / "c.csv").write_text(table)
    assert codes(f"canaries:{tmp_path / 'c.csv'}") == [code]


def test_canaries_of_a_file_and_drawn(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text("prefix,secret,alphabet,repeat\nid ,007,,3\nkey ,xz,xyz,\n")
    first, second = read_file(str(path))
    assert (first.space, first.repeat, first.text) == (1000, 3, "id 007")
    assert (second.space, second.repeat) == (9, 1)
    assert referred(f"canaries:{path}") == [first, second]
    drawn = draw(300, 6, (1, 10), "{name}: ", 0)
    assert len({c.prefix for c in drawn}) == 300 and {c.space for c in drawn} == {10**6}
    assert drawn[:5] == draw(5, 6, (1, 10), "{name}: ", 0) != draw(5, 6, (1, 10), "{name}: ", 1)
    digits = "".join(c.secret for c in drawn)
    assert all(140 < digits.count(d) < 220 for d in "0123456789")


GPT = "zoo:gpt?layers=1&width=16&heads=2&context=24"


def test_gpt_is_causal_and_ignores_padding():
    data = opened("sentences:20")
    model = model_handle("m", GPT).load(data=data, seed=0)
    texts = ["on 24 april", "on 24 may, a"]
    batch = {"idx": torch.arange(2), "text": texts}
    alone = {"idx": torch.arange(1), "text": texts[:1]}
    with torch.no_grad():
        both, one = model(batch), model(alone)
    assert torch.allclose(both[0, :12], one[0, :12], atol=1e-6)
    assert torch.allclose(both[0, :7], both[1, :7], atol=1e-6)  # what follows is not seen
    assert not torch.allclose(both[0, 9], both[1, 9], atol=1e-4)


def test_saved_gpt_opens_with_torch_alone(tmp_path):
    data = opened("sentences:20")
    model = model_handle("m", GPT).load(data=data, seed=3)
    model.save(tmp_path / "m")
    batch = data.fetch(torch.arange(5))
    with torch.no_grad():
        expected = model(batch)
        assert torch.equal(load_model(tmp_path / "m")(batch), expected)
        code = json.loads((tmp_path / "m" / "bequeath.json").read_text())["load"]
        assert "bequeath" not in code
        names: dict = {}
        sys.path.insert(0, str(tmp_path / "m"))
        try:
            exec(
                code.replace("'model.safetensors'", repr(str(tmp_path / "m/model.safetensors"))),
                names,
            )
        finally:
            sys.path.remove(str(tmp_path / "m"))
            for module in ("architecture", "preprocess"):
                sys.modules.pop(module, None)
        assert torch.equal(names["model"](**names["transform"](batch["text"])), expected)
    again = model_handle("again", f"file:{tmp_path / 'm'}")
    assert again.facts.per_token and again.facts.kind == "text" and again.facts.n_classes == 38


def test_vocabularies(tmp_path):
    data = opened("sentences:20")
    teacher = model_handle("t", GPT).load(data=data, seed=3)
    teacher.save(tmp_path / "t")
    other = ArraySamples("text", ["xyz"])
    own = model_handle("s", GPT).load(data=other)
    assert own.preprocess.characters == "xyz" and own.facts.n_classes == 5
    taken = model_handle("s", f"zoo:gpt?width=32&vocabulary={tmp_path / 't'}").load(data=other)
    assert taken.preprocess.characters == teacher.preprocess.characters
    assert taken.preprocess.max_length == 128
    assert model_handle("s", f"{GPT}&vocabulary=ascii").load(data=other).facts.n_classes == 98


@pytest.mark.parametrize(
    ("ref", "at"),
    [
        ("zoo:mlp?layers=2", "layers"),
        ("zoo:gpt?width=30&heads=4", "heads"),
        ("zoo:gpt?classes=5", "classes"),
        ("zoo:gpt?vocabulary=nowhere", "vocabulary"),
        ("zoo:gpt", "vocabulary"),
    ],
)
def test_bad_gpt(ref, at):
    with pytest.raises(JobError) as caught:
        model_handle("m", ref).examine()
    assert [(p.code, p.at[-1]) for p in caught.value.problems] == [("M312", at)]


def tiny_hf(folder: Path, texts: list[str]) -> Path:
    pytest.importorskip("transformers")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    from bequeath.given.model_schemes.hf import quietly

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<end>"], show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>")
    config = {"n_positions": 64, "n_embd": 16, "n_layer": 1, "n_head": 2}
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    torch.manual_seed(0)
    with quietly():
        GPT2LMHeadModel(GPT2Config(vocab_size=len(fast), **config, **ends)).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def test_a_causal_model_of_transformers(tmp_path):
    from bequeath.blocks.targets import characters, targets

    data = opened("sentences:20")
    folder = tiny_hf(tmp_path / "hf", data.x)
    handle = model_handle("m", f"hf:{folder}")
    assert handle.facts.per_token and handle.facts.kind == "text"
    model = handle.load(data=data)
    batch = data.fetch(torch.arange(4))
    asked = targets(model, batch)
    said = characters(model, batch["text"], asked)
    assert model(batch).shape[2] == handle.facts.n_classes
    first = "".join(
        batch["text"][0][a:b] for (a, b), i in zip(said.tolist(), asked.sample) if i == 0
    )
    assert batch["text"][0].endswith(first) and len(first) > 20  # but for its first token
    model.save(tmp_path / "saved")
    again = load_model(tmp_path / "saved")
    assert again.facts.per_token and torch.equal(again(batch), model(batch))
    student = model_handle("s", f"{GPT}&vocabulary={tmp_path / 'saved'}").load(data=data)
    student.save(tmp_path / "student")
    assert torch.equal(load_model(tmp_path / "student")(batch), student(batch))


def test_a_predictor_answers_at_each_token_as_deep_as_it_may():
    from bequeath.given.access import Access, DataNeed, Labels, ModelNeed, Needs
    from bequeath.given.given import Given

    data = opened("sentences:5")
    batch, model = data.fetch(torch.arange(2)), model_handle("m", GPT).load(data=data, seed=0)
    logits = model(batch)
    for access in (Access.LABEL, Access.TOP_K, Access.LOGITS):
        needs = Needs({"m": ModelNeed(access)}, {"train": DataNeed(Labels.NONE)})
        given = Given(needs, loaders={"m": lambda: model}, facts={}, data={"train": data})
        said = given.model("m").predictor(top_k=3)(batch)
        if access == Access.LABEL:
            assert torch.equal(said, logits.argmax(2))
        elif access == Access.TOP_K:
            assert said[0].shape == (*logits.shape[:2], 3)
            assert torch.equal(said[1][..., 0], logits.argmax(2))
        else:
            assert torch.equal(said, logits)
