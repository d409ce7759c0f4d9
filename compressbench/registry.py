"""Which methods exist: a dict, a decorator that fills it, and entry points that load the packages that use it."""

from importlib.metadata import entry_points
from typing import Any, TypeVar

from compressbench.errors import CompressbenchError, DuplicateName, UnknownName

ENTRY_POINT_GROUP = "compressbench.methods"

_METHODS: dict[str, type[Any]] = {}
_MethodClass = TypeVar("_MethodClass", bound=type[Any])


def register(method_class: _MethodClass) -> _MethodClass:
    """Class decorator: makes a method known under its `name`.

    Raises:
        DuplicateName: If another class already holds the name.
    """
    holder = _METHODS.setdefault(method_class.name, method_class)
    if holder is not method_class:
        raise DuplicateName("method", method_class.name, holder, method_class)
    return method_class


def all_methods() -> dict[str, type[Any]]:
    """Every method class by name, sorted; a copy, so that no caller can change the registry.

    Raises:
        CompressbenchError: If a package that offers methods cannot be imported.
    """
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        try:
            entry.load()
        except ImportError as error:
            package = entry.dist.name if entry.dist else entry.value
            raise CompressbenchError(f"methods of the package {package!r} cannot be loaded: {error}") from error
    return dict(sorted(_METHODS.items()))


def method_named(name: str) -> type[Any]:
    """The method class of that name.

    Raises:
        UnknownName: If there is none, with the nearest name.
    """
    methods = all_methods()
    if name not in methods:
        raise UnknownName("method", name, methods, listing="methods")
    return methods[name]
