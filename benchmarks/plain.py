"""Fine-tuning as the usual GLUE scripts do it: all pairs padded to one length, fp32, transformers' defaults."""

from __future__ import annotations

import time
from pathlib import Path

import pyarrow.parquet as pq
import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_linear_schedule_with_warmup

SPLITS = ("train", "report")


class Plain:
    """A run that pads to ``length`` and can be stopped and gone on with: ``seconds`` is what its steps took."""

    def __init__(
        self,
        data: Path,
        model: Path,
        length: int,
        steps: int,
        batch_size: int,
        learning_rate: float,
        seed: int,
        at: torch.device,
    ) -> None:
        torch.manual_seed(seed)
        self.device = at
        tokenizer = AutoTokenizer.from_pretrained(model)
        self.train, self.report = (self._rows(data / f"{split}.parquet", tokenizer, length) for split in SPLITS)
        self.model = AutoModelForSequenceClassification.from_pretrained(model, num_labels=2).to(at).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=learning_rate, weight_decay=0.01, fused=True)
        self.schedule = get_linear_schedule_with_warmup(self.optimizer, steps // 10, steps)
        self.batches = self._batches(batch_size)
        self.pairs, self.seconds = 0, 0.0

    @staticmethod
    def _rows(file: Path, tokenizer, length: int):
        rows = pq.read_table(file)
        encoded = tokenizer(
            rows["text_a"].to_pylist(), rows["text_b"].to_pylist(), padding="max_length", truncation=True,
            max_length=length, return_tensors="pt",
        )  # fmt: skip
        labels = torch.from_numpy(rows["label"].to_numpy().copy())
        return [{**{name: encoded[name][i] for name in encoded}, "labels": labels[i]} for i in range(len(labels))]

    def _batches(self, size: int):
        loader = DataLoader(self.train, batch_size=size, shuffle=True)
        while True:
            yield from loader

    def advance(self, steps: int) -> None:
        """Make ``steps`` more updates."""
        started = time.perf_counter()
        for _ in range(steps):
            batch = {name: tensor.to(self.device) for name, tensor in next(self.batches).items()}
            self.model(**batch).loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.schedule.step()
            self.optimizer.zero_grad()
            self.pairs += len(batch["labels"])
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self.seconds += time.perf_counter() - started

    @torch.inference_mode()
    def predict(self, batch_size: int) -> torch.Tensor:
        """Return the logits of the reported pairs, without dropout."""
        self.model.eval()
        loader = DataLoader(self.report, batch_size=batch_size)
        said = [self.model(**{name: rows.to(self.device) for name, rows in batch.items()}).logits for batch in loader]
        self.model.train()
        return torch.cat(said).cpu()
