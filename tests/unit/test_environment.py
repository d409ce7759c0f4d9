"""What a run says of the machine and the code it ran on."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from compressbench import environment
from compressbench.cli.doctor import clock_and_load_advice
from compressbench.harness.cores import cores_for


def git(*words: str, cwd: Path) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    return subprocess.run(
        ["git", *identity, *words], cwd=cwd, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package as if installed into site-packages, and an empty folder to run in."""
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "site-packages" / "compressbench" / "environment.py"))
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_the_commit_is_that_of_the_checkout_a_run_starts_in(installed: Path) -> None:
    git("init", "-q", cwd=installed)
    git("commit", "-q", "--allow-empty", "-m", "first", cwd=installed)
    assert environment.describe_environment(threads=1)["commit"] == git("rev-parse", "HEAD", cwd=installed)


def test_outside_a_checkout_there_is_no_commit(installed: Path) -> None:
    assert environment.describe_environment(threads=1)["commit"] is None


def test_without_git_there_is_no_commit(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(installed))
    assert environment.describe_environment(threads=1)["commit"] is None


HERE = {
    "cpu": "a CPU", "isa_class": "x86_64+avx2", "cores": 2, "cgroup_cpu_limit": None, "governor": None, "turbo": None,
    "system": "Linux", "packages": {"onnxruntime": "1.32.0", "numpy": "2.3"}, "load_average": [0.1], "threads": 2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"isa_class": "x86_64+avx2+avx512f"}, True),
        ({"cgroup_cpu_limit": 1.0}, True),
        ({"governor": "powersave"}, True),
        ({"packages": {"onnxruntime": "1.33.0", "numpy": "2.3"}}, True),
        ({"packages": {"onnxruntime": "1.32.0", "numpy": "2.4"}}, False),
        ({"load_average": [2.0], "threads": 1, "commit": "abc"}, False),
    ],
)
def test_a_fingerprint_is_of_what_latencies_depend_on(change: dict[str, object], *, differs: bool) -> None:
    assert (environment.fingerprint(HERE) != environment.fingerprint({**HERE, **change})) == differs


def test_a_fingerprint_is_the_same_read_back_from_a_file() -> None:
    described = environment.describe_environment(threads=1)
    assert environment.fingerprint(described) == environment.fingerprint(json.loads(json.dumps(described)))


@pytest.mark.parametrize(
    ("cpuinfo", "family"),
    [
        ("vendor_id : AuthenticAMD\ncpu family : 25\nmodel : 1\n\nvendor_id : other", "AuthenticAMD-25"),
        ("CPU implementer : 0x41\nCPU part : 0xd40\n", "0x41-0xd40"),
        ("", ""),
    ],
)
def test_the_family_of_a_cpu(cpuinfo: str, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda _: cpuinfo)
    assert environment.cpu_family.__wrapped__() == family


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ({"load_average": [1.4]}, "load average 1.4: something else is running"),
        ({"governor": "powersave"}, "the governor 'powersave' lowers it when a core was idle"),
        ({"turbo": True}, "turbo is on, so figures fall as the CPU warms"),
        ({"cgroup_cpu_limit": 1.5}, "the container may use 1.5 CPUs and 2 threads would be stopped now and then"),
    ],
)
def test_doctor_says_what_to_change_before_milliseconds_are_trusted(change: dict[str, object], advice: str) -> None:
    assert list(clock_and_load_advice(HERE)) == []
    (found,) = clock_and_load_advice({**HERE, **change})
    assert advice in found


def test_cores_are_bound_one_to_a_thread_and_apart_from_those_given_before(monkeypatch: pytest.MonkeyPatch) -> None:
    siblings = {0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"}
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(Path, "read_text", lambda path: siblings[int(path.parts[5][3:])])
    assert cores_for(2) == (0, 1)  # two cores, not two hardware threads of one
    assert cores_for(1, place=1) == (1,)
    assert cores_for(2, place=1) == (2, 3)
    assert cores_for(2, place=2) == ()
    assert cores_for(5) == ()
