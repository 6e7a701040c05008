"""Limits a worker puts on itself, enforced by the operating system where it can.

===========  =====================================  =============================================
System       Memory                                 Time
===========  =====================================  =============================================
Linux        ``RLIMIT_AS``                          ``SIGALRM`` ends the worker, even in C code
macOS        the program watches its resident size  ``SIGALRM``
Windows      the program watches its resident size  the program ends the worker
===========  =====================================  =============================================

Everywhere the program keeps the time as well; the alarm is for a worker whose program is gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None

#: True where the system itself keeps a process below a size.
SYSTEM_LIMITS_MEMORY = sys.platform == "linux" and resource is not None
#: A worker that outlives its program by so many seconds more than a job may take is ended.
ALARM_MARGIN_S = 2.0
_MAX_FILE_BYTES = 1 << 30
_OOM_SCORE = 800


def settle() -> None:
    """Limits that hold for the whole life of a worker."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE))
    if resource is not None:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_FILE_BYTES, _MAX_FILE_BYTES))
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def limit_memory(more: int) -> None:
    """Let this process grow by so many bytes from here; see the table above."""
    if not SYSTEM_LIMITS_MEMORY or resource is None:
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + more
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def unlimit_memory() -> None:
    """Take :func:`limit_memory` back."""
    if SYSTEM_LIMITS_MEMORY and resource is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def set_alarm(seconds: float) -> None:
    """The system ends this process after so many seconds; 0 takes that back."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds and seconds + ALARM_MARGIN_S)


def resident_bytes(pid: int) -> int:
    """Memory a process really holds; 0 where it is gone."""
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
