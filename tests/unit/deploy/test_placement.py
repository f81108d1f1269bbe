"""The section [ray]: the cluster's address, also by Ray's own variable, and what roles need of a node."""

import json
from pathlib import Path

import pytest

from deploy.config import Settings, load
from deploy.placement import ROLES, Needs, Ray
from deploy.processes.roles import names
from streams.errors import ConfigError


def read(folder: Path, text: str, **variables: str) -> Ray:
    (folder / "shadowstream.toml").write_text(text)
    return load(folder / "shadowstream.toml", variables).ray


def test_what_a_role_needs_is_a_table_each_or_json_in_a_variable(tmp_path: Path) -> None:
    text = '[ray.roles.learner]\ncpus = 2\nmemory_gb = 1.5\n[ray.roles.joiner]\nlabels = {zone = "b"}'
    ray = read(tmp_path, text)
    assert str(ray.needs("learner")) == "cpus = 2, memory_gb = 1.5"
    assert ray.needs("joiner-7") == Needs(labels={"zone": "b"})
    assert ray.needs("server-0") == Needs()
    variable = json.dumps({"server": {"gpus": 0.5}})
    assert read(tmp_path, text, SHADOWSTREAM_RAY_ROLES=variable).roles == {"server": Needs(gpus=0.5)}


def test_every_role_of_a_run_may_have_a_table() -> None:
    assert {name.partition("-")[0] for name in names(Settings())} == set(ROLES)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[ray.roles.lerner]\ncpus = 1", "unknown key 'ray.roles.lerner'; did you mean 'ray.roles.learner'?"),
        ("[ray.roles.learner]\ncpu = 1", "unknown key 'ray.roles.learner.cpu'; did you mean 'ray.roles.learner.cpus'?"),
        ("[ray.roles.learner]\ncpus = -1", "ray.roles.learner.cpus must be a number, 0 or more"),
        ("[ray.roles.learner]\ncpus = true", "ray.roles.learner.cpus must be a number, 0 or more"),
        ("[ray.roles.learner]\nmemory_gb = inf", "ray.roles.learner.memory_gb must be a number, 0 or more"),
        ("[ray.roles.learner]\ngpus = 1.5", "ray.roles.learner.gpus must be a whole number, or a part of one GPU"),
        ("[ray.roles.server]\nlabels = {zone = 3}", "ray.roles.server.labels must be names and values of at most 63"),
        ("[ray]\nroles = 3", "ray.roles must be a table with any of server, joiner"),
        ('[ray]\naddress = "ray://head:10001"', "ray.address must be host:port of a running cluster's head"),
    ],
)
def test_what_no_node_can_have_is_refused_by_its_key(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, text)
    assert said in str(refused.value)
    assert str(refused.value).startswith(f"{tmp_path}/shadowstream.toml: ")


def test_ray_s_own_variable_names_a_cluster_unless_the_settings_do(tmp_path: Path) -> None:
    assert read(tmp_path, "", RAY_ADDRESS="head:6379").cluster == "head:6379"
    assert read(tmp_path, '[ray]\naddress = "other:1"', RAY_ADDRESS="head:6379").cluster == "other:1"
    assert read(tmp_path, '[ray]\naddress = "local"', RAY_ADDRESS="head:6379").cluster is None
    assert read(tmp_path, "", RAY_ADDRESS="local").cluster is None
    with pytest.raises(ConfigError, match=r"^environment: RAY_ADDRESS: ray\.address must be .*'local' to start one"):
        read(tmp_path, "", RAY_ADDRESS="ray://head:10001")
