"""Labels that are probably wrong, by cross-validated simple models (after Northcutt et al., 2021).

n = rows, C = classes, F = features.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..later import Later
from .cheap import SCALARS, Unsuitable, boosting_features, linear_features, straight
from .notes import plural
from .subject import Finding, Severity, Subject

ensemble = Later("sklearn.ensemble")
isotonic = Later("sklearn.isotonic")

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
FOLDS = 5
TREES, RATE, LEAVES, ROWS_OF_LEAF = 200, 0.05, 15, 40  # small steps, so that noise is not learned
FEWEST, FEWEST_OF_CLASS = 200, 10  # rows
MOST_ROWS, MOST_CLASSES = 30_000, 100
BOUND, APART = 2.0, 4.0  # standard errors: of an upper bound, and of two classes that differ
SURE = np.array([0.1, 0.15, 0.2, 0.3, 0.4, 0.5])  # shares of the rows, the surest, that speak for the noise
LEAST_SURE = 100  # of a class, where it has twice as many: fewer would hardly hold one wrong label
LEAST_NOISE = 0.005  # below which labels are taken to be right
WAVES, WAVE_SCALE, WAVE_PENALTY, WAVE_SHARPNESS = 1024, 0.7, 1e-2, 8.0  # random features of images
RIGHT = 0.5  # share of the told labels that are expected to be wrong indeed, at least
TOLD = 1.1  # labels that are told at most, for each one that the noise lets expect
WARNING_NOISE = 0.02
LEAST_SKILL = 0.3  # of the majority's errors that the model must take away, else it can accuse nobody


def label_errors(subject: Subject) -> Iterator[Finding]:
    """Rows whose label a cross-validated simple model is sure to be another."""
    labels = subject.labels_n
    if labels is None or len(subject) < FEWEST:
        return
    counts = np.bincount(labels[labels >= 0])
    usable = np.flatnonzero((labels >= 0) & (counts[labels] >= FEWEST_OF_CLASS))
    if len(usable) > MOST_ROWS:
        usable = np.sort(np.random.default_rng(subject.seed).permutation(usable)[:MOST_ROWS])
    classes, codes = np.unique(labels[usable], return_inverse=True)
    if len(usable) < FEWEST or not 2 <= len(classes) <= MOST_CLASSES:
        return
    try:
        probabilities = out_of_fold(subject, usable, codes, len(classes))
    except Unsuitable:
        return
    wrong, noise, odds = suspects(probabilities, codes)
    if not len(wrong):
        return
    values = subject.values(subject.target)
    rows, name = usable[wrong], subject.target
    better = values[usable[[int(np.flatnonzero(codes == c)[0]) for c in probabilities[wrong].argmax(1)]]]
    severity: Severity = "note" if noise < WARNING_NOISE else "warning"
    message = (
        f"about {noise:.1%} of the labels in {name!r} are probably wrong; told are "
        f"{plural(len(wrong), 'row')}, the surest: {str(values[rows[0]])[:40]!r}, "
        f"which looks like {str(better[0])[:40]!r}"
    )
    yield Finding(
        check="label_errors", severity=severity, message=message,
        columns=(name,), measured={"noise": noise, "surest": float(odds[0])}, rows=subject.rows[rows],
        count=len(wrong), remedy=subject.fix("label_errors"), drop_rows=subject.rows[rows],
    )  # fmt: skip


def suspects(probabilities_nC: Floats, labels_n: Codes) -> tuple[Codes, float, Floats]:
    """Places of labels that are probably wrong, the surest first; the noise; how likely each is wrong.

    The noise is read off the rows that the model is surest of, where only wrong labels can disagree; with it
    and the probability of the given label, Bayes' rule says how likely the label is wrong. About as many are
    told as are expected (Northcutt et al., 2021), fewer where less than `RIGHT` of them would be wrong.
    """
    noise, at_least = noise_of(probabilities_nC, labels_n)
    if at_least < LEAST_NOISE or _skill(probabilities_nC, labels_n) < LEAST_SKILL:
        return np.empty(0, np.int64), noise, np.empty(0)
    odds = odds_of(probabilities_nC, labels_n, noise)
    found = np.flatnonzero(probabilities_nC.argmax(1) != labels_n)
    found = found[np.argsort(-odds[found], kind="stable")]
    right = np.cumsum(odds[found]) / np.arange(1, len(found) + 1)
    most = round(TOLD * noise * len(labels_n))  # an odd's error grows with that of the noise, a count less
    found = found[: min(most, int((right >= RIGHT).sum()))]  # the mean falls: rows that keep it come first
    return found, noise, odds[found]


def noise_of(probabilities_nC: Floats, labels_n: Codes) -> tuple[float, float]:
    """Share of wrong labels and at least how many: how often labels disagree where the model is surest.

    Of each class the surest rows, as many as give the least upper bound. Classes that are hard to tell keep
    disagreeing where labels are right, so the class with the least bound speaks for the labels, and with it
    those that may be as low. The second number is what can be sworn to: three standard errors below the
    lower quartile over classes.
    """
    says, sure = probabilities_nC.argmax(1), probabilities_nC.max(1)
    found = []
    for c in np.unique(says).tolist():
        mine = np.flatnonzero(says == c)
        wrong = labels_n[mine[np.argsort(-sure[mine], kind="stable")]] != c
        found.append(_surest(np.cumsum(wrong)))
    rate_C, rows_C, error_C = np.array(found).T
    speak_C = rate_C - APART * error_C <= (rate_C + APART * error_C).min()
    rate = float((rate_C * rows_C)[speak_C].sum() / rows_C[speak_C].sum())
    least = float(np.quantile(rate_C, 0.25, method="lower"))
    rows = rows_C.sum() * (1 - 1 / max(2, len(rate_C)))
    return rate, least - 3 * float(np.sqrt(least * (1 - least) / rows))


def _surest(wrong_n: Codes) -> tuple[float, float, float]:
    """(share of wrong ones, rows, error) of the beginning with the least bound; counts of wrong so far."""
    rows_s = np.maximum(np.round(SURE * len(wrong_n)), min(LEAST_SURE, len(wrong_n) // 2)).clip(min=1)
    rate_s = wrong_n[rows_s.astype(np.int64) - 1] / rows_s
    error_s = np.sqrt(np.maximum(rate_s * (1 - rate_s), 1 / rows_s) / rows_s)
    best = int((rate_s + BOUND * error_s).argmin())
    return float(rate_s[best]), float(rows_s[best]), float(error_s[best])


def _skill(probabilities_nC: Floats, labels_n: Codes) -> float:
    by_chance = 1 - np.bincount(labels_n).max() / len(labels_n)
    return 1 - float((probabilities_nC.argmax(1) != labels_n).mean()) / float(by_chance)


def odds_of(probabilities_nC: Floats, labels_n: Codes, noise: float) -> Floats:
    """(n,) how likely each label is wrong, were the labels exchanged at random by `noise`.

    Of each class, how often rows carry its label is fitted to the model's probability (isotonic regression,
    Zadrozny and Elkan, 2002): the probability of the label as it stands, wrong ones included. What the noise
    alone brings of it, `noise / (C - 1)` times the share that is truly of another class, is wrong.
    """
    classes = probabilities_nC.shape[1]
    odds_n, strays = np.zeros(len(labels_n)), noise / max(1, classes - 1)
    for c in np.unique(labels_n).tolist():
        mine = labels_n == c
        fit = isotonic.IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
        told_n = fit.fit(probabilities_nC[:, c], mine.astype(np.float64)).predict(probabilities_nC[mine, c])
        told_n = np.maximum(told_n, 1e-6)
        true_n = ((told_n - strays) / max(1e-6, 1 - noise - strays)).clip(0, 1)
        odds_n[mine] = (strays * (1 - true_n) / told_n).clip(0, 1)
    return odds_n


def out_of_fold(subject: Subject, places: Codes, labels_n: Codes, classes: int) -> Floats:
    """(n, C) probabilities of a simple model for each row, from a fit that did not see the row."""
    rng = np.random.default_rng(subject.seed)
    fold = np.empty(len(places), np.int64)
    order = rng.permutation(len(places))
    order = order[np.argsort(labels_n[order], kind="stable")]
    fold[order] = np.arange(len(places)) % FOLDS
    columns = {name: (subject.column(name), subject.values(name)[places]) for name in subject.given}
    scalar = all(subject.kinds[name] in SCALARS for name in subject.given)
    found = np.zeros((len(places), classes))
    if scalar:
        features, categorical = boosting_features(columns)
        table = features(columns)
    else:
        table = linear_features(columns)(columns)
        if subject.of_kind("image"):
            table = waves(np.asarray(table.todense(), np.float32), rng)
    for k in range(FOLDS):
        mine = fold == k
        if scalar:
            boosted = ensemble.HistGradientBoostingClassifier(
                max_iter=TREES, learning_rate=RATE, max_leaf_nodes=LEAVES, min_samples_leaf=ROWS_OF_LEAF,
                l2_regularization=1.0, categorical_features=categorical, random_state=subject.seed,
                early_stopping=False,
            )  # fmt: skip
            boosted.fit(table[~mine], labels_n[~mine])
            found[mine] = boosted.predict_proba(table[mine])
        elif subject.of_kind("image"):
            found[mine] = squared(table[~mine], labels_n[~mine], table[mine], classes)
        else:
            found[mine] = straight(table[~mine], labels_n[~mine]).predict_proba(table[mine])
    return found


def waves(table_nF: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Random Fourier features (Rahimi and Recht, 2007): a linear model on them has a Gaussian kernel."""
    centred = table_nF - table_nF.mean(0)
    scale = float(np.sqrt((centred**2).sum(1).mean())) or 1.0
    directions = rng.standard_normal((table_nF.shape[1], WAVES)).astype(np.float32) / (WAVE_SCALE * scale)
    phases = rng.uniform(0, 2 * np.pi, WAVES).astype(np.float32)
    return np.asarray(np.cos(centred @ directions + phases) * np.sqrt(2 / WAVES), np.float32)


def squared(train: NDArray[np.float32], labels: Codes, test: NDArray[np.float32], classes: int) -> Floats:
    """(n, C) probabilities of least squares on one-hot labels."""
    wanted = np.eye(classes, dtype=np.float32)[labels]
    mean = train.mean(0)
    centred = train - mean
    gram = centred.T @ centred
    gram[np.diag_indices(len(gram))] += WAVE_PENALTY * len(train) * float(centred.var())
    weights = np.linalg.solve(gram, centred.T @ (wanted - wanted.mean(0)))
    scores = (test - mean) @ weights + wanted.mean(0)
    sharp = np.exp(WAVE_SHARPNESS * (scores - scores.max(1, keepdims=True)))
    return np.asarray(sharp / sharp.sum(1, keepdims=True), np.float64)
