"""The forms of what run.json nests: what the leaderboard, the page and the model card read without asking."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from frostline.config.signatures import value_problem


class Keys(NamedTuple):
    """A dict of these keys, and perhaps of others. may: keys that earlier versions or some tasks leave out. others: of
    the values of further keys; None for any."""

    must: Mapping[str, "Form"]
    may: Mapping[str, "Form"] = MappingProxyType({})
    others: "Form | None" = None


class Each(NamedTuple):
    """A dict or a list of values of one form."""

    of: "Form"
    kind: type = dict


class Maybe(NamedTuple):
    """The form, or None."""

    of: "Form"


class Either(NamedTuple):
    """A dict of the form `has` if it has this key, else of the form `lacks`."""

    key: str
    has: "Form"
    lacks: "Form"


Form = str | Keys | Each | Maybe | Either  # str: an annotation

NUMBER = "float | None"  # None: it was not finite
ENDS: dict[str, Form] = {"low": NUMBER, "high": NUMBER}
SCORES = Each(NUMBER)
GAP = Maybe(Keys({"gap": NUMBER}, {**ENDS, "p": NUMBER, "caution": "str"}))
EXAMINED = Maybe(Keys({"nll": NUMBER, "brier": NUMBER, "ece": NUMBER, **ENDS}))
BASELINES = ("majority", "knn", "linear_probe", "mean", "bias", "logistic", "ridge", "pairs", "trees")

FORMS: dict[str, Form] = {
    "metrics": SCORES,
    "error": Maybe(Keys({"message": "str"}, {"type": "str"})),
    "seconds": Keys({"total": "float"}, others="float"),
    "phases": Each(
        Keys(
            {
                **{"name": "str", "thaw": "int | str | list[str]", "learns": "list[str]", "epochs": "int"},
                **{"trainable_parameters": "int", "learning_rates": Each("float"), "val": SCORES},
                **{"seconds": "float", "samples_per_second": "float"},
            },
            {"solved": "dict | None"},
        ),
        list,
    ),
    "averages": Each(Keys({"name": "str", "val": SCORES}), list),
    "best": Maybe(Keys({"phase": "str"}, {"epoch": "int | None", "average": "str | None", "highest": NUMBER})),
    "intervals": Each(Keys({}, {**ENDS, "by": "str", "units": "int", "unit": "str", "caution": "str"})),
    "slices": Each(
        Either(
            "left_out",
            Keys({"left_out": "str"}),
            Keys(
                {
                    **{"score": "str", "worst": "str", "best": "str", "gap": GAP, "fairness": Each(GAP)},
                    "values": Each(
                        Keys({"value": "str", "n": "int", "score": NUMBER}, {**ENDS, "caution": "str"}), list
                    ),
                }
            ),
        )
    ),
    "calibration": Keys({}, {"temperature": NUMBER, "why_not": "str", "raw": EXAMINED, "calibrated": EXAMINED}),
    "baselines": Keys(
        {},
        {
            **dict.fromkeys(BASELINES, SCORES),
            **{"why_not": "str", "notes": "list[str]", "adds": Each(Keys({"without": SCORES, "shows": "bool"}))},
        },
    ),
    "per_class": Each(Each("str | float | None"), list),
    "data": Keys(
        {},
        {
            **{"name": "str", "classes": "list", "num_val": "int"},
            "targets": Maybe(Keys({}, {"names": "list", "counts": Each("int | float", list)})),
        },
    ),
    "model": Keys({}, {"parameters": "int"}),
    "versions": Each("str"),
    "checkpoints": Each("str | None"),
    "predictions": Each("str"),
}


def require_forms(made: object) -> None:
    """Raise TypeError if a part of an attribute has another form, or lacks."""
    for name, form in FORMS.items():
        _require(name, getattr(made, name), form)


def _require(key: str, value: Any, form: Form) -> None:
    match form:
        case str():
            if (problem := value_problem(key, value, form)) is not None:
                raise TypeError(f"'{key}': {problem}")
        case Maybe(of):
            if value is not None:
                _require(key, value, of)
        case Either(chosen, has, lacks):
            _require(key, value, "dict")
            _require(key, value, has if chosen in value else lacks)
        case Each(of, kind):
            _require(key, value, kind.__name__)
            for name, own in value.items() if kind is dict else enumerate(value):
                _require(f"{key}.{name}", own, of)
        case Keys(must, may, others):
            _require(key, value, "dict")
            if lacking := [name for name in must if name not in value]:
                raise TypeError(f"'{key}' has no '{lacking[0]}'")
            known = {**must, **may}
            for name, own in value.items():
                if (wanted := known.get(name, others)) is not None:
                    _require(f"{key}.{name}", own, wanted)
