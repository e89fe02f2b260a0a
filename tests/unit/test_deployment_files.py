"""Deployment files: consistent with the service, and with the rules of their formats."""

import configparser
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from api.auth.permissions import is_public
from config import ROOT, Settings
from start_worker import command_line

DEPLOY = ROOT / "deploy"
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
MANIFESTS: list[dict[str, Any]] = list(
    yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8"))
)
DEPLOYMENTS = [item for item in MANIFESTS if item["kind"] == "Deployment"]
UNITS = sorted(DEPLOY.glob("*.service"))
SETTINGS = {name.upper() for name in Settings.model_fields}
PINNED = re.compile(r"^[\w./-]+:(\d+\.\d[\w.-]*|local)$")
COMPOSE_SCHEMA = {
    "type": "object",
    "required": ["services", "volumes"],
    "additionalProperties": False,
    "patternProperties": {"^x-": {}},
    "properties": {
        "name": {"type": "string"},
        "volumes": {"type": "object"},
        "services": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["image", "restart"],
                "additionalProperties": False,
                "properties": {
                    "image": {"type": "string", "pattern": PINNED.pattern},
                    "build": {"const": "."},
                    "restart": {"const": "unless-stopped"},
                    "command": {"type": "array", "items": {"type": "string"}},
                    "environment": {"type": "object"},
                    "ports": {
                        "type": "array",
                        "items": {"type": "string", "pattern": r"^127\.0\.0\.1:\d+:\d+$"},
                    },
                    "volumes": {"type": "array", "items": {"type": "string"}},
                    "depends_on": {"type": "object"},
                    "deploy": {"type": "object"},
                    "healthcheck": {"type": "object"},
                    "stop_grace_period": {"type": "string", "pattern": r"^\d+s$"},
                    "read_only": {"const": True},
                    "tmpfs": {"type": "array"},
                    "cap_drop": {"const": ["ALL"]},
                    "security_opt": {"const": ["no-new-privileges:true"]},
                },
            },
        },
    },
}


def instructions() -> list[tuple[str, str]]:
    joined = DOCKERFILE.replace("\\\n", " ")
    lines = (line.strip() for line in joined.splitlines())
    return [
        (name, value.strip())
        for name, _, value in (line.partition(" ") for line in lines if line)
        if name != "#"
    ]


def values_of(name: str) -> list[str]:
    return [value for instruction, value in instructions() if instruction == name]


def settings_of(service: str) -> dict[str, Any]:
    return COMPOSE["services"][service]["environment"]


# The image


def test_the_image_has_only_known_instructions_and_pinned_bases():
    known = {
        "FROM", "ENV", "WORKDIR", "COPY", "RUN", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL",
        "HEALTHCHECK", "CMD",
    }  # fmt: skip
    assert {name for name, _ in instructions()} <= known
    bases = [value.split()[0] for value in values_of("FROM")]
    assert bases
    assert all(re.fullmatch(r"python:\d+\.\d+\.\d+-slim-[a-z]+", base) for base in bases)


def test_the_image_runs_as_an_unprivileged_user_at_the_end():
    names = [name for name, _ in instructions()]
    assert values_of("USER") == ["10001:10001"]
    assert "RUN" not in names[names.index("USER") :]


def test_the_image_installs_the_pinned_packages():
    assert any("--requirement requirements.txt" in value for value in values_of("RUN"))
    assert "-c constraints.txt" in (ROOT / "requirements.txt").read_text(encoding="utf-8")


def test_the_health_check_is_a_public_route():
    (check,) = values_of("HEALTHCHECK")
    command: list[str] = json.loads(check[check.index("[") :])
    compile(command[-1], "HEALTHCHECK", "exec")
    path = re.search(r"http://127\.0\.0\.1:8000(/[\w/]+)", check)
    assert path is not None
    assert path[1] == "/health/ready"
    assert is_public("GET", path[1])


def test_the_image_contains_the_code_and_no_secrets():
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    kept = {line[1:] for line in ignored if line.startswith("!")}
    needed = {"api", "database", "engine", "examples", "flows", "tasks", "*.py"}
    assert needed <= kept
    assert all(list(ROOT.glob(pattern)) for pattern in kept)
    assert not any(Path(".env").match(pattern) for pattern in kept)


# Compose


def test_the_compose_file_matches_its_schema():
    Draft202012Validator(COMPOSE_SCHEMA).validate(COMPOSE)


def test_the_compose_file_has_every_part():
    services = COMPOSE["services"]
    assert set(services) == {"postgres", "prefect", "api", "worker"}
    assert services["worker"]["deploy"] == {"replicas": 2}
    assert "start_worker.py" in services["worker"]["command"]
    for service in services.values():
        for name in service.get("depends_on", {}):
            assert "test" in services[name]["healthcheck"]
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / source).is_file()


@pytest.mark.parametrize("service", ["api", "worker"])
def test_the_services_have_known_settings_and_no_secrets_in_the_file(service: str):
    settings = settings_of(service)
    assert set(settings) <= SETTINGS
    assert settings["EXECUTION_MODE"] == "workpool"
    for name in ("DATABASE_URL", "DATA_ENCRYPTION_KEY"):
        assert ":?set it}" in settings[name]


def test_the_api_and_its_workers_have_the_same_settings():
    api, worker = settings_of("api"), settings_of("worker")
    assert {name: api[name] for name in worker} == worker
    assert set(api) - set(worker) == {"API_KEYS"}


def test_the_prefect_image_has_the_version_of_the_library():
    version = COMPOSE["services"]["prefect"]["image"].partition(":")[2].partition("-")[0]
    assert f"prefect=={version}" in (ROOT / "requirements.txt").read_text(encoding="utf-8")


# Kubernetes


def test_the_manifests_are_complete():
    assert [item["kind"] for item in MANIFESTS] == [
        "Secret", "ConfigMap", "Service", "Deployment", "Deployment",
    ]  # fmt: skip
    for item in MANIFESTS:
        assert item["apiVersion"] in ("v1", "apps/v1")
        assert re.fullmatch(r"[a-z][a-z0-9-]{0,62}", item["metadata"]["name"])
    known = set(MANIFESTS[0]["stringData"]) | set(MANIFESTS[1]["data"])
    assert known <= SETTINGS


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda item: item["metadata"]["name"])
def test_the_pods_are_selected_limited_and_unprivileged(deployment: dict[str, Any]):
    spec = deployment["spec"]
    template = spec["template"]
    labels = template["metadata"]["labels"]
    assert spec["selector"]["matchLabels"] == labels == deployment["metadata"]["labels"]
    pod = template["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert str(pod["securityContext"]["runAsUser"]) == values_of("USER")[0].partition(":")[0]
    (container,) = pod["containers"]
    assert PINNED.match(container["image"])
    assert container["resources"]["limits"]["memory"]
    context = container["securityContext"]
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    names = {item["metadata"]["name"] for item in MANIFESTS[:2]}
    for source in container["envFrom"]:
        (reference,) = source.values()
        assert reference["name"] in names


def test_the_probes_and_the_service_name_existing_ports_and_routes():
    api, _ = (item["spec"]["template"]["spec"]["containers"][0] for item in DEPLOYMENTS)
    ports = {port["name"] for port in api["ports"]}
    for probe, path in (("readinessProbe", "/health/ready"), ("livenessProbe", "/health/live")):
        assert api[probe]["httpGet"] == {"path": path, "port": "http"}
        assert is_public("GET", path)
    service = MANIFESTS[2]["spec"]
    assert {port["targetPort"] for port in service["ports"]} <= ports
    labels = DEPLOYMENTS[0]["spec"]["template"]["metadata"]["labels"]
    assert service["selector"] == labels


# systemd


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_the_units_start_existing_programs_without_privileges(path: Path):
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[method-assign]
    unit.read_string(path.read_text(encoding="utf-8"))
    assert unit.sections() == ["Unit", "Service", "Install"]
    service = unit["Service"]
    program, script, *options = shlex.split(service["ExecStart"])
    assert program == f"{service['WorkingDirectory']}/.venv/bin/python"
    assert (ROOT / script).is_file()
    known = {option for parameter in command_line.params for option in parameter.opts}
    assert {option for option in options if option.startswith("--")} <= known
    assert service["User"] != "root"
    assert service["NoNewPrivileges"] == "true"
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""
    stop = float(service["TimeoutStopSec"])
    assert stop > Settings.model_fields["shutdown_grace_seconds"].default + 20
    named = re.findall(r"^Environment=(\w+)=", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(named) <= SETTINGS
