"""A place to build in: a context, a base, a store, and what comes out of a build."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyzstd
from isal import igzip

from worlds.command import Pybuild


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What one build said: its exit code, and, where ``json`` was asked for, its events."""

    code: int
    out: str
    err: str
    events: tuple[Mapping[str, Any], ...] = ()

    def named(self, event: str) -> list[Mapping[str, Any]]:
        """All events of one name, ``step-cached``."""
        return [one for one in self.events if one["event"] == event]

    @property
    def performed(self) -> list[str]:
        """The instructions that were performed."""
        return [one["title"] for one in self.named("step-started")]

    @property
    def cached(self) -> list[str]:
        """The instructions whose results were found."""
        return [one["title"] for one in self.named("step-cached")]

    @property
    def entered(self) -> bool:
        """Whether the build went behind the gate: there it says which isolation it took."""
        return any("isolation: " in one["text"] for one in self.named("note"))

    @property
    def said(self) -> str:
        """What the commands wrote."""
        return "".join(one["data"] for one in self.named("step-output"))

    @property
    def error(self) -> Mapping[str, Any]:
        """The error that the build ended with."""
        (found,) = self.named("error")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A context, and whoever builds it with a store of their own. ``base`` is a busybox; FROM base names it."""

    pybuild: Pybuild
    room: Path
    base: Path
    words: tuple[str, ...] = field(default=())

    @property
    def context(self) -> Path:
        """The context's folder."""
        return self.room / "context"

    @property
    def store(self) -> Path:
        """The store's folder."""
        return self.pybuild.store

    def write(self, dockerfile: str | None = None, files: Mapping[str, str | bytes] | None = None) -> None:
        """Put files into the context; parents are made."""
        everything = dict(files or {}) | ({} if dockerfile is None else {"Dockerfile": dockerfile})
        self.context.mkdir(exist_ok=True)
        for name, content in everything.items():
            path = self.context / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    def all_words(self, *words: str | Path, output: str = "type=image", context: str | Path | None = None) -> list[str]:
        """The command line of a build."""
        outputs = ["--output", output] if output else []
        base = f"base=oci-layout://{self.base}"
        given = ["build", "--build-context", base, *outputs, *self.words, *words, context or self.context]
        return [str(word) for word in given]

    def build(
        self,
        *words: str | Path,
        output: str = "type=image",
        context: str | Path | None = None,
        check: bool = True,
        json_events: bool = True,
        **how: Any,
    ) -> Built:
        """Build, to the store alone where nothing else is asked for."""
        progress = ("--progress=json",) if json_events else ()
        line = self.all_words(*progress, *words, output=output, context=context)
        done = self.pybuild(*line, cwd=how.pop("cwd", self.room), check=check, **how)
        events = tuple(json.loads(line) for line in done.stderr.splitlines()) if json_events else ()
        return Built(code=done.returncode, out=done.stdout, err=done.stderr, events=events)

    def text(self, *words: str | Path, **how: Any) -> Built:
        """A build that may fail, as people see it."""
        return self.build(*words, check=False, json_events=False, **how)

    def image(self, *words: str | Path, **how: Any) -> tuple[Built, Image]:
        """Build, and read the image from an OCI layout, each time a new one."""
        layout = self.room / f"layout-{len(list(self.room.glob('layout-*')))}"
        built = self.build(*words, "-o", f"type=oci,dest={layout},tar=false", output="", **how)
        return built, Image.of(layout)

    def with_store(self, name: str) -> Bench:
        """The same bench with another store."""
        return replace(self, pybuild=self.pybuild.with_store(self.room / name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One image of an OCI layout."""

    layout: Path
    descriptor: Mapping[str, Any]
    manifest: Mapping[str, Any]
    config: Mapping[str, Any]

    @classmethod
    def of(cls, layout: Path, index: int = 0) -> Image:
        """The image in the folder *layout*."""
        descriptor = json.loads((layout / "index.json").read_bytes())["manifests"][index]
        manifest = json.loads(_blob(layout, descriptor["digest"]).read_bytes())
        config = json.loads(_blob(layout, manifest["config"]["digest"]).read_bytes())
        return cls(layout=layout, descriptor=descriptor, manifest=manifest, config=config)

    @property
    def digest(self) -> str:
        """The manifest's."""
        return str(self.descriptor["digest"])

    @property
    def own(self) -> list[Mapping[str, Any]]:
        """The layers above the base's one."""
        return list(self.manifest["layers"][1:])

    def layer(self, number: int) -> bytes:
        """One layer's tar; 0 is the lowest."""
        descriptor = self.manifest["layers"][number]
        data = _blob(self.layout, descriptor["digest"]).read_bytes()
        kind = descriptor["mediaType"].rpartition("+")[2]
        return {"gzip": igzip.decompress, "zstd": pyzstd.decompress}.get(kind, bytes)(data)

    def members(self, number: int) -> dict[str, tarfile.TarInfo]:
        """One layer's members by name."""
        import io

        with tarfile.open(fileobj=io.BytesIO(self.layer(number)), errors="surrogateescape") as tar:
            return {member.name: member for member in tar}

    def files(self) -> dict[str, bytes]:
        """What the files above the base hold; whiteouts are honoured, folders are not told."""
        import io

        found: dict[str, bytes] = {}
        for number in range(1, len(self.manifest["layers"])):
            with tarfile.open(fileobj=io.BytesIO(self.layer(number)), errors="surrogateescape") as tar:
                for member in tar:
                    folder, name = os.path.split(member.name)
                    if name.startswith(".wh."):
                        gone = os.path.join(folder, name[4:])
                        found = {
                            path: data
                            for path, data in found.items()
                            if path != gone and not path.startswith(f"{gone}/")
                        }
                    elif member.isreg() or member.islnk():
                        file = tar.extractfile(member)
                        assert file is not None
                        found[member.name] = file.read()
                    elif member.issym():
                        found[member.name] = b"-> " + os.fsencode(member.linkname)
        return found


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / "sha256" / digest.removeprefix("sha256:")


def leftovers(store: Path) -> list[str]:
    """What a build must not leave in a store: drafts, temporary files."""
    found = list(store.glob("snapshots/*/drafts/*"))
    found += list(store.glob("tmp/*"))
    return sorted(str(path.relative_to(store)) for path in found)


def mounts_below(folder: Path) -> list[str]:
    """Mount points at or below *folder*, in this mount namespace."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split(" ")[4] for line in lines if Path(line.split(" ")[4]).is_relative_to(folder)]


def processes_of(folder: Path) -> list[int]:
    """Processes that have *folder* in their environment or on their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            said = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
        except OSError:
            continue  # it ended meanwhile
        if os.fsencode(folder) in said and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found
