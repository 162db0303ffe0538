"""What is trained, shared out over the processes of a job while it trains: torch's FSDP2.

Between two steps each process holds its part of every weight, gradient, moment and average. During
a step the weights are whole as far as the step needs them: it runs in one forward of the root
(`Container`), whose hooks gather what no unit holds; units, the repeated blocks of a model, are
gathered at the start of the step (`gradients`, ZeRO-2) or while their forward pass runs (`full`,
ZeRO-3), and give their gradients away as soon as the backward pass has left them.

After the fit, the modules are as they came: the same Parameter objects, whole, in classes of their
own and without a hook of FSDP.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, distributed, nn

from bequeath.blocks.whole import gathering
from bequeath.kernel.errors import Problem, RunError
from bequeath.train.config import Train
from bequeath.train.slots import Slot, forget, has_rows, slots_of, units_of, without_hooks

_OFF = "leave `train.shard` away: what trains is then whole in each process"
_WHOLE = "set `train.shard: gradients`: weights are whole during a step"
_NOT_WHOLE = ("DTensor", "data is not allocated yet", "setStorage", "lazily initialized")


def shard_problems(train: Train) -> list[Problem]:
    """T617 where several processes cannot share out what they train, T607's place for fp16."""
    if train.shard == "off":
        return []
    found = []
    if train.compile:
        found.append(("compiled models are not sharded", "compile", "leave `train.compile` away"))
    if train.precision == "fp16":
        text = "the loss scaler of fp16 does not know shards"
        found.append((text, "precision", "use `train.precision: bf16` or `fp32`"))
    if not _able():
        text = f"torch {torch.__version__} lacks what `train.shard` needs"
        found.append((text, "shard", "install a newer torch (2.14 was tested)"))
    return [Problem("T617", why, at=("train", at), remedies=(do, _OFF)) for why, at, do in found]


def _able() -> bool:
    if not distributed.is_available():
        return False
    from torch.distributed import fsdp

    module = getattr(fsdp, "FSDPModule", None)
    return hasattr(module, "set_reduce_scatter_unused_params")


class Shards:
    """The shards of what a fit trains, in this process; `undo` makes it ordinary again.

    root: the module whose forward pass is the whole step. Every process makes one at the same time.
    RunError T617 where it cannot be.
    """

    def __init__(self, root: nn.Module, train: Train, device: torch.device):
        self.root: Any = root
        self.full = train.shard == "full"
        self.device = device
        self.rank, self.world = distributed.get_rank(), distributed.get_world_size()
        self.slots = slots_of(root)
        problems = [*shard_problems(train), *_of_two_types(self.slots)]
        if problems:
            raise RunError(problems[0])
        self.units: list[Any] = units_of(root)
        self._calls: list[int] = []  # of units, in this forward pass
        self._used: set[int] = set()  # slots that this backward pass has reached
        self._gathered: dict[int, nn.Parameter] = {}  # the whole form of each shared slot
        self._handles = [
            unit.register_forward_pre_hook(partial(self._called, number))
            for number, unit in enumerate(self.units)
        ]
        self._kept = [(module, type(module), set(vars(module))) for module in root.modules()]
        self._added: list[tuple[nn.Module, set[str]]] = []
        self.same([*root.parameters(), *root.buffers()])
        try:
            self._share_out()
        except BaseException:
            self.undo()
            raise

    def _share_out(self) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(self.device.type, (self.world,))
        loose = {s.original for s in self.slots if not has_rows(s.original)}
        rest = [slot for slot in self.slots if slot.original not in loose]
        for unit in [*self.units, self.root]:
            mine = {*unit.parameters()}
            here = [slot for slot in rest if slot.original in mine]
            for slot in here:
                slot.original.data = slot.original.data.contiguous()
            again = self.full and unit is not self.root
            try:
                fully_shard(unit, mesh=mesh, reshard_after_forward=again, ignored_params=loose)
            finally:
                self._added = [(module, set(vars(module)) - had) for module, _, had in self._kept]
            for slot in here:
                slot.shards = slot.now
                # Who holds on to the old object must not go on with weights that stand still: the
                # loss becomes NaN and the fit stops. It also frees the memory.
                nothing = slot.original.new_full((), math.nan)
                slot.original.data = nothing.expand(slot.original.shape)
        # What one process does not reach another may: all must exchange the same.
        self.root.set_reduce_scatter_unused_params(True)
        # Under `gradients` a step may have read any weight, and any part of the graph may need it.
        self.root.set_reshard_after_backward(self.full)

    @torch.no_grad()
    def same(self, tensors: Iterable[Tensor]) -> None:
        """All processes have what the first has."""
        for tensor in tensors:
            flat = tensor.detach().contiguous()
            distributed.broadcast(flat, 0)
            if flat.data_ptr() != tensor.data_ptr():
                tensor.copy_(flat)

    # ---- a step

    def step(self, compute: Callable[[dict[str, Any]], Any], batch: dict[str, Any]) -> Any:
        """What the forward pass of the root calls: the step, with the weights it may read whole."""
        self.same(self.root.buffers())  # as plain data parallelism has it
        if not self._gathered:
            self._listen()
        if not self.full:
            for unit in self.units:
                unit.unshard()
        self._calls = []
        with gathering(self._all_whole):
            terms = compute(batch)
        # A dict, since that is where FSDP looks for tensors that will go backward.
        return dict(terms) if isinstance(terms, Mapping) else terms

    def _called(self, number: int, *_: Any) -> None:
        if torch.is_grad_enabled():
            self._calls.append(number)

    def _listen(self) -> None:
        """Hear of each weight that a backward pass reaches; the whole forms exist from now on."""
        heard: set[int] = set()
        for unit in [self.root, *self.units]:
            unit.unshard()
            for number, slot in enumerate(self.slots):
                p = slot.now
                if number in heard or p is slot.shards or not p.requires_grad:
                    continue
                heard.add(number)
                hear = partial(self._reached, number)
                self._handles.append(p.register_post_accumulate_grad_hook(hear))
                if slot.shards is not None:
                    self._gathered[number] = p
            if self.full and unit is not self.root:
                unit.reshard()

    def _reached(self, number: int, _: Tensor) -> None:
        self._used.add(number)

    @contextmanager
    def _all_whole(self) -> Iterator[None]:
        """Units whole in the block, whatever is called in it; all processes come here together."""
        if not self.full:
            yield
            return
        for unit in self.units:
            unit.unshard()
            unit.set_reshard_after_forward(False, recurse=False)
        try:
            yield
        finally:
            for unit in self.units:
                unit.set_reshard_after_forward(True, recurse=False)
                unit.reshard()

    @contextmanager
    def backward(self, last: bool = True, over: str = "") -> Iterator[None]:
        """The backward pass in the block leaves in `.grad` the mean over processes, in shards.

        last: whether the graph is then done with. over: which of several it is.
        RunError T618 where processes have done different things.
        """
        self._agree(over)
        trained = [(k, slot) for k, slot in enumerate(self.slots) if slot.original.requires_grad]
        had = {k: slot.trained.grad for k, slot in trained}
        for _, slot in trained:
            if slot.shards is None:
                slot.original.grad = None
        self._used = set()
        yield
        table = torch.zeros(2, len(self.slots), device=self.device)
        table[0, list(self._used)] = 1.0
        table[1, [k for k, p in self._gathered.items() if p.grad is not None]] = 1.0
        distributed.all_reduce(table)
        reached, late = (table > 0).tolist()
        for k, slot in trained:
            if slot.shards is None:
                slot.original.grad = self._mean(slot.original, reached[k], had[k])
            elif late[k]:
                self._add_late(slot, self._gathered[k])
            elif not reached[k] and had[k] is None:  # as without shards: no gradient, no decay
                slot.shards.grad = None
        if last and not self.full:
            for unit in [*self.units, self.root]:
                unit.reshard()

    def _mean(self, p: Tensor, reached: bool, had: Tensor | None = None) -> Tensor | None:
        """The mean over processes of the gradient of what is whole in each, added to `had`."""
        if not reached:
            return had
        grad = torch.zeros_like(p) if p.grad is None else p.grad
        distributed.all_reduce(grad)
        grad = grad / self.world
        return grad if had is None else had + grad

    def _add_late(self, slot: Slot, p: nn.Parameter) -> None:
        """What came after a unit had given its gradients away, since its weights were read early.

        RunError T618 where they are not whole by then.
        """
        if self.full:
            message = "a step kept a block's weights beyond its forward pass"
            raise RunError(_misused(message, _WHOLE))
        from torch.distributed.tensor import distribute_tensor

        grad, shards = self._mean(p, True), slot.shards
        assert grad is not None
        p.grad = None
        mine = distribute_tensor(grad, shards.device_mesh, shards.placements, src_data_rank=None)
        shards.grad = mine if shards.grad is None else shards.grad + mine

    def _agree(self, over: str) -> None:
        """What one process gathers and gives away, all do, in the same order."""
        mark = float(zlib.crc32(repr((over, self._calls)).encode()) & 0xFFFFF)
        table = torch.tensor([mark, mark * mark], dtype=torch.float64, device=self.device)
        distributed.all_reduce(table)
        total, squares = table.tolist()
        if squares * self.world != total * total:  # exact: below 2^53 with 4096 processes
            raise RunError(_misused("the processes ran different parts of the model in one step"))

    # ---- numbers over all shards

    def norm(self, params: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """The L2 norm of the gradients of `params` over all shards; the shards of this process."""
        from bequeath.train.gradient import norm

        own = [p.grad for p in params if p.grad is not None]
        mine = [g.to_local() if hasattr(g, "to_local") else g for g in own]
        counted = [m for g, m in zip(own, mine) if m is not g or self.rank == 0]
        square = torch.zeros((), dtype=torch.float64, device=self.device)
        if counted:
            square = norm(counted).double() ** 2
        distributed.all_reduce(square)
        return square.sqrt().to(mine[0].dtype if mine else torch.float32), mine

    # ---- the end

    def gather(self) -> None:
        """Every process gets every weight whole; buffers are those of the first."""
        for slot in self.slots:
            if slot.shards is not None:
                slot.original.data = slot.shards.detach().full_tensor()
        self.same(self.root.buffers())

    def undo(self) -> None:
        """Modules as they came. Weights that were not gathered are NaN: one process cannot."""
        for handle in self._handles:
            handle.remove()
        for (module, kind, _), (_, added) in zip(self._kept, self._added):
            without_hooks(module)
            for name in added:
                vars(module).pop(name, None)
            if type(module) is not kind:
                module.__class__ = kind
                forget(module)
        for slot in self.slots:
            for module, key in slot.places:
                module._parameters[key] = slot.original
            if slot.shards is not None and not slot.original.is_contiguous():  # one NaN for all
                slot.original.data = slot.original.data.contiguous()
            if slot.shards is not None:  # FSDP's states refer to each other, and would hold it
                slot.shards.to_local().untyped_storage().resize_(0)
            slot.shards = None
        self._gathered, self.units, self._kept, self._added = {}, [], [], []


@contextmanager
def not_whole(shards: Shards | None) -> Iterator[None]:
    """T618 in place of what torch says where a step reads weights that are not whole."""
    try:
        yield
    except RunError as error:
        problem = error.problem
        if shards is None or problem.code != "T601":
            raise
        note = "weights that a step took hold of before the fit are NaN while they are sharded"
        raise RunError(replace(problem, notes=(*problem.notes, note))) from error
    except RuntimeError as error:
        said = str(error)
        if shards is None or not any(word in said for word in _NOT_WHOLE):
            raise
        message = "weights were read while they were not whole"
        raise RunError(replace(_misused(message, _WHOLE), notes=(said.splitlines()[0],))) from error


def _misused(message: str, *remedies: str) -> Problem:
    return Problem("T618", message, at=("train", "shard"), remedies=(*remedies, _OFF))


def _of_two_types(slots: Iterable[Slot]) -> list[Problem]:
    """T617: an exchange of gradients is of one type of numbers."""
    types = {s.original.dtype for s in slots if s.original.requires_grad}
    if len(types) < 2:
        return []
    names = " and ".join(sorted(str(t).removeprefix("torch.") for t in types))
    message = f"the trained weights are {names}, and shards are of one type"
    return [Problem("T617", message, at=("train", "shard"), remedies=(_OFF,))]
