"""Thresholds carry their unit; a bare number is refused with the way to write it."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressbench.errors import InvalidParameter
from compressbench.units import parse_duration_ns, parse_percent, parse_points, parse_size_bytes

PARSERS = [
    (parse_percent, "5%", 0.05),
    (parse_percent, "0.5 %", 0.005),
    (parse_points, "1pt", 0.01),
    (parse_points, ".5pt", 0.005),
    (parse_duration_ns, "20ms", 20e6),
    (parse_duration_ns, "1.5s", 1.5e9),
    (parse_duration_ns, "750us", 750e3),
    (parse_duration_ns, "750µs", 750e3),
    (parse_duration_ns, "3ns", 3.0),
    (parse_size_bytes, "60MiB", 60 * 1024**2),
    (parse_size_bytes, "0.5GiB", 512 * 1024**2),
    (parse_size_bytes, "12B", 12),
]


@pytest.mark.parametrize(("parse", "text", "value"), PARSERS)
def test_a_number_with_its_unit_is_read(parse: Callable[..., float], text: str, value: float):
    assert parse(text, name="--limit") == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (parse_percent, "5", r"--limit '5' has no unit: it takes %, such as 5%"),
        (parse_percent, "5pt", r"has the unit 'pt': it takes %"),
        (parse_points, "5%", r"has the unit '%': it takes pt, such as 1pt"),
        (parse_duration_ns, "20", r"has no unit: it takes ms, ns, s, us or µs, such as 20ms"),
        (parse_duration_ns, "20min", r"has the unit 'min'"),
        (parse_size_bytes, "60MB", r"has the unit 'MB': it takes B, GiB, KiB or MiB, such as 60MiB"),
        (parse_percent, "0%", r"'0%' is no finite number above zero"),
        (parse_points, "-1pt", r"'-1pt' is no finite number above zero"),
        (parse_percent, "1" * 400 + "%", r"is no finite number above zero"),
        (parse_percent, "nan%", r"'nan%' is no number with a unit: write it as 5%"),
        (parse_percent, "", r"'' is no number with a unit"),
        (parse_percent, "five%", r"is no number with a unit"),
    ],
)
def test_what_is_refused_says_how_to_write_it(parse: Callable[..., float], text: str, message: str):
    with pytest.raises(InvalidParameter, match=message):
        parse(text, name="--limit")


@given(st.floats(1e-3, 1e6), st.sampled_from(["ns", "µs", "ms", "s"]))
def test_durations_of_any_unit_agree_with_powers_of_ten(number: float, unit: str):
    expected = number * 10 ** {"ns": 0, "µs": 3, "ms": 6, "s": 9}[unit]
    text = f"{number:.17f}{unit}"
    assert math.isclose(parse_duration_ns(text, name="x"), expected, rel_tol=1e-9)


@given(st.text(max_size=12))
def test_no_text_ends_in_anything_but_a_value_or_one_sentence(text: str):
    try:
        value = parse_percent(text, name="--limit")
    except InvalidParameter:
        return
    assert 0 < value < math.inf
