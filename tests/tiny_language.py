"""Language models of transformers made on the spot, with a tokenizer trained on made-up text."""

from __future__ import annotations

from pathlib import Path

import torch

from bequeath.given.data import data_handle


def causal_folder(folder: Path, words: int = 90, kind: str = "gpt2", context: int = 32) -> Path:
    """A GPT-2 or a Llama of one layer with fresh weights, as transformers saves it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import (
        GPT2Config,
        GPT2LMHeadModel,
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
    )

    texts = list(data_handle("train", "sentences:60").load().x)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=words, special_tokens=["<end>"], show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>")
    fast.model_max_length = context
    fast.save_pretrained(folder)
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    torch.manual_seed(0)
    if kind == "gpt2":
        config = GPT2Config(
            vocab_size=len(fast), n_layer=1, n_head=2, n_embd=16, n_positions=context, **ends
        )
        GPT2LMHeadModel(config).save_pretrained(folder)
    else:
        config = LlamaConfig(
            vocab_size=len(fast), num_hidden_layers=1, num_attention_heads=2, hidden_size=16,
            intermediate_size=32, max_position_embeddings=context, **ends,
        )  # fmt: skip
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder
