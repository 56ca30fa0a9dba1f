"""From a body to an object that may be stored: types, defaults, validation, and what updates may change."""

from __future__ import annotations

from dataclasses import dataclass

from shard_executor.devcluster import defaults, errors, namespaces, schema, validation
from shard_executor.devcluster.quota import Quotas
from shard_executor.devcluster.resources import Resource
from shard_executor.devcluster.store import Store, ordered_metadata, timestamp
from shard_executor.devcluster.versions import Obj

# Set by the server alone; what a client sends in them is replaced by what is stored.
_SYSTEM_FIELDS = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")
_WITH_STATUS = ("pods", "nodes", "namespaces", "resourcequotas")


@dataclass(frozen=True, slots=True)
class Admission:
    """Prepares objects for the store."""

    store: Store
    quotas: Quotas

    def read(self, resource: Resource, body: Obj, strictness: str, *, kind: str | None = None) -> tuple[Obj, list[str]]:
        """A body as an object of the resource's kind, or of `kind`, and warnings about unknown fields.

        Args:
            strictness: the parameter fieldValidation: Strict, Warn or Ignore; empty means Warn.

        Raises:
            ApiError: 400 for another kind, values of wrong types, or unknown fields under Strict.
        """
        wanted = kind or resource.kind
        given = body.get("kind") or wanted
        version = body.get("apiVersion") or resource.api_version
        if given != wanted:
            words = f'{given} in version "{version}" cannot be handled as a {wanted}: converting to {wanted} is unknown'
            raise errors.bad_request(words)
        if kind is None and version != resource.api_version:
            expected = resource.api_version
            words = f"the API version in the data ({version}) does not match the expected API version ({expected})"
            raise errors.bad_request(words)
        if not isinstance(body.get("metadata", {}), dict | None):
            raise errors.bad_request(f"{wanted} cannot be read: metadata is no object")
        obj, unknown = schema.clean(wanted, version, {**body, "metadata": body.get("metadata") or {}})
        warnings = [f'unknown field "{path}"' for path in unknown]
        if warnings and strictness == "Strict":
            words = f'{wanted} in version "{version}" cannot be handled as a {wanted}: strict decoding error: '
            raise errors.bad_request(words + ", ".join(warnings))
        return obj, [] if strictness == "Ignore" else warnings

    def create(self, resource: Resource, obj: Obj, namespace: str | None, *, dry_run: bool) -> Obj:
        """Stores a new object; answers it.

        Args:
            namespace: that of the path, None for kinds without.

        Raises:
            ApiError: 400, 403, 404, 409, 422.
        """
        metadata = {key: value for key, value in obj["metadata"].items() if key not in _SYSTEM_FIELDS}
        if metadata.get("resourceVersion"):
            raise errors.ApiError(500, "", "resourceVersion should not be set on objects to be created")
        _fit_namespace(metadata, namespace)
        obj = {**obj, "metadata": metadata}
        name = metadata.get("name", "")
        if namespace is not None:
            namespaces.check_open(self.store, namespace, resource.name, name)
        if resource.kind == "Pod":
            defaults.default_pod(obj)
            causes = validation.pod_causes(obj)
        elif resource.kind == "Namespace":
            obj = namespaces.complete(obj)
            causes = validation.metadata_causes(obj["metadata"], label_name=True)
        else:
            causes = validation.metadata_causes(metadata) + _other_causes(obj, namespace)
            if resource.name in _WITH_STATUS:
                obj.setdefault("spec", {})
                obj["status"] = obj.get("status", {}) if resource.kind == "Node" else {}
        if causes:
            raise errors.invalid(resource.kind, name, causes)
        if name and self.store.find(resource.name, namespace or "", name) is not None:
            raise errors.already_exists(resource.name, name)
        if resource.kind == "Pod":
            self.quotas.admit(obj)
        obj = schema.in_order(obj)
        return self._rehearse(obj) if dry_run else self.store.create(resource.name, obj)

    def update(self, resource: Resource, current: Obj, obj: Obj, *, status: bool, dry_run: bool) -> Obj:
        """Stores a new state of `current`, or of its status (and labels) only; answers it.

        Raises:
            ApiError: 400, 409, 422.
        """
        old = current["metadata"]
        name = old["name"]
        metadata = dict(obj["metadata"])
        self._check_identity(resource, metadata, old)
        causes = validation.metadata_update_causes(metadata, old)
        for field in (*_SYSTEM_FIELDS, "generateName", "resourceVersion"):
            metadata.pop(field, None)
            if field in old:
                metadata[field] = old[field]
        metadata["name"], metadata["namespace"] = name, old.get("namespace", "")
        new = {**obj, "metadata": metadata}
        if resource.name in _WITH_STATUS:
            _keep(new, current, "spec" if status else "status")
            if status and "status" not in new:
                new["status"] = current.get("status", {})
        if resource.kind == "Pod" and not status:
            defaults.default_containers(new["spec"])
            new["spec"] = {**{key: current["spec"][key] for key in _DEFAULTED if key in current["spec"]}, **new["spec"]}
        causes += [entry for entry in validation.metadata_causes(metadata) if entry["field"] != "metadata.name"]
        if resource.kind == "Pod":
            causes += validation.pod_update_causes(new, current)
        if causes:
            raise errors.invalid(resource.kind, name, causes)
        if new.get("spec") == current.get("spec"):
            _keep(new, current, "spec")  # the same object: versions of a pod share the bytes of its spec
        else:
            new = schema.in_order(new)
            if "generation" in old:
                new["metadata"] = {**new["metadata"], "generation": old["generation"] + 1}
        if dry_run:
            return {**new, "metadata": ordered_metadata(new["metadata"])}
        return self.store.replace(resource.name, new)

    def _check_identity(self, resource: Resource, new: Obj, old: Obj) -> None:
        name = old["name"]
        if new.get("name", name) != name:
            words = f"the name of the object ({new['name']}) does not match the name on the URL ({name})"
            raise errors.bad_request(words)
        _fit_namespace(new, old.get("namespace"))
        version = new.get("resourceVersion")
        if version and version not in ("0", old["resourceVersion"]):
            raise errors.modified(resource.name, name)

    def _rehearse(self, obj: Obj) -> Obj:
        metadata = dict(obj["metadata"])
        if not metadata.get("name"):
            metadata["name"] = self.store.random_name(metadata["generateName"])
        metadata["uid"] = self.store.new_uid()
        metadata["creationTimestamp"] = timestamp(self.store.clock())
        return {**obj, "metadata": ordered_metadata(metadata)}


# Fields a new pod gets when it leaves them out: an update that leaves them out again keeps them.
_DEFAULTED = (
    "restartPolicy",
    "terminationGracePeriodSeconds",
    "dnsPolicy",
    "schedulerName",
    "enableServiceLinks",
    "securityContext",
    "priority",
    "preemptionPolicy",
    "tolerations",
    "serviceAccount",
    "serviceAccountName",
)


def check_uid(resource: Resource, new: Obj, old: Obj) -> None:
    """Refuses an update (not a patch) whose uid is that of another object.

    Raises:
        ApiError: 409.
    """
    given, stored = new["metadata"].get("uid"), old["metadata"]["uid"]
    if given and given != stored:
        why = f"Precondition failed: UID in precondition: {given}, UID in object meta: {stored}"
        raise errors.conflict(resource.name, old["metadata"]["name"], why)


def _keep(new: Obj, current: Obj, field: str) -> None:
    if field in current:
        new[field] = current[field]
    else:
        new.pop(field, None)


def _fit_namespace(metadata: Obj, namespace: str | None) -> None:
    if namespace is None:
        metadata.pop("namespace", None)
        return
    if metadata.get("namespace", namespace) != namespace:
        words = "the namespace of the provided object does not match the namespace sent on the request"
        raise errors.bad_request(words)
    metadata["namespace"] = namespace


def _other_causes(obj: Obj, namespace: str | None) -> list[errors.Cause]:
    involved = obj.get("involvedObject", {})
    if obj["kind"] == "Event" and involved.get("namespace", "") not in ("", namespace):
        return [
            errors.invalid_value("involvedObject.namespace", involved["namespace"], "does not match event.namespace")
        ]
    return []
