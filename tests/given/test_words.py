"""Language models whose last step is made in parts, and that go on with texts."""

from __future__ import annotations

import pytest
import torch
from tiny_language import causal_folder

from bequeath.blocks.listen import hear
from bequeath.blocks.targets import prompt_tokens, targets
from bequeath.blocks.writing import Start, beginnings, go_on
from bequeath.given.access import Access, DataNeed, Labels, ModelNeed, Needs
from bequeath.given.data import data_handle
from bequeath.given.given import Given
from bequeath.given.models import model_handle
from bequeath.given.preprocess import CharacterPreprocess
from bequeath.given.words import (
    Speaker,
    answering,
    has_parts,
    in_parts,
    is_large,
    likeliest,
    whole,
)
from bequeath.losses.divergence import top_k

TEXTS = data_handle("train", "sentences:6").load()
GPT = "zoo:gpt?layers=1&width=16&heads=2&context=32&vocabulary=ascii"


@pytest.fixture(scope="module", params=["zoo", "gpt2", "llama"])
def model(request, tmp_path_factory):
    ref = GPT
    if request.param != "zoo":
        pytest.importorskip("transformers")
        folder = tmp_path_factory.mktemp("hf") / request.param
        ref = f"hf:{causal_folder(folder, kind=request.param)}"
    return model_handle("m", ref).load(data=TEXTS, seed=0).eval()


def batch():
    return TEXTS.fetch(torch.arange(6))


def test_logits_in_parts_are_the_models_own(model):
    assert has_parts(model)
    parts, logits = in_parts(model, batch()), model(batch())
    assert parts.hidden.shape == (*logits.shape[:2], 16)
    torch.testing.assert_close(parts[:], logits, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(parts[2:4], logits[2:4], rtol=1e-5, atol=1e-6)
    assert torch.equal(model(batch()), logits)  # the head is on again
    assert is_large(model.facts, model.preprocess, 2**24) and not is_large(
        model.facts, model.preprocess, 8
    )


def test_a_model_that_bends_its_heads_output_is_found_out(model):
    hook = model.module.register_forward_hook(_bent)
    assert not has_parts(model)
    hook.remove()
    assert has_parts(model)


def test_a_compiled_model_is_run_as_it_is_written(model):
    def compiled(*args, **kwargs):
        raise AssertionError("what was compiled has the head switched on")

    logits = model(batch())
    model.module._compiled_call_impl = compiled
    torch.testing.assert_close(in_parts(model, batch())[:], logits, rtol=1e-5, atol=1e-6)
    assert model.module._compiled_call_impl is compiled
    model.module._compiled_call_impl = None


def _bent(module, args, output):
    if hasattr(output, "logits"):
        output.logits = torch.tanh(output.logits) * 0.5
        return output
    return torch.tanh(output) * 0.5


def test_the_likeliest_words_in_parts_are_those_of_all_logits(model, monkeypatch):
    monkeypatch.setattr("bequeath.given.words.rows_at_once", lambda words: 10)
    parts, direct = likeliest(in_parts(model, batch()), 4), top_k(model(batch()), 4)
    torch.testing.assert_close(parts.log_p, direct.log_p, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(parts.log_rest, direct.log_rest, rtol=1e-4, atol=1e-5)


def test_a_large_vocabulary_is_heard_in_parts(model, monkeypatch):
    whole = hear(model, TEXTS)
    assert answering(model, 16) is model
    monkeypatch.setattr("bequeath.given.words.NUMBERS", 1000)
    monkeypatch.setattr("bequeath.blocks.listen.rows_at_once", lambda words: 10)
    monkeypatch.setattr(type(model), "forward", _never_all(type(model).forward))
    parts = hear(model, TEXTS)
    torch.testing.assert_close(parts.nll, whole.nll, rtol=1e-5, atol=1e-4)
    assert torch.equal(parts.right, whole.right) and torch.equal(parts.tokens, whole.tokens)


def _never_all(forward):
    """Fails where a model makes all its logits, but for the few of the trial."""

    def called(self, batch):
        said = forward(self, batch)
        assert said.shape[-1] == 16 or said.shape[:2].numel() <= 8
        return said

    return called


def test_a_predictor_shows_as_much_as_it_may():
    needs = Needs({"m": ModelNeed(Access.TOP_K)}, {"train": DataNeed(Labels.NONE)})
    handle = model_handle("m", GPT)
    facts = {"m": handle.examine(TEXTS.facts)}

    def given(access):
        needs = Needs({"m": ModelNeed(access)}, {"train": DataNeed(Labels.NONE)})
        loaders = {"m": lambda: handle.load(data=TEXTS, seed=0)}
        return Given(needs, loaders, facts, {"train": TEXTS}).model("m").predictor(top_k=3)

    little, much = given(Access.TOP_K), given(Access.LOGITS)
    assert little.in_parts is None and little.speaker is None
    log_p, index = little(batch())
    assert log_p.shape[-1] == index.shape[-1] == 3
    best = much(batch()).log_softmax(-1).topk(3)
    torch.testing.assert_close(log_p, best.values, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(much.in_parts(batch())[:], much(batch()), rtol=1e-4, atol=1e-5)
    assert needs.models["m"].access < Access.LOGITS


def test_a_speaker_that_keeps_what_it_read_says_what_one_that_reads_again_says(model):
    ids, speaker = beginnings(model, batch(), 4).tokens, Speaker(model)
    for _ in range(6):
        said = speaker(ids)
        again = model({"idx": torch.zeros(len(ids)), "tokens": whole(ids)})[:, -1]
        torch.testing.assert_close(said, again, rtol=1e-4, atol=1e-5)
        ids = torch.cat([ids, said.argmax(1, keepdim=True)], 1)


def test_writing_repeats_itself_stops_at_the_end_and_in_the_context(model):
    start = beginnings(model, batch(), 5)
    assert start.tokens.shape == (6, 5) and start.length.tolist() == [5] * 6
    first, second = (go_on(model, start, 40, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first.tokens, second.tokens)
    assert torch.equal(first.tokens[:, :5], start.tokens)
    assert first.tokens.shape[1] <= 32
    other = go_on(model, start, 40, torch.Generator().manual_seed(4))
    assert first.tokens.shape != other.tokens.shape or not torch.equal(first.tokens, other.tokens)
    end = model.preprocess.end
    for row, mask in zip(first.tokens[:, 5:].tolist(), first.mask[:, 5:].tolist()):
        length = sum(mask)
        assert mask == [1] * length + [0] * (len(mask) - length)
        assert end not in row[: length - 1] and all(t == end for t in row[length:])
    assert model.training is False


PROMPTS, ANSWERS = ["Mary ", "", "In Rome on Monday "], ["met Paul.", "Hello", "it rains"]


def asked_of(prompts=PROMPTS, answers=ANSWERS):
    texts = [a + b for a, b in zip(prompts, answers)]
    rows = torch.arange(len(texts))
    return {"idx": rows, "text": texts, "prompt": [len(p) for p in prompts]}


def test_of_answers_the_prompt_is_read_and_not_asked_about(model):
    asked = targets(model, asked_of())
    words, spans = model.preprocess.words(), model.preprocess.spans(asked_of()["text"])
    for row, (prompt, answer) in enumerate(zip(PROMPTS, ANSWERS)):
        said = asked.y[asked.sample == row].tolist()
        assert said[-1] == model.preprocess.end  # an answer is over where its text is
        if isinstance(model.preprocess, CharacterPreprocess):
            assert "".join(words[i] for i in said) == answer
        else:  # a token that reaches into the answer is the answer's; the first is never asked for
            begin = [a for a, b in spans[row] if b > len(prompt)]
            assert len(said) == len(begin) + 1 - (not prompt)
    whole_text = targets(model, {k: v for k, v in asked_of().items() if k != "prompt"})
    assert len(whole_text.y) > len(asked.y)


def test_beginnings_of_unlike_length_are_gone_on_with_as_if_alone(model):
    together = go_on(
        model, beginnings(model, asked_of(), 8), 6, torch.Generator(), temperature=1e-4
    )
    lengths = prompt_tokens(model.preprocess, asked_of()).clamp_min(1)
    assert together.start.tolist() == lengths.tolist() and len(set(lengths.tolist())) > 1
    asked = targets(model, together.batch, skip=together.start - 1)
    for row, (prompt, answer) in enumerate(zip(PROMPTS, ANSWERS)):
        batch = asked_of([prompt], [answer])
        alone = go_on(model, beginnings(model, batch, 8), 6, torch.Generator(), temperature=1e-4)
        n = int(alone.mask.sum())
        assert torch.equal(together.tokens[row, :n], alone.tokens[0, :n])
        assert int(together.mask[row].sum()) == n
        assert int((asked.sample == row).sum()) == n - int(lengths[row])


def test_what_is_written_is_drawn_from_the_mixture():
    model = model_handle("m", GPT).load(data=TEXTS, seed=0).eval()
    other = model_handle("m", GPT).load(data=TEXTS, seed=1).eval()
    model.module.out.weight.data *= 40
    other.module.out.weight.data *= 40  # else both are nearly even
    ids = beginnings(model, batch(), 5).tokens[:1]
    start = Start(ids.repeat(20_000, 1), torch.full((20_000,), 5))
    p, q = (Speaker(m)(ids).softmax(1)[0] for m in (other, model))
    drawn = go_on(
        model, start, 1, torch.Generator().manual_seed(0), other=lambda: Speaker(other), share=0.3
    )
    seen = torch.bincount(drawn.tokens[:, -1], minlength=len(p)) / 20_000
    assert (seen - (0.3 * p + 0.7 * q)).abs().max() < 0.015 < (p - q).abs().max() / 10
