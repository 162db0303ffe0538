"""A small GPT: Radford et al., Language Models are Unsupervised Multitask Learners (2019).

Learned positions, blocks of causal attention and a GELU layer four times as wide, layer norm before
each, a last norm and one linear layer to the vocabulary. Attention is torch's own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)); x: [B, T, width]."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        B, T, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        drop = self.dropout if self.training else 0.0
        a = F.scaled_dot_product_attention(q, k, v, dropout_p=drop, is_causal=True)
        a = self.merge(a.transpose(1, 2).reshape(B, T, width))
        x = x + F.dropout(a, self.dropout, self.training)
        h = self.down(F.gelu(self.up(self.norm2(x))))
        return x + F.dropout(h, self.dropout, self.training)


class GPT(nn.Module):
    """input_ids int64 [B, T], T <= context -> logits [B, T, vocabulary].

    Position t answers for token t + 1 and sees tokens 0..t. Texts of one batch are padded at their
    end, which nothing before it sees; so `attention_mask` changes no answer and is not used.
    """

    def __init__(
        self, vocabulary: int, layers: int, width: int, heads: int, context: int, dropout: float
    ):
        super().__init__()
        if width % heads:
            raise ValueError(f"width is a multiple of heads; {width} is not of {heads}")
        self.dropout = dropout
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, vocabulary, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        for name, weight in self.named_parameters():
            if name.endswith(("merge.weight", "down.weight")):  # what adds up over the depth
                nn.init.normal_(weight, std=0.02 / (2 * layers) ** 0.5)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = self.tokens(input_ids) + self.positions(places)
        x = F.dropout(x, self.dropout, self.training)
        for block in self.blocks:
            x = block(x)
        return self.out(self.norm(x))


def build(
    name: str,
    num_classes: int,
    layers: int = 4,
    width: int = 128,
    heads: int = 4,
    context: int = 128,
    dropout: float = 0.0,
) -> nn.Module:
    """The network with fresh weights; `name` is `gpt`, `num_classes` the size of the vocabulary."""
    return GPT(num_classes, layers, width, heads, context, dropout)
