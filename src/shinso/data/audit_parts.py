"""Whether the parts are apart and alike: groups and times in two parts, columns that have shifted."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..intervals import area_estimate, area_under_roc, chi_squared
from ..later import Later
from .audit_columns import number_bins
from .cheap import SCALARS, Inputs, Unsuitable, boosting_features, linear_features, straight
from .clean import ID_NAME
from .subject import Finding, Severity, Subject, holm

stats = Later("scipy.stats")
ensemble = Later("sklearn.ensemble")

Codes = NDArray[np.int64]
Floats = NDArray[np.float64]
FEWEST = 60  # rows below which nothing is said
LEAST_HELD = 20
GROUP_NAME = re.compile(
    r"(?i:(^|[_\W])(id|uuid|guid|user|patient|subject|customer|client|speaker|group|site|device|machine|sensor|"
    r"store|shop|person|participant|session|author|animal|batch|lot|scene|family)s?([_\W]|$))|番号|患者|顧客|話者"
)
LEAST_GROUPS = 8
LEAST_LEAKED = 0.2  # share of the test rows whose group is trained on
ALIKE, MUCH_ALIKE = 0.15, 0.6  # of the targets inside a group, beyond chance
FIXED = 0.98  # share of rows whose group tells another column exactly
LINKED, MUCH_LINKED = 0.3, 0.7  # correlation of neighbours in time
FEW_CHANGES = 0.02  # of the rows, at which the class changes: rows that lie in blocks of one class
LEVEL, LEAST_PSI, LARGE_PSI = 1e-3, 0.1, 0.25
TOLD_APART, TOLD_WELL = 0.6, 0.8  # area under ROC of telling test from training rows
MOST_TOLD = 4_000  # rows of each part that the classifier looks at
NOT_APART = {"time": "data.time", "group": "data.group"}


def groups(subject: Subject) -> Iterator[Finding]:
    """Columns of people, devices or places whose rows stand in two parts, so that tests are too easy."""
    if len(subject) < FEWEST or subject.basis == "time" or not len(subject.held):
        return
    for name in subject.table.names:
        codes = None if name == subject.target else group_codes(subject, name)
        if codes is None or name == subject.options.group:
            continue
        trained = np.zeros(int(codes.max()) + 2, bool)
        trained[codes[subject.train][codes[subject.train] >= 0]] = True
        held = codes[subject.held]
        leaked = subject.held[(held >= 0) & trained[held]]
        share = len(leaked) / len(subject.held)
        alike = alikeness(subject, codes)
        if share < LEAST_LEAKED or alike < ALIKE:
            continue
        severity: Severity = "severe" if alike >= MUCH_ALIKE else "warning"
        message = (
            f"{share:.0%} of the test rows share their {name!r} with training rows, and rows of one {name!r} "
            f"are alike in {subject.target!r} ({alike:.2f} beyond chance): the test is easier than new groups"
        )
        yield Finding(
            check="groups", severity=severity, message=message, columns=(name,),
            measured={"share": share, "alike": alike}, rows=subject.rows[leaked[:100]], count=len(leaked),
            remedy=subject.again(f"data.group={name}"),
        )  # fmt: skip


def group_codes(subject: Subject, name: str) -> Codes | None:
    """(n,) the group of each row where a column looks as if it named people, devices or places."""
    values = subject.values(name)
    if values.dtype.kind not in "Oiu":
        return None
    codes = subject.codes(name)
    if codes is None:
        return None
    count = int(codes.max(initial=-1)) + 1
    if not LEAST_GROUPS <= count <= len(codes) / 2:
        return None
    named = GROUP_NAME.search(name) is not None or ID_NAME.search(name) is not None
    if not named and (count < np.sqrt(len(codes)) or values.dtype.kind != "O"):
        return None
    return codes if named or _fixes_others(subject, name, codes) else None


def _fixes_others(subject: Subject, name: str, codes: Codes) -> bool:
    """Whether other columns are constant inside the groups, as the birthday of a person is."""
    sizes = np.bincount(codes[codes >= 0])
    several = codes >= 0
    several[several] &= sizes[codes[several]] > 1
    if several.sum() < FEWEST:
        return False
    for other in subject.given:
        inner = subject.codes(other) if other != name else None
        if inner is None or inner.max(initial=-1) + 1 < LEAST_GROUPS:
            continue
        inside = inner[several] + 1
        pairs = np.unique(codes[several] * (int(inside.max()) + 1) + inside, return_counts=True)
        group_of_pair = pairs[0] // (int(inside.max()) + 1)
        largest = np.zeros(len(sizes), np.int64)
        np.maximum.at(largest, group_of_pair, pairs[1])
        if largest.sum() >= FIXED * several.sum() and len(np.unique(inside)) < 2 * (sizes > 1).sum():
            return True
    return False


def alikeness(subject: Subject, codes: Codes) -> float:
    """How much more alike the targets of one group are than of any two rows: 0 as by chance, 1 the same."""
    known = (codes >= 0) & subject.known_target
    group = np.unique(codes[known], return_inverse=True)[1]
    sizes = np.bincount(group).astype(np.float64)
    pairs = (sizes * (sizes - 1)).sum()
    if pairs < 2 * FEWEST:
        return 0.0
    if subject.labels_n is not None:
        labels = subject.labels_n[known]
        size = int(labels.max()) + 1
        counts = np.bincount(group * size + labels, minlength=len(sizes) * size).reshape(-1, size)
        same = (counts * (counts - 1.0)).sum() / pairs
        shares = np.bincount(labels) / len(labels)
        by_chance = float((shares**2).sum())
        error = np.sqrt(by_chance * (1 - by_chance) / (pairs / 2))
        return float((same - by_chance) / (1 - by_chance)) if same > by_chance + 4 * error else 0.0
    if subject.kinds[subject.target] != "number":
        return 0.0
    target = subject.numbers(subject.target)[known]
    target = (target - target.mean()) / (target.std() or 1.0)
    sums, squares = np.bincount(group, target), np.bincount(group, target**2)
    inside = float((sums**2 - squares).sum() / pairs)
    return inside if inside > 4 / np.sqrt(pairs / 2) else 0.0


def time(subject: Subject) -> Iterator[Finding]:
    """Rows in order of time whose neighbours are alike, torn apart by a split that does not heed time."""
    if len(subject) < FEWEST or not len(subject.held) or subject.basis in ("time", "group"):
        return
    for name in subject.of_kind("datetime"):
        times = subject.numbers(name)
        known = np.flatnonzero(np.isfinite(times) & subject.known_target)
        linked = neighbours(subject, known[np.argsort(times[known], kind="stable")])
        last = float(np.nanmax(times[subject.train], initial=-np.inf))
        before = subject.held[times[subject.held] < last]
        share = len(before) / len(subject.held)
        if abs(linked) < LINKED or share < LEAST_LEAKED:
            continue
        message = (
            f"{share:.0%} of the test rows lie before the last training row by {name!r}, and "
            f"neighbours in time are alike in {subject.target!r} (correlation {linked:.2f}): the test is "
            f"easier than the future"
        )
        yield Finding(
            check="time", severity="severe" if linked >= MUCH_LINKED else "warning", message=message,
            columns=(name,), measured={"share": share, "correlation": linked},
            rows=subject.rows[before[:100]], count=len(before), remedy=subject.again(f"data.time={name}"),
        )  # fmt: skip
        return
    yield from _in_file_order(subject)


def _in_file_order(subject: Subject) -> Iterator[Finding]:
    if subject.table.key_name == "file" or subject.basis != "chance":
        return
    order = np.flatnonzero(subject.known_target)
    linked = neighbours(subject, order)
    if linked < LINKED or _sorted(subject, order):
        return
    message = (
        f"rows that follow each other in the file are alike in {subject.target!r} (correlation "
        f"{linked:.2f}): if the order is that of time, a random split makes the test too easy. "
        f"Add a column with the time"
    )
    yield Finding(
        check="time", severity="warning", message=message, columns=(subject.target,),
        measured={"correlation": linked}, count=len(order), remedy=subject.again("data.time=COLUMN"),
    )  # fmt: skip


def _sorted(subject: Subject, order: Codes) -> bool:
    """Whether rows are sorted by the target, which is no trace of time."""
    if subject.labels_n is not None:
        labels = subject.labels_n[order]
        changes = int((np.diff(labels) != 0).sum())
        return changes < max(3 * len(np.unique(labels)), FEW_CHANGES * len(labels))
    steps = np.diff(subject.numbers(subject.target)[order])
    return bool((steps >= 0).mean() > 0.99 or (steps <= 0).mean() > 0.99)


def neighbours(subject: Subject, order: Codes) -> float:
    """Correlation of the targets of neighbouring rows, 0 where chance could give it.

    Of classes it is the largest over the classes, each against the others.
    """
    if len(order) < FEWEST:
        return 0.0
    series = []
    if subject.labels_n is not None:
        labels = subject.labels_n[order]
        series = [(labels == c).astype(np.float64) for c in np.argsort(-np.bincount(labels))[:10]]
    elif subject.kinds[subject.target] == "number":
        series = [subject.numbers(subject.target)[order]]
    found = [_correlation(one[:-1], one[1:]) for one in series]
    largest = max(found, default=0.0)
    return largest if largest > 4 / np.sqrt(len(order)) else 0.0


def _correlation(a: Floats, b: Floats) -> float:
    spread = a.std() * b.std()
    return float(((a - a.mean()) * (b - b.mean())).mean() / spread) if spread > 0 else 0.0


def shift(subject: Subject) -> Iterator[Finding]:
    """Columns that are distributed otherwise in the test rows than in the training rows."""
    if len(subject.held) < LEAST_HELD or len(subject.train) < FEWEST:
        return
    yield from _new_labels(subject)
    tested = [(name, *found) for name in subject.kinds if (found := _shifted(subject, name)) is not None]
    for (name, _, size), p in zip(tested, holm([t[1] for t in tested]), strict=True):
        if p >= LEVEL or size < LEAST_PSI:
            continue
        message = (
            f"{name!r} is distributed otherwise in the test rows than in the training rows (PSI {size:.2f}, "
            f"corrected p {p:.1g})"
        )
        yield Finding(
            check="shift", severity="warning" if size >= LARGE_PSI else "note", message=message,
            columns=(name,), measured={"psi": size, "p": p}, count=len(subject.held),
            remedy=subject.without([name]) if name != subject.target else subject.fix("shift"),
        )  # fmt: skip
    if not subject.quick:
        yield from told_apart(subject)


def _new_labels(subject: Subject) -> Iterator[Finding]:
    """Classes of the test rows that no training row has."""
    labels = subject.labels_n
    if labels is None:
        return
    known = np.zeros(int(labels.max(initial=-1)) + 2, bool)
    known[labels[subject.train]] = True
    new = subject.held[(labels[subject.held] >= 0) & ~known[labels[subject.held]]]
    if not len(new):
        return
    share, values = len(new) / len(subject.held), subject.values(subject.target)
    listed = ", ".join(repr(str(v)[:40]) for v in dict.fromkeys(values[new][:1000].tolist()))
    message = (
        f"{share:.1%} of the test rows have a {subject.target!r} that no training row has: {listed[:200]}; "
        f"they can only be wrong. Spell labels alike in all parts"
    )
    yield Finding(
        check="shift", severity="severe" if share > 0.05 else "warning", message=message,
        columns=(subject.target,), measured={"unseen": share}, rows=subject.rows[new[:100]], count=len(new),
        remedy=subject.fix("shift"), drop_rows=subject.rows[new],
    )  # fmt: skip


def _shifted(subject: Subject, name: str) -> tuple[float, float] | None:
    """(p-value, population stability index) of a column between training and held-out rows."""
    if subject.kinds[name] in ("number", "datetime"):
        values = subject.numbers(name)
        one, two = values[subject.train], values[subject.held]
        one, two = one[np.isfinite(one)], two[np.isfinite(two)]
        if min(len(one), len(two)) < LEAST_HELD:
            return None
        bins = np.minimum(number_bins(values, 200), 255)  # ten bins or the few distinct values
        return float(stats.ks_2samp(one, two, method="asymp").pvalue), psi(bins, subject)
    codes = subject.codes(name) if subject.kinds[name] == "category" else None
    if codes is None:
        return None
    folded = _folded(codes + 1, subject)
    counts = [
        np.bincount(folded[rows], minlength=int(folded.max()) + 1) for rows in (subject.train, subject.held)
    ]
    table = np.stack(counts)[:, np.sum(counts, axis=0) > 0]
    if table.shape[1] < 2:
        return None
    return chi_squared(table, corrected=True)[1], psi(folded, subject)


def _folded(codes: Codes, subject: Subject) -> Codes:
    """Rare levels as one, so that the test holds."""
    expected = np.bincount(codes) * len(subject.held) / len(subject)
    return np.where(expected[codes] >= 5, codes + 1, 0)


def psi(bins_n: Codes, subject: Subject) -> float:
    """The population stability index: 0.1 is a change, 0.25 a large one."""
    size = int(bins_n.max()) + 1
    shares = [
        (np.bincount(bins_n[rows], minlength=size) + 0.5) / (len(rows) + 0.5 * size)
        for rows in (subject.train, subject.held)
    ]
    return float(((shares[0] - shares[1]) * np.log(shares[0] / shares[1])).sum())


def told_apart(subject: Subject) -> Iterator[Finding]:
    """Whether a simple model can tell test rows from training rows (Lopez-Paz and Oquab, 2017)."""
    rng = np.random.default_rng(subject.seed)
    most = min(MOST_TOLD, len(subject.held), len(subject.train))
    places = np.concatenate([rng.permutation(rows)[:most] for rows in (subject.train, subject.held)])
    is_test = np.arange(len(places)) >= most
    fold = rng.permutation(len(places)) % 2
    try:
        score = _told(subject, places, is_test, fold)
    except Unsuitable:
        return
    area, influence = area_under_roc(is_test, score)
    estimate = area_estimate(area, influence, most)
    if estimate.low is None or estimate.low < TOLD_APART:
        return
    severe = area >= TOLD_WELL and subject.basis != "time"
    message = (
        f"test rows can be told from training rows (ROC AUC {area:.2f}, {estimate.low:.2f} to "
        f"{estimate.high:.2f}, .5 if they were alike): what is measured on them says little about the others"
    )
    yield Finding(
        check="shift", severity="severe" if severe else "warning", message=message,
        measured={"roc_auc": area, "low": estimate.low}, count=len(subject.held),
        remedy=f"shinso evaluate RUN {subject.source} --folds 5",
    )  # fmt: skip


def _told(subject: Subject, places: Codes, is_test: NDArray[np.bool_], fold: Codes) -> Floats:
    """(n,) scores of being a test row, each from a model that did not see the row."""
    score = np.zeros(len(places))
    scalar = all(subject.kinds[name] in SCALARS for name in subject.given)
    columns = {name: (subject.column(name), subject.values(name)) for name in subject.given}
    for k in range(2):
        mine = fold == k
        train: Inputs = {n: (c, v[places[~mine]]) for n, (c, v) in columns.items()}
        test: Inputs = {n: (c, v[places[mine]]) for n, (c, v) in columns.items()}
        if scalar:
            features, categorical = boosting_features(train)
            model = ensemble.HistGradientBoostingClassifier(
                max_iter=50, categorical_features=categorical, random_state=subject.seed, early_stopping=False
            )
            model.fit(features(train), is_test[~mine])
            score[mine] = model.predict_proba(features(test))[:, 1]
        else:
            linear = linear_features(train)
            score[mine] = straight(linear(train), is_test[~mine]).predict_proba(linear(test))[:, 1]
    return score
