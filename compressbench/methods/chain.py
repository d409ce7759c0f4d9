"""The grammar of `--methods`: text to methods and back, and which methods may follow which.

``LIST = CHAIN {"," CHAIN}``, ``CHAIN = METHOD {"+" METHOD}``, ``METHOD = name {":" key "=" value}``. A value holds none
of ``, : + =`` or blanks. The canonical spelling sorts parameters and leaves defaults out.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Literal

from compressbench.errors import BadInput, ChainMismatch, InvalidParameter, UnknownName, listed
from compressbench.methods.method import Method
from compressbench.registry import method_named

Chain = tuple[Method, ...]
Parameters = Mapping[str, Mapping[str, Any]]
"""By method and then by parameter."""
VALUE_PATTERN = re.compile(r"[^,:+=\s]+")


def split_methods(texts: Sequence[str]) -> list[str]:
    """The chains that one or several ``--methods`` values name, as typed.

    Raises:
        BadInput: If nothing is named, or an entry between commas is empty.
    """
    chains = [spelled.strip() for text in texts for spelled in text.split(",")]
    if not chains or not all(chains):
        raise BadInput("--methods names no method, or an empty one: write --methods distill,quant-qdq,prune")
    return chains


def parse_methods(texts: Sequence[str], parameters: Parameters = MappingProxyType({})) -> tuple[Chain, ...]:
    """Read one or several ``--methods`` values, chain by chain in order.

    Args:
        texts: The values.
        parameters: By method, values for what the text leaves out.

    Raises:
        BadInput: If nothing is named, or a chain is not of the grammar.
        UnknownName: If a method or parameter is not registered.
        InvalidParameter: If a value is not of the parameter's type or range.
        ChainMismatch: If a method cannot take what the one before it makes.
    """
    return tuple(parse_chain(spelled, parameters) for spelled in split_methods(texts))


def parse_chain(text: str, parameters: Parameters = MappingProxyType({})) -> Chain:
    """Read one chain, ``distill:mapping=top+quant-qdq``; see `parse_methods` for the rest."""
    if "," in text:
        raise BadInput(f"{text} lists several chains, and one is wanted: give one, with + between its methods")
    chain = tuple(_parse_method(part, parameters, chain=text) for part in text.split("+"))
    check_formats(chain)
    return chain


def spell(chain: Sequence[Method]) -> str:
    """The canonical spelling of a chain; `parse_chain` reads it back to an equal chain."""
    return "+".join(spell_method(method) for method in chain)


def spell_method(method: Method) -> str:
    """Name and the parameters that differ from their defaults, sorted."""
    changed = {
        each.name: getattr(method, each.name)
        for each in dataclasses.fields(method)  # type: ignore[arg-type]
        if getattr(method, each.name) != each.default
    }
    return ":".join([method.name, *(f"{name}={_spell_value(changed[name])}" for name in sorted(changed))])


def check_formats(chain: Sequence[Method]) -> None:
    """Raise ChainMismatch where one method makes what the next cannot take."""
    for before, after in pairwise(chain):
        if before.makes not in after.consumes:
            fits_turned = after.makes in before.consumes and after.name != before.name
            raise ChainMismatch(
                f"{before.name}+{after.name}: {after.name} takes {listed(after.consumes)}, "
                f"and {spell_method(before)} makes {before.makes}: "
                + (f"put {after.name} before {before.name}, or leave one out" if fits_turned else "leave one out")
            )


def make_method(name: str, values: dict[str, Any]) -> Method:
    """A method from parameter values as a plan file holds them (or as text).

    Raises:
        UnknownName: If the method or a parameter is unknown.
        InvalidParameter: If a value is not of the parameter's type or range.
    """
    method_class = method_named(name)
    hints = typing.get_type_hints(method_class)
    known = {each.name: hints[each.name] for each in dataclasses.fields(method_class)}
    parsed = {}
    for key, value in values.items():
        if key not in known:
            raise UnknownName(f"parameter of {name}", key, known, listing="methods")
        try:
            parsed[key] = parse_value(_spell_value(value), known[key])
        except ValueError:
            raise InvalidParameter(f"{name}:{key}={value} is not {describe_type(known[key])}") from None
    try:
        method: Method = method_class(**parsed)
    except InvalidParameter as error:
        raise InvalidParameter(f"{name}: {error}") from None
    return method


def parse_value(text: str, annotation: Any) -> Any:
    """Read text as the annotated type: bool, int, float, str, Literal, or the first of a union that fits.

    Raises:
        ValueError: If it is none of these (a float must be finite).
    """
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        for member in typing.get_args(annotation):
            try:
                return parse_value(text, member)
            except ValueError:
                continue
        raise ValueError(text)
    if typing.get_origin(annotation) is Literal:
        allowed = typing.get_args(annotation)
        if text not in allowed:
            raise ValueError(text)
        return text
    if annotation is bool:
        return {"true": True, "false": False}[text.lower()] if text.lower() in ("true", "false") else _refuse(text)
    if annotation is float:
        number = float(text)
        return number if math.isfinite(number) else _refuse(text)
    return annotation(text)


def describe_type(annotation: Any) -> str:
    """What a value must be, for a sentence: ``a whole number or auto``."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return " or ".join(describe_type(member) for member in typing.get_args(annotation))
    if typing.get_origin(annotation) is Literal:
        return listed(typing.get_args(annotation))
    return {bool: "true or false", int: "a whole number", float: "a finite number"}.get(annotation, "text")


def _parse_method(text: str, parameters: Parameters, *, chain: str) -> Method:
    name, *assignments = text.split(":")
    if not name:
        raise BadInput(f"the chain {chain!r} has an empty method: write it as distill+quant-qdq")
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not (key and equals and VALUE_PATTERN.fullmatch(value)):
            raise BadInput(f"{assignment!r} in {text!r} is no parameter: write it as {name}:key=value")
        if key in values:
            raise BadInput(f"{text!r} gives {key} twice: keep one")
        values[key] = value
    return make_method(name, {**parameters.get(name, {}), **values})


def _spell_value(value: Any) -> str:
    if isinstance(value, float):
        return str(value).replace("e+", "e")  # a plus would join two methods
    return str(value).lower() if isinstance(value, bool) else str(value)


def _refuse(text: str) -> Any:
    raise ValueError(text)
