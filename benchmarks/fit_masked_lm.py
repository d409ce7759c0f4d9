"""Fit a masked-LM head, and the encoder with it, of a BERT folder on plain text; tell how it predicts held-out text.

    python benchmarks/fit_masked_lm.py ENCODER_DIR --corpus FILE --to DIR --minutes 30

What comes out is a folder for `compressbench augment --mlm` and `distill:mlm=`. For encoders that lost their head, or
never had one; models that were published with one, as bert-base-uncased, need none of this. `--layers 0` trains the
head alone: the way to tell how much the encoder has to move.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertForMaskedLM

from compressbench.corpus import Corpus
from compressbench.corpus.packing import packed_rows, tokenized
from compressbench.environment import native_precision, usable_cores
from compressbench.memory import freed_memory_kept
from compressbench.methods.training import autocast, make_optimizer
from compressbench.models.inspection import inspect_model
from compressbench.models.loading import quiet_transformers, save_classifier
from compressbench.models.masked_lm import load_tokenizer

WEIGHT_DECAY = 0.01
WARMUP_FRACTION = 0.06
CLIP_NORM = 1.0
FIRST_GAIN = 0.1  # small, so that frequencies decide until training says otherwise
TOP = 15  # K of the augmentation
IGNORED = -100


@dataclass(frozen=True, kw_only=True)
class Score:
    """What the model knows of held-out blanks."""

    loss: float
    first: float
    """Share of blanks whose word is the most probable one."""
    among: float
    """Share whose word is among the `TOP` most probable."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit, save, and print one line an evaluation as a Markdown table."""
    given = _parser().parse_args(arguments)
    if given.to.exists() and any(given.to.iterdir()):
        sys.exit(f"--to {given.to} is not empty: give a new folder")
    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    folder = inspect_model(str(given.encoder)).path
    tokenizer = load_tokenizer(folder)
    vocabulary = tokenizer.get_vocab()
    mask, cls, sep = (vocabulary[piece] for piece in ("[MASK]", "[CLS]", "[SEP]"))
    ids = packed_rows(tokenized(Corpus(given.corpus).lines(), tokenizer), length=given.length, cls_id=cls, sep_id=sep)
    rows = torch.tensor([row for row in islice(ids, given.rows) if len(row) == given.length])
    if len(rows) <= 2 * given.held_out:
        sys.exit(
            f"{given.corpus} makes {len(rows)} rows of {given.length} pieces: too few to hold {given.held_out} out"
        )
    train, held_out = rows[: -given.held_out - 1], rows[-given.held_out :]  # the row between may share a document
    model = new_masked_lm(folder, counts=torch.bincount(train.flatten(), minlength=tokenizer.get_vocab_size()))
    trained = trained_parts(model, layers=given.layers)
    special = torch.tensor([cls, sep, mask])
    maker = Blanks(mask=mask, special=special, share=given.mask_share, vocabulary=tokenizer.get_vocab_size())
    print(f"{len(train)} rows of {given.length} pieces to learn from, {len(held_out)} held out")
    print(
        f"\n| Steps | Minutes | Held-out loss | Word first | Word among {TOP} |\n| ---: | ---: | ---: | ---: | ---: |"
    )
    with freed_memory_kept():
        fit(model, trained, train, held_out, maker=maker, given=given)
    with quiet_transformers():
        save_classifier(model.to("cpu"), tokenizer_from=folder, to=given.to)
    print(f"\nwritten to {given.to}")
    return 0


def new_masked_lm(folder: Path, *, counts: Tensor) -> BertForMaskedLM:
    """The encoder with a head that begins as: the hidden state as it is, and words by their frequency in the text."""
    with quiet_transformers():
        model = BertForMaskedLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    head = model.cls.predictions
    with torch.no_grad():
        nn.init.eye_(head.transform.dense.weight)
        head.transform.dense.bias.zero_()
        head.transform.LayerNorm.weight.fill_(FIRST_GAIN)
        frequencies = (counts + 0.1).log()
        head.bias[: len(frequencies)] = frequencies - frequencies.mean()
    head.decoder.bias = head.bias
    return model


def trained_parts(model: BertForMaskedLM, *, layers: int) -> list[nn.Module]:
    """The last `layers` of the encoder; all of them takes the embeddings along. The rest, the head apart, is frozen."""
    encoder = model.bert.encoder.layer
    for parameter in model.parameters():
        parameter.requires_grad_(requires_grad=False)
    parts: list[nn.Module] = list(encoder[len(encoder) - min(layers, len(encoder)) :])
    if layers >= len(encoder):
        parts.append(model.bert.embeddings)
    for part in (*parts, model.cls.predictions.transform):
        part.requires_grad_(requires_grad=True)
    model.cls.predictions.bias.requires_grad_(requires_grad=True)
    return parts


@dataclass(frozen=True, kw_only=True)
class Blanks:
    """Makes blanks: a share of the pieces, each replaced by [MASK], as augmentation asks them later."""

    mask: int
    special: Tensor
    share: float
    vocabulary: int

    def of(self, rows: Tensor, *, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Rows with blanks, and where they are: bool."""
        is_blank = torch.rand(rows.shape, generator=rng) < self.share
        is_blank &= ~torch.isin(rows, self.special)
        return rows.masked_fill(is_blank, self.mask), is_blank


def segments(rows: Tensor, *, rng: torch.Generator) -> Tensor:
    """Token types: in every other row the second half is a second sentence, so that pairs are nothing new."""
    types = torch.zeros_like(rows)
    is_pair = torch.rand(len(rows), generator=rng) < 0.5
    types[is_pair, rows.shape[1] // 2 :] = 1
    return types


def fit(
    model: BertForMaskedLM,
    trained: list[nn.Module],
    train: Tensor,
    held_out: Tensor,
    *,
    maker: Blanks,
    given: argparse.Namespace,
) -> None:
    """Train until the steps or the minutes are over, whichever comes first; Ctrl-C ends it too, and all is kept."""
    model.to(given.device)
    optimizer = make_optimizer(
        trained, learning_rate=given.learning_rate, weight_decay=WEIGHT_DECAY, device=given.device
    )
    head = [*model.cls.predictions.transform.parameters(), model.cls.predictions.bias]
    optimizer.add_param_group({"params": head, "lr": given.head_learning_rate, "weight_decay": 0.0})
    highest = [group["lr"] for group in optimizer.param_groups]
    rng = torch.Generator().manual_seed(given.seed)
    start_s = told_s = time.perf_counter()
    _tell(model, held_out, maker=maker, given=given, step=0, minutes=0.0)
    step = 0
    try:
        for rows in _batches(train, size=given.batch_size, rng=rng):
            minutes = (time.perf_counter() - start_s) / 60
            progress = max(step / max(1, given.steps), minutes / given.minutes, float(step >= given.steps))
            if progress >= 1:
                break
            for group, rate in zip(optimizer.param_groups, highest, strict=True):
                group["lr"] = rate * min((progress + 1e-3) / WARMUP_FRACTION, 1 - progress)
            _step(model, optimizer, rows, maker=maker, given=given, rng=rng)
            step += 1
            if time.perf_counter() - told_s > given.tell_minutes * 60:
                _tell(model, held_out, maker=maker, given=given, step=step, minutes=minutes)
                told_s = time.perf_counter()
    except KeyboardInterrupt:
        print("interrupted: what was learned so far is kept", file=sys.stderr)
    _tell(model, held_out, maker=maker, given=given, step=step, minutes=(time.perf_counter() - start_s) / 60)


def _step(
    model: BertForMaskedLM,
    optimizer: torch.optim.Optimizer,
    rows: Tensor,
    *,
    maker: Blanks,
    given: argparse.Namespace,
    rng: torch.Generator,
) -> None:
    blanked, is_blank = maker.of(rows, rng=rng)
    model.train()
    with autocast(device=given.device, precision=given.precision):
        scores = _scores(model, blanked, segments(rows, rng=rng), is_blank, device=given.device)
    loss = functional.cross_entropy(scores.float(), rows[is_blank].to(given.device))
    if not bool(loss.isfinite()):
        sys.exit(f"the loss is {float(loss)}: use lower learning rates")
    loss.backward()
    nn.utils.clip_grad_norm_([each for each in model.parameters() if each.requires_grad], CLIP_NORM)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _scores(model: BertForMaskedLM, ids: Tensor, types: Tensor, is_blank: Tensor, *, device: str) -> Tensor:
    """[blanks, vocabulary]; only blanks go through the head, whose output matrix is a third of the model."""
    hidden = model.bert(input_ids=ids.to(device), token_type_ids=types.to(device)).last_hidden_state
    scores: Tensor = model.cls(hidden[is_blank.to(device)])
    return scores


def evaluate(model: BertForMaskedLM, held_out: Tensor, *, maker: Blanks, given: argparse.Namespace) -> Score:
    """The same blanks each time."""
    rng = torch.Generator().manual_seed(0)
    losses, ranks = [], []
    model.eval()
    with torch.inference_mode(), autocast(device=given.device, precision=given.precision):
        for rows in held_out.split(given.batch_size):
            blanked, is_blank = maker.of(rows, rng=rng)
            scores = _scores(model, blanked, segments(rows, rng=rng), is_blank, device=given.device).float()
            words = rows[is_blank].to(given.device)
            losses.append(functional.cross_entropy(scores, words, reduction="none"))
            ranks.append((scores > scores.gather(1, words[:, None])).sum(dim=1))
    rank = torch.cat(ranks)
    return Score(
        loss=float(torch.cat(losses).mean()),
        first=float((rank == 0).float().mean()),
        among=float((rank < TOP).float().mean()),
    )


def _tell(
    model: BertForMaskedLM,
    held_out: Tensor,
    *,
    maker: Blanks,
    given: argparse.Namespace,
    step: int,
    minutes: float,
) -> None:
    score = evaluate(model, held_out, maker=maker, given=given)
    print(
        f"| {step} | {minutes:.1f} | {score.loss:.3f} | {100 * score.first:.1f} % | {100 * score.among:.1f} % |",
        flush=True,
    )


def _batches(rows: Tensor, *, size: int, rng: torch.Generator) -> Iterator[Tensor]:
    """Endless epochs in random order."""
    while True:
        order = torch.randperm(len(rows), generator=rng)
        for start in range(0, len(rows), size):
            yield rows[order[start : start + size]]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder", type=Path, help="folder (or hub name) of a BERT")
    parser.add_argument("--corpus", required=True, help="plain text: file, folder, or data set on the hub")
    parser.add_argument("--to", type=Path, required=True, help="new folder for the masked LM")
    parser.add_argument("--steps", type=int, default=10**9, help="most steps; default: as the minutes allow")
    parser.add_argument("--minutes", type=float, default=30.0, help="most minutes of training")
    parser.add_argument(
        "--layers", type=int, default=12, help="encoder layers trained, from the top; 0: the head alone"
    )
    parser.add_argument("--learning-rate", type=float, default=2e-4, help="highest, of the encoder")
    parser.add_argument("--head-learning-rate", type=float, default=2e-3, help="highest, of the head")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--length", type=int, default=128, help="pieces a row")
    parser.add_argument("--rows", type=int, default=10**6, help="most rows taken from the corpus")
    parser.add_argument("--held-out", type=int, default=256, help="rows held out, from the end")
    parser.add_argument("--mask-share", type=float, default=0.15)
    parser.add_argument("--tell-minutes", type=float, default=5.0, help="time between two lines of the table")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default=native_precision())
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--seed", type=int, default=1)
    return parser


if __name__ == "__main__":
    sys.exit(main())
