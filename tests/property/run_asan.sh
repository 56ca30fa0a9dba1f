#!/bin/sh
# Runs the mutation and framing tests on a build with AddressSanitizer and UndefinedBehaviorSanitizer.
# Everything is built in a temporary directory; the working tree and its build stay as they are.
# PYTHON chooses the interpreter (it needs Cython, setuptools, pytest and hypothesis).
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
[ -x "$python" ] || python=$(command -v python3)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

cp -R "$root/_fast" "$root/executor" "$root/setup.py" "$root/pyproject.toml" "$root/README.md" "$root/LICENSE" "$work/" 2>/dev/null || true
rm -f "$work"/_fast/*.so "$work"/_fast/*.c
cd "$work"
SHARD_EXECUTOR_SANITIZE=1 "$python" setup.py -q build --build-base "$work/build" --build-lib "$work/lib" >"$work/build.log" 2>&1 || {
    cat "$work/build.log"
    exit 1
}

# The interpreter itself is not instrumented: the runtime comes first, Python's own allocator is bypassed so that every
# bytes object has its red zones, and what Python leaves behind at exit is no leak of ours.
LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
export LD_PRELOAD
PYTHONMALLOC=malloc
ASAN_OPTIONS=detect_leaks=0
UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
PYTHONPATH="$work/lib"
PYTHONDONTWRITEBYTECODE=1
SHARD_EXECUTOR_MUTATIONS=${SHARD_EXECUTOR_MUTATIONS:-1500}
export PYTHONMALLOC ASAN_OPTIONS UBSAN_OPTIONS PYTHONPATH PYTHONDONTWRITEBYTECODE SHARD_EXECUTOR_MUTATIONS

"$python" -c "
import shard_executor._fast.table as table
assert table.__file__.startswith('$work'), table.__file__
print('sanitized build:', table.__file__)"
# -s: a report has to reach the terminal from a process that dies in the middle of a test.
"$python" -m pytest -q -s -p no:cacheprovider --timeout=900 -c "$root/pyproject.toml" --rootdir "$root" \
    "$root/tests/property/test_mutations.py" "$root/tests/property/test_framing.py" \
    "$root/tests/property/test_table_model.py" "$root/tests/unit/fast"
