"""Learning online: a dense float teacher and the compressed shadow answer each micro-batch, then train on it.

Owns both networks and the live intercept: the state that commits rebuild. Does not know Redis, Kafka, optimizers or
files. In one environment, the same state, seed and micro-batches always make the same bits.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from compressors.agreement import answer, check_task
from compressors.answers import checked
from compressors.data import Data
from compressors.dry_run import ROWS
from compressors.pruning.refresh import pattern
from compressors.recipe import PruneStructured, Recipe
from compressors.scale import Scale
from learners.labels.holds import Hold, Said
from learners.labels.running import RunningTrust
from learners.live.held import Census, Heard
from learners.online import past
from learners.online.absent import Absent, Weight, Weighted, as_sent
from learners.online.batches import Encoder, Inputs, bare, completed, labels, served
from learners.online.gap import Gap
from learners.online.intercept import Intercept
from learners.online.log import told
from learners.online.measure import Measure
from learners.online.networks import models, units
from learners.online.networks.modes import two_modes
from learners.online.networks.network import perturb, under
from learners.online.networks.tensors import restore, tensors
from learners.online.settings import Online
from learners.online.transforms.following import Following
from learners.tasks.task import Task
from streams.errors import ConfigError, NotFinite
from streams.events import WAITING, Sample

if TYPE_CHECKING:
    from learners.live.pool import Pool

T = TypeVar("T")


class Learner:
    """Teacher, shadow, live intercept and live experts; `learned` counts the samples that they have taken.

    `shapes` is what `compressors/pruning/shapes.py` records of a shadow that has lost whole units. It is empty until
    `shrink`, or `load` of such a state, and for ever where the recipe removes no units.
    """

    def __init__(
        self, model: Callable[[], nn.Module], task: Task, encoder: Encoder, recipe: Recipe, spec: Online, seed: int,
        live: "Pool | None" = None, trust: RunningTrust | None = None,
        secret: bytes = b"",
    ) -> None:  # fmt: skip
        """`secret` is what the noise of private updates is drawn by: the same learner with another makes other bits."""
        torch.manual_seed(seed)
        self._model, self._encoder, self._recipe, self._spec, self._seed = model, encoder, recipe, spec, seed
        self._past: past.Past | None = None
        self._secret = secret
        self.teacher = models.teacher(model, spec, secret)
        self._frozen = {id(p): p for p in self.teacher.model.parameters() if not p.requires_grad}
        self._transforms = Following(self.teacher.model, task)
        self._begin(self._whole(), {}, None)
        self._pattern = pattern(recipe)
        self._measured, self.intercept = Measure(task), Intercept(task, spec.intercept_rate)
        self.learned = self.gathered = self._began_ms = 0
        self._late_ms = spec.batch_s * 1000  # after a batch's first outcome
        self._absent, self._changes = Absent(), 0
        self.live, self.trust = live, trust
        self.gap = None if spec.private else Gap()  # when a candidate is made would tell of samples

    @property
    def task(self) -> Task:
        """The task, in units of the labels' spread so far."""
        return self._measured.task

    @property
    def scale(self) -> Scale | None:
        """The mean and spread of the labels so far, by which losses are measured; None for a task without a unit."""
        return self._measured.scale

    @property
    def changed_ms(self) -> int:
        """The time of a prediction after which the world was another one; −1 for none."""
        return max(self.live.changed_ms if self.live else -1, self.gap.changed_ms if self.gap else -1)

    @property
    def frozen(self) -> set[str]:
        """The names in a state of what does not learn: it is the same in all states."""
        return {f"teacher.model.{name}" for name, p in self.teacher.model.named_parameters() if id(p) in self._frozen}

    def study(self, data: Data) -> None:
        """Train the teacher on history, in shuffled passes; its average and the shadow's weights start at the result.

        Raises:
            ValueError: the shadow has lost units already.
        """
        if self.shapes:
            raise ValueError("the shadow has lost units of a studied teacher: study comes before shrink and load")
        self.agree(data)
        self._transforms.study(self.teacher, data, self._spec.history_batch)
        for _ in range(self._spec.history_passes):
            with self._transforms.anew():
                for chosen in torch.split(torch.randperm(len(data)), self._spec.history_batch):
                    inputs, target = data.batch(chosen)
                    with self._transforms.passing(target):
                        self.teacher.learn(inputs, target, self.task)
        self.teacher.settle()
        restore(self.shadow.model, tensors(self.shadow.model) | tensors(self.teacher.model))  # all but the masks
        self.shadow.clock = self.teacher.clock
        self._measure()

    def agree(self, data: Data) -> None:
        """Check that the model takes the rows and answers as the task needs; let it carry the scale of the labels.

        Raises:
            ConfigError: it does not.
        """
        with models.suited():
            check_task(self.teacher.model, data, self.task)
            if len(data):
                few, _ = data.batch(torch.arange(min(ROWS, len(data))))
                self._leave(few)
                answer(self.shadow.model, few, "the model with compressed layers")
        self._measured.begin(self.teacher.model, data)
        self._measure()

    def _leave(self, inputs: Inputs) -> None:
        """Leave the weights in float that the model reads past their layers on these rows: the shadow begins anew."""
        found = past.find(self.teacher.model, inputs)
        if found:
            self._begin(self._whole(), {}, found)
        self._past = found

    def _measure(self) -> None:
        """Measure by the scale of the labels: losses in units of their spread, and answers in their unit."""
        self.intercept.task = self._measured.apply(self.teacher, self.shadow)

    def shrink(self, data: Data) -> None:
        """Make the shadow anew: the studied teacher without the units that the recipe removes, chosen by the rows.

        Raises:
            ConfigError: there are no units to remove; the message says why.
        """
        model = copy.deepcopy(self.teacher.model)
        shapes = units.remove(model, self._recipe, data, self.task, self.teacher.mean, self._seed)
        self._begin(model, shapes, self._past)

    def _whole(self) -> nn.Module:
        """Return a copy of the teacher's model; both have the parameters that do not learn."""
        return copy.deepcopy(self.teacher.model, dict(self._frozen))

    def _begin(self, model: nn.Module, shapes: dict[str, Any], left: past.Past | None) -> None:
        """Make the shadow of a plain model with these shapes, with these weights left in float."""
        self.shadow = models.shadow(model, self._recipe, self._spec, left, self._secret)
        self.shadow.clock = self.teacher.clock
        self._transforms.share(self.shadow.model)
        self._two_modes = two_modes(self.shadow.model)
        self.shapes, self._past = shapes, left

    def rows(self, entries: Sequence[Sample]) -> Sequence[Any]:
        """Return the features of entries of the log, decoded."""
        return self._encoder.decoded(entries)

    def sift(self, entries: Sequence[Sample]) -> list[Hold]:
        """Follow entries of the log by the trust; return which are held: nothing is to learn them."""
        return self.trust.follow(entries, self.rows(entries)) if self.trust else []

    def rule(self, source: str, said: Said) -> None:
        """Take a person's word on a source: what it releases is then to be learned."""
        if self.trust:
            self.trust.rule(source, said)

    def learn(self, entries: Sequence[Sample], held: Sequence[Hold] = ()) -> Tensor:
        """Learn entries of the log: N samples, and marks of what waits; of those `held`, only when they came.

        Return the shadow's answers (N, K), each as the shadow was before it learned that sample.

        The step of a batch is taken as soon as its last sample is learned, whatever parts the samples come in. After an
        error, whichever it is, the state is half changed: load another one.

        Raises:
            ConfigError: the recipe removes units, and the shadow still has them.
            NotFinite: a loss, a gradient or the intercept is not finite.
            MalformedEvent: a sample has no whole target.
        """
        if self._recipe.first(PruneStructured) and not self.shapes:
            raise ConfigError(f"the recipe '{self._recipe}' removes units: shrink the shadow first, or load a state")
        decoded, silent = self.rows(entries), {hold.at for hold in held}
        at = [n for n, entry in enumerate(entries) if entry.kind != WAITING and n not in silent]
        samples, sent, whole = completed([entries[n] for n in at], self.task), list[float](), list(entries)
        for n, sample in zip(at, samples, strict=True):
            whole[n] = sample
        weights = self._absent.follow(samples)
        answers, done, known = list[Tensor](), 0, 0

        def tell(until: int) -> None:
            """Tell the live experts the entries up to one, before the step of a batch, which they may renew."""
            if self.live and until > known:
                holds = [hold.moved(-known) for hold in held if known <= hold.at < until]
                rows = decoded[known:until]
                self.live.learn(told(whole[known:until], rows, sent, holds, self.live.columns))

        for part in self._parts(samples):
            first, done = done, done + len(part)
            means = [weight.mean for weight in weights[first:done]]
            target = labels(part, exact=self._measured.exact)
            sent = as_sent(weights[first:done], served(part, exact=True), target, self.task) if self.live else []
            tell(at[done - 1] + 1)
            known, rows = at[done - 1] + 1, [decoded[n] for n in at[first:done]]
            answers.append(self._learn(part, rows, target, weights[first:done], means))
            self._compare(part, answers[-1], target, means)
        sent = []
        tell(len(entries))
        return torch.cat(answers) if answers else torch.empty(0, self.task.outputs)

    def _compare(self, samples: Sequence[Sample], shadow: Tensor, target: Tensor, weights: Sequence[float]) -> None:
        """Tell the gap how the version that served and the shadow did, and whether live experts have seen a change."""
        if self.gap is None:
            return
        of, version = torch.tensor(weights), bare(samples, exact=self._measured.exact)
        served, ours = (self.task.losses(one, target) * of for one in (version, shadow))
        self.gap.follow([one.t for one in samples], [one.label_t for one in samples], served, ours)
        self.gap.hear(self._changes, self.live.changed_ms if self.live else -1)

    def drifted(self, since_ms: int) -> None:
        """Let the averages begin anew, as a candidate is made for a world that changed after `since_ms`."""
        if self.gap:
            self.gap.make(since_ms)
        for network in (self.teacher, self.shadow):
            network.begin_average()

    def renewed(self) -> nn.Module:
        """Return a copy of the shadow's average to train for a changed world: its weights are shrunk and perturbed."""
        student = self.shadow.student()
        learned = {name: p for name, p in student.named_parameters() if p.requires_grad}
        perturb(learned, models.fresh(self._model, self._seed + self.learned))
        return student

    def count(self, now_ms: int, asked: int, window_ms: int) -> None:
        """Take how many predictions the join had opened up to an event time; all outcomes up to it were learned."""
        if self.live:
            self.live.learn([Census(now_ms, asked, window_ms)])

    def hear(self, until_ms: int) -> None:
        """Take that all that was up to an event time was told: outcomes, and marks of what waited."""
        if self.live:
            self.live.learn([Heard(until_ms)])

    def _parts(self, samples: Sequence[Sample]) -> Iterator[Sequence[Sample]]:
        """Cut where batches end; take the step of one that ends early."""
        start = 0
        while start < len(samples):
            if self.gathered and self._late(samples[start]):
                self._step()
            if not self.gathered:
                self._began_ms = samples[start].label_t
            part = samples[start : start + self._spec.batch - self.gathered]
            if max(sample.label_t for sample in part) - self._began_ms > self._late_ms:
                part = list(takewhile(lambda sample: not self._late(sample), part))
            yield part
            start += len(part)

    def _late(self, sample: Sample) -> bool:
        return sample.label_t - self._began_ms > self._late_ms

    def _learn(
        self, samples: Sequence[Sample], rows: Sequence[Any], target: Tensor, weights: Sequence[Weight],
        means: Sequence[float],
    ) -> Tensor:  # fmt: skip
        """Learn samples of one batch, whose features were decoded to these rows; `means` are of the weights."""
        torch.default_generator.manual_seed(self._seed + self.learned)  # so that dropout draws the same again
        inputs, of = self._encoder.encode(rows), self._spec.batch
        if not self.learned:
            self._first(inputs)
        hidden = self._spec.private is not None  # no count of others' outcomes, no statistic without noise
        weighted = not hidden and any(weight.negative for weight in weights)
        task = Weighted(self.task, weights) if weighted else self.task
        with nullcontext() if hidden else self._transforms.rows(target, means):
            self.teacher.gather(inputs, target, task, of)
        served = self.shadow.answer(inputs) if self._two_modes else None
        if self._refresh_due(of):
            self.shadow.explore(inputs, target, task, of)
        trained = self.shadow.gather(inputs, target, task, of)
        given = [sample.label for sample in samples]
        self.intercept.follow([sample.prediction.output for sample in samples], given, means)
        if not hidden:
            self._measured.add(given)
        if not all(map(math.isfinite, self.intercept.value)):
            raise NotFinite(f"the intercept is {self.intercept.value}")
        self.learned += len(samples)
        self.gathered += len(samples)
        if self.gathered == of:
            self._step()
        return trained if served is None else served

    def _first(self, inputs: Inputs) -> None:
        """Look at the first rows and answers: where there was no history, nobody has.

        Raises:
            ConfigError: the model does not take the inputs, or does not answer as the task needs.
        """
        with models.suited():
            checked(answer(self.teacher.model, inputs), len(inputs[0]), self.task.outputs)
        if self._past is None:
            self._leave(inputs)
            self._measure()
            past.warn(self._past)

    def _step(self) -> None:
        """Take the step of the batch, which may have ended early; refresh the masks where that is due."""
        due = self._refresh_due(self.gathered)
        for network in (self.teacher, self.shadow):  # without a history, the first batch tells the scale
            network.skip() if self._measured.unknown else network.step(self.gathered, self._spec.batch)
        if due:
            self.shadow.refresh(self._pattern)
        self.shadow.unexplored()
        self._transforms.settle()
        if self.live and not self._spec.private and self.live.changes_seen > self._changes:
            self._renew()
        self.gathered = 0
        self._measured.settle()
        self._measure()

    def _renew(self) -> None:
        """Let both networks learn another world as fast as new ones."""
        self._changes = self.live.changes_seen if self.live else 0
        fresh = models.fresh(self._model, self._seed + self.learned)
        for network in (self.teacher, self.shadow):
            network.renew(fresh)

    def _refresh_due(self, size: int) -> bool:
        """Return whether a batch of this size reaches a multiple of `refresh_every`: the history alone decides."""
        every, began = self._spec.refresh_every, self.learned - self.gathered
        return every > 0 and (began + size) // every > began // every

    def batches(self, samples: Sequence[T]) -> list[Sequence[T]]:
        """Cut samples where batches end."""
        first = self._spec.batch - self.gathered
        ends = [*range(first, len(samples), self._spec.batch), len(samples)] if samples else []
        return [samples[a:b] for a, b in pairwise([0, *ends])]

    def state(self) -> dict[str, Tensor]:
        """Return everything that learning goes on from, by name."""
        out = {f"teacher.{k}": v for k, v in self.teacher.state().items()}
        out |= {f"shadow.{k}": v for k, v in self.shadow.state(self._shared()).items()}
        out["intercept"] = torch.tensor(self.intercept.value, dtype=torch.float64)
        out["learned"] = torch.tensor(self.learned)
        out["absent"] = self._absent.state()
        out["changes"] = torch.tensor(self._changes)
        out["batch"] = torch.tensor([self.gathered, self._began_ms])
        out |= self._measured.state()
        out |= {"gap": self.gap.state()} if self.gap else {}
        out |= {f"live.{k}": v for k, v in self.live.state().items()} if self.live else {}
        out |= self.trust.state() if self.trust else {}
        out |= {"past": past.pack(self._past)} if self._past is not None else {}
        return out | ({"shapes": units.pack(self._recipe, self.shapes)} if self.shapes else {})

    def _shared(self) -> set[int]:
        """Return the `id` of each tensor that the shadow's model has in common with the teacher's."""
        return {*self._frozen, *self._transforms.ids}

    def begin(self) -> None:
        """Begin another feed with what is known: its samples are counted anew, and no sample waits or is in doubt.

        What was gathered of a batch is learned, as of one that ends early. Nothing is known of the trust in sources.
        """
        if self.gathered:
            self._step()
        self.learned = self._began_ms = self._changes = 0
        self.gap = None if self._spec.private else Gap()
        if self.live:
            self.live.begin()
            self.live.clear()

    def changes(self, *, whole: bool) -> dict[str, Tensor]:
        """Return what servers need of this state to answer: all of it, or what changed since the last call."""
        own = {
            "learned": torch.tensor(self.learned),
            "intercept": torch.tensor(self.intercept.value, dtype=torch.float64),
        }
        return own | ({f"live.{k}": v for k, v in self.live.changes(whole=whole).items()} if self.live else {})

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from a state that `state` returned.

        Raises:
            ConfigError: its shadow has other shapes than the recipe makes of this model.
        """
        shapes, left = units.unpack(self._recipe, state.get("shapes")), past.unpack(state.get("past"))
        if (shapes, left or {}) != (self.shapes, self._past or {}):
            self._begin(units.smaller(self.teacher.model, shapes) if shapes else self._whole(), shapes, left)
        self._past = left
        self.teacher.load(under(state, "teacher"))
        self.shadow.load(under(state, "shadow"), self._shared())
        self.intercept.value = tuple(state["intercept"].tolist())
        self.learned = int(state["learned"])
        self.gathered, self._began_ms = state["batch"].tolist()
        self._absent = Absent(state["absent"].tolist()) if "absent" in state else Absent()
        if self.live and (live := under(state, "live")):  # a feed may have begun without it
            self.live.load(live)
        if self.trust and "trust" in state:
            self.trust.load(state)
        self.gap = Gap() if "gap" in state else None  # a feed may have begun without it
        if self.gap:
            self.gap.load(state["gap"])
        self._changes = int(state["changes"]) if "changes" in state else 0
        self._measured.load(state.get("scale"))
        self._measure()
