"""Objects against their schemas: Kubernetes' own, and those of the operators whose objects the chart has."""

import importlib

import kubernetes_validate
from packaging.version import Version

# Where an object of somebody else's is described.
MODELS = {
    "monitoring.coreos.com/v1": "cloudcoil.models.prometheus_operator.v1",
    "cert-manager.io/v1": "cloudcoil.models.cert_manager.v1",
}


def versions():
    """The oldest and the newest version of Kubernetes whose schemas are at hand."""
    known = sorted(kubernetes_validate.utils.all_versions(), key=Version)
    return known[0], known[-1]


def unknown(given, kept, path):
    """Keys of `given` that are not in what a model kept of it. Models of operators ignore keys that they do not know."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            if key in kept:
                yield from unknown(value, kept[key], f"{path}.{key}")
            else:
                yield f"{path}.{key}: no such key"
    elif isinstance(given, list) and isinstance(kept, list):
        for index, (value, other) in enumerate(zip(given, kept)):
            yield from unknown(value, other, f"{path}[{index}]")


def all_of(objects, versions):
    """Everything that does not fit, one line each."""
    for made in objects:
        name = f"{made['kind']} {made['metadata']['name']}"
        module = MODELS.get(made["apiVersion"])
        if module:
            model = getattr(importlib.import_module(module), made["kind"])
            try:
                kept = model.model_validate(made).model_dump(by_alias=True, exclude_none=True, mode="json")
            except ValueError as error:
                yield f"{name}: {error}"
                continue
            yield from unknown(made, kept, name)
            continue
        for version in versions:
            try:
                kubernetes_validate.validate(made, version, strict=True)
            except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
                yield f"{name} (Kubernetes {version}): {getattr(error, 'message', error)}"
