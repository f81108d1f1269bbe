"""What `run --detach` refuses before it asks any cluster, with what would be right."""

from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.cli.commands import app
from deploy.config import Kafka, Metrics, Redis, Settings
from deploy.placement import Ray
from deploy.run.detached import check
from streams.errors import ConfigError

SETTINGS: dict[str, Any] = {"kafka": Kafka(bootstrap="k:1"), "redis": Redis(url="redis://r"), "ray": Ray(address="h:1")}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ray": Ray()}, "needs a Ray cluster: set ray.address; on one machine have systemd"),
        ({"ray": Ray(address="local")}, "needs a Ray cluster"),
        ({"kafka": Kafka()}, "set kafka.bootstrap and redis.url"),
        ({"redis": Redis()}, "set kafka.bootstrap and redis.url"),
        ({"metrics": Metrics(listen="0.0.0.0:9464")}, "have `shadowstream metrics --listen` answer"),
    ],
)
def test_what_could_not_outlive_its_command_is_refused(change: dict[str, Any], said: str) -> None:
    check(Settings(**SETTINGS))
    with pytest.raises(ConfigError, match=r"^--detach") as refused:
        check(Settings(**SETTINGS | change))
    assert said in str(refused.value)


@pytest.mark.parametrize("other", ["--replay", "--fresh", "--take-over", "--json"])
def test_it_goes_with_no_other_kind_of_run(other: str) -> None:
    done = CliRunner().invoke(app, ["run", "pipeline.py", "--detach", other])
    assert isinstance(done.exception, ConfigError)
    assert "--detach goes with none of" in str(done.exception)
