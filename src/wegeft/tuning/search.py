"""Which settings are tried, in which order: Optuna with a fixed seed.

Nothing is stored: asked again with the same scores, the same settings come in the same order, so that an interrupted
search goes on when the records of its runs answer for what was done.

Does not: run anything, or know what a score is.
"""

from collections.abc import Callable

import optuna

from wegeft.tuning.config import Searched, TuneConfig, Value
from wegeft.tuning.found import Values

Score = Callable[[Values], float | None]
"""How good a setting is, larger being better; None if it cannot be scored."""


def search(config: TuneConfig, score: Score) -> None:
    """Ask ``score`` for ``config.budget`` settings.

    All combinations of lists come in an order that depends on the seed alone, so that every method is asked for the
    same ones; from ranges, and beyond them, a tree-structured Parzen estimator draws (Bergstra et al., 2011), which
    takes the scores so far into account.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # what a trial gave is said by whoever scores
    study = optuna.create_study(direction="maximize", sampler=_sampler(config))

    def objective(trial: optuna.Trial) -> float:
        value = score({one.key: _suggest(trial, one) for one in config.space})
        if value is None:
            raise optuna.TrialPruned
        return value

    study.optimize(objective, n_trials=config.budget)


def _sampler(config: TuneConfig) -> optuna.samplers.BaseSampler:
    if config.grid is not None:
        return optuna.samplers.GridSampler(config.grid, seed=config.seed)
    return optuna.samplers.TPESampler(seed=config.seed)


def _suggest(trial: optuna.Trial, one: Searched) -> Value:
    if one.values is not None:
        return trial.suggest_categorical(one.key, one.values)
    assert one.low is not None
    assert one.high is not None
    return trial.suggest_float(one.key, one.low, one.high, log=one.log)
