"""The layout of a version in an OCI registry: ModelPack. Pure.

A model is a repository, a version is a tag with its number, and an alias is another tag of the same manifest. Each file
of a version is a layer, unchanged. The files that all versions of a model share, except the aliases, are an artifact of
the same layout with the tag ``_files``. Layout: https://github.com/modelpack/model-spec
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from model_store.errors import BadManifest, RemoteError
from model_store.files.aliases import ALIAS, ALIASES_FILE
from model_store.listing import NUMBER
from model_store.manifest import MANIFEST_FILE
from model_store.plain import is_onnx
from model_store.remote.contents import RemoteFile

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
ARTIFACT_TYPE = "application/vnd.cncf.model.manifest.v1+json"
CONFIG_TYPE = "application/vnd.cncf.model.config.v1+json"
FILES_TAG = "_files"
MOST_MANIFEST_BYTES = 4 << 20
_WEIGHT_TYPE = "application/vnd.cncf.model.weight.v1.raw"
_WEIGHT_CONFIG_TYPE = "application/vnd.cncf.model.weight.config.v1.raw"
_PATHS = ("org.cncf.model.filepath", "org.opencontainers.image.title")
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def check_repository(name: str) -> None:
    """Raises RemoteError if a registry cannot have a repository with the name of this model."""
    if not _REPOSITORY.fullmatch(name):
        raise RemoteError(
            f"{name}: registries take names of lower-case letters and digits, with single '.', '_' or '-' between "
            "them: publish the model under such a name"
        )


def describe_layer(path: str, digest: str, size: int) -> dict[str, Any]:
    kind = _WEIGHT_TYPE if is_onnx(path) or path.endswith((".data", ".bin")) else _WEIGHT_CONFIG_TYPE
    return {"mediaType": kind, "digest": digest, "size": size, "annotations": dict.fromkeys(_PATHS, path)}


def make_config(name: str, version: str, digests: list[str], manifest: bytes | None) -> bytes:
    """The configuration of the artifact. ``manifest`` is that of the version, if it has one."""
    descriptor: dict[str, Any] = {"name": name, "version": version}
    facts = json.loads(manifest) if manifest else {}
    if facts.get("licence"):
        descriptor["licenses"] = [facts["licence"]]
    config = {
        "descriptor": descriptor,
        "config": {"format": "onnx"},
        "modelfs": {"type": "layers", "diffIds": digests},
    }
    return json.dumps(config, sort_keys=True).encode()


def make_manifest(config: bytes, layers: list[dict[str, Any]]) -> dict[str, Any]:
    described = {"mediaType": CONFIG_TYPE, "digest": digest_of(config), "size": len(config)}
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "config": described,
        "layers": layers,
    }


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def read_layers(manifest: bytes, repository: str, where: str) -> dict[str, RemoteFile]:
    """The files of an artifact. Raises BadManifest."""
    try:
        layers = json.loads(manifest)["layers"]
        found = {}
        for layer in layers:
            notes = layer.get("annotations") or {}
            path = next((notes[key] for key in _PATHS if key in notes), "")
            digest, size = layer["digest"], layer["size"]
            if not (isinstance(path, str) and isinstance(size, int) and size >= 0 and _DIGEST.fullmatch(digest)):
                raise ValueError(f"layer {digest!r:.80}")
            if path and layer["mediaType"].endswith(".raw"):
                sha256 = digest.partition(":")[2]
                found[path] = RemoteFile(f"{repository}@{digest}", size, sha256, sha256)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadManifest(f"{where}: expected a manifest of OCI with layers, got {str(error)[:200]}") from None
    return found


def make_files(
    name: str, digests: Mapping[str, str], contents: Mapping[str, Mapping[str, RemoteFile]]
) -> dict[str, RemoteFile]:
    """The files of a model by their path in a store. ``digests`` and ``contents`` are those of its tags."""
    found: dict[str, RemoteFile] = {}
    numbers = {digest: int(tag) for tag, digest in digests.items() if NUMBER.fullmatch(tag)}
    for tag, files in contents.items():
        folder = name if tag == FILES_TAG else f"{name}/{tag}"
        if tag != FILES_TAG and MANIFEST_FILE not in files and not any(is_onnx(path) for path in files):
            continue
        found |= {f"{folder}/{path}": file for path, file in files.items() if path != ALIASES_FILE or folder != name}
    aliases = {
        tag: numbers[digest] for tag, digest in sorted(digests.items()) if ALIAS.fullmatch(tag) and digest in numbers
    }
    if aliases:
        content = json.dumps(aliases).encode()
        sha256 = digest_of(content).partition(":")[2]
        found[f"{name}/{ALIASES_FILE}"] = RemoteFile("", len(content), sha256, sha256, content)
    return found
