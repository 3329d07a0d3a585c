"""Commands that work when they are pasted: quoted for Hydra, and for the shell."""

import re
import shlex
from collections.abc import Sequence

PLAIN = re.compile(r"[\w./:@%+*?|$-]*", re.ASCII)  # needs no quotes in Hydra's grammar
# What Hydra reads as a number, a truth or null.
NUMBER = r"[+-]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(e[+-]?\d+)?|[+-]?(inf|nan)"
NO_TEXT = re.compile(f"{NUMBER}|true|false|null", re.ASCII | re.IGNORECASE)
WORD = re.compile(r"(?!(null|true|false|nan|inf)$)[a-z_][\w-]*", re.ASCII | re.IGNORECASE)  # is text in a list


def hydra_quoted(value: str, *, literal: bool = True) -> str:
    """Text as Hydra reads it: in quotes, if it needs them. literal: whether `${` is text, and refers to nothing."""
    if literal:
        value = re.sub(r"(\\*)\$\{", lambda found: f"{found[1] * 2}\\${{", value)  # as OmegaConf escapes it
    return value if value and PLAIN.fullmatch(value) and not NO_TEXT.fullmatch(value) else _in_quotes(value)


def _in_quotes(value: str) -> str:
    """Only backslashes before a quote are escapes."""
    quote = '"' if "'" in value and '"' not in value else "'"
    escaped = re.sub(rf"(\\*){quote}", lambda found: found[1] * 2 + "\\" + quote, value)
    return quote + re.sub(r"(\\+)$", r"\1\1", escaped) + quote


def command_of(name: str, *settings: str, **others: object) -> str:
    """`frostline <name> ...` as a shell takes it. settings: as Hydra takes them. others: by name, of any letters."""
    named = [setting_of(key, value) for key, value in others.items()]
    return " ".join(["frostline", name, *map(_for_shell, settings), *named])


def setting_of(key: str, value: object) -> str:
    """`key=value` as a shell takes it."""
    return _for_shell(f"{key}={hydra_quoted(str(value))}")


def begun_anew(command: str, weights: object, more: Sequence[str] = ()) -> str:
    """The command that began a run, for a new run from these weights; None: from its own beginning.

    command: as the run says it, which may be a stranger's text: one that is no training, or names code, is left out.
    more: settings in place of those that it has.
    """
    start = {} if weights is None else {"init_from": weights}
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    if words[:2] != ["frostline", "train"] or any(word.startswith("-") or "_target_" in word for word in words):
        return " ".join(["a new run", *(["with"] if start else []), *(setting_of(*it) for it in start.items())])
    replaced = {"run_dir", "init_from", "resume", *(setting.partition("=")[0] for setting in more)}
    others = [word for word in words[2:] if word.partition("=")[0].lstrip("+") not in replaced]
    return command_of("train", *others, *more, **start)


def list_of(key: str, values: Sequence[str]) -> str:
    """`key=[a,b]` as a shell takes it. What Hydra would read as a number, a truth or null is quoted."""
    return _for_shell(f"{key}=[{','.join(value if WORD.fullmatch(value) else _in_quotes(value) for value in values)}]")


def _for_shell(text: str) -> str:
    """In double quotes where single ones stand within, which shlex would make unreadable."""
    return f'"{text}"' if "'" in text and not re.search(r'["$`\\!]', text) else shlex.quote(text)
