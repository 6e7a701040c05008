"""Models, workers and misbehaving workers for the tests of the inference."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiny_models import seeing_state, write_model

from inference.client import Patience, WorkerClient
from inference.registry import InstalledModel

FAULTY = Path(__file__).with_name("faulty_worker.py")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny model."""
    return write_model(tmp_path_factory.mktemp("models") / "tiny", seeing_state())


@pytest.fixture(scope="session")
def tiny_model(tiny_folder: Path) -> InstalledModel:
    """The tiny model as the registry lists it."""
    from inference.card_reading import load_card

    return InstalledModel(load_card(tiny_folder), tiny_folder)


@pytest.fixture
def model_copy(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model's folder to be spoiled."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy" / "tiny"))


@pytest.fixture(scope="module")
def client() -> Iterator[WorkerClient]:
    """A client whose worker lives for the tests of one file."""
    with WorkerClient() as made:
        yield made


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[Callable[..., WorkerClient]]:
    """Makes clients whose worker misbehaves in a named way."""
    made: list[WorkerClient] = []

    def make(fault: str, **patience: float) -> WorkerClient:
        command = [sys.executable, str(FAULTY), fault, str(tmp_path / "fault")]
        made.append(WorkerClient(command, Patience(**patience)))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.close()
