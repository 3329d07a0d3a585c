"""Hyperband that can be repeated. Optuna's chooses the bracket of a trial by a hash of the study's name, which must
differ between the sweeps that share a database, and the number of brackets by what each process saw first.

Imports Optuna, which takes 1.5 s.
"""

from types import SimpleNamespace
from typing import Any

from optuna.pruners import HyperbandPruner
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState


class Hyperband(HyperbandPruner):
    """Chooses the bracket of a trial by `draw` and its number, and the number of brackets by the epochs of the first
    trial that finished, also in a process that goes on with the search later."""

    def __init__(self, draw: int) -> None:
        super().__init__()
        self._draw = draw

    def _get_bracket_id(self, study: Study, trial: FrozenTrial) -> int:
        named: Any = SimpleNamespace(study_name=str(self._draw))
        return super()._get_bracket_id(named, trial)

    def _try_initialization(self, study: Study) -> None:
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        first: Any = SimpleNamespace(get_trials=lambda **_: [it for it in finished if it.last_step is not None][:1])
        super()._try_initialization(first)
