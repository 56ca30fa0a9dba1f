"""Builds the compiled core only; all metadata stands in pyproject.toml.

Cython looks for .pxd files along package paths, and the tree keeps `_fast/`
outside `executor/`, so it is shown the installed view: a temporary package
folder `shard_executor` with a link to `_fast`.

Environment: SHARD_EXECUTOR_SANITIZE=1 builds with AddressSanitizer (see the
Makefile's `asan` target); SHARD_EXECUTOR_TRACE=1 builds for line coverage.
"""

import os
import sys
import tempfile
from pathlib import Path

import Cython.Compiler.Options
from Cython.Build import cythonize
from setuptools import Extension, setup

HERE = Path(__file__).resolve().parent
SANITIZE = os.environ.get("SHARD_EXECUTOR_SANITIZE") == "1"
TRACE = os.environ.get("SHARD_EXECUTOR_TRACE") == "1"
# These gather files and metadata; MANIFEST.in names the sources, so nothing has to be translated for them.
COMPILING = not {"egg_info", "dist_info", "sdist"} & set(sys.argv)

compile_args = ["-O2", "-g0", "-fno-strict-aliasing"]
link_args: list[str] = []
if SANITIZE:
    compile_args = ["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-strict-aliasing"]
    link_args = ["-fsanitize=address,undefined"]

extensions = [
    Extension(
        f"shard_executor._fast.{source.stem}",
        [f"_fast/{source.name}"],
        include_dirs=["_fast"],
        depends=[f"_fast/{header.name}" for header in sorted(HERE.glob("_fast/*.h"))],
        extra_compile_args=compile_args,
        extra_link_args=link_args,
        define_macros=[("CYTHON_TRACE", "1")] if TRACE else [],
    )
    for source in sorted(HERE.glob("_fast/*.pyx"))
]

# An untyped local in the hot path is a mistake: the build stops with its file and line.
Cython.Compiler.Options.warning_errors = True

with tempfile.TemporaryDirectory() as view:
    package = Path(view, "shard_executor")
    package.mkdir()
    Path(package, "__init__.py").touch()
    Path(package, "_fast").symlink_to(HERE / "_fast", target_is_directory=True)
    setup(
        ext_modules=cythonize(
            extensions if COMPILING else [],
            include_path=[view],
            compiler_directives={
                "language_level": "3",
                # Rows and spans point into buffers: they are never pickled.
                "auto_pickle": False,
                "warn.undeclared": True,
                "warn.unused": True,
                "warn.maybe_uninitialized": True,
                "linetrace": TRACE,
            },
            force="build_ext" in sys.argv and SANITIZE,
        )
    )
