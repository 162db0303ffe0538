"""A model with its own eyes: the module, its preprocessing, and how to give it away again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bequeath.given.facts import ModelFacts
from bequeath.given.preprocess import Preprocess
from bequeath.kernel.errors import Problem, RunError
from bequeath.kernel.files import whole_folder, write_json
from bequeath.kernel.own_code import place_in

DTYPES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float64: "F64",
}


@dataclass(frozen=True)
class Source:
    """How a module was made, so that it can be made again.

    scheme, name: of the reference. kwargs: what the maker took besides the number of classes, JSON
    values. classes: their names. folder: where a transformers model or the code of a `py:` model
    came from. graft: another head in place of its classifier, see `bequeath.given.graft`.
    """

    scheme: str
    name: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    origin: Path | None = None
    graft: Mapping[str, Any] | None = None


class BoundModel(nn.Module):
    """A plain module that takes raw batches.

    module: any torch module. preprocess: from a batch to what the module eats. beside: each writes
    further files into the folder of a saved model and returns what `load` should say of them, as
    comments in code.
    """

    def __init__(
        self, module: nn.Module, preprocess: Preprocess, facts: ModelFacts, source: Source
    ):
        super().__init__()
        self.module = module
        self.preprocess = preprocess
        self.facts = facts
        self.source = source
        self.beside: tuple[Callable[[Path], str], ...] = ()

    def forward(self, batch: Mapping[str, Any]) -> Tensor:
        """`x`, `text` or `tokens` of a batch -> logits, on the module's device.

        [B, K]; of a language model (`facts.per_token`) [B, T, K], at each token for the next.
        """
        weight = next(self.module.parameters(), None)
        device = torch.device("cpu") if weight is None else weight.device
        eaten = self.preprocess(batch, device)
        if isinstance(eaten, Mapping):
            return self._logits(batch, self.module(**eaten))
        if weight is not None and weight.is_floating_point():
            eaten = eaten.to(weight.dtype)
        return self._logits(batch, self.module(eaten))

    def _logits(self, batch: Mapping[str, Any], output: Any) -> Tensor:
        """The logits, one row a sample: a model of the user's may answer anything, at any time."""
        logits, facts = _found(output), self.facts
        wrong, shown = _wrong_with(logits, output, batch), _length(batch)
        if not wrong and logits is not None and not facts.generates:
            width = None if facts.per_token else facts.n_classes
            if logits.ndim != 2 + facts.per_token or logits.shape[-1] != (
                width or logits.shape[-1]
            ):
                wrong = f"numbers of shape {list(logits.shape)}"
        if logits is None or wrong:
            message = f"the model answers {wrong} where it was shown {shown} samples"
            wanted = (
                "what it is to make" if facts.generates else f"{facts.n_classes or 'some'} numbers"
            )
            label = f"`forward` is to give a tensor with {wanted} for each sample"
            place = place_in(type(self.module).forward)
            raise RunError(Problem("T691", message, label=label, place=place))
        return logits

    def save(self, folder: Path) -> None:
        """Write a folder that plain timm, transformers, torchvision or torch opens.

        The folder is whole or absent; an older model of the same name is replaced, a folder with
        anything else in it is left alone (FileExistsError). `bequeath.json` says how to open it
        without bequeath, and `file:FOLDER` opens it with it.
        """
        from bequeath.given import graft
        from bequeath.given.model_schemes import scheme

        maker = scheme(self.source.scheme) if self.source.graft is None else graft
        folder = Path(folder)
        if folder.exists() and not (folder / "bequeath.json").is_file() and any(folder.iterdir()):
            raise FileExistsError(f"`{folder}` is there and holds something else than a model")
        with whole_folder(folder) as part:
            load = maker.save(self, part) + "".join(write(part) for write in self.beside)
            write_json(part / "bequeath.json", self._record(load))

    def _record(self, load: str) -> dict[str, Any]:
        facts, source = self.facts, self.source
        eyes = self.preprocess.to_dict()
        if "tokenizer" in eyes:
            eyes["tokenizer"] = "."  # it is saved beside the weights
        return {
            "format": 1,
            "scheme": source.scheme,
            "name": source.name,
            "kwargs": dict(source.kwargs),
            "kind": self.preprocess.kind,
            "per_token": facts.per_token,
            "generates": facts.generates,
            "n_classes": facts.n_classes,
            "classes": list(source.classes),
            "head": facts.head,
            "input": None if facts.input is None else list(facts.input),
            "parameters": sum(p.numel() for p in self.module.parameters()),
            "licence": facts.licence,
            "hash": hash_tensors(self.module),
            "preprocess": eyes,
            "load": load,
            **({} if source.graft is None else {"graft": dict(source.graft)}),
        }


def _length(batch: Mapping[str, Any]) -> int:
    if "tokens" in batch:  # what a model has said is not text yet
        return len(batch["tokens"]["input_ids"])
    return len(batch["x"] if "x" in batch else batch["text"])


def _wrong_with(logits: Tensor | None, output: Any, batch: Mapping[str, Any]) -> str:
    """What is there in place of floating-point numbers for each sample; nothing: the empty text."""
    if logits is None:
        return f"a {type(output).__name__} without logits"
    if not logits.is_floating_point() or logits.layout != torch.strided or logits.is_meta:
        kind = str(logits.dtype).removeprefix("torch.")
        return f"{kind} numbers ({str(logits.layout).removeprefix('torch.')}, {logits.device})"
    if not logits.ndim or len(logits) != _length(batch):
        return f"numbers of shape {list(logits.shape)}"
    return ""


def logits_of(output: Any) -> Tensor:
    """The logits in what a model returned: a tensor, a ModelOutput, a mapping or a tuple."""
    found = _found(output)
    if found is None:
        raise TypeError(f"the model returned {type(output).__name__}, in which there are no logits")
    return found


def _found(output: Any) -> Tensor | None:
    if isinstance(output, Tensor):
        return output
    found = getattr(output, "logits", None)
    if found is None and isinstance(output, Mapping):
        found = output.get("logits")
    if found is None and isinstance(output, tuple | list) and output:
        found = output[0]
    return found if isinstance(found, Tensor) else None


def hash_tensors(tensors: nn.Module | Mapping[str, Tensor]) -> str:
    """BLAKE2b-128 over name, type, shape and bytes of all tensors in the order of their names.

    Batch counters (`num_batches_tracked`) do not count: older files lack them, and no output
    depends on them.
    """
    state = tensors.state_dict() if isinstance(tensors, nn.Module) else tensors
    h = hashlib.blake2b(digest_size=16)
    for name in sorted(state):
        if name.endswith("num_batches_tracked"):
            continue
        tensor = state[name].detach().cpu().contiguous()
        kind = DTYPES.get(tensor.dtype, str(tensor.dtype))
        h.update(f"{len(name)}:{name}:{kind}:{list(tensor.shape)};".encode())
        h.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return h.hexdigest()


def plain_state(module: nn.Module) -> dict[str, Tensor]:
    """The state as safetensors wants it: on the CPU, contiguous, no storage shared."""
    return {
        name: tensor.detach().to("cpu", copy=True).contiguous()
        for name, tensor in module.state_dict().items()
    }


def save_tensors(module: nn.Module, path: Path) -> None:
    """All tensors of a module into one safetensors file, readable by every library."""
    from safetensors.torch import save_file

    save_file(plain_state(module), path, metadata={"format": "pt"})
