"""What a method of continual learning finds as `given.protocol`: tasks, one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bequeath.kernel.errors import AccessDenied

if TYPE_CHECKING:
    from bequeath.given.given import DataView


@dataclass(frozen=True)
class Task:
    """name: `task-1`, ...; index: from 0; classes: the labels that occur in it.

    train: the task's training part, with its labels; close: ends it.
    """

    name: str
    index: int
    classes: tuple[int, ...]
    train: DataView
    close: Callable[[str], None] = lambda why: None


@dataclass(frozen=True)
class Stream:
    """Tasks in their order. When the next one is taken, the data of the one before are closed.

    task_ids: the number of a sample's task is given when it is to be classified. n_classes: of all
    tasks together. whole: everything at once, for those that declare `at_once` in their settings.
    """

    tasks: tuple[Task, ...]
    task_ids: bool
    n_classes: int
    whole: DataView | None = None

    def __len__(self) -> int:
        return len(self.tasks)

    def __iter__(self) -> Iterator[Task]:
        for task in self.tasks:
            yield task
            task.close(f"{task.name} is over: its data are not there any more")

    @property
    def classes(self) -> Sequence[Sequence[int]]:
        return [task.classes for task in self.tasks]

    def together(self) -> DataView:
        """The data of all tasks. AccessDenied for a method that does not declare `at_once`."""
        if self.whole is None:
            raise AccessDenied("a method of a stream sees one task at a time")
        return self.whole


@dataclass(frozen=True)
class Capacity:
    """What masks leave free: share of each layer after each task; and how they overlap.

    free: layer -> [T]; overlap: [T][T], share of task i's weights that task j's mask holds too.
    """

    free: dict[str, list[float]] = field(default_factory=dict)
    overlap: list[list[float]] = field(default_factory=list)
