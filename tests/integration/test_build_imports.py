"""What a build that finds everything in the cache must not import: by names, since times depend on the machine."""

from __future__ import annotations

import json

from worlds.building import Bench

# Slow to import themselves, or by what they bring along; not shutil, which removes what an earlier process left.
SLOW = [
    "argparse",
    "asyncio",
    "cffi",
    "_cffi_backend",
    "concurrent.futures",
    "datetime",
    "decimal",
    "difflib",
    "email",
    "http",
    "importlib.metadata",
    "isal",
    "logging",
    "multiprocessing",
    "pickle",
    "pyzstd",
    "secrets",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "tarfile",
    "tempfile",
    "tqdm",
    "traceback",
    "typing_extensions",
    "urllib.request",
    "urllib3",
    "uuid",
    "zipfile",
]
# The rooms that only a build with something to do needs.
ROOMS = [
    "builder.sandbox",
    "builder.snapshot",
    "builder.registry",
    "builder.export",
    "builder.engine.perform",
    "native",
]

PROBE = """
import json, sys
before = sorted(sys.modules)  # what an environment's own .pth files import is not ours
from builder.cli.environment import Surroundings
from builder.cli.main import main
code = main(sys.argv[1:], Surroundings.of_process())
print(json.dumps([code, before, sorted(sys.modules)]))
"""


def test_a_cached_build_imports_nothing_that_is_slow(bench_everyone: Bench) -> None:
    bench = bench_everyone
    bench.write("FROM base\n")
    bench.build("-t", "based")  # a name in the store, as most bases are; a layout is read anew each time
    bench.write(
        "FROM based AS one\nENV A=b\nWORKDIR /w\nCOPY . /src\nRUN echo $A >/x\n"
        'FROM one\nCOPY --from=one /x /y\nLABEL a="b"\nCMD ["sh"]\n',
        {f"d{number}/f": str(number) for number in range(3)} | {".dockerignore": "*.o\n"},
    )
    words = ("build", "-t", "app", "-o", "type=image", str(bench.context))
    bench.pybuild(*words, check=True, cwd=bench.room)
    probe = [bench.pybuild.launch[0], "-P", "-c", PROBE, *words]
    environment = {"PYBUILD_ROOT": str(bench.store), **bench.pybuild.environment}
    done = bench.pybuild.person.run(probe, env=environment, cwd=bench.room, check=True)
    code, before, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0, done.stderr
    assert sorted({*SLOW, *ROOMS} & set(modules) - set(before)) == []
