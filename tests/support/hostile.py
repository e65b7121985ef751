"""What other clusters and tenants may write into an object, as far as an API server stores it: strategies for any wire type."""

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import Struct
from msgspec import inspect as shape

import msa.api

TIMES = (
    "0001-01-01T00:00:00+14:00",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999999Z",
    "9999-12-31T23:59:59-12:00",
    "2026-01-01T00:00:00",
    "1969-12-31T23:59:59Z",
    "2026-01-01t00:00:00+23:59",
    "2016-12-31T23:59:60Z",
    "0000-01-01T00:00:00Z",
    "",
)
TEXTS = (
    "",
    "x" * 5000,
    "\x00\x1b[2J\r\n",
    "\u202e\u2028",
    "%s{0}",
    "1" * 5000,
    "99999999999999h",
    "c1",
    "True",
)

_times = st.sampled_from(TIMES) | st.datetimes().map(lambda moment: f"{moment.isoformat()}+05:45")
_texts = st.sampled_from(TEXTS) | st.text(max_size=20)
_integers = st.integers() | st.sampled_from((0, -1, 2**31, 2**63 - 1, -(2**63), 2**64, 10**30))
_anything = st.recursive(
    st.none()
    | st.booleans()
    | _integers
    | st.floats(allow_nan=False, allow_infinity=False)
    | _texts
    | _times,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=6,
)


def wire_types() -> list[type[Struct]]:
    """Every type of `msa.api` that is decoded, by introspection: a new one is among them by itself."""
    for module in pkgutil.iter_modules(msa.api.__path__, "msa.api."):
        import_module(module.name)
    found = {kind for kind in _descendants(Struct) if kind.__module__.startswith("msa.api.")}
    return sorted(found, key=lambda kind: (kind.__module__, kind.__qualname__))


def bytes_for(kind: Any) -> st.SearchStrategy[bytes]:
    """JSON that is nearly what the type wants."""
    return _of(shape.type_info(kind)).map(msgspec.json.encode)


def _descendants(kind: type[Struct]) -> Iterator[type[Struct]]:
    for child in kind.__subclasses__():
        yield child
        yield from _descendants(child)


def _of(wanted: shape.Type) -> st.SearchStrategy[Any]:
    match wanted:
        case shape.StructType():
            fields = {field.encode_name: _of(field.type) for field in wanted.fields}
            needed = {field.encode_name for field in wanted.fields if field.required}
            return st.fixed_dictionaries(
                {name: fields[name] for name in needed},
                optional={name: value for name, value in fields.items() if name not in needed},
            )
        case shape.UnionType():
            return st.one_of([_of(kind) for kind in wanted.types])
        case shape.VarTupleType() | shape.ListType():
            return st.lists(_of(wanted.item_type), max_size=3)
        case shape.DictType():
            return st.dictionaries(_of(wanted.key_type), _of(wanted.value_type), max_size=3)
        case shape.Metadata():
            return _of(wanted.type)
        case shape.DateTimeType():
            return _times
        case shape.IntType():
            return _integers
        case shape.StrType():
            return _texts
        case shape.BoolType():
            return st.booleans()
        case shape.NoneType():
            return st.none()
    return _anything
