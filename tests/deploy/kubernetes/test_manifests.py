"""deploy/kubernetes: what its resources say agrees with the server, with each other and with Kubernetes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from model_store import DEFAULT_ROOT
from service.settings import Settings
from tests.deploy.kubernetes.manifests import (
    COMPONENTS,
    KUBERNETES,
    SECRETS,
    STORES,
    VARIANTS,
    WRITABLE,
    Resource,
    Variant,
    check_schema,
    every_container,
    find_not_restricted,
    read_all,
    settings_of,
)
from tests.support.servers import ASGI, Serving, settings_for

CUSTOM = ("ServiceMonitor",)
"""Kinds that Kubernetes itself does not know."""
FILL = KUBERNETES / "components" / "store-volume" / "fill.yaml"
ADAPTER = KUBERNETES / "components" / "autoscaling" / "prometheus-adapter.yaml"
STOP_S = 2.0
"""What a server takes beyond its lame duck and its drain."""


@pytest.fixture(params=VARIANTS, ids=str)
def variant(request: pytest.FixtureRequest) -> Variant:
    found: Variant = request.param
    return found


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    """A server that is ready."""
    settings = settings_for(DEFAULT_ROOT, models=("diabetes-regressor",))
    with Serving(settings, ASGI) as server, server.client() as client:
        yield client


def settings_in(variant: Variant, folder: Path) -> Settings:
    """The settings of the server in the variant's pods."""
    container, spec = variant.container(), variant.pod()["spec"]
    [volume] = [each for each in spec["volumes"] if each["name"] == "settings"]
    return settings_of(container, variant.find("ConfigMap", volume["configMap"]["name"])["data"], folder)


def port_of(container: Resource, name: str) -> int:
    [port] = [port["containerPort"] for port in container["ports"] if port["name"] == name]
    return int(port)


def selects(selector: Any, pod: Resource) -> bool:
    return bool(selector) and selector["matchLabels"].items() <= pod["metadata"]["labels"].items()


def test_every_component_is_in_a_variant() -> None:
    """The tests below see each folder of components, once with the base and, but for stores, once with an overlay."""
    assert sorted(path.parent.name for path in KUBERNETES.glob("components/*/kustomization.yaml")) == sorted(COMPONENTS)
    together = {component for variant in VARIANTS if variant.folder != "base" for component in variant.components}
    assert together == set(COMPONENTS) - set(STORES)


@pytest.mark.parametrize("version", ["1.31", "1.37"])
def test_resources_fit_the_schemas(variant: Variant, version: str) -> None:
    """Each resource is one of Kubernetes of that version, without a field that it does not know."""
    for resource in variant.render():
        if resource["kind"] not in CUSTOM:
            check_schema(resource, version)


def test_pod_that_fills_the_store_fits_the_schemas() -> None:
    """The pod is one of Kubernetes, is restricted, and mounts the claim that the component makes."""
    [pod] = read_all(FILL.read_text())
    check_schema(pod, "1.37")
    assert find_not_restricted(pod["spec"]) == []
    claim = Variant("base", ("store-volume",)).find("PersistentVolumeClaim", "sluice-store")["metadata"]["name"]
    assert [each["persistentVolumeClaim"]["claimName"] for each in pod["spec"]["volumes"]] == [claim]


def test_pods_are_restricted(variant: Variant) -> None:
    """A namespace that enforces the Pod Security Standard "restricted" takes the pods. They get no token."""
    spec = variant.pod()["spec"]
    assert find_not_restricted(spec) == []
    assert spec["automountServiceAccountToken"] is False
    assert all(each["securityContext"]["readOnlyRootFilesystem"] for each in every_container(spec))


def test_user_is_that_of_the_image(variant: Variant) -> None:
    """The pods run as the user that the Dockerfile names, and volumes are given to its group."""
    context = variant.pod()["spec"]["securityContext"]
    user = f"{context['runAsUser']}:{context['runAsGroup']}"
    dockerfile = (KUBERNETES.parents[1] / "Dockerfile").read_text().splitlines()
    assert [line.split()[1] for line in dockerfile if line.startswith("USER ")][-1] == user
    assert context["fsGroup"] == context["runAsGroup"]


def test_settings_load(variant: Variant, tmp_path: Path) -> None:
    """Every variable and every line of the TOML file is a setting, and the server listens on the container's ports."""
    settings = settings_in(variant, tmp_path)
    container = variant.container()
    assert (port_of(container, "http"), port_of(container, "grpc")) == (settings.port, settings.grpc_port)
    if "keys" in variant.components:
        assert settings.state_key.get_secret_value() == SECRETS["sluice-keys"]["sluice_state_key"]


def test_pods_get_no_variables_of_services(variant: Variant) -> None:
    """No Service sets variables that look like settings."""
    assert variant.pod()["spec"]["enableServiceLinks"] is False


def test_pod_is_killed_after_it_has_stopped(variant: Variant, tmp_path: Path) -> None:
    """The grace period is longer than the lame duck and the drain; the lame duck outlasts the readiness probe."""
    settings = settings_in(variant, tmp_path)
    probe = variant.container()["readinessProbe"]
    assert variant.pod()["spec"]["terminationGracePeriodSeconds"] > settings.lame_duck_s + settings.drain_s + STOP_S
    assert settings.lame_duck_s > probe["periodSeconds"] * probe["failureThreshold"]


def test_pod_may_load_for_as_long_as_the_server_lets_it(variant: Variant, tmp_path: Path) -> None:
    """The startup probe outlasts the slowest load that the server waits for, and a rollout outlasts the probe."""
    settings = settings_in(variant, tmp_path)
    probe = variant.container()["startupProbe"]
    patience_s = probe["periodSeconds"] * probe["failureThreshold"]
    assert settings.load_timeout_s <= settings.ready_wait_s < patience_s
    assert patience_s < variant.find("Deployment")["spec"]["progressDeadlineSeconds"]


def test_probes_ask_routes_that_answer(variant: Variant, client: httpx.Client) -> None:
    """Each probe asks a named port of the container for a path that is 200 when the server is ready."""
    container = variant.container()
    probes = [container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")]
    assert [client.get(probe["path"]).status_code for probe in probes] == [200, 200, 200]
    assert {probe["port"] for probe in probes} == {"http"}
    assert probes[0]["path"] == probes[1]["path"] != probes[2]["path"]


def test_service_leads_to_the_pods(variant: Variant) -> None:
    """The Service selects the Deployment's pods, and each of its ports is one that they name."""
    service, pod = variant.find("Service"), variant.pod()
    assert selects({"matchLabels": service["spec"]["selector"]}, pod)
    names = {port["name"] for port in variant.container()["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} == names == {"http", "grpc"}


def test_selectors_match_the_pods(variant: Variant) -> None:
    """Deployment, budget, policies and spreading all mean the same pods."""
    pod = variant.pod()
    deployment = variant.find("Deployment")
    selectors = [deployment["spec"]["selector"], variant.find("PodDisruptionBudget")["spec"]["selector"]]
    selectors += [each["labelSelector"] for each in pod["spec"]["topologySpreadConstraints"]]
    policies = [each for each in variant.render() if each["kind"] == "NetworkPolicy"]
    selectors += [each["spec"]["podSelector"] for each in policies]
    assert all(selects(selector, pod) for selector in selectors)
    assert len(pod["spec"]["topologySpreadConstraints"]) == 2


def test_rolling_update_takes_no_pod_away_first(variant: Variant) -> None:
    """A new pod is ready before an old one stops."""
    update = variant.find("Deployment")["spec"]["strategy"]["rollingUpdate"]
    assert update == {"maxUnavailable": 0, "maxSurge": 1}


def test_budget_leaves_a_pod(variant: Variant) -> None:
    """Fewer pods may be evicted at once than there are, and at least one may, so that nodes can be drained."""
    fewest = variant.find("Deployment")["spec"].get("replicas")
    if fewest is None:
        fewest = variant.find("HorizontalPodAutoscaler")["spec"]["minReplicas"]
    assert 1 <= variant.find("PodDisruptionBudget")["spec"]["maxUnavailable"] < fewest


def test_network_policy_denies_by_default(variant: Variant) -> None:
    """Each direction has a policy: callers reach the ports of the server only, and nothing goes out but for a store."""
    policies = [each["spec"] for each in variant.render() if each["kind"] == "NetworkPolicy"]
    directions = {direction for policy in policies for direction in policy["policyTypes"]}
    assert directions == {"Ingress", "Egress"}
    rules = [rule for policy in policies for rule in policy.get("ingress", ())]
    assert all(rule["from"] and rule["ports"] for rule in rules)
    assert {port["port"] for rule in rules for port in rule["ports"]} == {"http", "grpc"}
    outward = [rule for policy in policies for rule in policy.get("egress", ())]
    assert bool(outward) == ("store-s3" in variant.components)


def test_volumes_are_there(variant: Variant) -> None:
    """Each mount has its volume, each volume its mount, and the server may write to /tmp only."""
    spec = variant.pod()["spec"]
    mounted = {mount["name"] for container in every_container(spec) for mount in container["volumeMounts"]}
    assert {volume["name"] for volume in spec["volumes"]} == mounted
    mounts = variant.container()["volumeMounts"]
    assert [mount["mountPath"] for mount in mounts if not mount.get("readOnly")] == WRITABLE


def test_store_is_where_the_server_looks(variant: Variant, tmp_path: Path) -> None:
    """With a component of a store, its volume is mounted where SLUICE_STORE says; without one it is not set."""
    settings = settings_in(variant, tmp_path)
    mounts = {each["name"]: each["mountPath"] for each in variant.container()["volumeMounts"]}
    has_store = variant.folder != "base" or bool({*STORES} & {*variant.components})
    assert mounts.get("store") == (str(settings.store) if has_store else None)


def test_overlay_has_the_provider_of_its_hardware(tmp_path: Path) -> None:
    """The GPU overlay asks for a GPU, tolerates its taint and requires CUDA; the other requires the CPU."""
    cpu, gpu = Variant("overlays/cpu"), Variant("overlays/gpu")
    assert settings_in(cpu, tmp_path / "cpu").provider == "cpu"
    assert settings_in(gpu, tmp_path / "gpu").provider == "cuda"
    assert gpu.container()["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert "nvidia.com/gpu" not in cpu.container()["resources"]["limits"]
    assert gpu.pod()["spec"]["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert "tolerations" not in cpu.pod()["spec"]


def test_every_container_has_limits(variant: Variant) -> None:
    """Memory is limited and asked for, and so are cores of the server, which decides by them how many batches run."""
    for container in every_container(variant.pod()["spec"]):
        resources = container["resources"]
        assert resources["requests"].keys() >= {"cpu", "memory"} <= resources["limits"].keys()
    resources = variant.container()["resources"]
    assert [resources["requests"][of] for of in ("cpu", "memory")] == [
        resources["limits"][of] for of in ("cpu", "memory")
    ]


def test_autoscaler_scales_the_deployment() -> None:
    """It names the Deployment, which leaves the number of pods to it, and the metric that the adapter's rule makes."""
    variant = Variant("overlays/cpu", ("autoscaling",))
    deployment, scaler = variant.find("Deployment"), variant.find("HorizontalPodAutoscaler")["spec"]
    assert scaler["scaleTargetRef"] == {
        "apiVersion": deployment["apiVersion"],
        "kind": "Deployment",
        "name": deployment["metadata"]["name"],
    }
    assert "replicas" not in deployment["spec"]
    [values] = read_all(ADAPTER.read_text())
    [rule] = values["rules"]["custom"]
    assert [each["pods"]["metric"]["name"] for each in scaler["metrics"] if each["type"] == "Pods"] == [
        rule["name"]["as"]
    ]
    assert scaler["minReplicas"] < scaler["maxReplicas"]


def test_adapter_reads_a_series_of_the_server(client: httpx.Client) -> None:
    """The series of the adapter's rule is one that /metrics has, with labels that Prometheus adds for each pod."""
    [values] = read_all(ADAPTER.read_text())
    [rule] = values["rules"]["custom"]
    series, _, labels = rule["seriesQuery"].partition("{")
    assert f"# TYPE {series.removesuffix('_sum')} histogram" in client.get("/metrics").text
    assert labels == ",".join(f'{label}!=""' for label in rule["resources"]["overrides"]) + "}"
    assert {each["resource"] for each in rule["resources"]["overrides"].values()} == {"namespace", "pod"}


def test_prometheus_finds_the_metrics(client: httpx.Client) -> None:
    """The ServiceMonitor has the fields of its kind, selects the Service, and names a port and a path of it."""
    variant = Variant("overlays/cpu", ("monitoring",))
    monitor, service = variant.find("ServiceMonitor"), variant.find("Service")
    assert monitor.keys() == {"apiVersion", "kind", "metadata", "spec"}
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    assert monitor["spec"].keys() == {"selector", "endpoints"}
    assert selects(monitor["spec"]["selector"], service)
    [endpoint] = monitor["spec"]["endpoints"]
    assert endpoint.keys() == {"port", "path", "interval", "scrapeTimeout"}
    assert int(endpoint["interval"].rstrip("s")) > int(endpoint["scrapeTimeout"].rstrip("s")) > 0
    [port] = [each for each in service["spec"]["ports"] if each["name"] == endpoint["port"]]
    policy = variant.find("NetworkPolicy", "sluice-metrics")["spec"]["ingress"]
    assert [each["port"] for rule in policy for each in rule["ports"]] == [port["targetPort"]]
    assert client.get(endpoint["path"]).headers["content-type"].startswith("text/plain")
