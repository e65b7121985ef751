"""docs/reference/flags.md, from click's own option objects."""

import inspect

import click

from hack.reference.text import code, codes, page, section, table
from msa.cli.main import cli
from msa.cli.options import Switch

_INTRO = """\
`--flag=value` and `--flag value` mean the same. A switch by itself is true: `--leader-elect` is `--leader-elect=true`. Where a flag
has an environment variable and both are given, the flag counts."""


def flags() -> str:
    whole = click.Context(cli, info_name="msa", **cli.context_settings)
    commands = [cli.get_command(whole, name) for name in cli.list_commands(whole)]
    return page(
        "Flags",
        "msa/cli",
        _INTRO,
        *(_command(command, whole) for command in commands if command is not None),
        section("`msa`", inspect.cleandoc(cli.help or ""), _options(cli, whole)),
    )


def _command(command: click.Command, whole: click.Context) -> str:
    context = click.Context(command, info_name=command.name, parent=whole)
    return section(f"`{context.command_path}`", _paragraphs(command.help), _options(command, context))


def _options(command: click.Command, context: click.Context) -> str:
    rows = [_option(option, context) for option in command.params if isinstance(option, click.Option)]
    if command is cli:
        rows += [_option(option, context) for option in [command.get_help_option(context)] if option]
    return table(("flag", "value", "default", "environment", "meaning"), rows)


def _option(option: click.Option, context: click.Context) -> tuple[str, ...]:
    extra = option.get_help_extra(context)
    default = extra.get("default", "")
    if isinstance(option.type, Switch):
        default = default.lower()  # as it is typed
    return (
        codes(option.opts),
        "" if option.is_flag else _values(option.type),
        "required" if option.required else _default(default),
        codes(extra.get("envvars", ())),
        option.help or "",
    )


def _default(text: str) -> str:
    """What click has in brackets is said, not typed."""
    return text[1:-1] if text.startswith("(") else code(text)


def _values(kind: click.ParamType[object]) -> str:
    match kind:
        case click.Choice(choices=choices):
            return ", ".join(code(str(choice)) for choice in choices)
        case click.IntRange(min=least, max=most):
            return f"{least} to {most}" if most is not None else f"{least} or more"
        case Switch():
            return codes(kind.name.split("|"))
    return kind.name


def _paragraphs(text: str | None) -> str:
    """A command's help; click's backspace says that a paragraph's lines stay as they are."""
    return "\n\n".join(_paragraph(part) for part in (text or "").split("\n\n"))


def _paragraph(text: str) -> str:
    if not text.startswith("\b\n"):
        return text
    title, *lines = text.removeprefix("\b\n").splitlines()
    return "\n".join((title, "", *(f"    {line.strip()}" for line in lines)))
