"""A build whose output is a registry: from one registry, to the same one, by everybody."""

import json
import subprocess

import pytest

DOCKERFILE = "FROM {base}\nCOPY file /file\nENV A=b\n"


@pytest.fixture
def context(room, busybox_base):
    folder = room / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text(DOCKERFILE.format(base=busybox_base))
    (folder / "file").write_text("hello\n")
    return folder


def inspect(reference, *options):
    argv = ["skopeo", "inspect", *options, "--tls-verify=false", f"docker://{reference}"]
    return json.loads(subprocess.run(argv, check=True, capture_output=True, stdin=subprocess.DEVNULL).stdout)


def test_what_is_built_is_pushed_under_all_its_names(pybuild_everyone, context, registry, request, room):
    place = registry.reference(f"built/{request.node.callspec.id.replace(' ', '-')}")
    done = pybuild_everyone(
        "build", "--push", "-t", f"{place}:1", "-t", f"{place}:2", "--iidfile", str(room / "iid"), context, check=True
    )
    assert f"{place}:1" in done.stderr
    manifests = [inspect(f"{place}:{tag}", "--raw") for tag in (1, 2)]
    assert manifests[0] == manifests[1]
    assert manifests[0]["config"]["digest"] == (room / "iid").read_text()
    assert "A=b" in inspect(f"{place}:1", "--config")["config"]["Env"]
    # The base's layer came from the same registry, so it is mounted, not sent.
    layer = manifests[0]["layers"][0]["digest"]
    path = place.partition("/")[2]
    lines = [line for line in registry.log.read_text().splitlines() if f"/v2/{path}/" in line and layer[7:] in line]
    assert any("mount=" in line for line in lines)
    assert not any("PUT" in line for line in lines)


def test_a_registry_that_is_not_there_fails_the_build_in_one_line(pybuild, context):
    done = pybuild("build", "--push", "-t", "localhost:9/app", context)
    assert done.returncode == 1
    assert "cannot reach the registry localhost:9: Connection refused" in done.stderr
    assert "Traceback" not in done.stderr
