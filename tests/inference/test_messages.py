"""Every message survives the line it travels on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.messages import (
    ArrayHandle,
    Beat,
    Cancelled,
    CancelRequest,
    ClickRequest,
    DeviceRequest,
    Done,
    ExplainRequest,
    Failed,
    Image,
    LoadRequest,
    Progress,
    SegmentRequest,
    decode,
    encode,
)

text = st.text(max_size=20)
size = st.integers(1, 2000)
number = st.floats(allow_nan=False, allow_infinity=False)
triple = st.tuples(size, size, size)
handle = st.builds(ArrayHandle, text, triple, st.sampled_from(["<i2", "<f4", "|u1"]))
image = st.builds(Image, handle, st.tuples(*[number] * 16), number, number, text)
images = st.dictionaries(text, image, max_size=3)
optional = st.none() | handle
points = st.lists(st.tuples(number, number, number, st.sampled_from([-1, 1]))).map(tuple)
corners = st.none() | st.tuples(*[st.integers(-9, 9)] * 6)
messages = st.one_of(
    st.builds(
        SegmentRequest,
        text,
        text,
        images,
        text,
        handle,
        handle,
        optional,
        text,
        uncertainty=optional,
        picture=optional,
    ),
    st.builds(ExplainRequest, text, text, images, text, handle, triple, handle, text),
    st.builds(ClickRequest, text, text, image, text, handle, points, corners, optional, optional),
    st.builds(LoadRequest, text, text, text),
    st.builds(DeviceRequest, text, text),
    st.builds(CancelRequest, text),
    st.builds(Beat, size),
    st.builds(Progress, text, text, number, st.none() | number),
    st.builds(Done, text, text, number, st.lists(text).map(tuple), st.dictionaries(text, size)),
    st.builds(Failed, text, text, text),
    st.builds(Cancelled, text),
)


@given(messages)
def test_what_is_sent_arrives(message):
    line = encode(message)
    assert "\n" not in line
    assert decode(line) == message


@pytest.mark.parametrize("line", ["", "hello", "[]", "{}", '{"kind": "Bomb"}', '{"kind": "Beat"}'])
def test_other_lines_are_refused(line):
    with pytest.raises(ValueError):
        decode(line)


def test_a_failure_reads_as_sentences():
    assert Failed("t", "It broke", "Try again").sentence == "It broke. Try again."
    assert Failed("t", "It broke.").sentence == "It broke."
