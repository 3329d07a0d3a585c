"""Build commands that work when they are pasted: quoted for Hydra and for the shell."""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

PLAIN = re.compile(r"[\w./:@%+*?|$-]*", re.ASCII)  # needs no quotes in Hydra's grammar
# Text that Hydra reads as a number, a boolean or null.
NUMBER = r"[+-]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(e[+-]?\d+)?|[+-]?(inf|nan)"
NO_TEXT = re.compile(f"{NUMBER}|true|false|null", re.ASCII | re.IGNORECASE)
NEXT_STEPS = re.compile(r"^( +(?:next|or): +|next +|best +)frostline(?= (?:--help|[a-z_]+))", re.MULTILINE)
WORD = re.compile(r"(?!(null|true|false|nan|inf)$)[a-z_][\w-]*", re.ASCII | re.IGNORECASE)  # unquoted text in lists


def key_of(argument: str) -> str:
    """`optimizer.lr` of `+optimizer.lr=0.1`."""
    return argument.partition("=")[0].lstrip("+~")


def plain_value(typed: str) -> str:
    """One spelling of a value: 0.001 for 1e-3."""
    bare = typed.strip("'\"")
    try:
        return repr(float(bare))
    except ValueError:
        return bare.lower() if bare.lower() in ("true", "false", "null") else bare


def escaped(text: str) -> str:
    """Escape `${`, so that OmegaConf reads it as text and not as an interpolation."""
    return re.sub(r"(\\*)\$\{", lambda found: f"{found[1] * 2}\\${{", text)


def hydra_quoted(value: str, *, literal: bool = True) -> str:
    """Put text in quotes if Hydra's grammar needs them. literal: whether `${` is text, not an interpolation."""
    if literal:
        value = escaped(value)
    return value if value and PLAIN.fullmatch(value) and not NO_TEXT.fullmatch(value) else _in_quotes(value)


def _in_quotes(value: str) -> str:
    """Put text in quotes. Hydra reads backslashes as escapes only before a quote."""
    quote = '"' if "'" in value and '"' not in value else "'"
    escaped = re.sub(rf"(\\*){quote}", lambda found: found[1] * 2 + "\\" + quote, value)
    return quote + re.sub(r"(\\+)$", r"\1\1", escaped) + quote


def program() -> str:
    """The command to type, quoted for a shell: `frostline` if the shell finds this one, else the path of the
    executable."""
    place, found = Path(sys.executable).with_name("frostline"), shutil.which("frostline")
    if not place.is_file() or (found is not None and os.path.samefile(found, place)):  # noqa: PTH121
        return "frostline"
    near = place.parent != Path.cwd() and place.is_relative_to(Path.cwd())
    return shlex.quote(str(place.relative_to(Path.cwd()) if near else place))


def with_program(message: str) -> str:
    """Put `program()` into the commands that lines of a message propose: behind `next:` and `or:`, or in a summary
    behind `next` and `best`."""
    return NEXT_STEPS.sub(lambda line: f"{line[1]}{program()}", message)


def command_of(name: str, *settings: str, **others: object) -> str:
    """`frostline <name> ...`, quoted for a shell. settings: already quoted for Hydra. others: unquoted values."""
    named = [setting_of(key, value) for key, value in others.items()]
    return " ".join(["frostline", name, *map(_for_shell, settings), *named])


def setting_of(key: str, value: object) -> str:
    """`key=value`, quoted for Hydra and for a shell."""
    return _for_shell(f"{key}={hydra_quoted(str(value))}")


def begun_anew(command: str, weights: object, more: Sequence[str] = ()) -> str:
    """Turn the command that began a run into one for a new run with `init_from=weights`; None: without init_from.

    command: from run.json, which a stranger may have written. If it is no `frostline train`, has flags or names code,
    a sentence is returned in its place. more: settings that replace those of the command.
    """
    start = {} if weights is None else {"init_from": weights}
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    if words[:2] != ["frostline", "train"] or any(word.startswith("-") or "_target_" in word for word in words):
        return " ".join(["a new run", *(["with"] if start else []), *(setting_of(*it) for it in start.items())])
    replaced = {"run_dir", "init_from", "resume", *map(key_of, more)}
    others = [word for word in words[2:] if key_of(word) not in replaced]
    return command_of("train", *others, *more, **start)


def list_of(key: str, values: Sequence[str]) -> str:
    """`key=[a,b]`, quoted for a shell. Items that Hydra might not read as text are quoted."""
    return _for_shell(f"{key}=[{','.join(value if WORD.fullmatch(value) else _in_quotes(value) for value in values)}]")


def _for_shell(text: str) -> str:
    """Quote for a shell: in double quotes if the text has single quotes, which shlex.quote would make unreadable."""
    return f'"{text}"' if "'" in text and not re.search(r'["$`\\!]', text) else shlex.quote(text)


def instead_of(path: Path) -> str:
    """The next step if this checkpoint of a run cannot be used."""
    other = {"best": "checkpoint=last; or ", "last": "checkpoint=best; or "}.get(path.stem, "")
    return f"{other}restore the file from a copy; or start a new run"
