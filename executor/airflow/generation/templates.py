"""Pod templates of Airflow: read as the provider reads them, once for each state of the file, and refused by name."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import yaml

from shard_executor.airflow.generation.jinja_values import SUFFIX, JinjaDocument, Path
from shard_executor.airflow.generation.request import BuildError
from shard_executor.airflow.generation.signatures import Signature, signature_of
from shard_executor.airflow.generation.subject import Subject
from shard_executor.pods.strict_yaml import problem_of
from shard_executor.pods.task_words import describe

MAX_BYTES = 4 << 20  # a Pod beyond etcd's 1.5 MiB request limit is no Pod; this leaves room for comments
_MAX_TEMPLATES = 128
_READS = 5

Parse = Callable[[Any], Any]


class AirflowTemplate:
    """One state of a template file.

    Args:
        name: what messages call it.
        text: YAML.
        jinja: whether its strings may hold Jinja.
        load: makes a parsed document of YAML text, as the provider does it.
        model: makes a V1Pod of a parsed document, as the provider does it.

    Raises:
        BuildError: InvalidTemplate; names file, line or key.
    """

    def __init__(self, name: str, text: str, jinja: bool, load: Parse, model: Parse) -> None:
        self._name = name
        self._text = text
        self._model = model
        try:
            document = load(text)
        except yaml.YAMLError as fault:
            raise self._refuse(f"not valid YAML: {problem_of(fault)}") from fault
        except (ValueError, RecursionError) as fault:  # a scalar such as !!int x; nesting without end
            raise self._refuse(f"not valid YAML: {fault}") from fault
        self._check(document)
        rendered = JinjaDocument(document, self._where) if jinja else None
        self._jinja = rendered if rendered else None
        self._pod = self._made(document) if self._jinja is None else None

    @property
    def inserts_only(self) -> bool:
        """Whether a task's values decide nothing but the text in their own places."""
        return self._jinja is None or self._jinja.inserts_only

    def pod(self, subject: Subject) -> Any:
        """The template as a V1Pod, which nobody may change.

        Raises:
            BuildError: InvalidTemplate, UndefinedName, TemplateFailed.
        """
        return self._pod if self._jinja is None else self._made(self._jinja.render(subject))

    def _made(self, document: Any) -> Any:
        try:
            return self._model(document)
        except Exception as fault:  # the client's models raise whatever a value of another kind leads to
            raise self._refuse(f"not a Pod as the Kubernetes API has it: {fault}") from fault

    def _check(self, pod: Any) -> None:
        if not isinstance(pod, dict):
            raise self._refuse(f"must be a Pod (a mapping with kind: Pod), not {describe(pod)}")
        if pod.get("kind") not in (None, "Pod"):
            raise self._refuse(f"{self._line(('kind',))}kind must be Pod, not {describe(pod['kind'])}")
        for key in ("metadata", "spec"):
            if not isinstance(pod.get(key, {}), dict | None):
                raise self._refuse(f"{self._line((key,))}{key} must be a mapping, not {describe(pod[key])}")
        spec = pod.get("spec")
        if spec is None:
            return
        containers = spec.get("containers")
        if not isinstance(containers, list):
            problem = f"must be a list of containers, not {describe(containers)}" if containers else "is missing"
            line = self._line(("spec", "containers") if containers else ("spec",))
            raise self._refuse(f"{line}spec.containers {problem}: it needs at least a container named base")
        for index, container in enumerate(containers):
            if not isinstance(container, dict) or not isinstance(container.get("name"), str):
                line = self._line(("spec", "containers", index))
                raise self._refuse(f"{line}spec.containers[{index}] must be a mapping with a name, like {{name: base}}")

    def _refuse(self, problem: str) -> BuildError:
        return BuildError("InvalidTemplate", f"pod template {self._name}: {problem}")

    def _where(self, path: Path) -> str:
        return f"pod template {self._name}: {self._line(path)}{words_of(path)}"

    def _line(self, path: Path) -> str:
        line = line_of(self._text, path)
        return "" if line is None else f"line {line}: "


EMPTY = "(none configured)"


class Templates:
    """The templates in use, and the faults of those that cannot be used, by file.

    Args:
        jinja: render every file, not only those named *.j2.
        load, model: see `AirflowTemplate`.
    """

    def __init__(self, jinja: bool, load: Parse, model: Parse) -> None:
        self._jinja = jinja
        self._load = load
        self._model = model
        self._known: dict[str, tuple[Signature | None, AirflowTemplate | BuildError]] = {}
        self._empty = AirflowTemplate(EMPTY, "{}", False, load, model)

    def get(self, path: str, signature: Signature | None) -> tuple[AirflowTemplate, Signature | None]:
        """The template in a file, and the signature of what was read.

        Args:
            path: the file's; empty for no template.
            signature: the file's, as last seen: it is read again if that differs.

        Raises:
            BuildError: InvalidTemplate.
        """
        if not path:
            return self._empty, None
        known = self._known.get(path)
        if known is None or known[0] != signature:
            known = self._read(path)
            if len(self._known) >= _MAX_TEMPLATES:
                del self._known[next(iter(self._known))]
            self._known[path] = known
        if isinstance(known[1], BuildError):
            raise known[1]
        return known[1], known[0]

    def _read(self, path: str) -> tuple[Signature | None, AirflowTemplate | BuildError]:
        signature: Signature | None = None
        try:
            text, signature = read_text(path)
            jinja = self._jinja or path.lower().endswith(SUFFIX)
            return signature, AirflowTemplate(path, text, jinja, self._load, self._model)
        except BuildError as error:
            return signature, error
        except FileNotFoundError:
            problem = "no such file; it must be there where the scheduler runs"
        except UnicodeDecodeError as fault:
            problem = f"not UTF-8 text: {fault.reason} at byte {fault.start}"
        except (OSError, ValueError) as fault:
            problem = f"cannot be read: {getattr(fault, 'strerror', None) or fault}"
        return signature, BuildError("InvalidTemplate", f"pod template {path}: {problem}")


def read_text(path: str) -> tuple[str, Signature | None]:
    """A file's text and its signature; a file that is written meanwhile is read again.

    Raises:
        OSError, ValueError (UnicodeDecodeError among it): as opening, reading and decoding; ValueError for its size.
    """
    for _ in range(_READS):
        with open(path, "rb") as file:
            before = signature_of(file.fileno())
            data = file.read(MAX_BYTES + 1)
            after = signature_of(file.fileno())
        if before == after:
            break
    if len(data) > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES >> 20} MiB; is this a Pod?")
    return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8").read(), after


def words_of(path: Path) -> str:
    """`spec.containers[0].image` of a path."""
    words = ""
    for part in path:
        words += f"[{part}]" if isinstance(part, int) else f".{part}" if words else str(part)
    return words


def line_of(text: str, path: Path) -> int | None:
    """The line, from 1, of a value in a YAML text; None where that cannot be told, as behind aliases."""
    try:
        node = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError:
        return None
    for part in path:
        if isinstance(node, yaml.MappingNode):
            node = next((value for key, value in node.value if key.value == str(part)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
        else:
            return None
    return None if node is None else node.start_mark.line + 1
