"""Samples into Parquet files: `shard=<n>/<number of the first sample, 16 digits>.parquet`, each created once, whole.

Owns columns, names and durability: a draft is written, fsynced, linked to its name if that is free, and the folder
fsynced; the position stands in the newest file's metadata. A killed writer leaves at most a draft, which the next start
removes. The only file that imports pyarrow, which is the extra `parquet`.
"""

import os
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw, Struct

from streams.errors import ConfigError, HistoryChanged, Overtaken, Unwritable
from streams.join.store import NOTHING
from streams.kafka.broker import Broker
from streams.outputs.samples import number
from streams.outputs.writer import Output, Target

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:
    raise ConfigError("output.to = 'parquet' needs pyarrow: pip install 'shadowstream[parquet]'") from None

POSITION = b"shadowstream.position"  # of the file's last sample
DRAFT = ".draft"
OUTDATED = ".outdated"
LABELS = {"number": pa.float64(), "json": pa.string()}


class _Row(Struct):
    id: str
    kind: str
    revision: int
    t: int
    label: Raw
    label_t: int
    prediction: Raw


_row = msgspec.json.Decoder(_Row).decode
_number: Callable[[Raw], float | None] = msgspec.json.Decoder(float | None).decode


class ParquetOutput:
    """One shard's folder. Samples are held until there are `rows_per_file`, or the first is `seconds_per_file` old."""

    def __init__(self, target: Target, shard: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._target, self._clock = target, clock
        self.folder = Path(target.path) / f"shard={shard}"
        self.place = f"folder {self.folder}"
        self._schema = schema(LABELS[target.labels])
        self._held: list[tuple[str, bytes]] = []
        self._since = 0.0
        self._prepare()
        self._position = self._newest()

    def position(self) -> str:
        """Give the position of the last sample that is in a file."""
        return self._position

    def write(self, samples: Sequence[tuple[str, bytes]]) -> None:
        """Take samples, and write the files that are due."""
        if samples and not self._held:
            self._since = self._clock()
        self._held += samples
        rows = self._target.rows_per_file
        while len(self._held) >= rows:
            self._put(self._held[:rows])
        if self._held and self._clock() - self._since >= self._target.seconds_per_file:
            self.flush()

    def flush(self) -> None:
        """Write what is held into a file."""
        if self._held:
            self._put(self._held)

    def rewind(self, count: int) -> None:
        """Rename the files behind the first `count` samples, so that nobody takes them for samples."""
        for path in self._files():
            if int(path.stem) > count:
                path.rename(path.with_name(path.name + f".{uuid.uuid4().hex[:8]}{OUTDATED}"))
        _sync(self.folder)
        self._position = self._newest()
        if number(self._position) != count:
            raise HistoryChanged(
                f"{self.place} holds no file that ends with sample {count}, to go back to: the store has another "
                "history of this shard, as from a copy that came back. To begin the shard again, delete its keys"
            )

    def _put(self, entries: Sequence[tuple[str, bytes]]) -> None:
        first, last = entries[0][0], entries[-1][0]
        table = pa.table(columns(entries, self._target.labels), schema=self._schema)
        table = table.replace_schema_metadata({POSITION: last.encode()})
        self._create(self.folder / f"{number(first):016}.parquet", table)
        self._position = last
        self._held = self._held[len(entries) :]
        self._since = self._clock()

    def _create(self, path: Path, table: Any) -> None:
        draft = path.with_name(f".{uuid.uuid4().hex}{DRAFT}")
        try:
            with draft.open("wb") as file:
                pq.write_table(table, file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            os.link(draft, path)
            draft.unlink()
            _sync(self.folder)
        except (FileExistsError, FileNotFoundError):
            raise Overtaken(f"another writer writes to {self.folder}; only one may") from None
        except OSError as wrong:
            raise Unwritable(f"cannot write {path}: {wrong.strerror}; nothing is lost, the samples wait") from None

    def _prepare(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for draft in self.folder.glob(f".*{DRAFT}"):
                draft.unlink(missing_ok=True)
            _sync(self.folder.parent)
        except OSError as wrong:
            raise ConfigError(f"output.path: cannot write to {self.folder}: {wrong.strerror}") from None

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("*.parquet"))

    def _newest(self) -> str:
        files = self._files()
        if not files:
            return NOTHING
        found = (pq.read_metadata(files[-1]).metadata or {}).get(POSITION)
        if found is None:
            raise ConfigError(f"{files[-1]} is not a file of ours; name a folder of its own as output.path")
        return str(found.decode())


def connect(target: Target, at: Broker, stack: ExitStack) -> list[Output]:
    """Open every shard's folder."""
    return [ParquetOutput(target, shard) for shard in range(target.shards)]


def schema(label: Any) -> Any:
    """Give the files' columns; times are milliseconds UTC."""
    at = pa.timestamp("ms", tz="UTC")
    kinds = {"id": pa.string(), "kind": pa.string(), "revision": pa.int32(), "t": at, "label": label, "label_t": at}
    return pa.schema(kinds | {"prediction": pa.string(), "position": pa.string()})


def columns(entries: Sequence[tuple[str, bytes]], labels: str) -> dict[str, list[Any]]:
    """Turn samples (position, JSON) into columns.

    Raises:
        ConfigError: a label is not a number, and the column is one of numbers.
    """
    rows = [_row(sample) for _, sample in entries]
    plain = {name: [getattr(row, name) for row in rows] for name in ("id", "kind", "revision", "t", "label_t")}
    return plain | {
        "label": [bytes(row.label).decode() if labels == "json" else _label(row) for row in rows],
        "prediction": [bytes(row.prediction).decode() for row in rows],
        "position": [position for position, _ in entries],
    }


def _label(row: _Row) -> float | None:
    try:
        return _number(row.label)
    except msgspec.ValidationError:
        found = bytes(row.label).decode()
        raise ConfigError(f"the label of {row.id!r} is {found}, not a number: set output.labels = 'json'") from None


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
