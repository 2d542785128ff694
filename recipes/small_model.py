"""A small transformer from scratch: its tokenizer, its weights, and a plain training loop. No download."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

Message: TypeAlias = Mapping[str, str]
Sample: TypeAlias = tuple[list[int], list[int]]
"""Token ids, and the same as labels with `UNTRAINED` where there is no loss."""

VOCABULARY = 2_048
WINDOW = 256
BATCH = 8
UNTRAINED = -100
SPECIAL = "<|endoftext|> <|im_start|> <|im_end|> <think> </think> <tool_call> </tool_call>".split()
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def trained_tokenizer(texts: Sequence[str], vocabulary: int = VOCABULARY) -> PreTrainedTokenizerFast:
    """A byte-level BPE of `texts` with a ChatML template; without texts a token is a byte."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(token, special=True) for token in SPECIAL]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    wrapped.chat_template = CHATML
    return wrapped


def random_model(tokenizer: PreTrainedTokenizerFast, *, width: int = 128, layers: int = 2) -> Any:
    """A Qwen3 of the given width with random weights; the caller seeds torch."""
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=width // 4,
        max_position_embeddings=16_384,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    return Qwen3ForCausalLM(config).to(DEVICE)


def rendered(messages: Sequence[Message]) -> str:
    return "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)


def windows(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[Sample]:
    """The texts one after another in windows of equal length, with the loss on every token."""
    ids = [token for text in texts for token in tokenizer(text)["input_ids"]]
    cut = [ids[start : start + WINDOW] for start in range(0, len(ids) - WINDOW + 1, WINDOW)]
    return [(window, window) for window in cut]


def turn_sample(tokenizer: PreTrainedTokenizerFast, history: Sequence[Message], turn: str) -> Sample:
    """A turn with the loss on it alone, behind as much of the end of its history as the window holds."""
    before = tokenizer(rendered(history) + "<|im_start|>assistant\n")["input_ids"]
    wanted = tokenizer(f"{turn}<|im_end|>\n")["input_ids"][: WINDOW // 2]
    before = before[-(WINDOW - len(wanted)) :]
    return before + wanted, [UNTRAINED] * len(before) + wanted


def train(model: Any, samples: Sequence[Sample], steps: int, rate: float, seed: int) -> None:
    """`steps` of AdamW over shuffled samples, the rate warmed up for a tenth of them and then brought down to zero."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    warm = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, max(0.0, (steps - step) / (steps - warm + 1)))
    )
    model.train()
    for _, batch in zip(range(steps), _batches(samples, random.Random(seed)), strict=False):
        loss, tokens = _loss(model, batch)
        optimizer.zero_grad()
        (loss / tokens).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()


@torch.no_grad()
def mean_loss(model: Any, samples: Sequence[Sample]) -> float:
    """Nats a token over all labeled tokens."""
    model.eval()
    parts = [_loss(model, samples[start : start + BATCH]) for start in range(0, len(samples), BATCH)]
    return float(sum(float(loss) for loss, _ in parts) / sum(tokens for _, tokens in parts))


def save(model: Any, tokenizer: PreTrainedTokenizerFast, folder: Path) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _batches(samples: Sequence[Sample], draw: random.Random) -> Iterator[list[Sample]]:
    """Samples without end: each once before any comes again."""
    waiting: list[Sample] = []
    while True:
        while len(waiting) < min(BATCH, len(samples)):
            waiting += draw.sample(list(samples), len(samples))
        yield waiting[:BATCH]
        waiting = waiting[BATCH:]


def _loss(model: Any, batch: Sequence[Sample]) -> tuple[torch.Tensor, int]:
    """(summed loss, labeled tokens) of a batch; what is padded on the right is seen by no token before it."""
    longest = max(len(ids) for ids, _ in batch)
    ids = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids, _ in batch], device=DEVICE)
    labels = torch.tensor([[*labels, *[UNTRAINED] * (longest - len(labels))] for _, labels in batch], device=DEVICE)
    labels = labels[:, 1:]
    logits = model(input_ids=ids).logits[:, :-1]
    total = cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=UNTRAINED, reduction="sum")
    return total, int((labels != UNTRAINED).sum())
