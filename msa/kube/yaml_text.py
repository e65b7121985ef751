"""YAML that may hold secrets: parsed, and told what is wrong with it without any of its text.

Apart from the rest, because PyYAML costs a short program a tenth of its time, and a pod's own credential needs none.
"""

import re
from typing import Any

import yaml

_TOKENS = frozenset(vars(token)["id"] for token in yaml.Token.__subclasses__())
_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|['"].*""")


class _Loader(yaml.SafeLoader):
    """Dates are texts, as to Go programs."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the class attribute that PyYAML reads
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def parse(content: bytes) -> Any:
    """What the first document says; None where there is none.

    Raises:
        ValueError: it is no YAML; the message says where and why, and quotes nothing of it.
    """
    try:
        return next(yaml.load_all(content, _Loader), None)
    except (yaml.YAMLError, RecursionError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise ValueError(f"no YAML: {_problem(error)}") from None


def _problem(error: Exception) -> str:
    """Where it is and what it is. PyYAML's own text shows the line, and a token may stand there."""
    match error:
        case yaml.MarkedYAMLError(problem=str(problem), problem_mark=yaml.Mark() as mark):
            return f"line {mark.line + 1}, column {mark.column + 1}: {_unquoted(problem)}"
        case yaml.reader.ReaderError():
            return f"character {error.position + 1}: {error.reason}"
        case RecursionError():
            return "it is nested too deeply"
        case _:
            return "a value is not what its tag or its form says"


def _unquoted(problem: str) -> str:
    """The text without what it quotes of the file; YAML's own tokens and single characters tell nothing."""

    def shown(quoted: re.Match[str]) -> str:
        inner = quoted[0][1:-1]
        return quoted[0] if inner in _TOKENS or inner == "\\t" or len(inner) == 1 else "..."

    return _QUOTED.sub(shown, problem)
