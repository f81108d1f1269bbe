"""Step 3: the compressed shadow learns online, and so does its teacher in float. Flights from New York, in 2013.

A net that knows January is pruned to 80 % zeros, quantized to int8, and then meets the rest of the year: each flight
that has arrived first tests all nets, and then trains shadow and teacher, as in the running system. They are compared
with January's shadow, frozen: alone, and with nothing but an intercept that follows the outcomes.

    python examples/compress/learn_online.py [--rows 50000]
"""

import argparse
import copy
from collections.abc import Iterator
from itertools import islice

import msgspec
import torch
from late import PIPELINE, Months, feed, january
from msgspec import Raw

from compressors.carry_out import carry_out
from deploy.learning.candidates import make_learner
from learners.online.batches import Encoder
from streams.events import Prediction, Sample


def main(rows: int) -> None:
    """Print the losses by month."""
    task, online = PIPELINE.task, PIPELINE.online
    learner, known = make_learner(PIPELINE), january()
    learner.study(known)
    teacher, shadow = learner.teacher, learner.shadow
    carry_out(shadow.model, PIPELINE.recipe, known, task, teacher=teacher.mean, seed=PIPELINE.seed)
    shadow.settle()
    frozen = copy.deepcopy(shadow.model).eval()
    encoder = Encoder(PIPELINE.features, PIPELINE.encode)
    months = Months(["frozen", "+ intercept", "shadow", "teacher"])
    samples = arrived(rows)
    while batch := list(islice(samples, online.batch)):
        inputs = encoder.inputs(batch)
        with torch.no_grad():
            alone, dense = frozen(*inputs), teacher.model(*inputs)
        moved = alone + torch.tensor(learner.intercept.value)
        answers = zip(batch, alone.tolist(), strict=True)
        served = [msgspec.structs.replace(s, prediction=answered(s.prediction, out)) for s, out in answers]
        answer = learner.learn(served)  # what the shadow said before it learned; the intercept follows what was served
        target = torch.tensor([s.label for s in batch])
        losses = torch.stack([task.losses(one, target) for one in (alone, moved, answer, dense)], 1)
        for sample, row in zip(batch, losses.tolist(), strict=True):
            months.add(sample.t, row)
    print(f"recipe: {PIPELINE.recipe}; {learner.learned:,} flights learned in the order of their arrival\n")
    months.show()


def arrived(rows: int) -> Iterator[Sample]:
    """Join requests with outcomes, and yield a sample for each flight, in the order of arrival."""
    waiting: dict[bytes, tuple[int, bytes]] = {}
    for event in feed(rows):
        key = event.key
        if event.topic == "requests":
            waiting[key] = event.t_ms, event.value
        elif key in waiting:
            t_ms, features = waiting.pop(key)
            asked = Prediction(key.decode(), t_ms, 0, (0.0,), (0.0,), 0, Raw(features))
            label = msgspec.json.decode(event.value)["label"]
            yield Sample(key.decode(), "joined", 0, t_ms, label, event.t_ms, asked)


def answered(prediction: Prediction, output: list[float]) -> Prediction:
    """Return a prediction with the output that was served."""
    return msgspec.structs.replace(prediction, output=tuple(output))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000, help="how many of the year's flights, evenly chosen")
    torch.set_num_threads(1)
    main(parser.parse_args().rows)
