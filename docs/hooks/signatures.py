"""Signatures in the API reference: constructors of Equinox modules, and array shapes as written."""

import griffe


class Signatures(griffe.Extension):
    """What griffe, which reads the source without running it, cannot know of our classes."""

    def on_package(self, *, pkg: griffe.Module, **_) -> None:
        """Before griffe's own extension gives dataclasses their constructor."""
        _visit(pkg)


def _visit(parent: griffe.Module | griffe.Class) -> None:
    for member in parent.members.values():
        if member.is_alias:
            continue
        if member.is_class and _is_equinox_module(member):
            member.decorators.append(
                griffe.Decorator(
                    griffe.ExprName("dataclasses.dataclass"), lineno=None, endlineno=None
                )
            )
        if member.is_attribute:
            member.annotation = _with_shape(member.annotation)
            member.value = _default(member.value)
        if member.is_function:
            member.returns = _with_shape(member.returns)
            for parameter in member.parameters:
                parameter.annotation = _with_shape(parameter.annotation)
        if member.is_module or member.is_class:
            _visit(member)


def _is_equinox_module(cls: griffe.Class) -> bool:
    return any(
        getattr(base, "canonical_path", base) == "equinox.Module"
        for parent in (cls, *cls.mro())
        for base in parent.bases
    )


def _default(value):
    """The default in `eqx.field(default=...)`."""
    if isinstance(value, griffe.ExprCall) and value.canonical_path == "equinox.field":
        return next((a.value for a in value.arguments if a.name == "default"), None)
    return value


def _with_shape(annotation):
    """The annotation with every shape of jaxtyping in quotes; griffe reads "S" as a name."""
    for part in _subscripts(annotation):
        if part.canonical_path.startswith("jaxtyping.") and hasattr(part.slice, "elements"):
            *others, shape = part.slice.elements
            part.slice.elements = [*others, '"' + str(shape).strip("'\"") + '"']
    return annotation


def _subscripts(expression):
    """Every subscript in an expression."""
    if isinstance(expression, griffe.ExprSubscript):
        yield expression
    if isinstance(expression, griffe.Expr):
        for part in expression.iterate(flat=False):
            if part is not expression:  # a name consists of itself
                yield from _subscripts(part)
