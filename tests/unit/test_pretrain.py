from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, BertModel

from compressbench.errors import BadInput, MethodFailed
from compressbench.methods.pretrain import SETTINGS, TrunkSettings, make_synthetic_teacher
from compressbench.methods.trunk import encode_tasks, spread_vocabulary, train_trunk
from compressbench.models.geometry import BERT_BASE, Geometry
from compressbench.progress import Advance, Quiet
from compressbench.tasks.synthetic import SYNTHETIC_TASKS, synthetic_rows, write_tokenizer
from compressbench.tasks.task import Rows

TINY = Geometry(layers=4, hidden=32, heads=4, intermediate=48)
FEW_STEPS = TrunkSettings(layers=1, heads=2, intermediate=16, steps=3, rows_per_step=4)


def few_rows(count: int = 12) -> dict[str, Rows]:
    return {name: synthetic_rows(name, "train").take(range(count)) for name in SYNTHETIC_TASKS}


def make(to: Path, **changes: object) -> None:
    values = {"rows": few_rows(), "seed": 0, "threads": 1, "progress": Quiet(), "geometry": TINY, "settings": FEW_STEPS}
    make_synthetic_teacher(to=to, **(values | changes))  # type: ignore[arg-type]


def test_the_folder_opens_as_any_bert_and_has_the_asked_geometry(tmp_path: Path) -> None:
    make(tmp_path)
    model = BertModel.from_pretrained(tmp_path)
    assert (model.config.num_hidden_layers, model.config.hidden_size) == (4, 32)
    assert (model.config.num_attention_heads, model.config.intermediate_size) == (4, 48)
    assert model.embeddings.word_embeddings.weight.shape == (30_522, 32)
    tokens = AutoTokenizer.from_pretrained(tmp_path)("the dogs chase the cat", return_tensors="pt")
    with torch.inference_mode():
        assert model.eval()(**tokens).pooler_output.isfinite().all()


def test_the_seed_decides_the_weights(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make(tmp_path / name, seed=seed)
    first, again, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert first == again != other


def test_the_defaults_are_for_bert_base_and_the_suite() -> None:
    assert str(BERT_BASE) == "12x768x12x3072"
    assert set(SETTINGS.rows_per_step) == set(SYNTHETIC_TASKS)  # type: ignore[arg-type]


def test_rows_are_numbered_afresh_and_back(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    rows = few_rows()
    encoded = encode_tasks(rows, tokenizer_path=tmp_path / "tokenizer.json")
    for name, each in encoded.tasks.items():
        texts = (list(rows[name].first), rows[name].second) if rows[name].second else (list(rows[name].first),)
        assert [encoded.pieces[ids].tolist() for ids in each.input_ids] == tokenizer(*texts)["input_ids"]
    assert encoded.pieces[0] == tokenizer.pad_token_id


def test_learned_pieces_return_to_their_ids(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    encoded = encode_tasks(few_rows(), tokenizer_path=tmp_path / "tokenizer.json")
    trunk = train_trunk(
        encoded, geometry=TINY, settings=FEW_STEPS, precision="fp32", seed=0, threads=1, progress=Quiet()
    )
    learned = trunk.embeddings.word_embeddings.weight.detach().clone()
    table = spread_vocabulary(trunk, encoded, vocabulary=30_522, seed=0).embeddings.word_embeddings.weight
    assert table[torch.from_numpy(encoded.pieces)].equal(learned)
    idle = np.setdiff1d(np.arange(30_522), encoded.pieces)
    assert float(table[idle].detach().std()) == pytest.approx(0.05 * float(learned.std()), rel=0.01)


def test_the_trunk_learns_a_plain_rule(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    words = [word for _ in range(32) for word in ("brilliant", "awful")]
    rows = Rows(first=[f"the plot was {word}" for word in words], second=None, labels=np.array([1, 0] * 32))
    encoded = encode_tasks({"plain": rows}, tokenizer_path=tmp_path / "tokenizer.json")
    losses: list[float] = []

    class Notes(Quiet):
        @contextmanager
        def stage(self, name: str, *, total: int, done: int = 0) -> Iterator[Advance]:
            yield lambda steps=1, *, note="": losses.append(float(note.removeprefix("loss ")))

    settings = TrunkSettings(layers=1, heads=2, intermediate=32, steps=40, learning_rate=3e-3, rows_per_step=16)
    train_trunk(encoded, geometry=TINY, settings=settings, precision="fp32", seed=0, threads=1, progress=Notes())
    assert losses[-1] < 0.3 < 0.6 < losses[0]


def test_rows_without_labels_are_refused(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    rows = {"bare": Rows(first=["the plot was dull"], second=None, labels=None)}
    with pytest.raises(BadInput, match="the training rows of bare have no labels"):
        encode_tasks(rows, tokenizer_path=tmp_path / "tokenizer.json")


def test_a_loss_that_is_no_number_ends_it(tmp_path: Path) -> None:
    settings = TrunkSettings(layers=1, heads=2, intermediate=16, steps=20, learning_rate=1e30, rows_per_step=4)
    with pytest.raises(MethodFailed, match=r"the trunk's loss is nan at step 2: use a learning_rate below 1e\+30"):
        make(tmp_path, settings=settings)
