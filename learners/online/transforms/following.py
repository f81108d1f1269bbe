"""The transforms of one model: told of the rows that its forward sees, and shared with the shadow.

Owns when transforms learn. Does not know what they learn.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from compressors.data import Data
from learners.online.networks.network import Network
from learners.online.transforms.tokens import TargetMean
from learners.online.transforms.transform import Transform
from learners.tasks.task import Task
from streams.errors import ConfigError


class Following:
    """All transforms of a model, by name."""

    def __init__(self, model: nn.Module, task: Task) -> None:
        """Find them.

        Raises:
            ConfigError: there is a `TargetMean`, and the task has several outputs.
        """
        self._found = {name: m for name, m in model.named_modules() if isinstance(m, Transform)}
        self._means = [m for m in self._found.values() if isinstance(m, TargetMean)]
        if self._means and task.outputs > 1:
            raise ConfigError(
                f"TargetMean takes targets of one number: the task has {task.outputs} outputs; leave it out"
            )

    def share(self, model: nn.Module) -> None:
        """Let a model of the same layers have the same buffers, now and whatever becomes of them."""
        for name, transform in self._found.items():
            model.get_submodule(name)._buffers = transform._buffers

    @property
    def ids(self) -> set[int]:
        """The `id` of each buffer."""
        return {id(buffer) for transform in self._found.values() for buffer in transform.buffers()}

    @contextmanager
    def rows(self, target: Tensor, weights: Sequence[float] | None = None) -> Iterator[None]:
        """Let transforms follow the rows that they see until the block ends; they learn them when they settle.

        Raises:
            ConfigError: one saw no row for each target, or ran twice.
        """
        if not self._found:
            yield
            return
        with self._watched(self._found.values()) as seen:
            yield
        self._follow(seen, target, weights)

    @contextmanager
    def _watched(self, transforms: Iterable[Transform]) -> Iterator[list[tuple[Transform, Tensor]]]:
        seen: list[tuple[Transform, Tensor]] = []
        with ExitStack() as undo:
            for transform in transforms:
                hook = transform.register_forward_pre_hook(lambda m, args: seen.append((m, args[0])))
                undo.callback(hook.remove)
            yield seen

    def _follow(self, seen: list[tuple[Transform, Tensor]], target: Tensor, weights: Sequence[float] | None) -> None:
        w = None if weights is None else torch.tensor(weights, dtype=torch.float64)
        names = {transform: name for name, transform in self._found.items()}
        for n, (transform, rows) in enumerate(seen):
            if any(transform is other for other, _ in seen[:n]):
                raise ConfigError(
                    f"{names[transform]} ran twice in one forward: give each input a transform of its own"
                )
            if len(rows) != len(target):
                raise ConfigError(f"{names[transform]} saw {len(rows)} rows of {len(target)}: its first dimension is N")
            transform.follow(rows, target, w)

    def settle(self) -> None:
        """Learn what was followed since the last time: the rows of a batch."""
        for transform in self._found.values():
            transform.settle()

    def study(self, teacher: Network, data: Data, batch: int) -> None:
        """Learn a history, in its order, a batch at a time."""
        for chosen in torch.split(torch.arange(len(data)), batch) if self._found else ():
            inputs, target = data.batch(chosen)
            with self.rows(target):
                teacher.answer(inputs)
            self.settle()

    @contextmanager
    def anew(self) -> Iterator[None]:
        """Let what knows outcomes begin anew, and know again at the end what it knew.

        So in a pass over a history no row sees its own outcome.
        """
        before = [{name: b.clone() for name, b in mean.named_buffers()} for mean in self._means]
        for mean in self._means:
            mean.forget()
        yield
        for mean, kept in zip(self._means, before, strict=True):
            for name, value in kept.items():
                mean.get_buffer(name).copy_(value)

    @contextmanager
    def passing(self, target: Tensor) -> Iterator[None]:
        """Let what knows outcomes, alone, follow the rows until the block ends, and learn them."""
        with self._watched(self._means) as seen:
            yield
        self._follow(seen, target, None)
        self.settle()
