"""The files of `deploy/cluster/`: schemas hold, commands and variables are ours, and what they name is there."""

import gzip
import json
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import promql_parser
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema
from dockerfile_parse import DockerfileParser
from jsonschema import Draft7Validator
from jsonschema.validators import validator_for
from typer.main import get_command

from deploy import contradictions
from deploy.cli.commands import app
from deploy.config import load
from deploy.console.metrics.families import MEANINGS
from deploy.registry.storage.home import is_address

ROOT = Path(__file__).parents[3]
CLUSTER = ROOT / "deploy" / "cluster"
KUBERNETES = sorted((CLUSTER / "kubernetes").glob("*.yaml"))
CRDS = os.environ.get("SHADOWSTREAM_TEST_KUBERAY")
PLURALS = {"RayCluster": "rayclusters", "RayJob": "rayjobs"}
SECRET = re.compile(r"PASSWORD|TOKEN|KEY\b|USERNAME")
LABELS = {"feed", "role", "host", "model", "name", "by", "quantile", "job"}
EXACT = re.compile(r"[\w./-]+:v?\d+\.\d+[\w.-]*")
PAGE = (ROOT / "docs" / "production.md").read_text(encoding="utf-8")


def read(path: Path) -> list[Any]:
    return [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one]


COMPOSE = read(CLUSTER / "compose.yaml")[0]
DOCKERFILE = DockerfileParser(str(CLUSTER / "Dockerfile"))
OBJECTS = [one for path in KUBERNETES for one in read(path)]
RULES = [rule for group in read(CLUSTER / "prometheus" / "alerts.yml")[0]["groups"] for rule in group["rules"]]


def closed(schema: Any) -> Any:
    """Return a custom resource's schema as one that refuses what it does not name, as a server's strict check."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    if isinstance(made.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    return made


def pods(one: Any) -> Iterator[Any]:
    """Yield every pod's spec in an object."""
    if isinstance(one, dict):
        if "containers" in one:
            yield one
        for value in one.values():
            yield from pods(value)
    elif isinstance(one, list):
        for value in one:
            yield from pods(value)


def interpolated(text: str) -> str:
    """Return a value as Compose makes it, with "filled" for each variable that must be set."""
    return re.sub(r"\$\{(\w+)(?::[?-]([^}]*))?\}", "filled", text).replace("$$", "$")


def words(service: dict[str, Any]) -> list[list[str]]:
    """Return the commands of a service of Compose, each as its words."""
    command = service.get("command", [])
    command = command if isinstance(command, list) else shlex.split(command)
    if service.get("entrypoint") == ["bash", "-c"]:
        return [shlex.split(one.strip().removeprefix("exec ")) for one in command[0].split("&&")]
    return [["shadowstream", *command]] if service["image"].startswith("shadowstream") else []


def asked(expression: str) -> set[str]:
    """Return the metrics that an expression of Prometheus' reads."""
    names: set[str] = set()

    def seen(node: Any) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            names.add(str(node.name))
        return True

    promql_parser.walk(promql_parser.parse(expression), seen)
    return names


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield each command in the files, and where it is."""
    for name, service in COMPOSE["services"].items():
        yield from ((f"compose {name}", one) for one in words(service))
    last = {one["instruction"]: one["value"] for one in DOCKERFILE.structure}
    yield "Dockerfile", json.loads(last["ENTRYPOINT"]) + json.loads(last["CMD"])
    for one in OBJECTS:
        if one["kind"] == "RayJob":
            yield "RayJob", shlex.split(one["spec"]["entrypoint"])
        if one["kind"] in ("Deployment", "CronJob"):
            yield from ((one["kind"], ["shadowstream", *pod["containers"][0]["args"]]) for pod in pods(one))
    for line in re.findall(r"^    (?:\$ )?(shadowstream .*)$", PAGE, re.MULTILINE):
        yield "production.md", shlex.split(line, comments=True)


COMMANDS = list(commands())


@pytest.mark.parametrize("one", OBJECTS, ids=lambda one: f"{one['kind']} {one['metadata']['name']}")
def test_an_object_of_kubernetes_is_one(one: dict[str, Any]) -> None:
    if one["kind"] not in PLURALS:
        kubernetes_validate.validate(one, "1.34", strict=True)
        return
    if CRDS is None:
        pytest.skip("SHADOWSTREAM_TEST_KUBERAY names no folder with KubeRay's ray.io_*.yaml.gz")
    text = gzip.decompress((Path(CRDS) / f"ray.io_{PLURALS[one['kind']]}.yaml.gz").read_bytes())
    (version,) = (each for each in yaml.safe_load(text)["spec"]["versions"] if each["name"] == "v1")
    schema = closed(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    assert not [f"{fault.json_path}: {fault.message}" for fault in Draft7Validator(schema).iter_errors(one)]
    misspelt = json.loads(json.dumps(one).replace("rayStartParams", "rayStartParms"))
    assert list(Draft7Validator(schema).iter_errors(misspelt))


def test_both_clusters_are_the_same_and_each_pod_is_bound() -> None:
    (cluster,) = (one["spec"] for one in OBJECTS if one["kind"] == "RayCluster")
    (job,) = (one["spec"]["rayClusterSpec"] for one in OBJECTS if one["kind"] == "RayJob")
    assert cluster == job
    assert cluster["rayVersion"] == re.search(r"^ray==(.*)$", (ROOT / "constraints.txt").read_text(), re.M)[1]  # type: ignore[index]
    named = {(one["kind"], one["metadata"]["name"]) for one in OBJECTS} | {("ConfigMap", "shadowstream")}
    for pod in (pod for one in OBJECTS for pod in pods(one)):
        assert pod["securityContext"]["runAsNonRoot"]
        for container in pod["containers"]:
            assert container["resources"]["limits"]["memory"]
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }
            for source in container["envFrom"]:
                (kind, of) = next(iter(source.items()))
                assert ({"configMapRef": "ConfigMap", "secretRef": "Secret"}[kind], of["name"]) in named
        for volume in pod["volumes"]:
            claim, secret = volume.get("persistentVolumeClaim"), volume.get("secret")
            assert (
                ("PersistentVolumeClaim", claim["claimName"]) in named
                if claim
                else ("Secret", secret["secretName"]) in named
            )
    assert ("Secret", cluster["authOptions"]["secretName"]) in named


def test_compose_is_as_its_specification_says() -> None:
    schema = get_builtin_schema("vendor.compose-spec")
    assert not [f"{one.json_path}: {one.message}" for one in validator_for(schema)(schema).iter_errors(COMPOSE)]
    services = COMPOSE["services"]
    for name, service in services.items():
        assert EXACT.fullmatch(service["image"]), name
        assert set(service.get("depends_on", {})) <= set(services)
        for volume in service.get("volumes", []):
            source = volume.partition("}:")[0].partition(":-")[2] or volume.partition(":")[0]
            assert source in COMPOSE["volumes"] or (CLUSTER / source).exists(), volume
        for address in service.get("ports", []):
            assert address.startswith("127.0.0.1:"), f"{name} is open to the network"
    filled = set(re.findall(r"^(\w+)=", (CLUSTER / "env.example").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?<!\$)\$\{(\w+)", json.dumps(COMPOSE))) == filled


def test_the_image_is_built_of_what_is_there_and_runs_as_nobody_in_particular() -> None:
    steps = [(one["instruction"], one["value"]) for one in DOCKERFILE.structure if one["instruction"] != "COMMENT"]
    base = next(value for kind, value in steps if kind == "FROM")
    assert EXACT.fullmatch(base)
    assert [value for kind, value in steps if kind == "USER"][-1].split(":")[0] not in ("root", "0")
    assert any(kind == "HEALTHCHECK" for kind, _ in steps)
    ignored = (CLUSTER / "Dockerfile.dockerignore").read_text().splitlines()
    for sources in (shlex.split(value)[:-1] for kind, value in steps if kind == "COPY"):
        for source in sources:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in ignored, source
    runs = " ".join(value for kind, value in steps if kind == "RUN")
    assert runs.count("pip install") == runs.count("--constraint /build/constraints.txt") == 2


@pytest.mark.parametrize(("where", "command"), COMMANDS, ids=[f"{where}: {one[0]} {one[1]}" for where, one in COMMANDS])
def test_every_command_is_one(where: str, command: list[str]) -> None:
    if command[:2] == ["ray", "start"]:
        start = pytest.importorskip("ray.scripts.scripts").start
        assert start.make_context("start", command[2:])
        return
    assert command[0] == "shadowstream", where
    group = get_command(app)
    context = group.make_context("shadowstream", command[1:2], resilient_parsing=True)
    found = group.get_command(context, command[1])  # type: ignore[attr-defined]
    assert found is not None, command
    rest = command[2:]
    if hasattr(found, "commands"):
        found, rest = found.get_command(context, rest[0]), rest[1:]
    assert found.make_context(command[1], rest)


def test_every_variable_is_a_setting_and_no_secret_is_written_down() -> None:
    services = {name: one.get("environment", {}) for name, one in COMPOSE["services"].items()}
    for name, variables in services.items():
        ours = {key: interpolated(value) for key, value in variables.items() if key.startswith("SHADOWSTREAM_")}
        contradictions.check(load(None, ours), "visits", learns=True)
        for key, value in variables.items():
            assert not SECRET.search(key) or value.startswith("${"), f"{name}: {key}"
    (settings,) = (one["data"] for one in OBJECTS if one["kind"] == "ConfigMap")
    secrets = {key: value for one in OBJECTS if one["kind"] == "Secret" for key, value in one["stringData"].items()}
    assert set(secrets.values()) == {"FILL-IN"}
    assert not [key for key in settings if SECRET.search(key) and key != "SHADOWSTREAM_REGISTRY_KEY"]
    sources = {one["metadata"]["name"]: one["stringData"] for one in OBJECTS if one["kind"] == "Secret"}
    for container in (pod["containers"][0] for one in OBJECTS for pod in pods(one)):
        named = [source["secretRef"]["name"] for source in container["envFrom"] if "secretRef" in source]
        loaded = load(None, settings | {key: value for name in named for key, value in sources[name].items()})
        contradictions.check(loaded, "visits", learns=True)
        mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert str(Path(loaded.registry.key or "").parent) in mounts
        assert is_address(loaded.registry.path) or loaded.registry.path in mounts
    image = {key: value for key, value in DOCKERFILE.envs.items() if key.startswith("SHADOWSTREAM_")}
    assert load(None, image).metrics.listen == loaded.metrics.listen == "0.0.0.0:9464"


def test_every_alert_asks_for_what_is_told_and_is_explained() -> None:
    for rule in RULES:
        names = asked(rule["expr"])
        assert names, rule
        assert names <= set(MEANINGS) | {"up"}, rule
        assert set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])) <= LABELS
        assert set(re.findall(r'(\w+)="', rule["expr"])) <= LABELS
        assert rule["labels"]["severity"] in ("page", "ticket")
    explained = re.findall(r"^\| `(Shadowstream\w+)` \|", PAGE, re.MULTILINE)
    assert explained == [rule["alert"] for rule in RULES]


def test_prometheus_asks_services_that_answer() -> None:
    settings = read(CLUSTER / "prometheus" / "prometheus.yml")[0]
    for file in settings["rule_files"]:
        assert (CLUSTER / "prometheus" / file).exists()
    for job in settings["scrape_configs"]:
        for target in (target for one in job["static_configs"] for target in one["targets"]):
            name, _, port = target.partition(":")
            said = json.dumps(COMPOSE["services"][name]["command"])
            assert re.search(rf"[:=]{port}\b", said), target
    assert "up" not in MEANINGS


def test_ports_are_the_same_everywhere_and_on_the_page() -> None:
    by_compose = [
        dict(re.findall(r"--([\w-]+-port)=(\d+)", " ".join(COMPOSE["services"][name]["command"])))
        for name in ("head", "worker")
    ]
    (cluster,) = (one["spec"] for one in OBJECTS if one["kind"] == "RayCluster")
    params = {key: of for key, of in cluster["headGroupSpec"]["rayStartParams"].items() if key.endswith("-port")}
    assert {**by_compose[0], **params} == by_compose[0]
    assert params == by_compose[1]
    listed = set(re.findall(r"^\| (\d+) \|", PAGE.partition("## Ports")[2].partition("\n## ")[0], re.MULTILINE))
    assert set(by_compose[0].values()) - {"10002", "10101"} <= listed
    policy = next(one for one in OBJECTS if one["kind"] == "NetworkPolicy")
    assert {str(port["port"]) for rule in policy["spec"]["ingress"] for port in rule.get("ports", [])} <= listed


def test_the_files_stay_out_of_the_wheel() -> None:
    assert re.search(r'^exclude = \["deploy/cluster"\]$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
