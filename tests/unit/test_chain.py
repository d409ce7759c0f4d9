"""The grammar of --methods."""

import dataclasses
import typing
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressbench.errors import BadInput, ChainMismatch, InvalidParameter, UnknownName
from compressbench.methods.chain import parse_chain, parse_methods, parse_value, spell
from compressbench.methods.method import Method
from compressbench.registry import all_methods


def values_of(annotation: Any, default: Any) -> st.SearchStrategy[Any]:
    """Values near a parameter's default that its type allows."""
    members = typing.get_args(annotation) if typing.get_origin(annotation) not in (None, Literal) else (annotation,)
    kinds: list[st.SearchStrategy[Any]] = [st.just(default)]
    for member in members:
        if typing.get_origin(member) is Literal:
            kinds.append(st.sampled_from(typing.get_args(member)))
        elif member is bool:
            kinds.append(st.booleans())
        elif member is int and isinstance(default, int | str):
            kinds.append(st.integers(1, 512))
        elif member is float:
            kinds += [st.floats(0.01, 0.99), st.floats(1e-30, 1e30)]
    return st.one_of(kinds)


@st.composite
def methods(draw: st.DrawFn) -> Method:
    """Any registered method with any parameters it accepts."""
    method_class = draw(st.sampled_from(sorted(all_methods().items())))[1]
    hints = typing.get_type_hints(method_class)
    values = {each.name: draw(values_of(hints[each.name], each.default)) for each in dataclasses.fields(method_class)}
    try:
        method: Method = method_class(**values)
    except InvalidParameter:
        return method_class()
    return method


@given(st.lists(methods(), min_size=1, max_size=3))
def test_spelling_round_trips(chain: list[Method]) -> None:
    try:
        parsed = parse_chain(spell(chain))
    except ChainMismatch:
        return
    assert parsed == tuple(chain)
    assert spell(parsed) == spell(chain)


@given(st.text(alphabet="distlqunp-:=+,. 0123abcé\t", max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        chains = parse_methods([text])
    except BadInput:
        return  # any other exception would be a traceback for the user
    assert parse_methods([",".join(spell(chain) for chain in chains)]) == chains


def test_parameters_are_sorted_and_defaults_left_out() -> None:
    chain = parse_chain("distill:hidden_weight=1.0:mapping=top:batch_size=16")
    assert spell(chain) == "distill:batch_size=16:mapping=top"


@pytest.mark.parametrize(
    "text",
    [
        "distill+prune+quant-qdq",
        "distill+quant-qdq",
        "prune+distill",
        "finetune+prune",
    ],
)
def test_chain_fits(text: str) -> None:
    assert spell(parse_chain(text)) == text


@pytest.mark.parametrize(
    ("text", "mend"),
    [
        ("quant-qdq+prune", "makes onnx-int8: put prune before quant-qdq, or leave one out"),
        ("quant-qdq+distill", "makes onnx-int8: put distill before quant-qdq, or leave one out"),
        ("quant-qdq+quant-qop", "makes onnx-int8: leave one out"),
        ("quant-dynamic+quant-dynamic", "makes onnx-int8: leave one out"),
    ],
)
def test_chain_does_not_fit(text: str, mend: str) -> None:
    with pytest.raises(ChainMismatch, match=f"{mend}$"):
        parse_chain(text)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("distil", UnknownName, "did you mean 'distill'"),
        ("prune:amnt=0.2", UnknownName, "did you mean 'amount'"),
        ("prune:amount=nan", InvalidParameter, "amount=nan is not a finite number"),
        ("prune:amount=20", InvalidParameter, "amount"),
        ("prune:amount", BadInput, "write it as prune:key=value"),
        ("prune:amount=", BadInput, "write it as prune:key=value"),
        ("prune:amount=0.1:amount=0.2", BadInput, "gives amount twice"),
        ("distill+", BadInput, "has an empty method"),
        ("", BadInput, "names no method"),
        ("distill,,prune", BadInput, "an empty one"),
    ],
)
def test_refused_in_one_sentence(text: str, error: type[BadInput], message: str) -> None:
    with pytest.raises(error, match=message):
        parse_methods([text])


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("auto", int | Literal["auto"], "auto"),
        ("3", int | Literal["auto"], 3),
        ("True", bool, True),
        ("1e-4", float, 1e-4),
        ("top", str, "top"),
    ],
)
def test_value_of_the_annotated_type(text: str, annotation: Any, value: Any) -> None:
    assert parse_value(text, annotation) == value


@pytest.mark.parametrize(("text", "annotation"), [("inf", float), ("3.5", int), ("yes", bool), ("x", Literal["y"])])
def test_value_of_another_type_is_refused(text: str, annotation: Any) -> None:
    with pytest.raises(ValueError, match=text):
        parse_value(text, annotation)


def test_values_given_apart_fill_what_the_text_leaves_out_before_anything_is_checked() -> None:
    (method,) = parse_chain("distill:recipe=pkd:beta=10", {"distill": {"beta": 500.0, "alpha": 0.2}})
    assert spell([method]) == "distill:alpha=0.2:beta=10.0:recipe=pkd"
    (method,) = parse_chain("distill:init=general", {"distill": {"corpus": "a folder/wiki.txt"}})
    assert method.corpus == "a folder/wiki.txt"
    with pytest.raises(InvalidParameter, match="init=general needs a text"):
        parse_chain("distill:init=general", {"prune": {"amount": 0.1}})


def test_a_list_is_no_chain() -> None:
    with pytest.raises(BadInput, match=r"prune,quant-qdq lists several chains, and one is wanted: give one, with \+"):
        parse_chain("prune,quant-qdq")
