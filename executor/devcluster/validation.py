"""Which objects are refused as invalid: metadata of all kinds, pods, and what may change in an update."""

from __future__ import annotations

from typing import Any

from shard_executor.devcluster import errors, names
from shard_executor.devcluster.errors import Cause
from shard_executor.devcluster.versions import Obj

_TOTAL_ANNOTATION_LIMIT = 256 * 1024  # bytes; apimachinery's api/validation/objectmeta.go
_IMMUTABLE_SPEC = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def metadata_causes(metadata: Obj, *, label_name: bool = False) -> list[Cause]:
    """What is wrong with an object's metadata.

    Args:
        label_name: whether the name must be a DNS label, as a namespace's, rather than a DNS subdomain.
    """
    causes: list[Cause] = []
    check = names.label_faults if label_name else names.subdomain_faults
    name, prefix = metadata.get("name", ""), metadata.get("generateName", "")
    if prefix:
        # A generated name only has to be valid with letters after it.
        causes += [errors.invalid_value("metadata.generateName", prefix, why) for why in check(prefix[:58] + "a")]
    if name:
        causes += [errors.invalid_value("metadata.name", name, why) for why in check(name)]
    elif not prefix:
        causes.append(errors.required("metadata.name", "name or generateName is required"))
    for key, value in metadata.get("labels", {}).items():
        if not names.is_qualified_name(key):
            causes.append(errors.invalid_value("metadata.labels", key, names.KEY_RULE))
        if len(value) > 63:
            causes.append(errors.invalid_value("metadata.labels", value, "must be no more than 63 bytes"))
        elif not names.is_label_value(value):
            causes.append(errors.invalid_value("metadata.labels", value, names.VALUE_RULE))
    annotations = metadata.get("annotations", {})
    for key in annotations:
        if not names.is_qualified_name(key.lower()):
            causes.append(errors.invalid_value("metadata.annotations", key, names.KEY_RULE))
    if sum(len(key) + len(value.encode("utf-8", "surrogatepass")) for key, value in annotations.items()) > (
        _TOTAL_ANNOTATION_LIMIT
    ):
        words = f"Too long: may not be more than {_TOTAL_ANNOTATION_LIMIT} bytes"
        causes.append(errors.cause("FieldValueTooLong", words, "metadata.annotations"))
    for index, finalizer in enumerate(metadata.get("finalizers", [])):
        field = f"metadata.finalizers[{index}]"
        if not names.is_qualified_name(finalizer):
            causes.append(errors.invalid_value(field, finalizer, names.KEY_RULE))
        elif "/" not in finalizer:
            words = "name is neither a standard finalizer name nor is it fully qualified"
            causes.append(errors.invalid_value(field, finalizer, words))
    return causes


def pod_causes(pod: Obj) -> list[Cause]:
    """What is wrong with a new pod, after defaulting."""
    causes = metadata_causes(pod["metadata"])
    spec = pod["spec"]
    volumes = _names(spec.get("volumes", []), "spec.volumes", causes, names.label_faults)
    containers = spec.get("containers") or []
    if not containers:
        causes.append(errors.required("spec.containers"))
    taken: set[str] = set()
    for field, group in (("spec.initContainers", spec.get("initContainers") or []), ("spec.containers", containers)):
        _names(group, field, causes, names.label_faults, taken)
        for index, container in enumerate(group):
            causes += _container_causes(container, f"{field}[{index}]", volumes)
    if spec["restartPolicy"] not in ("Always", "OnFailure", "Never"):
        causes.append(
            errors.not_supported("spec.restartPolicy", spec["restartPolicy"], ("Always", "OnFailure", "Never"))
        )
    if spec["dnsPolicy"] not in ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"):
        supported = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
        causes.append(errors.not_supported("spec.dnsPolicy", spec["dnsPolicy"], supported))
    for field, least in (("terminationGracePeriodSeconds", 0), ("activeDeadlineSeconds", 1)):
        value = spec.get(field)
        if value is not None and value < least:
            words = (
                "must be greater than or equal to 0" if least == 0 else "must be between 1 and 2147483647, inclusive"
            )
            causes.append(errors.invalid_value(f"spec.{field}", value, words))
    return causes


def _container_causes(container: Obj, field: str, volumes: set[str]) -> list[Cause]:
    causes: list[Cause] = []
    if not container.get("image"):
        causes.append(errors.required(f"{field}.image"))
    for index, variable in enumerate(container.get("env", [])):
        if not variable.get("name"):
            causes.append(errors.required(f"{field}.env[{index}].name"))
        if variable.get("value") and variable.get("valueFrom"):
            words = "may not be specified when `value` is not empty"
            causes.append(errors.invalid_value(f"{field}.env[{index}].valueFrom", "", words))
    for index, mount in enumerate(container.get("volumeMounts", [])):
        where = f"{field}.volumeMounts[{index}]"
        if not mount.get("mountPath"):
            causes.append(errors.required(f"{where}.mountPath"))
        if mount.get("name", "") not in volumes:
            words = f'Not found: "{mount.get("name", "")}"'
            causes.append(errors.cause("FieldValueNotFound", words, f"{where}.name"))
    policy = container["imagePullPolicy"]
    if policy not in ("Always", "IfNotPresent", "Never"):
        causes.append(errors.not_supported(f"{field}.imagePullPolicy", policy, ("Always", "IfNotPresent", "Never")))
    return causes


def _names(items: list[Obj], field: str, causes: list[Cause], check: Any, taken: set[str] | None = None) -> set[str]:
    """Checks that each item has a valid name of its own; returns the names."""
    seen: set[str] = set() if taken is None else taken
    for index, item in enumerate(items):
        name, where = item.get("name", ""), f"{field}[{index}].name"
        if not name:
            causes.append(errors.required(where))
        else:
            causes += [errors.invalid_value(where, name, why) for why in check(name)]
            if name in seen:
                causes.append(errors.cause("FieldValueDuplicate", f'Duplicate value: "{name}"', where))
        seen.add(name)
    return seen


def metadata_update_causes(new: Obj, old: Obj) -> list[Cause]:
    """What an update may not do to metadata (apimachinery's ValidateObjectMetaUpdate)."""
    causes: list[Cause] = []
    if new.get("uid", old["uid"]) != old["uid"]:
        causes.append(errors.invalid_value("metadata.uid", new["uid"], "field is immutable"))
    if "deletionTimestamp" in old:
        added = [entry for entry in new.get("finalizers", []) if entry not in old.get("finalizers", [])]
        if added:
            words = "no new finalizers can be added if the object is being deleted, found new finalizers "
            shown = ", ".join(f'"{entry}"' for entry in added)
            causes.append(errors.forbidden_field("metadata.finalizers", f"{words}[]string{{{shown}}}"))
    return causes


def pod_update_causes(new: Obj, old: Obj) -> list[Cause]:
    """What an update may not change in a pod's spec (core/validation.go ValidatePodUpdate)."""
    if new["spec"] == old["spec"]:
        return []
    if _frozen(new["spec"]) != _frozen(old["spec"]):
        return [errors.forbidden_field("spec", _IMMUTABLE_SPEC)]
    kept = new["spec"].get("tolerations", [])
    if any(toleration not in kept for toleration in old["spec"].get("tolerations", [])):
        words = "existing toleration can not be modified except its tolerationSeconds"
        return [errors.forbidden_field("spec.tolerations", words)]
    return []


def _frozen(spec: Obj) -> Obj:
    """The part of a pod's spec no update may change."""
    frozen = {key: value for key, value in spec.items() if key not in ("activeDeadlineSeconds", "tolerations")}
    for field in ("containers", "initContainers"):
        if field in frozen:
            frozen[field] = [
                {key: value for key, value in container.items() if key != "image"} for container in frozen[field]
            ]
    return frozen
