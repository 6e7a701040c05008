"""Failures of the world become sentences; ours name no patient."""

from __future__ import annotations

import errno

import pytest
from psygnal import Signal

from app.messages import is_ours, root_of, sentence
from imaging.errors import BadInput, EditRefused


class Bell:
    rung = Signal(str)


def failing_listener(error: BaseException) -> BaseException:
    """What the caller of a signal gets where a listener raises."""

    def listener(_name: str) -> None:
        raise error

    bell = Bell()
    bell.rung.connect(listener)
    with pytest.raises(Exception) as caught:
        bell.rung.emit("DOE^JANE")
    return caught.value


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (BadInput("The file is damaged", "a.dcm", "Copy it again"), "The file is damaged: a.dcm."),
        (MemoryError(), "not enough free memory"),
        (OSError(errno.ENOSPC, "No space", "/mnt/full"), "The disk is full"),
        (OSError(errno.EACCES, "Denied", "/root/x"), "/root/x"),
        (OSError("strange"), "The system refused a file operation."),
    ],
)
def test_the_world_failed(error, words) -> None:
    assert words in sentence(error)
    assert not is_ours(error)


def test_our_own_mistakes_name_their_type_and_nothing_else() -> None:
    error = ValueError("DOE^JANE")
    assert is_ours(error)
    assert "ValueError" in sentence(error)
    assert "DOE" not in sentence(error)


def test_a_failing_listener_does_not_hide_what_happened() -> None:
    refused = EditRefused("The label is locked")
    error = failing_listener(refused)
    assert root_of(error) is refused
    assert not is_ours(error)
    assert sentence(error) == "The label is locked."
    ours = failing_listener(KeyError("DOE^JANE"))
    assert is_ours(ours)
    assert "KeyError" in sentence(ours)
    assert "DOE" not in sentence(ours)
