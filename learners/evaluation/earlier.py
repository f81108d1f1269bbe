"""Models of an earlier pipeline beside today's: each reads entries of the log in its own way.

Owns that such a model has an `encoder`, and what counts as its answer where that cannot read an entry. Does not know
where a model comes from.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor

from compressors.answers import Run, answer_all, answers
from compressors.rows import Collated
from learners.online.batches import Encoder, readable
from streams.events import Sample


def encoder_of(model: Run) -> Encoder | None:
    """Return what reads entries for a model of an earlier pipeline; None for today's."""
    found: Encoder | None = getattr(model, "encoder", None)
    return found


def answer_entries(
    models: Mapping[str, Run], rows: Collated, entries: Sequence[Sample], empty: Tensor
) -> dict[str, Tensor]:
    """Return the raw outputs (N, K) of models to entries, of which `rows` are today's; `empty` has no row, and K.

    A model of an earlier pipeline answers 0 where that cannot read an entry.
    """
    today = [name for name, model in models.items() if encoder_of(model) is None]
    found = dict(zip(today, answer_all([models[name] for name in today], rows), strict=True)) if today else {}
    for name, model in models.items():
        if encoder := encoder_of(model):
            found[name] = empty.new_zeros((len(entries), empty.shape[1]))
            at, read = readable(encoder, entries)
            if at:
                found[name][at] = answers(model, read).to(empty)
    return {name: found[name] for name in models}


def batch_for(model: Run, entries: Sequence[Sample]) -> tuple[Tensor, ...] | None:
    """Return entries as one batch of a model of an earlier pipeline; None for today's, or where it reads none."""
    encoder = encoder_of(model)
    at, read = readable(encoder, entries) if encoder else ([], None)
    return tuple(read.batch()) if read is not None and at else None
