"""deploy/kserve: what the runtime and the services say agrees with the server, with each other and with KServe.

KServe's kinds have no schema here. Their parts that are a pod's are checked as a pod of Kubernetes, the rest by name.
"""

import argparse
from pathlib import Path
from typing import Any

import pytest

from service.cli import serve_arguments
from service.flags import read_flags
from service.settings import Settings
from tests.deploy.kubernetes.manifests import (
    KSERVE,
    WRITABLE,
    Resource,
    check_schema,
    find_not_restricted,
    kustomize,
    read_all,
)
from tests.support.models.graphs import double
from tests.support.servers import FAST, Serving, settings_for

OF_RUNTIMES = {"annotations", "supportedModelFormats", "protocolVersions", "containers", "volumes"}
"""Fields of a runtime's specification, of those that KServe has."""
OF_PREDICTORS = {"minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "storageUris", "model"}
"""Fields of a predictor that are not those of a pod."""
OF_MODELS = {"runtime", "modelFormat", "protocolVersion", "storageUri"}
"""Fields of a predictor's model that are not those of a container."""
PROTOCOLS = {"v1", "v2", "grpc-v1", "grpc-v2"}
GRACE_S = 30
"""How long Kubernetes lets a pod stop where nothing else is said."""
STOP_S = 2.0
MODELS = Path("/mnt/models")
"""Where KServe puts what `storageUri` names."""


@pytest.fixture(scope="module")
def runtime() -> Resource:
    [runtime] = kustomize(KSERVE / "runtime")
    return runtime


@pytest.fixture(params=["http", "grpc"])
def service(request: pytest.FixtureRequest) -> Resource:
    [service] = read_all((KSERVE / f"{request.param}.yaml").read_text())
    return service


def make_pod(spec: Resource) -> Resource:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "made"}, "spec": spec}


def settings_in(container: Resource) -> Settings:
    """As `sluice serve` reads them from the arguments and variables of a container."""
    parser = argparse.ArgumentParser()
    serve_arguments(parser)
    environ = {each["name"]: each["value"] for each in container["env"]}
    return Settings.from_environ({**environ, **read_flags(parser.parse_args(container["args"]))})


def test_runtime_has_the_fields_of_its_kind(runtime: Resource) -> None:
    """It is one of KServe's resources, its formats and protocols have values, and its pod is one of Kubernetes."""
    assert (runtime["apiVersion"], runtime["kind"]) == ("serving.kserve.io/v1alpha1", "ServingRuntime")
    spec = runtime["spec"]
    assert spec.keys() == OF_RUNTIMES
    assert set(spec["protocolVersions"]) <= PROTOCOLS
    for each in spec["supportedModelFormats"]:
        assert {"name", "version", "autoSelect"} <= each.keys() <= {"name", "version", "autoSelect", "priority"}
        assert isinstance(each["version"], str)
    assert all(isinstance(value, str) for value in spec["annotations"].values())
    check_schema(make_pod({"containers": spec["containers"], "volumes": spec["volumes"]}), "1.37")


def test_runtime_of_the_cluster_is_the_same(runtime: Resource) -> None:
    """The runtime for all namespaces differs in its kind only."""
    [cluster] = kustomize(KSERVE / "cluster")
    assert cluster == {**runtime, "kind": "ClusterServingRuntime"}


def test_service_has_the_fields_of_its_kind(service: Resource) -> None:
    """It is one of KServe's resources, and what is left without KServe's fields is a pod of Kubernetes."""
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    assert service["spec"].keys() == {"predictor"}
    predictor = service["spec"]["predictor"]
    pod = {name: value for name, value in predictor.items() if name not in OF_PREDICTORS}
    container = {name: value for name, value in predictor["model"].items() if name not in OF_MODELS}
    check_schema(make_pod({**pod, "containers": [{"name": "kserve-container", **container}]}), "1.37")
    assert ("storageUri" in predictor["model"]) != ("storageUris" in predictor)
    assert pod["enableServiceLinks"] is False


def test_service_is_one_that_the_runtime_serves(runtime: Resource, service: Resource) -> None:
    """The services name the runtime, a format and a protocol of it."""
    model = service["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["modelFormat"]["name"] in [each["name"] for each in runtime["spec"]["supportedModelFormats"]]
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]


def test_server_listens_where_kserve_asks(runtime: Resource) -> None:
    """The arguments and variables are settings; store, ports, probes and metrics are where KServe looks for them."""
    [container] = runtime["spec"]["containers"]
    assert container["name"] == "kserve-container"
    settings = settings_in(container)
    assert (settings.store, settings.port, settings.grpc_port) == (MODELS, 8080, 9000)
    probes = [container[f"{kind}Probe"]["httpGet"] for kind in ("readiness", "liveness")]
    assert [probe["port"] for probe in probes] == [settings.port] * 2
    annotations = runtime["spec"]["annotations"]
    assert annotations["prometheus.kserve.io/port"] == str(settings.port)
    paths = [*(probe["path"] for probe in probes), annotations["prometheus.kserve.io/path"]]
    assert paths == ["/v2/health/ready", "/v2/health/live", "/metrics"]


def test_pod_stops_before_it_is_killed(runtime: Resource, service: Resource) -> None:
    """The lame duck and the drain fit into the grace period, and the lame duck outlasts the readiness probe."""
    [container] = runtime["spec"]["containers"]
    settings = settings_in(container)
    probe = container["readinessProbe"]
    grace_s = service["spec"]["predictor"].get("terminationGracePeriodSeconds", GRACE_S)
    assert settings.lame_duck_s + settings.drain_s + STOP_S < grace_s
    assert settings.lame_duck_s > probe["periodSeconds"] * probe["failureThreshold"]


def test_runtime_is_restricted(runtime: Resource) -> None:
    """A namespace that enforces the Pod Security Standard "restricted" takes the pods, which write to /tmp only."""
    spec = runtime["spec"]
    assert find_not_restricted(spec) == []
    [container] = spec["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == WRITABLE


def test_ports_of_the_service_over_grpc(runtime: Resource) -> None:
    """Calls from outside go to the first port, which is that of gRPC and called as KServe wants it."""
    [service] = read_all((KSERVE / "grpc.yaml").read_text())
    settings = settings_in(runtime["spec"]["containers"][0])
    ports = [(port["name"], port["containerPort"]) for port in service["spec"]["predictor"]["model"]["ports"]]
    assert ports == [("h2c", settings.grpc_port), ("http", settings.port)]


def test_one_model_is_a_folder_of_the_store() -> None:
    """The folder of one model is mounted as one of the store's, under a name that a model may have."""
    [service] = read_all((KSERVE / "grpc.yaml").read_text())
    [source] = service["spec"]["predictor"]["storageUris"]
    assert Path(source["mountPath"]).parent == MODELS
    assert Path(source["mountPath"]).name == service["metadata"]["name"]


@pytest.mark.parametrize("file", ["1/model.onnx", "model.onnx"])
def test_folder_of_one_model_serves(file: str, tmp_path: Path) -> None:
    """What KServe mounts at /mnt/models/NAME serves as NAME, with a folder for each version or without."""
    [service] = read_all((KSERVE / "grpc.yaml").read_text())
    [source] = service["spec"]["predictor"]["storageUris"]
    path = tmp_path / Path(source["mountPath"]).relative_to(MODELS) / file
    path.parent.mkdir(parents=True)
    path.write_bytes(double())
    ask: Any = {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}
    with Serving(settings_for(tmp_path), FAST) as server, server.client() as client:
        assert client.get("/v2/health/ready").status_code == 200
        answer = client.post(f"/v2/models/{service['metadata']['name']}/infer", json=ask).json()
    assert answer["outputs"][0]["data"] == [2, 4, 6]


@pytest.mark.parametrize("file", ["model.onnx", "1/model.onnx"])
def test_model_without_a_name_is_not_ready(file: str, tmp_path: Path) -> None:
    """Where `storageUri` names the folder of one model, the pod is not ready, and the index says what to do."""
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(double())
    with Serving(settings_for(tmp_path), FAST) as server, server.client() as client:
        assert client.get("/v2/health/ready").status_code == 503
        [entry] = client.post("/v2/repository/index").json()
    assert entry["state"] == "UNAVAILABLE"
    assert "expected" in entry["reason"]
