"""Which LoRA alpha suits a rank? One adapter for each alpha/rank from 0.1 to 2.0, on any local model.

    python -m recipes.lora_sweep --model FOLDER --export RUN/export

reads    a model with its tokenizer; `sft-completion/` of an export with a test split (`--split 90/10`), fitted to what
         the model and the machine can hold (`--fit N --tokenizer FOLDER`)
writes   the table: loss on the accepted turns of both splits, size of the change, repetition in a greedy continuation

The size is the norm of alpha/rank · BA over all adapted layers. rsLoRA divides alpha by the root of the rank instead:
with it the same alpha is √rank times as strong, which the last row shows.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, load_dataset
from peft import LoraConfig
from transformers import AutoTokenizer
from trl import SFTConfig, SFTTrainer

RATIOS = (0.1, 0.25, 0.5, 1.0, 2.0)
CONTINUED = 48
"""Tokens of the greedy continuation."""


@dataclass(frozen=True)
class Outcome:
    trained: float
    held_out: float
    change: float
    repeated: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a folder with a model and its tokenizer")
    parser.add_argument("--export", type=Path, default=Path("export"), help="the folder that `duel export` wrote")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--ratios", type=float, nargs="+", default=RATIOS, help="alpha/rank (default: 0.1 to 2.0)")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate (default: 1e-3)")
    parser.add_argument("--seeds", type=int, default=1)
    asked = parser.parse_args()
    train, test = (split(asked.export, name) for name in ("train", "test"))
    longest = json.loads((asked.export / "manifest.json").read_text())["formats"]["sft-completion"]["lengths"][
        "longest"
    ]
    print(
        f"{len(train)} rows to train on, {len(test)} held out, the longest of {longest:,} tokens; rank {asked.rank}\n"
    )
    print("| alpha/rank | train loss | held-out loss | change | repeated pairs |\n|---|---|---|---|---|")
    for ratio, rslora in [*((ratio, False) for ratio in asked.ratios), (asked.ratios[-1], True)]:
        adapter = LoraConfig(
            r=asked.rank,
            lora_alpha=asked.rank * ratio,
            use_rslora=rslora,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        outcomes = [tuned(asked, adapter, train, test, longest, seed) for seed in range(asked.seeds)]
        columns = [figure([getattr(outcome, name) for outcome in outcomes]) for name in Outcome.__annotations__]
        print(f"| {ratio:g}{' rsLoRA' if rslora else ''} | {' | '.join(columns)} |", flush=True)


def split(export: Path, name: str) -> Dataset:
    file = export / "sft-completion" / f"{name}.jsonl"
    if not file.is_file():
        raise SystemExit(f"error: no such file: {file}\n\nhint: duel export --format sft-completion --split 90/10")
    return load_dataset("json", data_files=str(file), split="train")


def tuned(
    asked: argparse.Namespace, adapter: LoraConfig, train: Dataset, test: Dataset, longest: int, seed: int
) -> Outcome:
    torch.manual_seed(seed)
    config = SFTConfig(
        output_dir=str(asked.export / ".lora-sweep"),
        max_length=longest,
        completion_only_loss=True,
        packing=False,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=4,
        per_device_eval_batch_size=2,
        max_steps=asked.steps,
        learning_rate=asked.rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=2,
        seed=seed,
        eval_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        bf16=torch.cuda.is_available(),
        use_cpu=not torch.cuda.is_available(),
    )
    tokenizer = AutoTokenizer.from_pretrained(asked.model)
    trainer = SFTTrainer(
        model=asked.model,
        args=config,
        train_dataset=train,
        eval_dataset={"train": train, "test": test},
        processing_class=tokenizer,
        peft_config=adapter,
    )
    trainer.train()
    losses = trainer.evaluate()
    repeated = repetition(trainer.model, tokenizer, test[0]["prompt"])
    return Outcome(losses["eval_train_loss"], losses["eval_test_loss"], change(trainer.model), repeated)


def change(model: Any) -> float:
    """The norm of what the adapter adds to the weights."""
    layers = [layer for layer in model.modules() if "default" in getattr(layer, "lora_A", ())]
    added = (
        layer.lora_B["default"].weight @ layer.lora_A["default"].weight * layer.scaling["default"] for layer in layers
    )
    return sum(float(part.detach().float().norm()) ** 2 for part in added) ** 0.5


@torch.no_grad()
def repetition(model: Any, tokenizer: Any, prompt: list[dict[str, str]]) -> float:
    """Share of the token pairs of a greedy continuation that it holds already: an adapter that is too strong loops."""
    asked = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    model.eval()
    written = model.generate(
        **asked.to(model.device), max_new_tokens=CONTINUED, do_sample=False, pad_token_id=tokenizer.pad_token_id
    )
    tokens = written[0][asked["input_ids"].shape[1] :].tolist()
    pairs = list(pairwise(tokens))
    return 1 - len(set(pairs)) / len(pairs) if pairs else 0.0


def figure(values: Sequence[float]) -> str:
    """The mean, and where there are several its standard error."""
    error = f" ± {statistics.stdev(values) / len(values) ** 0.5:.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{error}"


if __name__ == "__main__":
    main()
