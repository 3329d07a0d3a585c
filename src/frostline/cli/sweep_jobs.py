"""Run the jobs of a sweep: those of a grid, or those that a search draws."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from frostline.cli.sweep_arguments import is_of_sweep, refused_launcher
from frostline.cli.sweep_composing import ComposesAhead
from frostline.cli.sweep_listing import for_one_run, jobs_of, require_once, require_validation, settings_listed
from frostline.cli.sweep_order import in_order, repetitions
from frostline.cli.sweep_plans import require_once_each, space_of
from frostline.cli.sweep_resuming import TRIALS, require_same_config, require_trusted
from frostline.cli.sweep_search import corners, planned, require_one, require_values, with_mode
from frostline.cli.sweep_session import Session, within
from frostline.cli.sweep_settings import (
    launcher_of,
    require_droppable,
    require_dry_alone,
    settings_of,
    with_seeds,
    workers_of,
)
from frostline.distributed.relaunch import config_dirs
from frostline.errors import ConfigError
from frostline.quoting import key_of
from frostline.runs.sweeps import Sweep, foreign_of, taken
from frostline.sweeps import workers
from frostline.sweeps.lengths import Lengths, work_of
from frostline.sweeps.losing import Losing
from frostline.sweeps.planning import Planning
from frostline.sweeps.progress import Progress
from frostline.sweeps.searching import Plan, Searching
from frostline.sweeps.settings import Grid, Plans, Search, Slurm
from frostline.sweeps.slurm import submitted
from frostline.sweeps.study import Trials, require_study
from frostline.sweeps.watch import Watch
from frostline.sweeps.workers import begin_worker, give_up, is_worker, started

LAUNCHER = "BasicLauncher"  # Hydra's own, by name: it imports its plugins anew
BASIC = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"


class Jobs(Sweeper):
    """Replaces Hydra's BasicSweeper: refuses what cannot be swept before anything is written, and composes every job
    before the first one runs. all: the overrides of each job, in order."""

    all: ClassVar[list[list[str]]] = []
    typed: ClassVar[list[str]] = []  # the command line, before it was quoted for Hydra

    def __init__(self, max_batch_size: int | None, params: Mapping[str, Any] | None = None) -> None:
        """Keys of `hydra.sweeper`. max_batch_size: of no effect, whatever its value: there are no batches."""
        self._params = [f"{key}={value}" for key, value in (params or {}).items()]

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        loader = ComposesAhead(hydra_context.config_loader)
        self.hydra_context, self.config = replace(hydra_context, config_loader=loader), config
        self.launcher = Plugins.instance().instantiate_launcher(self.hydra_context, task_function, config)

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Compose every job before the first one begins."""
        self._work(batch)

    def _work(self, batch: Sequence[Sequence[str]]) -> list[float]:
        """Compose every job, and return how much work its plan is. Raises ConfigError if one would choose by a test
        score."""
        assert self.config is not None
        config, loader, work = self.config, self._loader, []
        for job in batch:
            composed = loader.compose_ahead(config, [*job])
            require_validation(composed)
            work.append(_planned(composed))
        return work

    @property
    def _loader(self) -> ComposesAhead:
        assert self.hydra_context is not None
        assert isinstance(self.hydra_context.config_loader, ComposesAhead)
        return self.hydra_context.config_loader

    def sweep(self, arguments: list[str]) -> None:
        """Raises ConfigError if the sweep cannot be listed, RunError if its folder cannot be used."""
        assert self.config is not None
        assert self.hydra_context is not None
        if type(self.launcher).__name__ != LAUNCHER:
            raise refused_launcher(f"hydra/launcher={self.config.hydra.runtime.choices['hydra/launcher']}")
        Session.settings = settings = settings_of(self.config)
        Session.has_page = self.config.get("report") is not False
        launcher = launcher_of(self.config)
        require_dry_alone(self.config, launcher)
        if isinstance(settings, Plans) and (launcher is not None or settings.join is not None):
            raise ConfigError(
                "sweep=plans decides by the score of the run before, in one process",
                where="sweep.join" if settings.join is not None else "launcher",
                next_step="leave it out; sweep=tpe searches with several processes",
            )
        if Session.sweep is not None:
            require_same_config(self.config, Session.sweep)
            Session.enter(Session.sweep, alone=settings.resume is not None)
            if settings.retry:
                Session.sweep.retry()
            for argument in Jobs.typed:
                if key_of(argument) == TRIALS:
                    Session.sweep.set_argument(argument)  # also of those that join
        else:
            self._begin(arguments, settings)
        assert Session.sweep is not None
        Jobs.all = Session.sweep.jobs
        searching = self._searching(Session.sweep, settings)
        total = len(Jobs.all) if searching is None else searching.size
        if launcher is not None or searching is not None:
            self._loader.forget()
        if launcher is not None:
            own = [*config_dirs(), *(["trust=true"] if Session.trusted else [])]
            number = workers_of(launcher)
            if isinstance(launcher, Slurm):
                workers.run(Session.sweep, submitted(Session.sweep, launcher, own), number, total)
            else:
                workers.run(Session.sweep, started(Session.sweep, number, own), number, total)
            workers.require_done(Session.sweep, searching.left() if isinstance(searching, Searching) else 0)
        else:
            Session.progress = Progress(Session.sweep, total)
            self._run_all(Session.sweep, settings, searching)
        if isinstance(searching, Searching):
            Session.importances = searching.trials.importances()
        Session.done = True

    def _begin(self, arguments: list[str], settings: Grid) -> None:
        """List the jobs, or the space of a search, and create the sweep's folder."""
        assert self.config is not None
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        typed = parser.parse_overrides(arguments)
        require_once(typed)
        if isinstance(settings, Plans):
            require_once_each(settings)
        listed = [it for it in parser.parse_overrides(self._params) if not any(_replaces(own, it) for own in typed)]
        of_jobs = [it for it in [*listed, *typed] if not is_of_sweep(it.key_or_group)]
        of_jobs = parser.parse_overrides(with_seeds([str(it.input_line) for it in of_jobs], settings.seeds))
        plan = planned(of_jobs, settings, settings_listed) if isinstance(settings, Search) else None
        searches = isinstance(settings, Search | Plans)
        jobs = [] if searches else jobs_of(of_jobs)
        if plan is not None and isinstance(settings, Search):
            number, seeds = settings.trials, len(plan.seeds) or 1
        else:
            each = repetitions(jobs)
            number, seeds = len(each), max(map(len, each), default=1)
        require_droppable(settings, number, seeds)
        raw = OmegaConf.to_container(self.config, resolve=False)
        assert isinstance(raw, dict)
        if "${now:" not in str(raw.get("run_dir")) or any(override.key_or_group == "run_dir" for override in typed):
            raise for_one_run()
        work = self._work(jobs if plan is None else corners(plan))
        require_one(jobs, self._composed)
        search: dict[str, Any] = {}
        if plan is not None and isinstance(settings, Search):
            plan = with_mode(plan, self._composed)
            require_values(plan, self._composed)
            require_study(plan.study, plan.mode, settings)
            search = plan.content
        if isinstance(settings, Plans):
            own = [it.key_or_group for it in typed if is_of_sweep(it.key_or_group)]
            space, fixed = space_of(of_jobs, settings, own, settings_listed, self._composed)
            search = Planning(Sweep(Path(), [], ""), space, fixed).content
        _take_place(self.config, raw, Sweep(Path(), Jobs.typed, str(Path.cwd()), jobs, search, work if jobs else []))

    def _composed(self, job: list[str]) -> DictConfig:
        """Raises ConfigError if the job would choose by a test score."""
        assert self.config is not None
        assert self.hydra_context is not None
        loader = self.hydra_context.config_loader
        held = loader.ahead(job) if isinstance(loader, ComposesAhead) else None
        composed = loader.load_sweep_config(self.config, job) if held is None else held
        require_validation(composed)
        return composed

    def _run_all(self, sweep: Sweep, settings: Grid, searching: Searching | Planning | None) -> None:
        """Run the jobs in this process."""
        if is_worker():
            begin_worker()
        Session.watch = Watch(
            settings,
            searching.report if isinstance(searching, Searching) else None,
            searching if isinstance(searching, Planning) else None,
        )
        jobs = sweep.jobs
        lengths = Lengths(sweep, jobs) if is_worker() or settings.join is not None else None
        numbers = taken(sweep, range(len(jobs)), in_order(sweep, jobs, lengths))
        losing = Losing(sweep, repetitions(jobs)) if settings.drop and searching is None else None
        with closing(((jobs[it], it) for it in numbers) if searching is None else searching.jobs()) as left:
            for job, number in left:
                if is_worker() and give_up(sweep, number):
                    continue
                if losing is None or (why := losing.drop(number, job)) is None:
                    self._launch(job, number)
                else:
                    print(f"\n[{number}]  {' '.join(job)}\npruned: {why}", flush=True)

    @staticmethod
    def _searching(sweep: Sweep, settings: Grid) -> Searching | Planning | None:
        if isinstance(settings, Plans):
            return Planning.stored(sweep)
        if not isinstance(settings, Search):
            return None
        plan = Plan.stored(sweep)
        commands = {"anew": sweep.anew(), "again": sweep.again()}
        trials = Trials(sweep.folder, plan.study, plan.mode, plan.space, settings, **commands)
        return Searching(sweep, trials, plan, settings.trials, drop=settings.drop)

    def _launch(self, job: list[str], number: int) -> None:
        """Raises RunError if overrides of a job need trust that the sweep does not have: a search draws them from a
        study, which may be a stranger's."""
        assert self.launcher is not None
        assert Session.sweep is not None
        require_trusted(Session.sweep, foreign_of(job))
        for result in self.launcher.launch([job], initial_job_idx=number):
            _ = result.return_value  # raises what the job raised

    @classmethod
    def stand_in(cls) -> None:
        """Register this class under the name of Hydra's own: Hydra creates only plugins of its own packages."""
        Plugins.instance().class_name_to_class[BASIC] = cls


def _replaces(typed: Override, listed: Override) -> bool:
    """Whether what is typed sets what a recipe lists, or all that contains it. An option, such as head=mlp, does not:
    its settings may be searched."""
    is_same = typed.key_or_group == listed.key_or_group
    is_node = typed.is_delete() or isinstance(typed.value(), dict)
    within = is_node and listed.key_or_group.startswith(f"{typed.key_or_group}.")
    return (is_same or within) and typed.package == listed.package


def _planned(config: DictConfig) -> float:
    """The work of a composed job."""
    try:
        schedule = OmegaConf.to_container(config["schedule"], resolve=True)
        data = OmegaConf.to_container(config["data"], resolve=False)
    except (OmegaConfBaseException, ValueError):  # a group is missing, or no group: the job will be refused
        return 0.0
    return work_of(schedule, data.get("train_limit") if isinstance(data, dict) else None)


def _take_place(config: DictConfig, raw: dict[Any, Any], sweep: Sweep) -> None:
    """Create the sweep's folder. raw: the config with its interpolations. Raises ConfigError or RunError."""
    places = raw["hydra"]["sweep"]
    for key, place in (("logs_dir", raw.get("logs_dir")), ("hydra.sweep.dir", places["dir"])):
        if not isinstance(place, str) or not place:
            raise ConfigError(f"{key} must name a folder", where=f"{key}={place or ''}", next_step=f"{key}=<folder>")
    named = any(str(given).lstrip("+").startswith("hydra.sweep.dir=") for given in raw["hydra"]["overrides"]["hydra"])
    if "${" not in places["subdir"]:
        within(Path("sweep"), places["subdir"])
    sweep.folder = Path(config.hydra.sweep.dir)
    Session.take(sweep, "hydra.sweep.dir" if named else "logs_dir", OmegaConf.to_yaml(config))
