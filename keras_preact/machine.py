"""The processor at hand: its name, and what it can do."""

import pathlib
import platform
import re

CPU_INFO = pathlib.Path("/proc/cpuinfo")


def cpu_flags() -> set[str]:
    """What the processor can do, as Linux lists it; nothing elsewhere."""
    return {*_cpu_info("flags").split()}


def adds_in_16_bits() -> bool:
    """Whether sums of products of 8 bits may overflow: on x86 processors without VNNI."""
    flags = cpu_flags()
    return "avx2" in flags and not any("vnni" in flag for flag in flags)


def processor() -> str:
    """The processor's name, as Linux has it, or what Python knows of it."""
    return _cpu_info("model name") or platform.processor() or platform.machine()


def _cpu_info(name):
    try:
        text = CPU_INFO.read_text()
    except OSError:
        return ""
    found = re.search(rf"^{name}\s*:(.*)$", text, re.MULTILINE)
    return found[1].strip() if found else ""
