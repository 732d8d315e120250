"""Settings: declared once, bounded, frozen, written and read as TOML."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shinso.config import RunConfig, TrainConfig, settings
from shinso.errors import SettingError


def test_every_setting_has_help_and_a_default() -> None:
    for name, field in settings().items():
        assert field.description and field.description.endswith("."), name
        assert not field.is_required(), name


def test_search_ranges_lie_inside_the_bounds() -> None:
    for name, field in settings().items():
        extra = field.json_schema_extra
        if isinstance(extra, dict):
            low, high = extra["search"]
            for value in (low, high):
                RunConfig().override({name: value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.learning_rat": 1}, "Did you mean 'train.learning_rate'"),
        ({"trian.epochs": 1}, "Did you mean 'train.epochs'"),
        ({"train.epochs.x": 1}, "no setting 'train.epochs.x'"),
        ({"train.learning_rate": 99}, "less than or equal to 10"),
        ({"train.learning_rate": "abc"}, "'train.learning_rate'.*valid number.*'abc'"),
        ({"train.learning_rate": float("nan")}, "finite"),
        ({"train.optimizer": "adan"}, "'adagrad' or 'muon'"),
        ({"effort": "huge"}, "'quick', 'balanced' or 'best'"),
    ],
)
def test_wrong_settings_say_what_to_do(changes: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        RunConfig().override(changes)


def test_text_from_the_command_line_becomes_the_declared_type() -> None:
    config = RunConfig().override(
        {"train.epochs": "3", "train.learning_rate": "3e-3", "data.stratify": "false"}
    )
    assert (config.train.epochs, config.train.learning_rate, config.data.stratify) == (3, 3e-3, False)


def test_configs_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        TrainConfig().epochs = 3  # type: ignore[misc]


@given(
    name=st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20),
    rate=st.floats(1e-7, 10.0), seed=st.integers(0, 2**31 - 1), stratify=st.booleans(),
)  # fmt: skip
def test_toml_round_trip(tmp_path_factory, name: str, rate: float, seed: int, stratify: bool) -> None:
    config = RunConfig().override(
        {"model.name": name, "train.learning_rate": rate, "seed": seed, "data.stratify": stratify}
    )
    path = tmp_path_factory.mktemp("toml") / "config.toml"
    path.write_text(config.to_toml(), "utf-8")
    assert RunConfig.from_toml(path) == config


def test_broken_toml_names_the_file(tmp_path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("effort = [", "utf-8")
    with pytest.raises(SettingError, match=r"config.toml is not a valid settings file"):
        RunConfig.from_toml(path)
