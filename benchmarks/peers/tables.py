"""Peers: boosted trees with default settings on adult and california. Reading counts, test rows do not."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import side

TARGETS = {"adult": "income", "california": "median_house_value", "made_up": "label"}


def read(path: Path, target: str) -> tuple[Any, Any]:
    """Features, with text as categories, and the target."""
    frame = pd.read_csv(path)
    y = frame.pop(target)
    words = [name for name in frame if not pd.api.types.is_numeric_dtype(frame[name])]
    frame[words] = frame[words].fillna("missing").astype("category")
    return frame, y


def catboost(x: Any, y: Any, *, classes: bool) -> Any:
    from catboost import CatBoostClassifier, CatBoostRegressor

    words = list(x.select_dtypes("category"))
    model = (CatBoostClassifier if classes else CatBoostRegressor)(
        cat_features=words, verbose=False, random_seed=0, allow_writing_files=False
    )
    return model.fit(x, y)


def lightgbm(x: Any, y: Any, *, classes: bool) -> Any:
    from lightgbm import LGBMClassifier, LGBMRegressor

    return (LGBMClassifier if classes else LGBMRegressor)(verbose=-1, random_state=0).fit(x, y)


def scikit_learn(x: Any, y: Any, *, classes: bool) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    model = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    return model(categorical_features="from_dtype", random_state=0).fit(x, y)


LEARNERS = {"catboost": catboost, "lightgbm": lightgbm, "scikit-learn": scikit_learn}


def measured(model: Any, x: Any, y: Any, *, classes: bool) -> dict[str, float]:
    """Log loss and accuracy, or RMSE."""
    if not classes:
        return {"rmse": math.sqrt(float(np.mean((np.asarray(model.predict(x)) - y) ** 2)))}
    names = list(model.classes_)
    shares = model.predict_proba(x)
    own = shares[np.arange(len(y)), [names.index(label) for label in y]]
    guesses = np.asarray(names)[shares.argmax(1)]
    return {
        "log_loss": float(-np.log(np.clip(own, 1e-15, 1)).mean()), "accuracy": float((guesses == y).mean())
    }  # fmt: skip


def main() -> None:
    asked = side.arguments(*(f"{learner}:{task}" for learner in LEARNERS for task in TARGETS))
    learner, task = asked.which.split(":")
    clock, classes = side.Clock(), task != "california"
    x, y = read(asked.data / "train.csv", TARGETS[task])
    model = LEARNERS[learner](x, y, classes=classes)
    seconds = clock.seconds()
    x_test, y_test = read(asked.data / "test.csv", TARGETS[task])
    for name in x.select_dtypes("category"):
        x_test[name] = x_test[name].cat.set_categories(x[name].cat.categories)
        if learner == "catboost":
            x_test[name] = x_test[name].cat.add_categories("unseen").fillna("unseen")
    side.answer(seconds=seconds, **measured(model, x_test, y_test, classes=classes))


if __name__ == "__main__":
    main()
