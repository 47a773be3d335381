"""What has more to it than numbers and attributes is left as it is, and its changes are noticed."""

import functools
import random

import numpy
import pytest
from torch import nn

from stablebench.training import attribute_reader, attributes


class Rng(random.Random):
    """A generator of a class of its own."""


class Model(nn.Module):
    def __init__(self, value: object) -> None:
        super().__init__()
        self.value = value


@pytest.mark.parametrize(
    "value",
    [
        numpy.ma.masked_array([1.0, 2.0], mask=[False, True]),
        numpy.array([[1.0, 2.0]]).view(numpy.recarray),
        functools.partial(max, 1.0),
        Rng(3),
    ],
    ids=["masked array", "subclass of an array", "partial", "subclass of a generator"],
)
def test_what_cannot_be_held_stays_and_is_known(value: object) -> None:
    model = Model(value)
    held = attributes.take({"m": model})
    assert any("value" in path for path in held.opaque)
    attribute_reader.put_back({"m": model}, held)
    assert model.value is value


def test_a_replaced_partial_is_a_change() -> None:
    model = Model(functools.partial(max, 1.0))
    before = attributes.take({"m": model}).opaque
    model.value = functools.partial(max, 0.9)
    after = attributes.take({"m": model}).opaque
    assert any(after[path].differs(before[path]) for path in before)


def test_arrays_and_plain_objects_are_held() -> None:
    class Plain:
        def __init__(self) -> None:
            self.count = 1

    model = Model([numpy.arange(3), Plain()])
    held = attributes.take({"m": model})
    assert not held.opaque
    model.value[0][:] = 7  # pyright: ignore[reportIndexIssue]
    model.value[1].count = 2  # pyright: ignore[reportIndexIssue]
    attribute_reader.put_back({"m": model}, held)
    array, plain = model.value  # pyright: ignore[reportGeneralTypeIssues]
    assert array.tolist() == [0, 1, 2] and plain.count == 1
