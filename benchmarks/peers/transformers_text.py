"""Peer: transformers' Trainer on SST-2 sentences: two layers of BERT from scratch."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path
from typing import Any

import torchvision_operators  # noqa: F401  (before transformers, which imports torchvision)
import side
import torch
from tokenizers import BertWordPieceTokenizer
from torch.utils.data import Dataset
from transformers import (
    BertConfig, BertForSequenceClassification, BertTokenizerFast, DataCollatorWithPadding, Trainer,
    TrainerCallback, TrainingArguments,
)  # fmt: skip

TARGET, EPOCHS, BATCH, RATE = 0.80, 6, 32, 5e-4
VOCABULARY, WIDTH, HEADS, LAYERS = 8000, 128, 4, 2
LABELS = ("negative", "positive")
warnings.simplefilter("ignore")


def read(path: Path) -> tuple[list[str], list[int]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [row["sentence"] for row in rows], [LABELS.index(row["sentiment"]) for row in rows]


def tokenizer_of(texts: list[str], folder: Path) -> BertTokenizerFast:
    """A WordPiece vocabulary learned from the training rows."""
    learned = BertWordPieceTokenizer(lowercase=True)
    learned.train_from_iterator(texts, vocab_size=VOCABULARY, min_frequency=2, show_progress=False)
    learned.save(str(folder / "tokenizer.json"))
    return BertTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))


class Rows(Dataset[dict[str, Any]]):
    """Token ids and label of each sentence."""

    def __init__(self, tokenizer: BertTokenizerFast, texts: list[str], labels: list[int]) -> None:
        self.ids, self.labels = tokenizer(texts, truncation=True, max_length=64)["input_ids"], labels

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"input_ids": self.ids[index], "labels": self.labels[index]}


class Lap(TrainerCallback):
    """Looks at the test rows after each epoch, with the clock stopped; ends at the target."""

    def __init__(self, race: side.Race, test: Rows, collate: Any) -> None:
        self.race, self.test, self.collate = race, test, collate

    def on_epoch_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        control.should_training_stop = self.race.lap(lambda: measured(model, self.test, self.collate))


def measured(model: Any, test: Rows, collate: Any) -> float:
    """Accuracy over the test rows."""
    training, right = model.training, 0
    model.eval()
    with torch.no_grad():
        for start in range(0, len(test), 128):
            batch = collate([test[i] for i in range(start, min(len(test), start + 128))])
            labels = batch.pop("labels")
            right += int((model(**batch).logits.argmax(1) == labels).sum())
    model.train(training)
    return right / len(test)


def main() -> None:
    asked = side.arguments()
    race = side.Race(TARGET)
    torch.manual_seed(0)
    texts, labels = read(asked.data / "train.csv")
    if asked.short:
        texts, labels = texts[:300], labels[:300]
    tokenizer = tokenizer_of(texts, asked.work)
    config = BertConfig(
        vocab_size=tokenizer.vocab_size, hidden_size=WIDTH, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, intermediate_size=4 * WIDTH, max_position_embeddings=64,
    )  # fmt: skip
    train, collate = Rows(tokenizer, texts, labels), DataCollatorWithPadding(tokenizer)
    with race.clock.stopped():
        test = Rows(tokenizer, *read(asked.data / "test.csv"))
    settings = TrainingArguments(
        output_dir=str(asked.work / "out"), num_train_epochs=1 if asked.short else EPOCHS,
        per_device_train_batch_size=BATCH, learning_rate=RATE, warmup_steps=100, save_strategy="no",
        report_to="none", disable_tqdm=True, use_cpu=True, bf16=asked.knob, dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = Trainer(
        model=BertForSequenceClassification(config), args=settings, train_dataset=train,
        data_collator=collate, callbacks=[Lap(race, test, collate)],
    )  # fmt: skip
    trainer.train()
    race.answer()


if __name__ == "__main__":
    main()
