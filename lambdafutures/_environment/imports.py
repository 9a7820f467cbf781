"""What a module's source imports, read without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import CodeType
from typing import NamedTuple

# Sources whose imports are remembered; a large project has some hundreds.
SOURCES_KNOWN = 2048
CODES_KNOWN = 1024

# Instructions between a function's name and its first argument that mean nothing here.
_IDLE = frozenset({"PUSH_NULL", "PRECALL", "CACHE", "NOP"})
_IMPORTERS = frozenset({"import_module", "__import__"})


class Imports(NamedTuple):
    """Hold the full names that a module imports.

    Args:
        certain: Imported whenever the module is.
        possible: Imported by some function, on some condition, or perhaps not a module at all
            (``from package import name``).
    """

    certain: frozenset[str] = frozenset()
    possible: frozenset[str] = frozenset()

    @property
    def all(self) -> frozenset[str]:
        """Both kinds."""
        return self.certain | self.possible


def imports_of_file(file: Path, module: str, is_package: bool) -> Imports:
    """Return what a source file imports; nothing of a file that is no Python.

    Args:
        file: The file.
        module: Full name of its module.
        is_package: It is the ``__init__.py`` of a package.
    """
    if file.suffix != ".py":
        return Imports()
    try:
        source = file.read_bytes()
    except OSError:
        return Imports()
    return imports_of_source(source, module, is_package)


@lru_cache(SOURCES_KNOWN)
def imports_of_source(source: bytes, module: str, is_package: bool) -> Imports:
    """Return what a source imports.

    Args:
        source: Its text.
        module: Full name of its module, which relative imports start from.
        is_package: It is the ``__init__.py`` of a package.
    """
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is said of doubtful escapes was said before
            tree = ast.parse(source)
    except (SyntaxError, ValueError):  # a template, or of another Python
        return Imports()
    package = module if is_package else module.rpartition(".")[0]
    names: set[str] = set()
    for node in _nodes(tree):
        names.update(_named(node, package))
    certain: set[str] = set()
    for statement in _always_run(tree.body):
        # Of ``from package import name`` it is certain that the package is imported.
        certain.update(_named(statement, package)[:1])
        if isinstance(statement, ast.Import):
            certain.update(alias.name for alias in statement.names)
    return Imports(frozenset(certain), frozenset(names - certain))


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes of a tree but those that only type checkers see."""
    pending = [tree]
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, ast.If) and _is_type_checking(node.test):
            pending.extend(node.orelse)
        else:
            pending.extend(ast.iter_child_nodes(node))


def _always_run(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the import statements that run whenever their module is imported."""
    for statement in body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            yield statement
        elif isinstance(statement, ast.ClassDef):
            yield from _always_run(statement.body)


def _named(node: ast.AST, package: str) -> list[str]:
    """Return the modules that a node may import, the certain one first."""
    match node:
        case ast.Import(names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module, names, level):
            base = resolve(module or "", level, package)
            if base is None:
                return []
            return [base, *(f"{base}.{alias.name}" for alias in names if alias.name != "*")]
        case ast.Call(
            ast.Attribute(attr=called) | ast.Name(called), [ast.Constant(str(name)), *more], keys
        ) if called in _IMPORTERS:
            if not name.startswith("."):
                return [name]
            match [*more, *(each.value for each in keys)]:
                case [ast.Constant(str(anchor))]:
                    package = anchor
                case [ast.Name("__package__" | "__name__")]:
                    pass
                case _:
                    return []
            last = name.lstrip(".")
            found = resolve(last, len(name) - len(last), package)
            return [found] if found else []
    return []


def resolve(module: str, level: int, package: str) -> str | None:
    """Return the full name of what is imported; None for what leads out of its package.

    Args:
        module: The name, as it is written.
        level: How many dots stand before it.
        package: Full name of the package that the importing module is in.
    """
    if not level:
        return module
    above = package.split(".")
    if not package or level > len(above):
        return None
    base = ".".join(above[: len(above) - level + 1])
    return f"{base}.{module}" if module else base


def _is_type_checking(test: ast.expr) -> bool:
    match test:
        case ast.Name("TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"):
            return True
    return False


@lru_cache(CODES_KNOWN)
def imports_of_code(code: CodeType, package: str) -> frozenset[str]:
    """Return what a code object imports, those inside it included; all of it is possible only.

    Args:
        code: The code of a function that travels by value.
        package: Full name of the package of its module.
    """
    import dis

    found: set[str] = set()
    base: str | None = None
    recent: list[object] = []
    for step in dis.get_instructions(code):
        if step.opname == "IMPORT_NAME":
            # Before it, the number of dots and the names after "import" are pushed.
            level = recent[-2] if len(recent) > 1 and isinstance(recent[-2], int) else 0
            base = resolve(str(step.argval), level, package)
            if base:
                found.add(base)
        elif step.opname == "IMPORT_FROM" and base:
            found.add(f"{base}.{step.argval}")
        elif (
            step.opname == "LOAD_CONST"
            and isinstance(step.argval, str)
            and not step.argval.startswith(".")
            and _IMPORTERS.intersection(each for each in recent if isinstance(each, str))
        ):
            found.add(step.argval)
        if step.opname not in _IDLE:
            recent = [*recent[-1:], step.argval]
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= imports_of_code(constant, package)
    return frozenset(found)
