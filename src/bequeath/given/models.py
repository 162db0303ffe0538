"""Models a user owns: lazy handles with facts before weights. Torch comes in with `examine`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from bequeath.given.facts import (
    DataFacts,
    ModelFacts,
    TensorFact,
    safetensors_header,
    weights_format,
    weights_problem,
)
from bequeath.given.model_schemes import scheme, unknown_name
from bequeath.given.options import MODEL_OPTIONS, FileModel, ModelOptions, Ref, parse_ref
from bequeath.kernel.errors import JobError, Problem
from bequeath.kernel.files import canonical, digest

if TYPE_CHECKING:
    import torch

    from bequeath.given.bound import BoundModel

MAX_SIDE = 4096  # pixels; as the job may say itself
_PREFIXES = ("module.", "_orig_mod.")


class ModelHandle:
    """A reference to a model. Making one loads nothing; `facts` are what headers and configs say.

    Problems raised from here carry paths below ("models", role): ("ref",), ("weights",), ...
    """

    def __init__(self, role: str, ref: Ref, options: ModelOptions):
        self.role = role
        self.ref = str(ref)
        self.options = options
        self._scheme, self._rest = ref.scheme, ref.rest
        self._described: tuple[ModelFacts, list[Problem]] | None = None

    @property
    def facts(self) -> ModelFacts:
        """What is known without torch; read once."""
        return self._static()[0]

    def static_problems(self) -> list[Problem]:
        """What can be seen to be wrong without torch: missing files, broken headers, names."""
        return list(self._static()[1])

    @property
    def path(self) -> Path | None:
        """The local file or folder its weights are read from; None for a fresh or served model."""
        if self.options.weights is not None:
            return Path(self.options.weights)
        there = Path(self._rest)
        return there if self._scheme in ("file", "hf") and there.exists() else None

    @property
    def stamp(self) -> str | None:
        """Digest of the place, sizes and times of change of its files; None without files.

        For weights that are streamed and never read as a whole beforehand.
        """
        if self.path is None:
            return None
        files = sorted(self.path.iterdir()) if self.path.is_dir() else [self.path]
        told = [[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in files if f.is_file()]
        return digest(canonical([str(self.path.resolve()), told]))

    def examine(self, data: DataFacts | None = None) -> ModelFacts:
        """Build the model without memory and compare it with its weights and with the data.

        data: what it will see; leave `n_classes` None where the classes need not agree. Raises
        JobError: names, shapes, classes, input size, head.
        """
        self._raise_static()
        return self._plan(data or DataFacts()).facts

    def load(
        self,
        *,
        n_classes: int | None = None,
        data: Any = None,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> BoundModel:
        """The model with its weights, in eval mode.

        n_classes: outputs wanted (default: as the weights or the data have). data: the training
        Samples; shapes, class names and, for vectors, mean and deviation come from it. seed: fresh
        weights are a function of it alone. Raises JobError as `examine` does.
        """
        from bequeath.given import build

        self._raise_static()
        return build.load(self._plan(build.data_facts(data, n_classes)), data, seed, device)

    def __repr__(self) -> str:
        return f"ModelHandle({self.role}: {self.ref})"

    def _static(self) -> tuple[ModelFacts, list[Problem]]:
        if self._described is None:
            try:
                with _files_may_lie(self.ref):
                    facts, problems = scheme(self._scheme).describe(self._rest, self.options)
                    facts, more = _with_weights(facts, self._scheme, self._rest, self.options)
                self._described = facts, problems + more
            except JobError as error:
                self._described = ModelFacts(), error.problems
        return self._described

    def _raise_static(self) -> None:
        if problems := self.static_problems():
            raise JobError(problems)

    def _plan(self, data: DataFacts) -> Any:
        from bequeath.given import build

        options = self.options
        with _files_may_lie(self.ref):
            blueprint = scheme(self._scheme).blueprint(self._rest, options, data)
        if options.bottleneck is not None:
            from bequeath.given.graft import bottlenecked

            blueprint = bottlenecked(blueprint, options)
            options = options.model_copy(update={"head": None})  # `head` was where it went
        size = getattr(blueprint.preprocess, "size", None)
        if size is not None and max(size) > MAX_SIDE:
            message = f"`{self.ref}` wants images of {size[0]} x {size[1]} pixels"
            raise JobError(Problem("M313", message, at=("ref",)))
        return build.plan(blueprint, options, data)


def model_handle(
    role: str, ref: str | Ref, options: ModelOptions | dict[str, Any] | None = None
) -> ModelHandle:
    """A handle from `scheme:name?key=value` and options.

    options: the scheme's Options, or a mapping of settings. Settings of a text's query count where
    `options` is a mapping or None; an Options object is taken to hold them already. Raises JobError
    for an unknown scheme (M300) or setting (M312).
    """
    try:
        parsed = parse_ref(ref) if isinstance(ref, str) else ref
    except ValueError as error:
        raise JobError(Problem("M300", str(error), at=("ref",))) from None
    if parsed.scheme not in MODEL_OPTIONS:
        known = "models are " + ", ".join(f"{name}:" for name in MODEL_OPTIONS)
        problem = unknown_name("bequeath", f"{parsed.scheme}:", [f"{n}:" for n in MODEL_OPTIONS])
        message = f"no scheme `{parsed.scheme}:` for models"
        raise JobError(replace(problem, code="M300", message=message, remedies=(known,)))
    if not isinstance(options, ModelOptions):
        try:
            settings: dict[str, Any] = {**parsed.query, **(options or {})}
            options = MODEL_OPTIONS[parsed.scheme](**settings)
        except ValidationError as error:
            raise JobError(
                Problem("M312", str(e["msg"]), at=tuple(e["loc"])) for e in error.errors()
            ) from None
    return ModelHandle(role, parsed, options)


def load_model(
    folder: Path | str, *, device: torch.device | str = "cpu", allow_code: bool = False
) -> BoundModel:
    """Open what `BoundModel.save` wrote (or a transformers folder): logits = model(batch).

    allow_code: run architecture.py of a model that was given as code. Raises JobError.
    """
    from bequeath.given import build
    from bequeath.given.model_schemes.file import saved

    path = Path(folder)
    if not allow_code or not (path / "bequeath.json").is_file():
        return model_handle("model", Ref("file", str(path))).load(device=device)
    options = FileModel.model_validate({})
    made = build.plan(saved(path, options, allow_code=True), options, DataFacts())
    return build.load(made, None, 0, device)


@contextmanager
def _files_may_lie(ref: str) -> Iterator[None]:
    """A config or record may hold a text where a number belongs, or a list where a text does.

    What cannot be used ends as M313; JobErrors pass.
    """
    try:
        yield
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        message = f"`{ref}` says something about the model that cannot be used"
        raise JobError(Problem("M313", message, at=("ref",), notes=(said,))) from error


def _is_a_file(path: Path) -> bool:
    try:
        return path.exists() and not path.is_dir()
    except OSError:  # a path too long, a folder one may not enter: said where it is described
        return False


def _with_weights(
    facts: ModelFacts, name: str, rest: str, options: ModelOptions
) -> tuple[ModelFacts, list[Problem]]:
    """What the header of a bare weights file adds: tensors, and the classes of the trained head."""
    path, at = options.weights, ("weights",)
    if name == "file" and _is_a_file(Path(rest)):
        path, at = rest, ("ref",)
    if path is None:
        return facts, []
    if problem := weights_problem(Path(path), at=at):
        return facts, [problem]
    if weights_format(Path(path)) != "safetensors":
        return facts, []
    tensors: dict[str, TensorFact] = safetensors_header(Path(path), at=at)
    while prefix := next((p for p in _PREFIXES if all(n.startswith(p) for n in tensors)), None):
        tensors = {n.removeprefix(prefix): fact for n, fact in tensors.items()}
    head = tensors.get(f"{facts.head}.weight")
    n_classes = facts.n_classes or (head.shape[0] if head and head.shape else None)
    return replace(facts, tensors=tensors, n_classes=n_classes), []
