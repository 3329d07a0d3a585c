"""TensorBoard's files, which never end a training: if the disk is full, the curves end with one message."""

import sys
from contextlib import suppress
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only


class Curves(TensorBoardLogger):
    """Resumed runs append to the curves: see `resume_at`."""

    full = False

    def resume_at(self, step: int) -> None:
        """Hide what an earlier process logged at or after this optimizer step: the run repeats it. Call it before the
        first curve."""
        self._kwargs["purge_step"] = step

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """torch's writer, made safe: its thread would end at the first write error, and later curves would raise."""
        is_new = self._experiment is None
        writer = TensorBoardLogger.experiment.fget(self)  # type: ignore[attr-defined]
        if is_new:
            make = writer._get_file_writer

            def file_writer() -> Any:  # torch makes another one if the first was closed
                made = make()
                records = made.event_writer._async_writer._writer
                if not isinstance(records._writer, Refusable):
                    records._writer = Refusable(records._writer, self)
                return made

            writer._get_file_writer = file_writer
            file_writer()
        return writer

    @rank_zero_only
    def log_hyperparams(  # type: ignore[override]
        self, params: dict[str, Any], metrics: dict[str, float] | None = None, step: int | None = None
    ) -> None:
        """Write settings and final scores for HParams, without the `Experiment` that Lightning writes with them: of all
        runs, TensorBoard would take that of the first, and show no setting and no score that the first one lacks.
        Without it, the settings that differ between the runs come first."""
        from torch.utils.tensorboard.summary import hparams

        self.hparams.update(params)
        if metrics:
            self.log_metrics(metrics, step)
            _, *session = hparams(self._sanitize_params(params), metrics)
            writer = self.experiment._get_file_writer()
            for summary in session:
                writer.add_summary(summary, step)

    def save(self) -> None:
        with suppress(OSError):  # Refusable reports it
            super().save()


class Refusable:
    """A file of curves whose writes never raise. The first error is printed."""

    def __init__(self, file: Any, curves: Curves) -> None:
        self._file = file
        self._curves = curves

    def write(self, content: bytes) -> None:
        self._tried(self._file.write, content)

    def flush(self) -> None:
        self._tried(self._file.flush)

    def close(self) -> None:
        self._tried(self._file.close)

    def _tried(self, act: Any, *arguments: bytes) -> None:
        if self._curves.full:
            return
        try:
            act(*arguments)
        except OSError as error:
            self._curves.full = True
            print(
                f"frostline: cannot write more curves: {error.strerror or error}\n"
                f"  where: {self._curves.log_dir}\n"
                "  next:  make room; the run continues, and run.json has its scores",
                file=sys.stderr,
            )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
