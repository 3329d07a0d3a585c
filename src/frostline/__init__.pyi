from frostline.commands.predictor import Predictor as Predictor
from frostline.commands.predictor import open_run as open
from frostline.data.predicting import Prediction as Prediction
from frostline.errors import ConfigError as ConfigError
from frostline.errors import DataError as DataError
from frostline.errors import FrostlineError as FrostlineError
from frostline.errors import PlanError as PlanError
from frostline.errors import RankError as RankError
from frostline.errors import RunError as RunError
from frostline.errors import WeightsError as WeightsError

__version__: str
__all__ = [
    "ConfigError",
    "DataError",
    "FrostlineError",
    "PlanError",
    "Prediction",
    "Predictor",
    "RankError",
    "RunError",
    "WeightsError",
    "__version__",
    "open",
]
