"""Links between the Markdown files of the repository: checked, and made to work on the site as in a repository browser.

MkDocs loads this as a hook (mkdocs.yml), tests/unit/test_docs.py as a module. A page links to a file beside docs/ by
its path, such as `../deploy/role.yaml`: the site gets a copy of each such file under its path in the repository, so
that a link works in both places. Every link that leads nowhere is a warning, and a strict build fails on warnings.
"""

from __future__ import annotations

import logging
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

log = logging.getLogger("mkdocs.hooks.repo_links")

DOCS = "docs"
# Everything with links for readers, as patterns from the root of the repository.
DOCUMENTS = ("README.md", "docs/**/*.md", "examples/**/*.md", "bench/*.md", "deploy/*.md")

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")
_INLINE = re.compile(r"\]\(\s*<?(?P<target>[^)\s>]+)")
_DEFINITION = re.compile(r"^ {0,3}\[[^\]]+\]:\s+<?(?P<target>[^\s>]+)")
_HEADING = re.compile(r"^ {0,3}#{1,6}\s+(.*?)\s*#*\s*$")
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:|//")


@dataclass(frozen=True, slots=True)
class Link:
    """One link as it is written: the line it stands on, from 1, and its target."""

    line: int
    target: str

    @property
    def external(self) -> bool:
        """Whether it leads out of the repository; such links are not followed."""
        return _SCHEME.match(self.target) is not None


def documents(root: Path) -> list[Path]:
    """The Markdown files of a repository that are meant for readers."""
    return sorted({path for pattern in DOCUMENTS for path in root.glob(pattern)})


def links(text: str) -> Iterator[Link]:
    """The links of a Markdown text, those in code left out."""
    for number, line in _prose(text):
        for match in _found(line):
            yield Link(number, match["target"])


def anchors(text: str) -> set[str]:
    """The anchors of a Markdown text's headings, by the rules of GitHub and GitLab."""
    seen: dict[str, int] = {}
    found = set()
    for _, line in _prose(text):
        heading = _HEADING.match(line)
        if heading is None:
            continue
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).replace("`", "").lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        count = seen.get(slug, 0)
        seen[slug] = count + 1
        found.add(f"{slug}-{count}" if count else slug)
    return found


def problems(root: Path) -> list[str]:
    """One line for each link that leads nowhere in a repository, as `docs/cli.md, line 3: ...`."""
    found = []
    anchors_of: dict[Path, set[str]] = {}
    for path in documents(root):
        name = path.relative_to(root).as_posix()
        for link in links(path.read_text(encoding="utf-8")):
            if link.external:
                continue
            place = f"{name}, line {link.line}: {link.target}"
            file, _, anchor = link.target.partition("#")
            if file.startswith("/"):
                found.append(f"{place}: is absolute; write it relative to this file")
                continue
            target = (path.parent / file).resolve() if file else path
            if not target.exists():
                found.append(f"{place}: there is no such file")
            elif not target.is_relative_to(root.resolve()):
                found.append(f"{place}: leaves the repository")
            elif anchor and target.suffix == ".md":
                known = anchors_of.setdefault(target, anchors(target.read_text(encoding="utf-8")))
                if anchor not in known:
                    found.append(f"{place}: {file or name} has no such heading")
    return found


def _prose(text: str) -> Iterator[tuple[int, str]]:
    """The lines outside of fenced code, with their numbers."""
    fence = ""
    for number, line in enumerate(text.split("\n"), 1):
        mark = _FENCE.match(line)
        if fence:
            if mark is not None and mark[1].startswith(fence) and not line.strip(" `~"):
                fence = ""
        elif mark is not None:
            fence = mark[1]
        else:
            yield number, line


def _found(line: str) -> list[re.Match[str]]:
    """The links of a line in their order, as matches with a group `target`."""
    code = [match.span() for match in _CODE.finditer(line)]
    matches = [*_INLINE.finditer(line), *_DEFINITION.finditer(line)]
    outside_code = [m for m in matches if not any(start <= m.start("target") < end for start, end in code)]
    return sorted(outside_code, key=lambda match: match.start("target"))


# ---- where a file of the repository stands on the site


def site_path(path: str, root: Path) -> str:
    """Where a file of the repository is among the site's sources; a folder stands for the README.md in it.

    Args:
        path: from the root of the repository, with slashes.
    """
    if (root / path).is_dir():
        path = posixpath.join(path, "README.md")
    return path.removeprefix(f"{DOCS}/")


def for_site(target: str, page: str, root: Path) -> str:
    """A relative link as it has to be on the site.

    Args:
        target: as it is written, possibly with an anchor.
        page: the path of the page that has it, from the root of the repository.
    """
    file, mark, anchor = target.partition("#")
    if not file or Link(0, target).external or file.startswith("/"):
        return target
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), file))
    here = posixpath.dirname(site_path(page, root)) or "."
    return posixpath.relpath(site_path(path, root), here) + mark + anchor


def outside(root: Path) -> set[str]:
    """The files beside docs/ that the site needs, as paths from the root: pages' link targets, theirs in turn."""
    todo = [path.relative_to(root).as_posix() for path in documents(root) if path.is_relative_to(root / DOCS)]
    seen = set(todo)
    while todo:
        page = todo.pop()
        for link in links((root / page).read_text(encoding="utf-8")):
            file = link.target.partition("#")[0]
            if link.external or not file:
                continue
            path = posixpath.normpath(posixpath.join(posixpath.dirname(page), file))
            if (root / path).is_dir():
                path = posixpath.join(path, "README.md")
            if path not in seen and not path.startswith("..") and (root / path).is_file():
                seen.add(path)
                if path.endswith(".md"):
                    todo.append(path)
    return {path for path in seen if not path.startswith(f"{DOCS}/")}


# ---- what MkDocs calls


def _root(config: MkDocsConfig) -> Path:
    return Path(config.docs_dir).parent


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Checks all links of the repository, and adds the files beside docs/ that pages link to."""
    from mkdocs.structure.files import File

    root = _root(config)
    for problem in problems(root):
        log.warning(problem)
    for path in sorted(outside(root)):
        files.append(File.generated(config, path, abs_src_path=str(root / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns a page's links to files of the repository into links to their places on the site."""
    root = _root(config)
    source = Path(page.file.abs_src_path or "").relative_to(root).as_posix()
    lines = markdown.split("\n")
    for number, line in _prose(markdown):
        for match in reversed(_found(line)):
            start, end = match.span("target")
            lines[number - 1] = line = line[:start] + for_site(match["target"], source, root) + line[end:]
    return "\n".join(lines)
