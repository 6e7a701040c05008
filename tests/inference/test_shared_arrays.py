"""Shared memory is always given back."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.messages import ArrayHandle
from inference.shared_arrays import SharedArray


@settings(deadline=None, max_examples=20)
@given(
    st.tuples(*[st.integers(1, 6)] * 3), st.sampled_from(["u1", "i2", "f4", "f8"]), st.booleans()
)
def test_the_other_side_sees_the_same_numbers(shape, dtype, transposed):
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    array = array.transpose(2, 0, 1) if transposed else array
    with SharedArray.copy_of(array) as mine, SharedArray.open(mine.handle) as theirs:
        np.testing.assert_array_equal(theirs.array, array)
        assert theirs.array.dtype == array.dtype
        theirs.array[0, 0, 0] = 77
        assert mine.array[0, 0, 0] == 77


def test_a_new_block_is_zero_and_gone_after_close():
    block = SharedArray.create((2, 3, 4), "f4")
    assert not block.array.any()
    block.close()
    block.close()
    with pytest.raises(FileNotFoundError):
        SharedArray.open(block.handle)


def test_a_view_somebody_keeps_does_not_keep_the_block():
    block = SharedArray.create((2, 3, 4), "f4")
    view = block.array[1]
    block.close()
    assert view.shape == (3, 4)
    with pytest.raises(FileNotFoundError):
        SharedArray.open(block.handle)


def test_a_process_that_only_looks_removes_nothing_even_when_it_dies():
    with SharedArray.copy_of(np.ones((2, 2, 2), np.int16)) as block:
        script = (
            "import os; from inference.messages import ArrayHandle;"
            "from inference.shared_arrays import SharedArray;"
            f"s = SharedArray.open({block.handle!r}); print(int(s.array.sum()), flush=True);"
            "os.kill(os.getpid(), 9)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True,
            cwd=Path(__file__).parents[2], timeout=60,
        )  # fmt: skip
        assert done.stdout.strip() == "8"
        with SharedArray.open(block.handle) as again:
            assert again.array.sum() == 8


def test_a_block_that_is_not_there_is_an_error():
    with pytest.raises(FileNotFoundError):
        SharedArray.open(ArrayHandle("psm_isocenter_none", (1, 1, 1), "|u1"))
