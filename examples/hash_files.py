"""Computes the SHA-256 of every file of a folder, one pod a file.

    python examples/hash_files.py FOLDER RESULTS [--template pod.yaml] [--kubeconfig FILE]

Pods have to see FOLDER and RESULTS under the same paths as this program does. On the development cluster
(`shard-executor devcluster`) they do, as its pods are processes of this machine; on any other cluster let the template
mount a volume there.
"""

import argparse
import sys
from concurrent.futures import as_completed
from pathlib import Path

from shard_executor import PodExecutor, TaskFailed, TaskSpec

# The result appears under its name only when it is complete.
SCRIPT = 'sha256sum -- "$1" > "$2.part" && mv "$2.part" "$2"'


def main() -> int:
    parser = argparse.ArgumentParser(description="SHA-256 of every file of a folder, one pod a file.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--template", help="a Pod in YAML")
    parser.add_argument("--kubeconfig", help="default: as kubectl has it")
    options = parser.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    files = sorted(path.resolve() for path in options.folder.rglob("*") if path.is_file())
    failed = 0
    with PodExecutor(kubeconfig=options.kubeconfig, template=options.template, parallelism=20) as executor:
        futures = {}
        for number, path in enumerate(files):
            result = (options.results / f"{number}.sha256").resolve()
            task = TaskSpec(
                f"hash-{number}",
                image="busybox",
                command=["sh", "-c", SCRIPT, "sh", str(path), str(result)],
            )
            futures[executor.submit(task)] = path, result
        for future in as_completed(futures):
            path, result = futures[future]
            try:
                future.result()
            except TaskFailed as problem:
                failed += 1
                print(f"{path}: {problem}", file=sys.stderr)
            else:
                print(result.read_text().split()[0].lstrip("\\"), path, sep="  ")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
