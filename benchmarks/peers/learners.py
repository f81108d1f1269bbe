"""River, deep-river, Vowpal Wabbit and LightGBM on the streams of benchmarks/learners/, each with the same fields."""

import re
import zlib
from typing import Any

import replay

WEEK_MS = 7 * 86_400_000
WORD, PLAIN = re.compile(r"\w+"), re.compile(r"[\s|:]+")
SMALL = 256  # a count below it is a category too
BUCKETS, WORD_BUCKETS, HASHED = 1_024, 256, 256  # of words for LightGBM, of words for trees; inputs of deep-river


def _bucket(token: str, buckets: int) -> int:
    return zlib.crc32(token.encode()) % buckets


def _words(text: str) -> set[str]:
    return set(WORD.findall(text.lower())[:256])


class Peer:
    """Learns an outcome at once."""

    def __init__(self, stream: replay.Columns) -> None:
        self.stream, self.kinds = stream, list(stream.kinds.items())

    def answer(self, start: int, stop: int) -> list[float]:
        """Return chances."""
        return [self.chance(row) for row in range(start, stop)]

    def learn(self, events: list[tuple[int, int, int]]) -> None:
        """Learn outcomes in their order."""
        for _, row, _ in events:
            self.follow(row, self.stream.labels[row])

    def parts(self, row: int) -> tuple[list[str], dict[str, float], list[str]]:
        """Return a row's categories, numbers and words."""
        categories, numbers, words = [], {}, []
        for (name, kind), value in zip(self.kinds, self.stream.rows[row], strict=True):
            if kind == "text":
                words += [f"{name}={word}" for word in sorted(_words(value))]
            elif value is None or value != value:
                categories.append(f"{name}?")
            else:
                if kind == "category" or (kind == "count" and abs(value) < SMALL):
                    categories.append(f"{name}={value}")
                if kind in ("number", "count"):
                    numbers[name] = float(value)
        return categories, numbers, words


class River(Peer):
    """Logistic regression; numbers standardized as they come."""

    def __init__(self, stream: replay.Columns) -> None:
        super().__init__(stream)
        from river.linear_model import LogisticRegression  # noqa: PLC0415 each peer needs its own package alone
        from river.preprocessing import StandardScaler  # noqa: PLC0415

        self.model, self.scaler = LogisticRegression(), StandardScaler()

    def _x(self, row: int) -> dict[str, float]:
        categories, numbers, words = self.parts(row)
        return self.scaler.transform_one(numbers) | dict.fromkeys(categories, 1.0) | dict.fromkeys(words, 1.0)

    def chance(self, row: int) -> float:
        """Return p."""
        return self.model.predict_proba_one(self._x(row)).get(True, 0.5)

    def follow(self, row: int, label: float) -> None:
        """Learn one outcome."""
        self.scaler.learn_one(self.parts(row)[1])
        self.model.learn_one(self._x(row), label > 0)


class Vowpal(Peer):
    """Vowpal Wabbit with its defaults."""

    options = ""

    def __init__(self, stream: replay.Columns) -> None:
        super().__init__(stream)
        from vowpalwabbit import Workspace  # noqa: PLC0415

        self.model = Workspace(f"--quiet --loss_function logistic --link logistic {self.options}")

    def _line(self, row: int) -> str:
        categories, numbers, words = self.parts(row)
        parts = ["|c", *(PLAIN.sub("_", one) for one in categories)]
        return " ".join([*parts, "|n", *(f"{name}:{value!r}" for name, value in numbers.items()), "|t", *words])

    def chance(self, row: int) -> float:
        """Return p."""
        return float(self.model.predict(self._line(row)))

    def follow(self, row: int, label: float) -> None:
        """Learn one outcome."""
        self.model.learn(f"{1 if label else -1} {self._line(row)}")


class Crosses(Vowpal):
    """With pairs of categories, and of category and number."""

    options = "-q cc -q cn"


class Trees(Peer):
    """A Hoeffding tree that adapts; of words it sees which of a few hundred buckets a row has."""

    def __init__(self, stream: replay.Columns) -> None:
        super().__init__(stream)
        self.model = self._model()

    def _model(self) -> Any:
        from river.tree import HoeffdingAdaptiveTreeClassifier  # noqa: PLC0415

        return HoeffdingAdaptiveTreeClassifier(seed=0)

    def _x(self, row: int) -> dict[str, Any]:
        _, numbers, words = self.parts(row)
        found: dict[str, Any] = {f"w{_bucket(word, WORD_BUCKETS)}": 1.0 for word in words}
        for (name, kind), value in zip(self.kinds, self.stream.rows[row], strict=True):
            if kind == "category":
                found[name] = str(value)
        return found | numbers

    def chance(self, row: int) -> float:
        """Return p."""
        of_each = self.model.predict_proba_one(self._x(row))
        return of_each.get(True, 0.0 if of_each.get(False) else 0.5)

    def follow(self, row: int, label: float) -> None:
        """Learn one outcome."""
        self.model.learn_one(self._x(row), label > 0)


class Forest(Trees):
    """Ten trees, each replaced when it drifts."""

    def _model(self) -> Any:
        from river.forest import ARFClassifier  # noqa: PLC0415

        return ARFClassifier(seed=0)


class DeepRiver(River):
    """A network of one hidden layer; categories and words are hashed, since its inputs are as many as its weights."""

    def __init__(self, stream: replay.Columns) -> None:
        super().__init__(stream)
        import torch  # noqa: PLC0415
        from deep_river.classification import Classifier  # noqa: PLC0415

        torch.set_num_threads(1)
        torch.manual_seed(0)
        self.numbers = [name for name, kind in self.kinds if kind in ("number", "count")]
        wide = HASHED + len(self.numbers)
        net = torch.nn.Sequential(torch.nn.Linear(wide, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))
        self.model = Classifier(net, "cross_entropy", "adam", lr=1e-3, seed=0)
        self.empty = dict.fromkeys([*map(str, range(HASHED)), *self.numbers], 0.0)

    def _x(self, row: int) -> dict[str, float]:
        categories, numbers, words = self.parts(row)
        found = self.empty | self.scaler.transform_one(numbers)
        return found | {str(_bucket(one, HASHED)): 1.0 for one in (*categories, *words)}


class LightGbm(Peer):
    """Trained anew each week on all outcomes so far, or each thirtieth of a shorter stream."""

    def __init__(self, stream: replay.Columns) -> None:
        super().__init__(stream)
        import lightgbm  # noqa: PLC0415
        import numpy as np  # noqa: PLC0415

        self.np, self.trees, self.model = np, lightgbm, None
        self.every_ms = min(WEEK_MS, (stream.t_ms[-1] - stream.t_ms[0]) // 30)
        self.known: list[int] = []
        self.next_ms, self.cached = stream.t_ms[0] + self.every_ms, (0, 0, [])
        self.codes: list[dict[Any, int]] = [{} for _ in self.kinds]
        self.plain = [n for n, (_, kind) in enumerate(self.kinds) if kind != "text"]
        self.categories = [at for at, n in enumerate(self.plain) if self.kinds[n][1] == "category"]
        self.x = np.array([self._x(row) for row in range(len(stream.t_ms))], dtype=np.float32)

    def _x(self, row: int) -> list[float]:
        found, words = [], [0.0] * (BUCKETS if len(self.plain) < len(self.kinds) else 0)
        for n, ((name, kind), value) in enumerate(zip(self.kinds, self.stream.rows[row], strict=True)):
            if kind == "text":
                for word in _words(value):
                    words[_bucket(f"{name}={word}", BUCKETS)] = 1.0
            elif kind == "category":
                found.append(float(self.codes[n].setdefault(value, len(self.codes[n]))))
            else:
                found.append(float("nan") if value is None else float(value))
        return found + words

    def answer(self, start: int, stop: int) -> list[float]:
        """Return chances; the model stands still until it is trained anew, so many are computed at once."""
        if self.model is None:
            return [sum(self.stream.labels[row] for row in self.known[-1_000:]) / max(len(self.known[-1_000:]), 1)] * (
                stop - start
            )
        first, last, chances = self.cached
        if not first <= start < stop <= last:
            first, last = start, max(stop, start + 4_096)
            chances = self.model.predict(self.x[first:last], num_threads=1).tolist()
            self.cached = first, last, chances
        return chances[start - first : stop - first]

    def learn(self, events: list[tuple[int, int, int]]) -> None:
        """Keep outcomes; train when it is time."""
        for at, row, _ in events:
            if at >= self.next_ms:
                self.next_ms = at + self.every_ms
                self._train()
            self.known.append(row)

    def _train(self) -> None:
        labels = [self.stream.labels[row] for row in self.known]
        if len(set(labels)) == 2 and len(labels) > 100:
            table = self.trees.Dataset(self.x[self.known], labels, categorical_feature=self.categories)
            options = {"objective": "binary", "learning_rate": 0.05, "num_threads": 1, "verbose": -1}
            self.model, self.cached = self.trees.train(options, table, 100), (0, 0, [])


if __name__ == "__main__":
    peers = {"river": River, "river-tree": Trees, "river-forest": Forest, "deep-river": DeepRiver, "vw": Vowpal}
    replay.main(peers | {"vw-crosses": Crosses, "lightgbm": LightGbm})
