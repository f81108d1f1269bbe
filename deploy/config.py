"""The settings, addresses and sizes: one TOML file and the environment, checked key by key.

Owns every setting's name, type, default and unit. Does not know who uses them. This is the only file that reads the
environment: every key is also a variable `SHADOWSTREAM_<SECTION>_<KEY>` (`SHADOWSTREAM_KAFKA_BOOTSTRAP`), which wins
over the file; an empty variable counts as not set. Unknown keys of the file are errors, and so are unknown variables of
a known section, or of a name that is nearly known; those that Kubernetes sets for a service that is called shadowstream
are ignored.
"""

import difflib
import math
import os
import re
import tomllib
import unicodedata
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from deploy.placement import Needs, Ray, roles_of
from streams import hosts
from streams.errors import ConfigError
from streams.join.policy import JoinPolicy
from streams.kafka.broker import Broker
from streams.redis import Address

PREFIX = "SHADOWSTREAM"
KUBERNETES = re.compile(r".*(_SERVICE_HOST|_SERVICE_PORT(_\w+)?|_PORT|_PORT_\d+_\w+)")  # for a service of some name
NEARLY = 0.85  # how alike an unknown variable must be to a known one to be taken for a slip

Text = Annotated[str, Meta(min_length=1)]
Count = Annotated[int, Meta(ge=1)]
PositiveSeconds = Annotated[float, Meta(gt=0)]
Seconds = Annotated[float, Meta(ge=0)]
MOST_TEXT = 4_096  # characters
MOST = 2**31 - 1  # of a count: what Kafka's and Redis' own counts can hold
MOST_S = 100 * 366 * 86_400  # a century, so that sums of times in milliseconds stay exact
PLACES = "a folder of this machine, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX"
ADDRESS, LIKE_ADDRESS = re.compile(r"(s3|gs|az)://[A-Za-z0-9][A-Za-z0-9._-]+(/[^/?#@]+)*/?"), re.compile(r"~|\w+:/")


Kafka = Broker  # the section [kafka]
Redis = Address  # the section [redis]


class Registry(Struct, frozen=True, kw_only=True):
    """`path` is where commits, artifacts and champions are: a folder, a relative one from the current directory on, or
    a bucket: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX.

    `key` is the file of the private key (PEM, Ed25519) that signs candidates, verdicts and versions, or its text; by
    default the first run makes one, in the folder itself. `trusted` are the files of the public keys whose records are
    taken, with commas between them, by default that of `key`. `shared` says that a folder is the same one on all nodes
    of a cluster.

    At least the newest `keep_samples` of the learned samples stay, and older ones are let go; None: all stay.
    """

    path: Text = ".shadowstream"
    shared: bool = False
    key: Text | None = None
    trusted: Text | None = None
    keep_samples: Count | None = None


class Topics(Struct, frozen=True, kw_only=True):
    """The names of a feed's topics, where `{pipeline}` stands for the pipeline's, and the partitions of a new topic."""

    requests: Text = "{pipeline}.requests"
    predictions: Text = "{pipeline}.predictions"
    outcomes: Text = "{pipeline}.outcomes"
    dead: Text = "{pipeline}.dead"
    partitions: Annotated[int, Meta(ge=1, le=100_000)] = 1

    def named(self, pipeline: str) -> "Topics":
        """Return the same with the pipeline's name filled in."""
        names = {key: getattr(self, key).replace("{pipeline}", pipeline) for key in TOPIC_KEYS}
        return msgspec.structs.replace(self, **names)


TOPIC_KEYS = ("requests", "predictions", "outcomes", "dead")


class Dead(Struct, frozen=True, kw_only=True):
    """At most `most_per_minute` dead letters are written in a minute; what is refused beyond them is summed up."""

    most_per_minute: Count = 1_000


class Serve(Struct, frozen=True, kw_only=True):
    """At most `max_batch` requests are scored in one micro-batch, by `servers` processes that share the partitions.

    `engines`: onnxruntime runs a version where it was proven to answer as the artifact does; false: torch runs all.
    `on_contradiction`: where another role has ended with an error that a person must resolve, a run goes on serving, or
    it stops. A replay always stops.
    """

    servers: Count = 1
    max_batch: Count = 512
    engines: bool = True
    on_contradiction: Literal["serve", "stop"] = "serve"


class Learn(Struct, frozen=True, kw_only=True):
    """A commit is written after `commit_samples` samples or `commit_s` seconds, whichever comes first.

    The learner's whole state is written after `relearn_s` processor seconds of learning, or 50 times what the last one
    took to write, whichever is longer: a start learns as much again at most.
    """

    commit_samples: Count = 1_024
    commit_s: PositiveSeconds = 1.0
    relearn_s: PositiveSeconds = 5.0


class Replay(Struct, frozen=True, kw_only=True):
    """`lead_s` is how far, in event time, a replay may run ahead of what has been served, joined and learned.

    It ends with an error when nothing at all has moved for `stall_s` seconds.
    """

    lead_s: Seconds = 3_600.0
    stall_s: PositiveSeconds = 120.0


class Metrics(Struct, frozen=True, kw_only=True):
    """A run or a join answers Prometheus at `listen`, host:port of this machine; None: it does not."""

    listen: Text | None = None

    def __post_init__(self) -> None:
        if self.listen is not None:
            listening(self.listen, "metrics.listen")


def listening(address: str, what: str) -> hosts.Host:
    """Return the address to listen at.

    Raises:
        ConfigError: it is not host:port.
    """
    at = hosts.parse(address)
    if at is None or at.port is None:
        raise ConfigError(f"{what} must be host:port, such as 127.0.0.1:9464; found {hosts.shown(address)}")
    return at


class Output(Struct, frozen=True, kw_only=True):
    """Where the samples of a join without a model go: `stream` leaves them in Redis, for a reader of yours.

    `labels` says what an outcome's label may be, wherever samples go: by default any JSON where `join.reduce` makes
    lists, else a number; another one is refused where it is read. `topic` is for `to = "topic"`; `{pipeline}` in it
    stands for the feed's name. The other keys are for `to = "parquet"`: `path` is a folder (a relative one starts at
    the current directory), and a file ends after `rows_per_file` or `seconds_per_file`, whichever comes first.
    """

    to: Literal["stream", "topic", "parquet"] = "stream"
    topic: Text = "{pipeline}.samples"
    path: Text = "samples"
    rows_per_file: Count = 20_000
    seconds_per_file: PositiveSeconds = 60.0
    labels: Literal["number", "json"] | None = None

    def kind(self, join: JoinPolicy) -> Literal["number", "json"]:
        """Return what labels may be."""
        return self.labels or ("json" if join.reduce == "list" else "number")

    def named(self, pipeline: str) -> str:
        """Return the topic with the feed's name filled in."""
        return self.topic.replace("{pipeline}", pipeline)


class Settings(Struct, frozen=True, kw_only=True):
    """All settings, a section each; every key has a default that works."""

    kafka: Kafka = Kafka()
    redis: Redis = Redis()
    ray: Ray = Ray()
    registry: Registry = Registry()
    topics: Topics = Topics()
    join: JoinPolicy = JoinPolicy()
    dead: Dead = Dead()
    serve: Serve = Serve()
    learn: Learn = Learn()
    replay: Replay = Replay()
    output: Output = Output()
    metrics: Metrics = Metrics()


SECTIONS: dict[str, type[Struct]] = {field.name: field.type for field in msgspec.structs.fields(Settings)}
KEYS: dict[str, dict[str, Any]] = {
    section: {field.name: field.type for field in msgspec.structs.fields(kind)} for section, kind in SECTIONS.items()
}


def load(path: Path | None = None, environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings: the environment wins over the TOML file, if there is one, and the file over the defaults.

    Raises:
        ConfigError: the file does not exist or is not TOML (the text has the line), a key is unknown (the text has the
            nearest known one), or a value has another type or range (the text has the value, unless it may be secret,
            and what would be right).
    """
    from_file = {} if path is None else _checked(_parsed(path), path)
    _check_variables(environment)
    sections = {}
    for section, kind in SECTIONS.items():
        values = from_file.get(section, {}) | _from_environment(section, environment)
        try:
            sections[section] = kind(**values)
        except ConfigError as wrong:
            raise ConfigError(f"{path or 'environment'}: {wrong}") from None
    sections["ray"] = _with_address(sections["ray"], environment)
    return msgspec.structs.replace(Settings(), **sections)


def _with_address(ray: Any, environment: Mapping[str, str]) -> Any:
    """Return the section [ray] with the address that Ray's own variable has, where it names none."""
    if ray.address is not None or not (address := environment.get("RAY_ADDRESS")):
        return ray
    try:
        return msgspec.structs.replace(ray, address=address)
    except ConfigError as wrong:
        raise ConfigError(f"environment: RAY_ADDRESS: {wrong}") from None


def have_ray_say_lines(environment: MutableMapping[str, str] = os.environ) -> None:
    """Have Ray pass on what our roles print as it is: each line of ours names its role, and none is left out."""
    environment.update({"RAY_DISABLE_WORKER_LOG_PREFIX": "1", "RAY_COLOR_PREFIX": "0", "RAY_DEDUP_LOGS": "0"})


def child_environment(
    more: Mapping[str, str], without: tuple[str, ...], environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return the environment of a child: ours, but for variables that begin with one of `without`, and `more`."""
    return {name: value for name, value in environment.items() if not name.startswith(without)} | dict(more)


def set_ray_aside(environment: MutableMapping[str, str] = os.environ) -> None:
    """Remove Ray's own variables, for a Ray that is ours alone; all but the folder of its files.

    They are a cluster's (a pod of KubeRay has RAY_ADDRESS), and one that Ray cannot read ends the process while Ray is
    imported, without a word.
    """
    for name in [name for name in environment if name.startswith("RAY_") and name != "RAY_TMPDIR"]:
        del environment[name]


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # some editors write a byte order mark
    except FileNotFoundError:
        raise ConfigError(f"no such file: {path}") from None
    except OSError as wrong:
        raise ConfigError(f"cannot read {path}: {wrong.strerror}") from None
    except RecursionError:
        raise ConfigError(f"{path}: not TOML: tables or arrays inside each other too deeply") from None
    except UnicodeDecodeError as wrong:
        raise ConfigError(f"{path}: not TOML: it is not in UTF-8, at byte {wrong.start}; save it as UTF-8") from None
    except ValueError as wrong:  # of the parser, or a number of more digits than Python reads
        said = "a number has too many digits" if "digits" in str(wrong) else wrong
        raise ConfigError(f"{path}: not TOML: {said}") from None


def _checked(parsed: dict[str, Any], path: Path) -> dict[str, dict[str, Any]]:
    """Return the file's values in their types, by section and key."""
    for section, table in parsed.items():
        if section not in KEYS:
            raise ConfigError(f"{path}: {_unknown(section)}")
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: '{section}' must be a table, [{section}]; found {_shown(section, table)}")
        for key in table:
            if key not in KEYS[section]:
                raise ConfigError(f"{path}: {_unknown(f'{section}.{key}')}")
    return {
        section: {key: _typed(f"{path}: ", section, key, value, strict=True) for key, value in table.items()}
        for section, table in parsed.items()
    }


def _from_environment(section: str, environment: Mapping[str, str]) -> dict[str, Any]:
    names = {key: f"{PREFIX}_{section}_{key}".upper() for key in KEYS[section]}
    return {
        key: _typed(f"environment: {name}: ", section, key, environment[name], strict=False)
        for key, name in names.items()
        if environment.get(name)
    }


def _check_variables(environment: Mapping[str, str]) -> None:
    """Refuse variables that are meant for a key, but name none."""
    known = {f"{section}_{key}".upper() for section, keys in KEYS.items() for key in keys}
    sections = tuple(f"{section}_".upper() for section in KEYS)
    for variable, value in environment.items():
        prefix, _, name = variable.partition("_")
        if not value or prefix != PREFIX or name in known or KUBERNETES.fullmatch(variable):
            continue
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0 if name.startswith(sections) else NEARLY)
        if near:
            raise ConfigError(f"environment: unknown variable {variable}; did you mean {PREFIX}_{near[0]}?")


def _typed(where: str, section: str, key: str, value: object, *, strict: bool) -> Any:
    """Return the value in the key's type; `strict` is off for the environment, where numbers are text."""
    name = f"{section}.{key}"
    if name == "ray.roles":
        return _roles(where, value)
    try:
        if isinstance(value, str) and (fault := _text_fault(value) or _path_fault(name, value)):
            raise msgspec.ValidationError(fault)
        typed = msgspec.convert(value, KEYS[section][key], strict=strict)
        if fault := _number_fault(key, typed):
            raise msgspec.ValidationError(fault)
    except (msgspec.ValidationError, OverflowError) as wrong:
        choices = ", ".join(map(repr, _choices(KEYS[section][key])))
        expected = f"must be one of {choices}" if choices else str(wrong)
        raise ConfigError(f"{where}{name}: {expected}; found {_shown(name, value)}") from None
    return typed


def _roles(where: str, value: object) -> dict[str, Needs]:
    try:
        return roles_of(value)
    except ValueError as wrong:
        raise ConfigError(f"{where}{wrong}") from None


def _text_fault(text: str) -> str | None:
    """Return what is wrong with a text that no client could use."""
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        return "Expected text in UTF-8"
    if not text.isprintable() and any(unicodedata.category(letter) == "Cc" for letter in text):
        return "Expected no control characters, such as a line's end"
    return None if len(text) <= MOST_TEXT else f"Expected at most {MOST_TEXT:,} characters"


def _path_fault(name: str, text: str) -> str | None:
    """Return what is wrong with a folder's path that would be taken for a strange name of one."""
    if not name.endswith(".path") or (name == "registry.path" and ADDRESS.fullmatch(text)):
        return None
    if name == "registry.path" and (text != text.strip() or LIKE_ADDRESS.match(text)):
        return f"Expected {PLACES}, without '~', credentials or blanks at its ends"
    if text != text.strip() or LIKE_ADDRESS.match(text):
        return "Expected a folder of this machine, without '~', 's3://' and the like, or blanks at its ends"
    return None


def _number_fault(key: str, number: object) -> str | None:
    """Return what is wrong with a number that no sum of ours could take."""
    if isinstance(number, float) and not math.isfinite(number):
        return "Expected a finite number"
    if isinstance(number, float) and key.endswith("_s") and number > MOST_S:
        return f"Expected at most {MOST_S:,} s, a century"
    return f"Expected at most {MOST:,}" if isinstance(number, int) and number > MOST else None


def _choices(kind: Any) -> list[object]:
    """Return the values that a key takes, if its type lists them."""
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    return [choice for part in get_args(kind) for choice in _choices(part)]


def _shown(name: str, value: object) -> str:
    secret = name.startswith("redis") or name.endswith("password") or (name == "registry.path" and "@" in str(value))
    return f"a {type(value).__name__} that is not shown" if secret else hosts.shown(value)


def _unknown(name: str) -> str:
    """Return the error for a key that is not known, with the nearest that is, of any section."""
    known = [*KEYS, *(f"{section}.{key}" for section, keys in KEYS.items() for key in keys)]
    given = name[: hosts.MOST_SHOWN].lower()
    longer = [one for one in known if one.startswith(given)]
    nearest = difflib.get_close_matches(given, longer or known, n=1, cutoff=0.0)[0]
    return f"unknown key {hosts.shown(name)}; did you mean '{nearest}'?"
