"""The processor of this machine: its name and capabilities."""

import pathlib
import platform
import re

CPU_INFO = pathlib.Path("/proc/cpuinfo")


def cpu_flags() -> set[str]:
    """The CPU flags that Linux lists; empty on other systems."""
    return {*_cpu_info("flags").split()}


def adds_in_16_bits() -> bool:
    """Whether sums of 8-bit products may overflow, as on x86 processors without VNNI."""
    flags = cpu_flags()
    return "avx2" in flags and not any("vnni" in flag for flag in flags)


def processor() -> str:
    """The name of the processor, from Linux or else from Python."""
    return _cpu_info("model name") or platform.processor() or platform.machine()


def _cpu_info(name):
    try:
        text = CPU_INFO.read_text()
    except OSError:
        return ""
    found = re.search(rf"^{name}\s*:(.*)$", text, re.MULTILINE)
    return found[1].strip() if found else ""
