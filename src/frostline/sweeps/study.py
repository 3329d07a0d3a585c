"""A search with Optuna, by ask and tell. Its study is shared by all processes that take part, and survives them.

The same seed gives the same settings again after a process was killed: each trial's sampler is seeded by its number,
which also chooses its bracket of Hyperband.
"""

import fcntl
import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from frostline.errors import RunError, first_line, needs
from frostline.sweeps.settings import Search
from frostline.sweeps.space import Dimension

# Optuna's FrozenTrial; its import costs 1.5 s, which a command line without a search need not pay
FrozenTrial = Any
P = ParamSpec("P")
T = TypeVar("T")

JOURNAL = "study.journal"
REPLACES = "replaces"  # attribute of a trial that holds the outcome of a failed one that ran again


class JournalLock:
    """A POSIX lock for Optuna's journal, which the system releases if its process dies; Optuna's own is a file that
    would stay for half a minute. Removes a line that a killed process has not written to its end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    def acquire(self) -> bool:
        self._handle = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT, 0o666)
        fcntl.lockf(self._handle, fcntl.LOCK_EX)
        mend(self._path)
        return True

    def release(self) -> None:
        assert self._handle is not None
        os.close(self._handle)
        self._handle = None


def mend(journal: Path) -> None:
    """Cut a last line that has no end."""
    content = journal.read_bytes() if journal.is_file() else b""
    if content and not content.endswith(b"\n"):
        os.truncate(journal, content.rfind(b"\n") + 1)


def _asking(method: "Callable[Concatenate[Trials, P], T]") -> "Callable[Concatenate[Trials, P], T]":
    """A method that reads or writes the storage. Raises RunError if that does not answer: a database may be locked, or
    gone, in the middle of a sweep."""

    @wraps(method)
    def answered(self: "Trials", *args: P.args, **kwargs: P.kwargs) -> T:
        with self._reached("the storage of the search does not answer", f"{self._again}  # when it does"):
            return method(self, *args, **kwargs)

    return answered


class Trials:
    """The trials of a study. folder: of the sweep. name: of the study. mode: max or min. space: its dimensions. anew,
    again: the commands that start the sweep anew, which a damaged journal needs, and that resume it.

    Raises ConfigError if Optuna is not installed, RunError if the storage cannot be opened, or if the study belongs to
    another space.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        mode: str,
        space: Sequence[Dimension],
        settings: Search,
        anew: str = "",
        again: str = "",
    ) -> None:
        with needs("optuna", "which searches", where="sweep", extra="sweep", otherwise="sweep=grid"):
            import optuna
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._settings = settings
        self._space = {dimension.key: dimension for dimension in space}
        self._again = again or "the same command"
        url = settings.storage
        self._where = str(folder / JOURNAL) if url is None else f"sweep.storage={url}"
        unread = "the storage of the search cannot be opened"
        other = "sweep.storage=<the URL of a database>, or leave it out: a file in the sweep's folder is used"
        anew = f"restore the file from a copy; or {anew or 'start the search again'}"
        step = anew if url is None else other
        with self._reached(unread, step, ImportError, ValueError):  # as of a storage that Optuna no longer has
            storage = _journal(folder / JOURNAL) if url is None else optuna.storages.get_storage(url)
        with self._reached(unread, step, ImportError):
            self.study = optuna.create_study(
                storage=storage,
                study_name=name,
                direction="maximize" if mode == "max" else "minimize",
                sampler=self._sampler(0),
                pruner=_pruner(settings.pruner, settings.draw),
                load_if_exists=True,
            )
            self._require_own_space(anew)

    @contextmanager
    def _reached(self, what: str, next_step: str, *others: type[Exception]) -> Iterator[None]:
        """others: errors that mean here that the storage cannot be reached, beside those of the system, of databases
        and of journals."""
        import optuna
        import sqlalchemy

        of_database: tuple[type[Exception], ...] = (
            sqlalchemy.exc.SQLAlchemyError,
            optuna.exceptions.StorageInternalError,
        )
        known: tuple[type[Exception], ...] = (*of_database, OSError, json.JSONDecodeError, *others)
        try:
            yield
        except known as error:
            cause = error.__cause__ if isinstance(error, optuna.exceptions.StorageInternalError) else error
            raise RunError(f"{what}: {first_line(cause or error)}", where=self._where, next_step=next_step) from error

    def _require_own_space(self, next_step: str) -> None:
        """Raise RunError if a trial was drawn from another space."""
        for trial in self.study.get_trials(deepcopy=False):
            for key, drawn in trial.distributions.items():
                if key not in self._space or drawn != _distribution(self._space[key]):
                    raise RunError(
                        f"this study belongs to another space: {key} was drawn from {_in_words(drawn)}",
                        where=self._where,
                        next_step=next_step,
                    )

    def _sampler(self, number: int) -> Any:
        import optuna

        seed = (self._settings.draw + 1_000_003 * number) % 2**32
        if self._settings.sampler == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)

    @_asking
    def all(self) -> list[FrozenTrial]:
        """The trials whose settings are known, by number."""
        return [
            it for it in self.study.get_trials(deepcopy=False) if REPLACES not in it.user_attrs and self._is_whole(it)
        ]

    def _is_whole(self, trial: FrozenTrial) -> bool:
        """A process may be killed between two settings of a trial."""
        return {*trial.params} == {*self._space}

    @_asking
    def unfinished(self) -> list[int]:
        return [it.number for it in self.all() if not it.state.is_finished()]

    @_asking
    def failed(self) -> list[int]:
        """Failed trials that no other one replaces."""
        import optuna

        replaced = {it.user_attrs.get(REPLACES) for it in self.study.get_trials(deepcopy=False)}
        failed = [it.number for it in self.all() if it.state == optuna.trial.TrialState.FAIL]
        return [number for number in failed if number not in replaced]

    @_asking
    def ask(self) -> int:
        """Draw a new trial."""
        number = len(self.study.get_trials(deepcopy=False))
        self.study.sampler = self._sampler(number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a choice among texts, and of what Optuna calls experimental
            return self.study.ask({key: _distribution(it) for key, it in self._space.items()}).number

    @_asking
    def settings(self, number: int) -> list[str]:
        """The overrides of a trial."""
        params = self._frozen(number).params
        return [dimension.setting(params[key]) for key, dimension in self._space.items()]

    @_asking
    def report(self, number: int, step: int, score: float) -> bool:
        """Note a score of a running trial. Returns whether it is to be pruned."""
        import optuna

        frozen = self._frozen(number)
        if frozen.state.is_finished():  # a failed one, run again
            return False
        trial = optuna.trial.Trial(self.study, frozen._trial_id)
        if step not in frozen.intermediate_values:  # else it was noted before the run was resumed
            trial.report(score, step)
        return bool(trial.should_prune())

    @_asking
    def tell(self, number: int, outcome: str, score: float | None) -> None:
        """outcome: finished, pruned or failed. score: of a finished trial."""
        import optuna

        states = {
            "finished": optuna.trial.TrialState.COMPLETE,
            "pruned": optuna.trial.TrialState.PRUNED,
            "failed": optuna.trial.TrialState.FAIL,
        }
        frozen = self._frozen(number)
        state = states[outcome] if outcome != "finished" or score is not None else states["failed"]
        if not frozen.state.is_finished():
            self.study.tell(number, score if state == states["finished"] else None, state=state)
        elif frozen.state == states["failed"] and state == states["finished"]:
            self.study.add_trial(
                optuna.trial.create_trial(
                    state=state,
                    value=score,
                    params=frozen.params,
                    distributions=frozen.distributions,
                    user_attrs={REPLACES: number},
                )
            )

    @_asking
    def importances(self) -> dict[str, float]:
        """Share of the variance of the scores that each setting explains (fANOVA); none for too few trials."""
        import optuna

        done = [it for it in self.all() if it.state == optuna.trial.TrialState.COMPLETE]
        if len(done) < max(10, 2 * len(self._space)) or len(self._space) < 2 or len({it.value for it in done}) < 2:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return dict(
                optuna.importance.get_param_importances(
                    self.study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0)
                )
            )

    def _frozen(self, number: int) -> FrozenTrial:
        return next(it for it in self.study.get_trials(deepcopy=False) if it.number == number)


def require_study(name: str, mode: str, settings: Search) -> None:
    """Make the study if it lies in a database; that in the sweep's folder is made later. Raises ConfigError if Optuna
    is not installed, RunError if the storage cannot be opened."""
    with needs("optuna", "which searches", where="sweep", extra="sweep", otherwise="sweep=grid"):
        import optuna  # noqa: F401
    if settings.storage is not None:
        Trials(Path(), name, mode, (), settings)


def _journal(path: Path) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    mend(path)
    return JournalStorage(JournalFileBackend(str(path), lock_obj=JournalLock(path)))  # type: ignore[arg-type]


def _pruner(name: str, draw: int) -> Any:
    import optuna

    from frostline.sweeps.brackets import Hyperband

    if name == "hyperband":
        return Hyperband(draw)
    return optuna.pruners.MedianPruner() if name == "median" else optuna.pruners.NopPruner()


def _distribution(dimension: Dimension) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if dimension.kind == "choice":
        return CategoricalDistribution(dimension.values)
    if dimension.kind == "int":
        step = 1 if dimension.step is None else int(dimension.step)
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log, step=step)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)


def _in_words(distribution: Any) -> str:
    if "choices" in vars(distribution):
        return ", ".join(map(str, distribution.choices))
    return f"{distribution.low:g} to {distribution.high:g}"
