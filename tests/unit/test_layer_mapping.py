from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressbench.errors import InvalidParameter
from compressbench.numerics.layer_mapping import STRATEGIES, LayerMapping, check_strategy, layer_mapping

DEPTHS = st.integers(1, 48).flatmap(lambda teacher: st.tuples(st.just(teacher), st.integers(1, teacher)))


def seed_lists(layer_map: str, teacher_layer_num: int, student_layer_num: int) -> tuple[list[int], list[int]]:
    """att_idxs and rep_idxs, copied from the seed study's listing."""
    if layer_map == "uniform":
        assert teacher_layer_num % student_layer_num == 0
        layers_per_block = teacher_layer_num // student_layer_num
        att_idxs = [i * layers_per_block + (layers_per_block - 1) for i in range(student_layer_num)]
        rep_idxs = [i * layers_per_block for i in range(student_layer_num + 1)]
    elif layer_map == "top":
        att_idxs = list(range(teacher_layer_num - student_layer_num, teacher_layer_num))
        rep_idxs = [0, *range((teacher_layer_num - student_layer_num) + 1, teacher_layer_num + 1)]
    else:
        att_idxs = list(range(student_layer_num))
        rep_idxs = list(range(student_layer_num + 1))
    return att_idxs, rep_idxs


@pytest.mark.parametrize(
    ("strategy", "student_layers", "attention", "hidden"),
    [
        ("uniform", 4, (2, 5, 8, 11), (0, 3, 6, 9, 12)),
        ("top", 4, (8, 9, 10, 11), (0, 9, 10, 11, 12)),
        ("bottom", 4, (0, 1, 2, 3), (0, 1, 2, 3, 4)),
        ("uniform", 6, (1, 3, 5, 7, 9, 11), (0, 2, 4, 6, 8, 10, 12)),
        ("top", 6, (6, 7, 8, 9, 10, 11), (0, 7, 8, 9, 10, 11, 12)),
        ("bottom", 6, (0, 1, 2, 3, 4, 5), (0, 1, 2, 3, 4, 5, 6)),
        ("3-6-9-12", 4, (2, 5, 8, 11), (0, 3, 6, 9, 12)),
        ("1-12", 2, (0, 11), (0, 1, 12)),
    ],
)
def test_lists_for_bert_base(
    strategy: str, student_layers: int, attention: tuple[int, ...], hidden: tuple[int, ...]
) -> None:
    mapping = layer_mapping(strategy, teacher_layers=12, student_layers=student_layers)
    assert mapping == LayerMapping(attention=attention, hidden=hidden)


@given(st.sampled_from(STRATEGIES), DEPTHS)
def test_equals_the_seed_for_all_depths(strategy: str, depths: tuple[int, int]) -> None:
    teacher, student = depths
    if strategy == "uniform":
        teacher *= student
    mapping = layer_mapping(strategy, teacher_layers=teacher, student_layers=student)
    assert (list(mapping.attention), list(mapping.hidden)) == seed_lists(strategy, teacher, student)


@pytest.mark.parametrize("teacher", range(1, 25))
def test_equals_the_seed_for_every_depth_up_to_24_or_refuses_as_it_does(teacher: int) -> None:
    for student in range(1, teacher + 1):
        for strategy in STRATEGIES:
            if strategy == "uniform" and teacher % student:
                with pytest.raises(AssertionError):
                    seed_lists(strategy, teacher, student)
                with pytest.raises(InvalidParameter, match="that divides the teacher's"):
                    layer_mapping(strategy, teacher_layers=teacher, student_layers=student)
                continue
            mapping = layer_mapping(strategy, teacher_layers=teacher, student_layers=student)
            assert (list(mapping.attention), list(mapping.hidden)) == seed_lists(strategy, teacher, student)


@given(st.sets(st.integers(1, 24), min_size=1).map(sorted))
def test_explicit_layers_come_back_and_rise(layers: list[int]) -> None:
    mapping = layer_mapping("-".join(map(str, layers)), teacher_layers=24, student_layers=len(layers))
    assert list(mapping.hidden) == [0, *layers]
    assert list(mapping.attention) == [layer - 1 for layer in layers]
    assert all(before < after for before, after in pairwise(mapping.hidden))


@given(DEPTHS)
def test_uniform_equals_its_explicit_spelling(depths: tuple[int, int]) -> None:
    block, student = depths
    teacher = block * student
    spelled = "-".join(str(block * layer) for layer in range(1, student + 1))
    assert layer_mapping(spelled, teacher_layers=teacher, student_layers=student) == layer_mapping(
        "uniform", teacher_layers=teacher, student_layers=student
    )


def test_uniform_names_the_depths_that_fit() -> None:
    with pytest.raises(InvalidParameter) as raised:
        layer_mapping("uniform", teacher_layers=12, student_layers=5)
    assert str(raised.value) == (
        "mapping=uniform needs a student depth that divides the teacher's 12 layers, and 5 does not: "
        "use 1, 2, 3, 4, 6 or 12 layers, or mapping=top or mapping=bottom"
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("student_layers", [13, 0])
def test_a_deeper_student_is_refused(strategy: str, student_layers: int) -> None:
    with pytest.raises(InvalidParameter, match=rf"of {student_layers} layers cannot learn .* use 1 to 12 layers"):
        layer_mapping(strategy, teacher_layers=12, student_layers=student_layers)


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        ("sideways", "mapping=sideways is no layer mapping: use uniform, top, bottom, or .* 3-6-9-12"),
        ("3-", "is no layer mapping"),
        ("-3", "is no layer mapping"),
        ("", "is no layer mapping"),
        ("3-3-9-12", "must count layers from 1 and rise at each step"),
        ("9-6-3-1", "must count layers from 1 and rise at each step"),
        ("0-3-6-9", "must count layers from 1 and rise at each step"),
    ],
)
def test_what_is_no_mapping_is_refused_without_depths(strategy: str, words: str) -> None:
    with pytest.raises(InvalidParameter, match=words):
        check_strategy(strategy)


@pytest.mark.parametrize("strategy", ["3-6-9", "3-6-9-13"])
def test_explicit_layers_must_fit_both_depths(strategy: str) -> None:
    with pytest.raises(InvalidParameter, match="give 4 numbers, none above 12"):
        layer_mapping(strategy, teacher_layers=12, student_layers=4)
