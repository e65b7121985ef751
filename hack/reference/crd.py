"""docs/reference/crd.md, from the CustomResourceDefinition."""

from collections.abc import Iterator
from typing import Any

from attrs import frozen

from hack.reference.text import code, codes, page, paragraph, section, table

Schema = dict[str, Any]

_GIVEN = ("apiVersion", "kind", "metadata")
"""As with every object."""


@frozen
class _Field:
    path: str
    schema: Schema
    required: bool


def crd(definition: dict[str, Any]) -> str:
    spec = definition["spec"]
    stored = next(version for version in spec["versions"] if version["storage"])
    fields = list(_fields(stored["schema"]["openAPIV3Schema"], ""))
    return page(
        spec["names"]["kind"],
        "manifests/crd/schema.yaml",
        paragraph(stored["schema"]["openAPIV3Schema"]["description"]),
        _identity(spec),
        *(section(code(part), *_part(part, fields)) for part in ("spec", "status")),
        section("Columns", "Wide columns are shown with `-o wide`.", _columns(stored)),
    )


def _identity(spec: dict[str, Any]) -> str:
    names = spec["names"]
    rows = [
        ("group", code(spec["group"])),
        ("versions", ", ".join(_version(version) for version in spec["versions"])),
        (
            "resource",
            f"{code(names['plural'])}, short {codes(names['shortNames'])}; in `kubectl get {names['categories'][0]}`",
        ),
        ("scope", spec["scope"]),
        ("subresources", codes(spec["versions"][0]["subresources"])),
    ]
    return table(("", ""), rows)


def _version(version: dict[str, Any]) -> str:
    marks = [
        mark
        for mark, holds in (("stored", version["storage"]), ("deprecated", version.get("deprecated")))
        if holds
    ]
    return f"{code(version['name'])} ({', '.join(marks)})"


def _part(part: str, fields: list[_Field]) -> Iterator[str]:
    ours = [field for field in fields if field.path.startswith(f"{part}.")]
    head = ("field", "type", "meaning", "default")
    width = len(head) if any("default" in field.schema for field in ours) else len(head) - 1
    yield table(head[:width], [_row(field)[:width] for field in ours])
    if rules := [(code(field.path), "; ".join(found)) for field in ours if (found := list(_rules(field)))]:
        yield "What the API server checks:"
        yield table(("field", "must be"), rules)


def _fields(schema: Schema, path: str) -> Iterator[_Field]:
    """All fields below, in the schema's order, items of lists as `list[]`."""
    for name, below in schema.get("properties", {}).items():
        if path or name not in _GIVEN:
            found = f"{path}.{name}".removeprefix(".")
            yield _Field(found, below, name in schema.get("required", ()))
            yield from _fields(below, found)
            yield from _fields(below.get("items", {}), f"{found}[]")


def _row(field: _Field) -> tuple[str, ...]:
    schema = field.schema
    default = "" if schema.get("default") in (None, {}) else code(_literal(schema["default"]))
    return code(field.path), _type(schema), schema.get("description", ""), default


def _type(schema: Schema) -> str:
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}s"
    if schema.get("x-kubernetes-int-or-string"):
        return "integer or string"
    return str(schema.get("format", schema["type"]))


def _literal(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _rules(field: _Field) -> Iterator[str]:
    """The constraints of a field and, for a list of plain values, of its items."""
    if field.required:
        yield "given"
    yield from _limits(field.schema)
    items = field.schema.get("items", {})
    if "properties" not in items:
        yield from (f"each item {limit}" for limit in _limits(items))


def _limits(schema: Schema) -> Iterator[str]:
    for key, words in _LIMITS.items():
        if key in schema:
            yield words.format(schema[key])
    if "enum" in schema:
        yield f"one of {codes(map(str, schema['enum']))}"
    if keys := schema.get("x-kubernetes-list-map-keys"):
        yield f"unique by {codes(keys)}"
    if schema.get("x-kubernetes-list-type") == "set":
        yield "without repetitions"
    yield from (
        rule["message"].removeprefix("must be ") for rule in schema.get("x-kubernetes-validations", ())
    )


_LIMITS = {
    "minimum": "at least {}",
    "minLength": "at least {} long",
    "maxLength": "at most {} long",
    "maxItems": "at most {} items",
    "pattern": "matching `{}`",
}


def _columns(version: dict[str, Any]) -> str:
    rows = [
        (
            column["name"] + (" (wide)" if column.get("priority") else ""),
            code(column["jsonPath"]),
            column["description"],
        )
        for column in version["additionalPrinterColumns"]
    ]
    return table(("column", "shows", "meaning"), rows)
