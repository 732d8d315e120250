"""The table of methods that explain one row. To add one: write the file, add its line."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..errors import SettingError, did_you_mean
from ..schema import Schema
from .attention import attention
from .game import Game
from .gradcam import gradcam
from .gradients import gradient_shap, integrated_gradients
from .lime import lime
from .occlusion import occlusion
from .scoring import Floats
from .shap import shap


class Method(NamedTuple):
    """How it works, in words, and what its numbers are."""

    run: Callable[[Game, np.random.Generator], Floats]
    words: str
    adds_up: bool = False  # the values add up to the answer minus the answer with everything hidden
    signed: bool = True  # a part may speak against the answer


METHODS: dict[str, Method] = {
    "shap": Method(shap, "Shapley values of the parts, by hiding them in many combinations", adds_up=True),
    "occlusion": Method(occlusion, "what is lost when one part alone is hidden"),
    "lime": Method(lime, "a linear model of the network around the row"),
    "integrated_gradients": Method(
        integrated_gradients, "gradients along the way from the hidden row to the row", adds_up=True
    ),
    "gradient_shap": Method(
        gradient_shap, "gradients at random points of that way, with noise", adds_up=True
    ),
    "gradcam": Method(gradcam, "where the last feature maps raise the answer", signed=False),
    "attention": Method(
        attention, "what the tokens look at where that raises the answer (no proof of a cause)", signed=False
    ),
}
OTHERS = ("permutation", "nearest")  # verbs of their own on the whole data
DEFAULT = "shap"


def choose(name: str | None, schema: Schema) -> str:
    """The method to use: the one asked for, else the default; an unknown name is a `SettingError`."""
    chosen = name or DEFAULT
    if chosen not in METHODS and chosen not in OTHERS:
        raise SettingError(f"There is no method {chosen!r}. {did_you_mean(chosen, (*METHODS, *OTHERS))}")
    return chosen
