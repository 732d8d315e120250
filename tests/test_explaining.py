"""Explanations: methods find what was planted, checks notice what cannot be believed, bad input is said."""

from __future__ import annotations

import json
import math
from itertools import permutations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import shinso
from shinso.columns.base import object_array
from shinso.columns.image import Image
from shinso.columns.series import Series
from shinso.columns.text import Text
from shinso.data.table import Table
from shinso.explaining import checks
from shinso.explaining.game import Game, games_of
from shinso.explaining.gradcam import gradcam
from shinso.explaining.gradients import integrated_gradients
from shinso.explaining.lime import lime
from shinso.explaining.methods import METHODS
from shinso.explaining.occlusion import occlusion
from shinso.explaining.pictures import spans, words
from shinso.explaining.scoring import scorer_of
from shinso.explaining.seats import Seat
from shinso.explaining.shap import constrained, enumerated, sampled, shap
from shinso.explaining.tokens import tokens_of_groups
from shinso.run import RunDirectory
from small_runs import FAST, houses, train

WORDS = ["映画", "良い", "悪い", "とても", "今日は", "駅で", "本当に"]


def texts(rows: int = 160) -> dict[str, list[Any]]:
    rng = np.random.default_rng(1)
    found = []
    for _ in range(rows):
        tone = rng.choice(["良い", "悪い"])
        found.append(
            (f"{rng.choice(['映画は', '駅の本は'])} {tone} {rng.choice(['とても', '今日は'])}", tone)
        )
    return {"text": [f for f, _ in found], "tone": [t for _, t in found]}


def pictures(rows: int = 240) -> dict[str, list[Any]]:
    """A bright square or a bright frame in the upper or the lower half, over noise that says nothing."""
    rng = np.random.default_rng(2)
    images, labels, halves = [], [], []
    for _ in range(rows):
        image = rng.integers(0, 60, (16, 16, 1), np.uint8)
        upper, hollow = rng.random() < 0.5, rng.random() < 0.5
        y, x = int(rng.integers(0, 3)) + (0 if upper else 8), int(rng.integers(0, 11))
        image[y : y + 5, x : x + 5] = 230
        if hollow:
            image[y + 1 : y + 4, x + 1 : x + 4] = 20
        images.append(image)
        labels.append("frame" if hollow else "square")
        halves.append(upper)
    return {"image": images, "shape": labels, "upper": halves}


def seen(rows: int = 240) -> dict[str, list[Any]]:
    """The pictures and what they show."""
    return {name: values for name, values in pictures(rows).items() if name != "upper"}


def waves(rows: int = 120) -> dict[str, list[Any]]:
    """A hump near the end, or none."""
    rng = np.random.default_rng(3)
    series, labels = [], []
    for _ in range(rows):
        line = rng.normal(0, 0.2, 48)
        hump = rng.random() < 0.5
        line[36:42] += 2.0 * hump
        series.append(line.tolist())
        labels.append("hump" if hump else "flat")
    return {"wave": series, "kind": labels}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, shinso.Run]:
    folder = tmp_path_factory.mktemp("explained")
    fast = {**FAST, "train.epochs": 12}
    return {
        "table": train(folder / "table", predict="price", given=["area", "city"], settings=fast),
        "text": train(
            folder / "text", texts(), predict="tone", types={"text": "text"},
            settings={**fast, "train.epochs": 8},
        ),
        "bags": train(
            folder / "bags", texts(), predict="tone", types={"text": "text"}, model="bags",
            settings={**fast, "train.epochs": 16},
        ),
        "image": train(
            folder / "image", seen(), predict="shape",
            settings={**fast, "train.augment": "none", "train.epochs": 14, "train.batch_size": 20},
        ),
        "series": train(folder / "series", waves(), predict="kind", settings={**fast, "train.epochs": 30}),
    }  # fmt: skip


def games(run: shinso.Run, data: Any, count: int = 3) -> list[Game]:
    directory = RunDirectory(run.path)
    scorer = scorer_of(directory, None)
    return games_of(directory.network, directory.schema, scorer, Table.read(data), np.arange(count), "cpu")


def test_shapley_values_are_exact_for_few_players(runs: dict[str, shinso.Run]) -> None:
    game = games(runs["table"], houses(9))[0]
    values = shap(game, np.random.default_rng(0))
    brute = np.zeros(len(game.players))
    orders = list(permutations(range(len(game.players))))
    for order in orders:
        kept = game.none.copy()
        for player in order:
            before = game(kept)[0]
            kept[0, player] = True
            brute[player] += (game(kept)[0] - before) / len(orders)
    assert values == pytest.approx(brute, abs=1e-5)
    assert values.sum() == pytest.approx(game(game.all)[0] - game(game.none)[0], abs=1e-6)


def test_sampled_shapley_values_of_a_linear_game_are_its_slopes() -> None:
    rng = np.random.default_rng(0)
    slopes = rng.normal(size=30)
    kept, weights = sampled(30, rng)
    assert constrained(kept, weights, kept @ slopes, slopes.sum()) == pytest.approx(slopes, abs=1e-8)
    kept, weights = enumerated(4)
    assert len(kept) == 14 and kept.any(1).all() and not kept.all(1).any()


@pytest.mark.parametrize("method", ["shap", "occlusion", "lime", "integrated_gradients", "gradient_shap"])
def test_the_word_that_decides_is_marked(runs: dict[str, shinso.Run], method: str) -> None:
    the_word_is_marked(runs["text"], method)


@pytest.mark.parametrize("method", ["shap", "integrated_gradients", "gradient_shap"])
def test_bags_of_ngrams_are_explained(runs: dict[str, shinso.Run], method: str) -> None:
    the_word_is_marked(runs["bags"], method)


def the_word_is_marked(run: shinso.Run, method: str) -> None:
    for game in games(run, texts(), 4):
        values = METHODS[method].run(game, np.random.default_rng(0))
        names = [player.name for player in game.players]
        assert names[int(values.argmax())] == game.scorer.label(game.target)[0], (names, values)


@pytest.mark.parametrize(
    "method", ["shap", "occlusion", "lime", "integrated_gradients", "gradient_shap", "gradcam"]
)
def test_the_half_with_the_object_is_marked(runs: dict[str, shinso.Run], method: str) -> None:
    data, shares = pictures(), []
    for i, game in enumerate(games(runs["image"], seen(), 8)):
        values = np.abs(METHODS[method].run(game, np.random.default_rng(0))).reshape(8, 8)
        mine = values[:4] if data["upper"][i] else values[4:]
        shares.append(mine.sum() / values.sum())
    assert np.mean(shares) >= 0.75, shares


@pytest.mark.parametrize("method", ["shap", "occlusion", "integrated_gradients"])
def test_the_hump_is_marked(runs: dict[str, shinso.Run], method: str) -> None:
    data = waves()
    found = []
    for i, game in enumerate(games(runs["series"], data, 8)):
        if data["kind"][i] == "hump" and game.scorer.label(game.target) == "hump":
            values = METHODS[method].run(game, np.random.default_rng(0))
            first, last = game.players[int(values.argmax())].parts[0]  # type: ignore[misc]
            found.append(first >= 33 and last <= 45)
    assert found and np.mean(found) >= 0.75


def test_the_reference_gives_the_same_gradients_and_losses_of_parts(runs: dict[str, shinso.Run]) -> None:
    attr = pytest.importorskip("captum.attr")
    import torch

    game = games(runs["table"], houses(9))[0]

    def worth(kept: Any) -> Any:
        return torch.tensor(game(kept.numpy() > 0.5))

    whole = torch.ones(1, len(game.players))
    ablated = attr.FeatureAblation(worth).attribute(whole)
    assert ablated.numpy()[0] == pytest.approx(occlusion(game, np.random.default_rng(0)), abs=1e-5)
    picture = games(runs["image"], seen(), 1)[0]
    base, hidden = (picture.batch(kept)["image"].float() for kept in (picture.all, picture.none))

    def evidence(pixels: Any) -> Any:
        outputs = picture.scorer.outputs(picture.network, {"image": pixels}, len(pixels))
        return picture.scorer.evidence(outputs, torch.full((len(pixels),), picture.target))

    theirs = attr.IntegratedGradients(evidence).attribute(base, hidden, n_steps=32, method="riemann_middle")
    by_patch = theirs[0, ..., 0].reshape(8, 2, 8, 2).sum((1, 3)).flatten().detach().numpy()
    assert integrated_gradients(picture, np.random.default_rng(0)) == pytest.approx(by_patch, abs=2e-3)


def test_a_coalition_is_what_hiding_its_parts_one_by_one_gives() -> None:
    rng = np.random.default_rng(0)
    image = Image(name="i").fit(Image.examples(rng, 6))
    text = Text(name="t").fit(object_array(texts()["text"]))

    for column, value in ((image, Image.examples(rng, 1)[0]), (text, texts()["text"][0])):
        seat = Seat(column, value)
        kept = rng.random((5, len(seat.groups))) < 0.5
        for row, coalition in zip(seat.encode(kept), kept, strict=True):
            wanted = column.encode(
                seat.hidden([g for g, k in zip(seat.groups, coalition, strict=True) if not k])
            )
            assert np.array_equal(row[: len(wanted)], wanted)


def test_pictures_are_valid_whatever_a_value_holds() -> None:
    """Letters that XML forbids would leave a picture empty; a gap over a whole series has nothing to draw."""
    text = Text(name="t").fit(object_array(texts()["text"]))
    seat = Seat(text, "映画は\x08 良い\ud83d \x0cとても <b>&\x00")
    drawn = ElementTree.fromstring(words(seat, np.ones(len(seat.groups))))
    assert "映画は�" in "".join(drawn.itertext())
    readings = np.sin(np.arange(40.0))[:, None] * [1.0, 2.0]
    series = Series(name="s").fit(object_array([readings, readings + 1]))
    readings[:, 1] = np.nan
    seat = Seat(series, readings)
    drawn = ElementTree.fromstring(spans(seat, np.ones(len(seat.groups))))
    assert len(drawn.findall("{*}path")) == 1


def test_tokens_are_shared_out_to_words_in_japanese_too() -> None:
    column = Text(name="t").fit(object_array(texts()["text"]))
    value = "映画は 良い　ｆｕｎ☃"
    groups = [(span,) for span in column.parts(value)]
    ids = column.encode(value)
    shares = tokens_of_groups(column, value, groups, ids)
    bare = np.array([len(column.tokens[int(i)].replace(b" ", b"")) > 0 for i in ids])
    assert shares.sum(1)[bare] == pytest.approx(1.0)
    assert (shares.sum(0) > 0).all()


def test_explanations_of_a_trained_network_pass_and_wrong_ones_do_not(runs: dict[str, shinso.Run]) -> None:
    found = games(runs["image"], seen(), 6)
    rng = np.random.default_rng(0)
    gains, turned = [], []
    for game in found:
        values = occlusion(game, rng)
        gains.append(checks.curves(game, values, rng).gain)
        turned.append(checks.curves(game, -values, rng).gain)
    trust = {
        "faithfulness": checks.estimate(list(gains)), "p": 0.001, "leftover": None, "moved": 0.5,
        "randomised": {"value": 0.0}, "stability": {"value": 0.9},
    }  # fmt: skip
    assert min(gains) > 0 > max(turned)
    assert checks.verdict(trust) == []
    worse = {
        "faithfulness": checks.estimate(list(turned)), "randomised": {"value": 0.9},
        "stability": {"value": 0.1}, "leftover": 0.5, "moved": 0.001,
    }  # fmt: skip
    against = checks.verdict({**trust, **worse})
    assert len(against) == 5 and "random" in against[0]


def test_explain_writes_pictures_json_page_and_a_section(runs: dict[str, shinso.Run], tmp_path: Path) -> None:
    found = runs["text"].explain(texts(20), rows=3)
    folder = runs["text"].path / "explanations"
    assert len(found["rows"]) == 3 and found["trust"]["faithfulness"]["value"] is not None
    assert sorted(p.name for p in folder.glob("row-*")) == ["row-1.svg", "row-2.svg", "row-3.svg"]
    stored = json.loads((folder / "explanation.json").read_text("utf-8"))
    assert stored["rows"][0]["parts"] == found["rows"][0]["parts"]
    assert "良" in (folder / "row-1.svg").read_text("utf-8") + (folder / "row-2.svg").read_text("utf-8")
    assert 'id="explanations"' in (runs["text"].path / "report.html").read_text("utf-8")
    assert {one["name"] for one in found["overall"][:2]} == {"良", "悪"}
    assert found["permutation"][0]["value"] > 0.2
    assert RunDirectory(runs["text"].path).evaluation  # the run is whole after its report was written again
    kept = shinso.explain(runs["image"], seen(10), rows=2, out=tmp_path / "seen", quiet=True)
    assert (tmp_path / "seen" / "row-2.png").read_bytes()[:4] == b"\x89PNG" and len(kept["rows"]) == 2


def test_every_number_stays_a_number_for_tables(runs: dict[str, shinso.Run], tmp_path: Path) -> None:
    data = houses(30)
    data["area"][3] = math.nan
    found = shinso.explain(runs["table"], data, rows=30, out=tmp_path / "x", quiet=True)
    parts = found["rows"][0]["parts"]
    total = sum(part["value"] for part in parts)
    row = found["rows"][0]
    assert total == pytest.approx(row["value"] - row["hidden"], abs=1e-3 * abs(row["value"]))
    assert found["permutation"][0]["column"] == "area"


def test_nearest_training_rows_are_of_the_same_kind(runs: dict[str, shinso.Run], tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    data = texts()
    rows = [
        json.dumps({"text": a, "tone": b}, ensure_ascii=False) for a, b in zip(*data.values(), strict=True)
    ]
    path.write_text("\n".join(rows), "utf-8")
    run = train(tmp_path, path, predict="tone", types={"text": "text"}, settings={**FAST, "train.epochs": 8})
    found = run.explain(texts(6), method="nearest", rows=2)["nearest"]
    assert all(n["target"] == one["answer"] for one in found for n in one["neighbours"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "gradcan"}, "Did you mean 'gradcam'"),
        ({"method": "gradcam"}, "features that keep their places"),
        ({"method": "attention"}, "shap, occlusion, lime"),
        ({"rows": 0}, "--rows must be 1 or more"),
    ],
)
def test_what_does_not_suit_is_said(
    runs: dict[str, shinso.Run], options: Any, words: str, tmp_path: Path
) -> None:
    with pytest.raises(shinso.SettingError, match=words):
        shinso.explain(runs["table"], houses(5), out=tmp_path / "x", quiet=True, **options)
    assert not (tmp_path / "x").exists()


def test_missing_columns_and_unknown_outputs_are_said(runs: dict[str, shinso.Run]) -> None:
    with pytest.raises(shinso.DataError, match="no column 'area'"):
        shinso.explain(runs["table"], {"city": ["Kyoto"]}, quiet=True)
    with pytest.raises(shinso.DataError, match="needs the true 'tone'"):
        shinso.explain(runs["text"], {"text": ["良い"]}, method="permutation", quiet=True)
    with pytest.raises(shinso.SettingError, match="does not predict 'rice'"):
        shinso.explain(runs["table"], houses(5), column="rice", quiet=True)


def test_attention_is_heard_without_asking_the_model() -> None:
    import torch
    import torch.nn.functional as F
    from torch import nn

    from shinso.explaining.attention import Listener, raising, rollout
    from shinso.layers.selfattention import attend

    query = torch.randn(1, 2, 5, 4, generator=torch.Generator().manual_seed(0))
    listener = Listener()
    with listener:
        F.scaled_dot_product_attention(query, query, query, is_causal=True)
    (weights,) = listener.weights
    assert weights.shape == (1, 2, 5, 5)
    assert weights.sum(-1).flatten().tolist() == pytest.approx([1.0] * 10)
    assert torch.equal(weights[0, 0].triu(1), torch.zeros(5, 5))
    assert float(rollout([weights[0, 0].detach()]).sum()) == pytest.approx(2.0)
    listener = Listener()
    with listener:
        F.scaled_dot_product_attention(query, query, query, scale=1.0)  # as T5 has it
    wanted = (query @ query.transpose(-1, -2)).softmax(-1)
    assert torch.allclose(listener.weights[0], wanted, atol=1e-6)
    layer, tokens = nn.MultiheadAttention(8, 2, batch_first=True), torch.randn(1, 5, 8)
    listener = Listener()
    with listener:
        mixed = attend(layer, tokens)  # by products, as ViT does on a CPU
    wanted = layer(tokens, tokens, tokens)[1]
    assert torch.allclose(listener.weights[0].mean(0, keepdim=True), wanted, atol=1e-6)
    (slope,) = torch.autograd.grad(mixed.sum(), listener.weights)  # they are on the way to the answer
    assert slope.shape == (2, 5, 5) and bool((raising(listener.weights[0], -slope) >= 0).all())
    shared = torch.randn(1, 1, 5, 4)
    with Listener() as listener:
        mixed = F.scaled_dot_product_attention(query, shared, shared, enable_gqa=True)
    assert torch.allclose(
        mixed, F.scaled_dot_product_attention(query, shared, shared, enable_gqa=True), atol=1e-6
    )


def test_lime_and_gradcam_use_only_their_own_generator(runs: dict[str, shinso.Run]) -> None:
    import torch

    game = games(runs["image"], seen(), 1)[0]
    state = torch.get_rng_state()
    one, two = (lime(game, np.random.default_rng(5)) for _ in range(2))
    gradcam(game, np.random.default_rng(5))
    assert np.array_equal(one, two) and torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("method", ["shap", "integrated_gradients", "gradient_shap"])
def test_a_text_is_stable_when_a_word_goes(runs: dict[str, shinso.Run], method: str) -> None:
    for game in games(runs["text"], texts(), 3):
        values = METHODS[method].run(game, np.random.default_rng(0))
        found = checks.stability(method, game, values, np.random.default_rng(1))
        assert found is not None and found > 0
