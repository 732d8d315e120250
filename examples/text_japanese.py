"""Japanese text without a dictionary: which shop a message is meant for. 日本語の短い文を分類します。"""

from __future__ import annotations

import argparse

import numpy as np

import shinso

SHOPS = {
    "本屋": ("小説", "雑誌", "辞書", "絵本", "地図"),
    "花屋": ("薔薇", "花束", "チューリップ", "鉢植え", "百合"),
    "自転車屋": ("タイヤ", "ブレーキ", "チェーン", "サドル", "ライト"),
}
SENTENCES = (
    "{}はありますか。",
    "{}を予約したいのですが。",
    "先週買った{}について聞きたいです。",
    "{}を見せてください！",
)


def messages(rows: int) -> dict[str, list[str]]:
    """Made-up messages and the shops they are for."""
    rng = np.random.default_rng(0)
    table: dict[str, list[str]] = {"メッセージ": [], "店": []}
    for _ in range(rows):
        shop = str(rng.choice(list(SHOPS)))
        one, two = rng.choice(SHOPS[shop], 2, replace=False)
        table["メッセージ"].append(str(rng.choice(SENTENCES)).format(f"{one}と{two}"))
        table["店"].append(shop)
    return table


def main(*, tiny: bool = False) -> shinso.Run:
    """Train and answer two new messages."""
    settings = {"train.epochs": 2, "model.width": 16} if tiny else None
    run = shinso.train(messages(120 if tiny else 1000), predict="店", effort="quick", settings=settings)
    for message in ("ﾁｪｰﾝとサドルを見せて", "薔薇の花束をください"):
        print(message, "->", run.predict([{"メッセージ": message}])["店"][0])
    return run


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="120 messages, two passes over them")
    main(tiny=parser.parse_args().tiny)
