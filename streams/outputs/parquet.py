"""Samples into Parquet files: `shard=<n>/<number of the first sample, 16 digits>.parquet`, each created once, whole.

Owns columns, file names and durability: a draft is written and fsynced, then linked to its name if no file has it, and
the folder is fsynced. A file's metadata have the position of its last sample. A killed writer leaves at most a draft,
which the next start removes. The only file that imports pyarrow, which is the extra `parquet`.
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
from streams.join.store import NOTHING, StoredSample
from streams.kafka.broker import Broker
from streams.outputs.samples import number
from streams.outputs.writer import Output, Target

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:
    raise ConfigError("output.to = 'parquet' needs pyarrow: pip install 'shadowstream[parquet]'") from None

POSITION = b"shadowstream.position"  # key of a file's metadata: the position of its last sample
DRAFT = ".draft"
OUTDATED = ".outdated"
LABELS = {"number": pa.float64(), "json": pa.string()}
MOST_BYTES = 64 << 20  # of samples that wait for a file: large ones end it before `rows_per_file`


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
    """One shard's folder. Samples wait in memory for `rows_per_file` of them, or for `seconds_per_file`."""

    def __init__(self, target: Target, shard: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._target, self._clock = target, clock
        self.folder = Path(target.path) / f"shard={shard}"
        self.name = f"folder {self.folder}"
        self._schema = schema(LABELS[target.labels])
        self._waiting: list[StoredSample] = []
        self._waiting_since_s, self._waiting_bytes = 0.0, 0
        self._prepare()
        self._position = self._newest()

    def position(self) -> str:
        """Return the position of the last sample that is in a file."""
        return self._position

    def write(self, samples: Sequence[StoredSample]) -> None:
        """Take samples, and write the files that are due."""
        if samples and not self._waiting:
            self._waiting_since_s = self._clock()
        rows = self._target.rows_per_file
        for one in samples:
            self._waiting.append(one)
            self._waiting_bytes += len(one.sample)
            if len(self._waiting) >= rows or self._waiting_bytes >= MOST_BYTES:
                self.flush()
        if self._waiting and self._clock() - self._waiting_since_s >= self._target.seconds_per_file:
            self.flush()

    def flush(self) -> None:
        """Write the samples that wait into a file."""
        if self._waiting:
            self._write_file(self._waiting)
            self._waiting, self._waiting_since_s, self._waiting_bytes = [], self._clock(), 0

    def rewind(self, count: int) -> None:
        """Rename the files with samples after the first `count`, so that nobody reads them as samples."""
        for path in self._files():
            if int(path.stem) > count:
                path.rename(path.with_name(path.name + f".{uuid.uuid4().hex[:8]}{OUTDATED}"))
        _sync(self.folder)
        self._position = self._newest()
        if number(self._position) != count:
            raise HistoryChanged(
                f"{self.name} holds no file that ends with sample {count}, to go back to: the store has other samples "
                "of this shard, as from an old copy that came back. To begin the shard again, delete its keys"
            )

    def _write_file(self, samples: Sequence[StoredSample]) -> None:
        first, last = samples[0].position, samples[-1].position
        table = pa.table(columns(samples, self._target.labels), schema=self._schema)
        table = table.replace_schema_metadata({POSITION: last.encode()})
        self._create(self.folder / f"{number(first):016}.parquet", table)
        self._position = last

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
            raise Overtaken(f"another writer writes to {self.folder}; only one may run") from None
        except OSError as wrong:
            raise Unwritable(
                f"cannot write {path}: {wrong.strerror}; nothing is lost, samples stay in the store"
            ) from None

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
        for path in {files[0], files[-1]}:
            self._check_label(path)
        position = (pq.read_metadata(files[-1]).metadata or {}).get(POSITION)
        if position is None:
            raise ConfigError(f"another program wrote {files[-1]}; set output.path to a folder of its own")
        return str(position.decode())

    def _check_label(self, path: Path) -> None:
        """Refuse a folder whose files have labels of another type: no reader could read them together."""
        found = pq.read_schema(path)
        there = found.field("label").type if "label" in found.names else None
        ours = self._schema.field("label").type
        if there is not None and there != ours:
            kinds = {kind: name for name, kind in LABELS.items()}
            raise ConfigError(
                f"output.labels = {self._target.labels!r} and output.path = {self._target.path!r}: its files have "
                f"labels of type {kinds.get(there, str(there))!r}, and no reader takes both; set output.labels "
                "back, or output.path to another folder"
            )


def connect(target: Target, at: Broker, stack: ExitStack) -> list[Output]:
    """Open every shard's folder."""
    return [ParquetOutput(target, shard) for shard in range(target.shards)]


def schema(label: Any) -> Any:
    """Return the files' columns, with the type of the column `label`; times are milliseconds UTC."""
    at = pa.timestamp("ms", tz="UTC")
    kinds = {"id": pa.string(), "kind": pa.string(), "revision": pa.int32(), "t": at, "label": label, "label_t": at}
    return pa.schema(kinds | {"prediction": pa.string(), "position": pa.string()})


def columns(samples: Sequence[StoredSample], labels: str) -> dict[str, list[Any]]:
    """Turn samples into columns.

    Raises:
        ConfigError: a label is not a number, and the column `label` is of numbers.
    """
    rows = [_row(one.sample) for one in samples]
    plain = {name: [getattr(row, name) for row in rows] for name in ("id", "kind", "revision", "t", "label_t")}
    return plain | {
        "label": [bytes(row.label).decode() if labels == "json" else _label(row) for row in rows],
        "prediction": [bytes(row.prediction).decode() for row in rows],
        "position": [one.position for one in samples],
    }


def _label(row: _Row) -> float | None:
    try:
        return _number(row.label)
    except msgspec.ValidationError:
        label = bytes(row.label).decode()
        raise ConfigError(f"the label of {row.id!r} is {label}, not a number: set output.labels = 'json'") from None


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
