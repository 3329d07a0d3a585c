"""The temperature is SciPy's, and used only where it lowers the negative log-likelihood of held-out samples."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from frostline.report.calibration import Calibration, believed, classified, examined, log_softmax
from frostline.report.calibration_record import recorded
from frostline.report.temperature import ENOUGH, HIGHEST, LOWEST, fitted, held_out
from frostline.runs.predictions import Predictions

N, K = 800, 4
random = np.random.default_rng(0)
TRUTH = random.normal(size=(N, K)) * 2
TARGET = (np.exp(log_softmax(TRUTH)).cumsum(1) > random.random((N, 1))).argmax(1)
SURE = TRUTH * 3  # three times too sure


def scores(temperature: float) -> Calibration:
    return examined(believed(TARGET, SURE, temperature))


def test_the_temperature_mends_what_is_too_sure() -> None:
    temperature = fitted(TARGET, SURE)

    def doubted(it: float) -> float:
        """The true class counts 1 - 1 / (N + 2), the most probable other one the rest (Platt 1999)."""
        found, doubt = log_softmax(SURE / it), 1 / (N + 2)
        others = np.where(np.arange(K) == TARGET[:, None], -np.inf, found).max(1)
        return float(-((1 - doubt) * found[np.arange(N), TARGET] + doubt * others).mean())

    truth = minimize_scalar(doubted, bounds=(0.1, 10), method="bounded", options={"xatol": 1e-8}).x
    assert temperature == pytest.approx(truth, rel=1e-4)
    assert temperature == pytest.approx(3, rel=0.15)
    assert scores(temperature).nll == pytest.approx(scores(3).nll, abs=0.002)
    assert scores(temperature).ece < scores(1).ece / 3


@pytest.mark.parametrize("number", [20, 200])
@pytest.mark.parametrize("classes", [2, 50])
def test_answers_that_are_all_right_are_not_made_certain(number: int, classes: int) -> None:
    target = np.arange(number) % classes
    logits = np.random.default_rng(0).normal(size=(number, classes)) + 8 * np.eye(classes)[target]
    shares = np.exp(log_softmax(logits / fitted(target, logits)))
    doubt = 1 - shares[np.arange(number), target].mean()
    assert 0.3 / number < doubt < 3 / number  # by Laplace's rule about one error in N + 2


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_temperatures_have_bounds(scale: float) -> None:
    assert LOWEST - 1e-6 <= fitted(TARGET, TRUTH * scale) <= HIGHEST + 1e-4


@pytest.mark.parametrize(("scale", "said"), [(-1, "the highest that is tried (20)"), (1, ""), (1e-3, "the lowest")])
def test_a_temperature_at_its_bound_is_told(scale: float, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    recorded(Predictions({"part": "val"}, {"target": TARGET, "logits": TRUTH * scale}), None)
    told = capsys.readouterr().err
    assert said in told
    assert bool(told) == bool(said)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_finite_give_no_temperature(value: float, capsys: pytest.CaptureFixture[str]) -> None:
    broken = SURE.copy()
    broken[:2, 1] = value
    val = Predictions({"part": "val"}, {"target": TARGET, "logits": broken})
    assert classified(val) is None
    assert recorded(val, None) == {}
    assert "of validation are not examined: 2 samples have logits that are not finite" in capsys.readouterr().err


def test_validation_gives_the_temperature() -> None:
    half = slice(0, N // 2), slice(N // 2, N)
    val, test = (Predictions({}, {"target": TARGET[it], "logits": SURE[it]}) for it in half)
    found = recorded(val, test)
    assert found["temperature"] == fitted(TARGET[half[0]], SURE[half[0]])
    assert found["calibrated"]["nll"] < found["raw"]["nll"]
    assert found["samples"] == N // 2
    assert len(found["selective"]["error"]) == 20
    assert recorded(None, test) | {"selective": None} == {
        "temperature": None, "samples": 0, "raw": found["raw"], "calibrated": None, "selective": None
    }  # fmt: skip
    untested = recorded(val, None)
    assert (untested["temperature"], untested["raw"]) == (found["temperature"], None)
    assert recorded(None, Predictions({}, {"target": TARGET[:, None] / 1.0})) == {}


def simulated(number: int, scale: float, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Targets and logits of four classes; of scale 1 their probabilities are right."""
    truth = draw.normal(size=(number, 4)) * 2.5
    target = (np.exp(log_softmax(truth)).cumsum(1) > draw.random((number, 1))).argmax(1)
    return target, truth * scale


@pytest.mark.parametrize(("scale", "least", "most"), [(1.0, 0.0, 0.35), (2.0, 0.85, 1.0)])
def test_a_temperature_is_used_where_it_helps(scale: float, least: float, most: float) -> None:
    """The share of 40 sets of 60 samples; 19 % and 96 % of 300 (see `held_out`)."""
    draw = np.random.default_rng(0)
    sets = [held_out(*simulated(60, scale, draw), np.arange(60)) for _ in range(40)]
    assert least <= np.mean([held < raw for raw, held in sets]) <= most


def test_why_a_temperature_is_not_used_is_recorded() -> None:
    draw = np.random.default_rng(0)
    sets = [simulated(60, 1.0, draw) for _ in range(10)]
    found = [recorded(Predictions({}, {"target": target, "logits": logits}), None) for target, logits in sets]
    refused = [it for it in found if it["temperature"] is None]
    assert refused
    assert all("does not lower the negative log-likelihood" in it["why_not"] for it in refused)
    few = recorded(Predictions({}, {"target": TARGET[:4], "logits": SURE[:4]}), None)
    assert few["why_not"] == "4 samples of validation cannot tell whether a temperature helps"
    grouped = {"target": TARGET, "logits": SURE, "group": np.arange(N) % 3}
    assert "3 groups of validation cannot tell" in recorded(Predictions({}, grouped), None)["why_not"]
    many = simulated(ENOUGH, 1.0, draw)
    assert recorded(Predictions({}, dict(zip(("target", "logits"), many, strict=True))), None)["temperature"]


def test_groups_are_held_out_whole() -> None:
    """Two copies of each sample tell nothing of each other."""
    target, logits = simulated(30, 1.0, np.random.default_rng(1))
    twice = np.repeat(target, 2), np.repeat(logits, 2, axis=0), np.repeat(np.arange(30), 2)
    once = held_out(target, logits, np.arange(30))
    assert held_out(*twice) == pytest.approx(once, abs=0.02)
    assert held_out(*twice)[0] == pytest.approx(once[0])
