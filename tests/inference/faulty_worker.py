"""A worker that misbehaves on purpose: ``faulty_worker.py FAULT NOTEBOOK``."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from inference import devices, pipeline, worker


def crash(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang(*_: object, **__: object) -> None:
    time.sleep(3600)


def freeze(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def blunder(*_: object, **__: object) -> None:
    raise KeyError("DOE^JANE")


def exhaust(*_: object, **__: object) -> None:
    raise MemoryError


def pretend_gpu(notebook: Path, refused: int) -> None:
    """A 'GPU' whose first attempts, and then also the CPU's, run out of memory."""
    from inference.plugins import forward, whole_head

    tried: list[str] = []
    real = forward.logits

    def logits(network, channels, step, multiple, report):
        tried.append(f"{step.device}:{step.tile}")
        notebook.write_text(" ".join(tried))
        if len(tried) <= refused:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        on_cpu = devices.Step("cpu", step.tile)
        return real(network, channels, on_cpu, multiple, report)

    whole_head.logits = logits
    devices.choose_device = lambda wanted="auto": devices.Device(
        "cpu" if wanted == "cpu" else "cuda", "CPU, 2 threads" if wanted == "cpu" else "GPU: test"
    )
    whole_head.choose_device = devices.choose_device


FAULTS = {"crash": crash, "hang": hang, "freeze": freeze, "blunder": blunder, "exhaust": exhaust}

if __name__ == "__main__":
    fault, notebook = sys.argv[1], Path(sys.argv[2])
    if fault == "chatty":
        real = pipeline.segment

        def chatty(*rest, **named):
            print("a library says hello on standard output")
            os.write(1, b"and another one past Python\n")
            return real(*rest, **named)

        pipeline.segment = chatty
    elif fault.startswith("oom"):
        pretend_gpu(notebook, int(fault[3:]))
    elif fault == "exit":
        sys.exit(3)
    else:
        pipeline.segment = FAULTS[fault]
    worker.main()
