"""`hf:FOLDER`, `hf:ORG/NAME`: image and text classification, causal language models."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bequeath.given.facts import (
    DataFacts,
    ModelFacts,
    TensorFact,
    absurd,
    missing,
    read_json,
    safetensors_header,
)
from bequeath.given.model_schemes import Blueprint, library_problem, may_download, not_here
from bequeath.given.model_schemes._hf_images import image_preprocess, processor
from bequeath.given.options import HfModel
from bequeath.kernel.errors import JobError, Problem
from bequeath.kernel.files import digest, write_json

if TYPE_CHECKING:
    from torch import nn

    from bequeath.given.bound import BoundModel
    from bequeath.given.preprocess import ImagePreprocess, TextPreprocess

_TASKS = {
    "image": "ForImageClassification",
    "text": "ForSequenceClassification",
    "language": "ForCausalLM",
}


def describe(rest: str, options: HfModel) -> tuple[ModelFacts, list[Problem]]:
    if problem := library_problem("transformers"):
        return ModelFacts(architecture=rest), [problem]
    try:
        folder = find_folder(rest, options)
        if folder is None:
            return ModelFacts(architecture=rest, n_classes=options.classes), []
        config = read_json(folder / "config.json", at=("ref",))
        if (reason := absurd(config)) is not None:
            raise JobError(Problem("M313", f"the config of `{rest}`: {reason}", at=("ref",)))
        task = _task(folder, config, options)
        tensors = _tensors(folder) if options.pretrained and options.weights is None else None
    except JobError as error:
        return ModelFacts(architecture=rest), error.problems
    names = config.get("architectures") or [config.get("model_type")]
    facts = ModelFacts(
        kind="text" if task == "language" else task,
        architecture=str(names[0]),
        n_classes=options.classes or (_width(config, task) if options.pretrained else None),
        head=options.head,
        tensors=tensors,
        per_token=task == "language",
    )
    if task == "language" and options.classes is not None:
        message = "a language model has no classes: its outputs are its vocabulary"
        return facts, [Problem("M312", message, at=("classes",))]
    return facts, []


def blueprint(rest: str, options: HfModel, data: DataFacts) -> Blueprint:
    import transformers

    from bequeath.given.preprocess import override

    folder = find_folder(rest, options)
    place = rest if folder is None else str(folder)
    local = _local() | {"revision": options.revision}
    try:
        config = transformers.AutoConfig.from_pretrained(place, **local)
    except Exception as error:  # transformers raises OSError, ValueError, KeyError and its own
        raise _failed(f"the config of `{rest}` cannot be used", error) from error
    if folder is None:  # the config has just been downloaded, and lies in the cache now
        folder = _cached(rest, options.revision)
    task = _task(folder, config.to_dict(), options)
    eyes: ImagePreprocess | TextPreprocess
    if task != "image":
        eyes = _text(place, folder, config, options)
        config.pad_token_id = open_tokenizer(eyes.tokenizer, options.revision).pad_token_id
    else:
        eyes = image_preprocess(folder, config)
    use_library = options.pretrained and options.weights is None
    n_classes = None
    if use_library or task == "language":
        n_classes = _width(config.to_dict(), task)
    return Blueprint(
        scheme="hf",
        name=rest if not Path(rest).is_dir() else Path(rest).resolve().name,
        make=_fresh(config, task),
        preprocess=override(eyes, options.preprocess, trained=options.pretrained),
        trained=_trained(place, config, task, n_classes, local) if use_library else None,
        n_classes=n_classes,
        classes=() if task == "language" else _labels(config, n_classes),
        per_token=task == "language",
        origin=folder,
        hash=_weights_hash(folder) if use_library and folder else None,
        made_of=digest((folder / "config.json").read_bytes()) if folder else None,
    )


def save(bound: BoundModel, folder: Path) -> str:
    module: Any = bound.module
    if bound.source.classes:
        module.config.id2label = dict(enumerate(bound.source.classes))
        module.config.label2id = {name: i for i, name in enumerate(bound.source.classes)}
    with quietly():
        module.save_pretrained(folder)
    eyes: Any = bound.preprocess
    if eyes.kind == "text":
        tokenizer = open_tokenizer(eyes.tokenizer, eyes.revision)
        tokenizer.model_max_length = eyes.max_length
        tokenizer.save_pretrained(folder)
        if bound.facts.per_token:
            return (
                "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
                "tokenizer = AutoTokenizer.from_pretrained('.')  # . is this folder\n"
                "model = AutoModelForCausalLM.from_pretrained('.').eval()\n"
            )
        return (
            "from transformers import pipeline\n"
            "classify = pipeline('text-classification', '.')  # . is this folder\n"
            "classify('a text', truncation=True)\n"
        )
    write_json(folder / "preprocessor_config.json", processor(eyes))
    return (
        "from transformers import AutoImageProcessor, AutoModelForImageClassification\n"
        "processor = AutoImageProcessor.from_pretrained('.')  # . is this folder\n"
        "model = AutoModelForImageClassification.from_pretrained('.').eval()\n"
    )


@contextmanager
def quietly() -> Iterator[None]:
    """transformers draws a bar for each model it opens or writes; ours would be lost among them.

    It also prints the names of tensors as a file has them, and those could steer the terminal.
    """
    from transformers.utils import logging

    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


def _local() -> dict[str, Any]:
    """No network and no code of the model's own; None for the latter would ask at the terminal."""
    return {"local_files_only": not may_download(), "trust_remote_code": False}


def find_folder(rest: str, options: HfModel) -> Path | None:
    """Where the files are: a folder, or the hub's cache. None when they may be downloaded."""
    path = Path(rest)
    if path.is_dir():
        return path
    if rest.startswith((".", "/", "~")) or rest.count("/") > 1 or path.exists():
        raise JobError(missing(f"there is no folder `{rest}`", path, ("ref",)))
    cached = _cached(rest, options.revision)
    if cached is None and not may_download():
        raise not_here(f"`{rest}`", "no folder of this name, and not in the hub's cache", at="ref")
    return cached


def _cached(name: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(name, "config.json", revision=revision)
    except ValueError:  # not a name the hub could have
        return None
    return Path(found).parent if isinstance(found, str) else None


def open_tokenizer(name: str, revision: str | None) -> Any:
    """The tokenizer, with something to pad with. JobError (M313) when there is none."""
    import transformers

    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, revision=revision, **_local())
    except Exception as error:
        raise _failed(
            f"`{name}` has no tokenizer that can be used", error, "name one with `tokenizer: PATH`"
        ) from error
    if tokenizer.pad_token is None and tokenizer.eos_token is not None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _task(folder: Path | None, config: Mapping[str, Any], options: HfModel) -> str:
    if options.task != "auto":
        return options.task
    names = " ".join(config.get("architectures") or [])
    if "LMHeadModel" in names:  # as GPT-2 and its time say
        return "language"
    for task, suffix in _TASKS.items():
        if suffix in names:
            return task
    if config.get("vocab_size"):
        return "text"
    if config.get("image_size") or config.get("num_channels"):
        return "image"
    if folder is not None and (folder / "preprocessor_config.json").is_file():
        return "image"
    message = "the config does not say whether this model takes images or text"
    remedies = ("say `task: image` or `task: text`",)
    if "architecture" in config and not config.get("model_type"):
        remedies = ("a folder written by timm is opened as timm:NAME with `weights: FILE`",)
    raise JobError(Problem("M313", message, at=("task",), remedies=remedies))


def _width(config: Mapping[str, Any], task: str) -> int | None:
    """Classes of a trained classifier; None for an encoder, which has no classifier yet.

    The vocabulary of a language model.
    """
    if task == "language":
        return int(config["vocab_size"]) if config.get("vocab_size") else None
    if not any(_TASKS[task] in name for name in config.get("architectures") or []):
        return None
    labels = config.get("id2label")
    return len(labels) if labels else int(config.get("num_labels") or 2)


def _labels(config: Any, n_classes: int | None) -> tuple[str, ...]:
    """Names of the classes; `LABEL_0` and so on, which transformers makes up, are none."""
    labels = config.id2label or {}
    if n_classes is None or sorted(labels) != list(range(n_classes)):
        return ()
    names = tuple(str(labels[i]) for i in range(n_classes))
    return () if names == tuple(f"LABEL_{i}" for i in range(n_classes)) else names


def _tensors(folder: Path) -> dict[str, TensorFact] | None:
    """Of one file or of the shards that an index names; None for weights in another format."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return safetensors_header(single, at=("ref",))
    if index.is_file():
        names = read_json(index, at=("ref",)).get("weight_map")
        shards = sorted({str(v) for v in names.values()}) if isinstance(names, dict) else []
        tensors: dict[str, TensorFact] = {}
        for shard in shards:
            path = folder / shard
            if Path(shard).name != shard:
                said = f"`{index}` names a file that is not beside it: `{shard}`"
                raise JobError(Problem("M313", said, at=("ref",)))
            if not path.is_file():
                raise JobError(missing(f"weights file `{path}` is not there", path, ("ref",)))
            tensors |= safetensors_header(path, at=("ref",))
        return tensors
    if not any(folder.glob("pytorch_model*.bin*")):
        raise JobError(missing(f"`{folder}` holds no weights", single, ("ref",)))
    return None


def _weights_hash(folder: Path) -> str | None:
    """Of the tensors as the files name them; transformers may name them anew as it loads them."""
    from bequeath.given.weights_file import file_hash

    names = ["model.safetensors"]
    if not (folder / names[0]).is_file():
        shards = sorted(p.name for p in folder.glob("model-*.safetensors"))
        names = shards or sorted(p.name for p in folder.glob("pytorch_model*.bin"))
    found = [file_hash(folder / name, at=("ref",)) for name in names if (folder / name).is_file()]
    return found[0] if len(found) == 1 else digest(*found) if found else None


def _auto(task: str) -> Any:
    import transformers

    name = "AutoModel" + _TASKS[task]
    return getattr(transformers, name)


def _fresh(config: Any, task: str) -> Callable[[int], nn.Module]:
    def make(n_classes: int) -> nn.Module:
        own = copy.deepcopy(config)
        own.num_labels = n_classes
        return _auto(task).from_config(own, trust_remote_code=False)

    return make


def _trained(
    place: str, config: Any, task: str, width: int | None, local: Mapping[str, Any]
) -> Callable[[int], nn.Module]:
    def make(n_classes: int) -> nn.Module:
        own = copy.deepcopy(config)
        fresh_head = width != n_classes
        if fresh_head:
            own.num_labels = n_classes
        try:
            with quietly():
                model, info = _auto(task).from_pretrained(
                    place,
                    config=own,
                    ignore_mismatched_sizes=fresh_head,
                    output_loading_info=True,
                    **local,
                )
        except Exception as error:
            raise _failed(f"the weights of `{place}` cannot be loaded", error) from error
        _complete(model, info, place, fresh_head)
        return model.float()

    return make


def _complete(model: nn.Module, info: Mapping[str, Any], place: str, fresh_head: bool) -> None:
    """Refuse a model of which only a part came from the file."""
    absent = sorted(str(name) for name in info["missing_keys"])
    if fresh_head:
        prefix = getattr(model, "base_model_prefix", "")
        absent = [name for name in absent if prefix and name.startswith(prefix + ".")]
        # A pooler belongs to the head in some checkpoints of plain encoders.
        absent = [name for name in absent if ".pooler." not in name]
    if absent:
        raise JobError(
            Problem(
                "M306",
                f"the weights of `{place}` do not fill the model",
                at=("ref",),
                notes=tuple(f"missing: {name}" for name in absent[:5]),
                remedies=("give the folder of a complete model",),
            )
        )


def _text(place: str, folder: Path | None, config: Any, options: HfModel) -> TextPreprocess:
    from bequeath.given.preprocess import TextPreprocess, tokenizer_fingerprint

    name = options.tokenizer or place
    tokenizer = open_tokenizer(name, options.revision)
    limit = int(min(512, tokenizer.model_max_length))
    positions = getattr(config, "max_position_embeddings", None)
    if positions:
        # RoBERTa and its kin count positions from behind the padding token's.
        shift = 2 if "roberta" in str(config.model_type) else 0
        limit = min(limit, positions - shift)
    if options.max_length is not None and positions and options.max_length > positions:
        message = f"`max_length` is {options.max_length}, the model reads {positions} tokens"
        raise JobError(Problem("M312", message, at=("max_length",)))
    home = Path(name) if Path(name).is_dir() else folder
    return TextPreprocess(
        tokenizer=name,
        max_length=options.max_length or limit,
        revision=options.revision,
        fingerprint=tokenizer_fingerprint(home) if home else "",
    )


def _failed(message: str, error: Exception, *remedies: str) -> JobError:
    reason = str(error).strip().splitlines()
    notes = (f"{type(error).__name__}: {reason[0] if reason else ''}",)
    return JobError(Problem("M313", message, at=("ref",), notes=notes, remedies=remedies))
