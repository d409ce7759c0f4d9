"""The machine and the software figures were taken on: what a reader needs to judge whether they carry over."""

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

ISA_FLAGS = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_int8",
    "amx_bf16",
    "asimddp",
    "i8mm",
    "bf16",
)
PACKAGES = (
    "compressbench", "torch", "transformers", "optimum", "onnx", "onnxruntime", "datasets", "evaluate", "tokenizers",
    "numpy", "scipy", "pandas", "openvino", "nncf",
)  # fmt: skip
RUNTIME_PACKAGES = ("onnxruntime", "openvino", "torch")
IDENTITY = ("cpu", "isa_class", "cores", "cgroup_cpu_limit", "governor", "turbo", "system")
"""Where two environments differ in one of these, or in a runtime's version, their latencies are never put together."""
Precision = Literal["fp32", "bf16"]


@cache
def cpu_description() -> tuple[str, frozenset[str]]:
    """Model name and instruction-set flags of the CPU; empty where the system does not tell."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine(), frozenset()
    fields = _cpu_fields(text)
    flags = fields.get("flags", fields.get("Features", ""))
    return fields.get("model name", platform.machine()), frozenset(flags.split())


@cache
def cpu_family() -> str:
    """Maker and family of the CPU, such as ``AuthenticAMD-25``; empty where the system does not tell."""
    try:
        fields = _cpu_fields(Path("/proc/cpuinfo").read_text())
    except OSError:
        return ""
    x86 = (fields.get("vendor_id"), fields.get("cpu family"))
    arm = (fields.get("CPU implementer"), fields.get("CPU part"))
    return "-".join(part for part in (x86 if any(x86) else arm) if part)


def _cpu_fields(cpuinfo: str) -> dict[str, str]:
    """What the system says of the first core."""
    pairs = (line.split(":", 1) for line in cpuinfo.split("\n\n", maxsplit=1)[0].splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def isa_class() -> str:
    """CPU family and the exposed flags that decide which INT8 and bf16 kernels run; equal classes compare."""
    flags = cpu_description()[1]
    family = " ".join(part for part in (platform.machine(), cpu_family()) if part)
    return "+".join([family, *(flag for flag in ISA_FLAGS if flag in flags)])


def governor() -> str | None:
    """How the kernel chooses the clock, such as ``performance``; None where it does not (a virtual machine)."""
    return _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def turbo() -> bool | None:
    """Whether the clock may rise above the nominal one; None where the system does not tell."""
    boost, no_turbo = (_read(f"/sys/devices/system/cpu/{name}") for name in ("cpufreq/boost", "intel_pstate/no_turbo"))
    if no_turbo is not None:
        return no_turbo == "0"
    return None if boost is None else boost == "1"


def fingerprint(environment: Mapping[str, Any]) -> str:
    """8 hex digits of what latencies depend on: CPU, cores, limits, clock, and the versions of the runtimes.

    Args:
        environment: What `describe_environment` gives, or what an environment.json holds.
    """
    content = {name: environment.get(name) for name in IDENTITY}
    packages = environment.get("packages") or {}
    content["packages"] = {name: packages.get(name, "absent") for name in RUNTIME_PACKAGES}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def has_vnni() -> bool:
    """Whether the CPU adds INT8 products in 32 bit; without, U8S8 kernels saturate at 16 bit."""
    return bool(cpu_description()[1] & {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"})


def native_precision() -> Precision:
    """``bf16`` where the CPU multiplies bf16 natively, else ``fp32`` (emulated bf16 is slower than fp32)."""
    return "bf16" if cpu_description()[1] & {"avx512_bf16", "amx_bf16", "bf16"} else "fp32"


def cgroup_cpu_limit() -> float | None:
    """CPUs a container may use, or None where there is no limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else int(quota) / int(period)


def usable_cores() -> int:
    """Cores this process may run on, affinity and container limit counted in; at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = cgroup_cpu_limit()
    return max(1, min(affinity, int(limit) if limit else affinity))


def package_version(name: str) -> str:
    """Installed version of a distribution, or ``absent``."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def major_minor(name: str) -> str:
    """``1.31`` of ``1.31.1``: what a content key holds of a library."""
    return ".".join(package_version(name).split("+")[0].split(".")[:2])


def describe_environment(*, threads: int) -> dict[str, Any]:
    """Everything `environment.json` holds."""
    model, flags = cpu_description()
    return {
        "cpu": model,
        "isa_class": isa_class(),
        "isa_flags": [flag for flag in ISA_FLAGS if flag in flags],
        "cores": usable_cores(),
        "threads": threads,
        "cgroup_cpu_limit": cgroup_cpu_limit(),
        "governor": governor(),
        "turbo": turbo(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None,
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: package_version(name) for name in PACKAGES},
        "commit": _commit(),
    }


def _commit() -> str | None:
    """Commit of the source tree this package runs from; installed elsewhere, of the checkout that the run starts in."""
    source = Path(__file__).resolve().parents[1]
    folder = source if (source / ".git").exists() else Path.cwd()
    try:
        answer = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=False)
    except OSError:
        return None  # no git here
    return answer.stdout.strip() or None
