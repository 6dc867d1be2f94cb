"""What `import client` gives, as the docstrings have it, for docs/reference/python.md.

What there is is `client.__all__`: a new name in it is here by itself. Signatures are those of the source, not of the
running Python, so that every version of Python makes the same page.
"""

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterator
from types import FunctionType
from typing import Any

import client

#: Characters of a line with a signature.
_WIDTH = 86

QUOTE = "'"


def text() -> str:
    """A heading for each name, with what it takes and gives, and its docstring."""
    names = sorted(client.__all__, key=str.lower)
    return "\n".join("\n".join(_section(name)) for name in names)


def _section(name: str) -> Iterator[str]:
    value = inspect.getattr_static(type(client), name, None) or getattr(client, name)
    yield f"### {name}\n"
    if isinstance(value, property):
        yield f"{_words(value.fget)}\n"
    elif isinstance(value, type):
        yield from _class(value)
    else:
        yield _call(value, f"client.{name}")
        yield f"{_words(value)}\n"


def _class(of: type) -> Iterator[str]:
    constructor = vars(of).get("__init__")
    if dataclasses.is_dataclass(of):
        fields = (f"{field.name}: {getattr(field.type, '__name__', field.type)}" for field in dataclasses.fields(of))
        yield _block(f"client.{of.__name__}", list(fields), "")
    elif constructor is not None:
        yield _call(constructor, f"client.{of.__name__}", gives=False)
    yield f"{_words(of)}\n"
    if constructor is not None and not dataclasses.is_dataclass(of) and constructor.__doc__:
        yield f"{_words(constructor)}\n"
    yield from _methods(of)


def _methods(of: type) -> Iterator[str]:
    """In the order of the source; the second name of one is said in a line."""
    seen: dict[Any, str] = {}
    for name, value in vars(of).items():
        if name.startswith("_") or not isinstance(value, FunctionType | property):
            continue
        if value in seen:
            yield f"`{name}` is `{seen[value]}`.\n"
            continue
        seen[value] = name
        yield f"`{name}`\n" if isinstance(value, property) else _call(value, name)
        yield f"{_words(value.fget if isinstance(value, property) else value)}\n"


def _call(function: Any, name: str, *, gives: bool = True) -> str:
    """A block with the signature, without `self`. What is for `with` says so."""
    source = textwrap.dedent(inspect.getsource(inspect.unwrap(function)))
    [node] = [each for each in ast.parse(source).body if isinstance(each, ast.FunctionDef)]
    for defaults in (node.args.defaults, node.args.kw_defaults):
        defaults[:] = [_value(default, inspect.unwrap(function)) for default in defaults]
    if node.args.args and node.args.args[0].arg == "self":
        del node.args.args[0]
    is_for_with = any("contextmanager" in ast.unparse(each) for each in node.decorator_list)
    returned = (
        "" if node.returns is None or is_for_with or not gives else f" -> {ast.unparse(node.returns).strip(QUOTE)}"
    )
    return _block(f"with {name}" if is_for_with else name, list(_arguments(node.args)), returned)


def _value(default: Any, function: Any) -> Any:
    """A number that only its module has a name for, as a number; what is VISA's, or no name, as it stands."""
    value = function.__globals__.get(default.id) if isinstance(default, ast.Name) else None
    return ast.Constant(value) if isinstance(value, float) else default


def _block(name: str, arguments: list[str], returned: str) -> str:
    whole = f"{name}({', '.join(arguments)}){returned}"
    if len(whole) > _WIDTH:
        whole = "\n    ".join([f"{name}(", *(f"{each}," for each in arguments)]) + f"\n){returned}"
    return f"```py\n{whole}\n```\n"


def _arguments(arguments: ast.arguments) -> Iterator[str]:
    """Each on its own."""
    plain: list[Any] = [None] * (len(arguments.args) - len(arguments.defaults)) + list(arguments.defaults)
    for argument, default in zip(arguments.args, plain, strict=True):
        yield _argument(argument, default)
    if arguments.vararg:
        yield f"*{ast.unparse(arguments.vararg)}"
    elif arguments.kwonlyargs:
        yield "*"
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield _argument(argument, default)
    if arguments.kwarg:
        yield f"**{ast.unparse(arguments.kwarg)}"


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    return ast.unparse(argument) + ("" if default is None else f" = {ast.unparse(default)}".replace("''", '""'))


def _words(value: Any) -> str:
    """A docstring as it stands."""
    doc = inspect.cleandoc(vars(value).get("__doc__") or "") if isinstance(value, type) else inspect.getdoc(value)
    assert doc, f"{value!r} has no docstring"
    return doc
