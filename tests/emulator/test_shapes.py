"""JSON documents of known shape."""

from typing import Any

import pytest

from step.emulator.refusal import Refusal
from step.emulator.shapes import read


@pytest.mark.parametrize(
    ("shape", "value", "expected"),
    [
        (int, "12", 12),
        (int, -(2**31), -(2**31)),
        (
            {"a": str, "b": [str], "c": {"d": bool}},
            {"a": "", "b": [], "c": {"d": False}},
            {"c": {}},
        ),
        ({"a": str}, {"a": None}, {}),
        (dict, {"any": [1]}, {"any": [1]}),
        (frozenset({"X"}), "X", "X"),
    ],
)
def test_a_document_is_read(shape: Any, value: Any, expected: Any) -> None:
    assert read(shape, value, "here") == expected


OTHERS: list[tuple[Any, list[Any]]] = [
    (int, ["", "-", "1.0", "\u0661", 1.5, True, 2**31, "9" * 5000, None]),
    (str, [1, [], {}]),
    (bool, [0, "true"]),
    (dict, [[], "x"]),
    (frozenset({"X"}), ["Y", 0, []]),
    ([str], ["x", [None]]),
    ({"a": str}, [[]]),
]


@pytest.mark.parametrize(
    ("shape", "value"), [(shape, value) for shape, values in OTHERS for value in values]
)
def test_a_document_of_another_shape_is_not_read(shape: Any, value: Any) -> None:
    with pytest.raises(Refusal, match=r"^Invalid value at 'here"):
        read(shape, value, "here")
