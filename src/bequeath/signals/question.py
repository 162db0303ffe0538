"""A question to a teacher: which outputs, of which data, in which views; and the open teacher."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from bequeath.given.access import Access
from bequeath.given.bound import hash_tensors
from bequeath.signals.cache import Cache
from bequeath.signals.live import LiveTeacher
from bequeath.signals.outputs import Features, kept_as, taps_of
from bequeath.signals.policy import LARGEST
from bequeath.signals.signal import Batch
from bequeath.signals.sweep import BATCH, pick, sweep
from bequeath.train.batches import view_seed
from bequeath.train.config import Augment
from bequeath.train.context import Context


@dataclass(frozen=True)
class Question:
    """What a teacher is asked, and where. augment: None for the data as they are.

    views: how many each sample is asked about in (of those that `augment` has). top_k: the words
    wanted of each answer, 0 for all logits. in_parts: logits as a `Projected` where they can be.
    """

    ctx: Context
    model: Any
    data: Any
    features: Features
    augment: Augment | None
    views: int
    top_k: int = 0
    in_parts: bool = False

    @property
    def seed(self) -> int:
        return 0 if self.augment is None else view_seed(self.ctx.seed, self.augment)

    @property
    def all_views(self) -> int:
        """How many views there are to be asked about, sooner or later."""
        return 1 if self.augment is None else self.augment.views

    @property
    def samples(self) -> int:
        return len(self.data)

    def bare(self) -> Question:
        """The same about the data without augmentation."""
        return replace(self, augment=None, views=1)

    def parts(self) -> dict[str, Any]:
        """Its share of the key. A view depends on its number, not on how many there are."""
        augment = self.augment and {**self.augment.model_dump(exclude={"views"}), "seed": self.seed}
        return {"data": self.data.hash, "n": self.samples, "augment": augment}

    def draw(self, idx: Tensor, views: Tensor) -> Batch:
        return pick(
            self.data, idx, self.ctx.device, views=views, augment=self.augment, seed=self.seed
        )

    @property
    def batch_size(self) -> int:
        return min(BATCH, self.ctx.train.batch_size)

    def view(self, number: int) -> Iterator[Batch]:
        """All samples in one view, in the fixed order."""
        return sweep(
            self.data,
            self.ctx.device,
            view=None if self.augment is None else number,
            augment=self.augment,
            seed=self.seed,
            batch_size=self.batch_size,
        )


@dataclass
class Open:
    """An open teacher. names: output -> its name in a cache. parts: its share of the key.

    numbers: how many numbers an answer holds, by the names in a cache, once that is known.
    """

    live: LiveTeacher
    names: dict[str, str]
    parts: dict[str, Any]
    numbers: dict[str, int] = field(default_factory=dict)

    def make_even(self, question: Question, *, insist: bool) -> bool:
        """Have all answers of one shape, as files want it; -> False where that would be too much.

        A language model answers at each token, so the longest text decides.
        """
        model: Any = self.live.model
        if not getattr(getattr(model, "facts", None), "per_token", False):
            return True
        each = 2 * question.top_k + 1 if question.top_k else model.facts.n_classes
        if not insist and 4 * question.samples * each > LARGEST:
            return False
        home = torch.device("cpu")
        texts = sweep(question.data)
        self.live.length = max(model.preprocess(b, home)["input_ids"].shape[1] for b in texts)
        return True

    @property
    def known(self) -> bool:
        """Whether it can be told from another teacher, so that its answers can be kept."""
        return self.parts["teacher"] is not None

    def cache(self, question: Question) -> Cache:
        return Cache({**self.parts, **question.parts()})

    def size(self, question: Question, missing: dict[int, list[str]]) -> int:
        """Bytes of the missing answers, told from those to one sample."""
        if not self.numbers:
            zero = torch.zeros(1, dtype=torch.long)
            said = self.live(question.draw(zero, zero)).outputs()
            self.numbers = {self.names[name]: values.numel() for name, values in said.items()}
        each = sum(self.numbers[name] for absent in missing.values() for name in absent)
        return 4 * each * question.samples


def open_teacher(question: Question) -> Open:
    """Load the teacher, or what may be seen of it."""
    ctx, model = question.ctx, question.model
    deep = getattr(model, "access", Access.WEIGHTS) >= Access.WEIGHTS
    asked = {"top_k": question.top_k} if question.top_k else {}
    speaks = model.load() if deep else model.predictor(**asked)
    facts = getattr(speaks, "facts", None) or model.facts
    taps = taps_of(question.features, facts)
    precision = ctx.train.precision
    live = LiveTeacher(
        speaks,
        taps,
        data=question.data,
        device=ctx.device,
        precision=precision,
        top_k=question.top_k,
        in_parts=question.in_parts,
    )
    preprocess = getattr(speaks, "preprocess", None) or getattr(model, "preprocess", None)
    tensors = facts.hash  # made with the model
    if tensors is None and isinstance(speaks, nn.Module):
        tensors = hash_tensors(getattr(speaks, "module", speaks))
    parts = {
        "teacher": tensors,
        "architecture": facts.architecture,
        "preprocess": None if preprocess is None else preprocess.digest(),
        "dtype": "float32",
        "precision": precision,
    }
    return Open(live, kept_as(taps, question.top_k), parts)
