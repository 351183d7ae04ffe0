"""Steps of COPY and ADD, and sources for them that are in no file system."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import Any

from trees import Fifo, File, Folder, Link, Tree, filled

from builder.dockerfile.source import SourceFile, Span
from builder.engine.sources.file_hashes import FileHashes
from builder.engine.sources.source import Reader, split
from builder.plan.steps import ContextInput, CopyStep

HERE = Span(SourceFile("Dockerfile", ("COPY these there",)), 1, 5, 1, 10)


def step(*sources: str, to: str = "/", **more: Any) -> CopyStep:
    """A COPY of *sources* to *to*, which is a folder if it ends in a slash."""
    return CopyStep(
        title="COPY",
        where=HERE,
        input=ContextInput(),
        sources=sources,
        target=to.rstrip("/") or "/",
        target_is_folder=to.endswith("/"),
        **more,
    )


class Imagined:
    """A source root made of a tree as a value; its files cannot be opened."""

    def __init__(self, tree: Tree, *, owners: bool = False) -> None:
        self.label = "the imagination"
        self.owners = owners
        self.hashes = FileHashes()
        self._tree = {"": Folder(), **filled(tree)}
        self.looked_into: list[str] = []

    def entries(self, path: str) -> Mapping[str, os.stat_result]:
        self.looked_into.append(path)
        inner = {name: self._status(name) for name in self._tree if name and split(name)[0] == path}
        return {split(name)[1]: status for name, status in inner.items()}

    def _status(self, path: str) -> os.stat_result:
        node = self._tree[path]
        kind = {File: stat.S_IFREG, Folder: stat.S_IFDIR, Link: stat.S_IFLNK, Fifo: stat.S_IFIFO}[type(node)]
        number = sorted(self._tree).index(path)
        return os.stat_result((kind | node.mode, number, 1, 1, node.uid, node.gid, 0, 0, 0, 0))

    def lstat(self, path: str) -> os.stat_result | None:
        return self._status(path) if path in self._tree else None

    def readlink(self, path: str) -> str:
        node = self._tree[path]
        assert isinstance(node, Link)
        return node.target

    def reader(self) -> Reader:
        raise AssertionError("nothing here can be read")

    def why_missing(self, path: str) -> str | None:
        return None
