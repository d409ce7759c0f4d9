"""What is proposed for a word: against one plain forward per word, whatever the batch, in both modes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertForMaskedLM

from compressbench.errors import BadInput, InvalidParameter
from compressbench.methods.augment.candidates import CandidateSource, is_word, open_candidate_source
from compressbench.methods.augment.proposals import Blank, groups_of
from compressbench.methods.augment.settings import settings_from
from compressbench.methods.augment.vectors import open_vectors
from compressbench.methods.augment.words import split_sentences
from compressbench.models.masked_lm import find_masked_lm, load_tokenizer
from tests.unit.masked_lm_folder import PIECES, make_masked_lm, write_vectors

TEXTS = (
    "The film was dull , the plot weak .",
    "a Great story",
    "unkind players",
    "it is",
    "the brave actor is fine and the grim scene is not sour but lovely",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_masked_lm(tmp_path_factory.mktemp("mlm"))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def source_of(folder: Path, *, vectors: Path | None = None, **settings: object) -> CandidateSource:
    return open_candidate_source(
        folder,
        vectors=open_vectors(vectors) if vectors else None,
        settings=settings_from(**{"candidates": 5, **settings}),  # type: ignore[arg-type]
        precision="fp32",
        device="cpu",
    )


def plain_proposals(folder: Path, blank: Blank, *, is_paired: bool, count: int) -> set[int]:
    """One sentence, one forward, all scores; words are ranked by a loop."""
    model = BertForMaskedLM.from_pretrained(folder).eval()
    masked = [2, *blank.pieces, 3]
    masked[blank.place + 1] = 4
    second = [*blank.pieces, 3] if is_paired else []
    with torch.inference_mode():
        scores = model(
            input_ids=torch.tensor([masked + second]),
            token_type_ids=torch.tensor([[0] * len(masked) + [1] * len(second)]),
        ).logits[0, blank.place + 1]
    ranked = [piece for piece in scores.argsort(descending=True).tolist() if is_word(PIECES[piece])]
    return set(ranked[:count])


@pytest.mark.parametrize("mode", ["paired", "masked"])
@pytest.mark.parametrize("batch_tokens", [1, 60, 5000])
def test_proposals_are_those_of_one_forward_a_word(mode: str, batch_tokens: int, folder: Path) -> None:
    source = source_of(folder, mode=mode)
    sentences = split_sentences(TEXTS, source.tokenizer)
    blanks = [Blank(pieces=each.pieces, place=place) for each in sentences for place in range(len(each.pieces))]
    told: list[int] = []
    found = source.proposer.propose(blanks, batch_tokens=batch_tokens, on_batch=told.append)
    assert sum(told) == len(blanks)
    for blank, row in zip(blanks, found, strict=True):
        assert list(row) == sorted(row)
        assert set(row.tolist()) == plain_proposals(folder, blank, is_paired=mode == "paired", count=5)


def plain_proposals_together(folder: Path, group: list[Blank], *, is_paired: bool, count: int) -> list[set[int]]:
    """One forward for all blanks of a group, masked at once."""
    model = BertForMaskedLM.from_pretrained(folder).eval()
    masked = [2, *group[0].pieces, 3]
    for blank in group:
        masked[blank.place + 1] = 4
    second = [*group[0].pieces, 3] if is_paired else []
    with torch.inference_mode():
        logits = model(
            input_ids=torch.tensor([masked + second]),
            token_type_ids=torch.tensor([[0] * len(masked) + [1] * len(second)]),
        ).logits[0]
    ranked = [logits[blank.place + 1].argsort(descending=True).tolist() for blank in group]
    return [set([piece for piece in each if is_word(PIECES[piece])][:count]) for each in ranked]


@pytest.mark.parametrize("mode", ["paired", "masked"])
def test_words_masked_together_are_those_of_one_forward_a_group(mode: str, folder: Path) -> None:
    source = source_of(folder, mode=mode, blanks=3)
    sentences = split_sentences(TEXTS, source.tokenizer)
    blanks = [Blank(pieces=each.pieces, place=place) for each in sentences for place in range(len(each.pieces))]
    groups = groups_of(blanks, range(len(blanks)), together=3)
    assert max(map(len, groups)) == 3
    found = source.proposer.propose(blanks)
    for group in groups:
        expected = plain_proposals_together(folder, [blanks[row] for row in group], is_paired=mode == "paired", count=5)
        assert [set(found[row].tolist()) for row in group] == expected
    # Neither the batch, nor the order, nor the other sentences change a proposal.
    order = np.random.default_rng(0).permutation(len(blanks))
    again = source.proposer.propose([blanks[row] for row in order], batch_tokens=1)
    np.testing.assert_array_equal(again, found[order])
    own = [row for row, blank in enumerate(blanks) if blank.pieces == sentences[0].pieces]
    np.testing.assert_array_equal(source.proposer.propose([blanks[row] for row in own]), found[own])


@given(counts=st.lists(st.integers(1, 9), min_size=1, max_size=5), together=st.integers(1, 8), seed=st.integers(0, 99))
def test_groups_hold_every_blank_once_and_neighbours_apart(counts: list[int], together: int, seed: int) -> None:
    blanks = [
        Blank(pieces=(number, *range(count)), place=place)
        for number, count in enumerate(counts)
        for place in range(count)
    ]
    rows = np.random.default_rng(seed).permutation(len(blanks)).tolist()
    groups = groups_of(blanks, rows, together=together)
    assert sorted(row for group in groups for row in group) == list(range(len(blanks)))
    assert len(groups) == sum(-(-count // together) for count in counts)
    for group in groups:
        assert len(group) <= together
        assert len({blanks[row].pieces for row in group}) == 1
        count = len(blanks[group[0]].pieces) - 1
        gaps = np.diff([blanks[row].place for row in group])
        assert (gaps == -(-count // together)).all()


def test_bf16_proposes_nearly_the_same(folder: Path) -> None:
    sentences = split_sentences(TEXTS, load_tokenizer(folder))
    blanks = [Blank(pieces=each.pieces, place=place) for each in sentences for place in range(len(each.pieces))]
    rows = {
        precision: open_candidate_source(
            folder, vectors=None, settings=settings_from(candidates=8), precision=precision, device="cpu"
        ).proposer.propose(blanks)
        for precision in ("fp32", "bf16")
    }
    shared = [len(set(ours) & set(theirs)) / 8 for ours, theirs in zip(rows["bf16"], rows["fp32"], strict=True)]
    assert np.mean(shared) > 0.9


def test_single_pieces_go_to_the_model_and_several_to_the_vectors(folder: Path, tmp_path: Path) -> None:
    source = source_of(folder, vectors=write_vectors(tmp_path / "v.txt"), candidates=2)
    (sentence,) = split_sentences(["The Unkind actor !"], source.tokenizer)
    assert [(word.text, word.is_single_piece) for word in sentence.words] == [("Unkind", False), ("actor", True)]
    ((unkind, actor),) = source.of([sentence, sentence]).values()
    assert unkind == ["sour", "grim"]
    assert len(actor) == 2
    assert all(is_word(word) for word in actor)
    assert source_of(folder).of([sentence])[sentence.text][0] == ()


def test_a_word_beyond_the_last_position_is_left_alone(tmp_path: Path) -> None:
    source = source_of(make_masked_lm(tmp_path / "short", positions=8))
    (sentence,) = split_sentences(["film " * 12], source.tokenizer)
    (options,) = source.of([sentence]).values()
    assert [len(each) for each in options] == [5] * 7 + [0] * 5


def test_sentences_know_where_words_stand(folder: Path) -> None:
    (sentence,) = split_sentences(["Was  it FINE, the caf\u00e9-Scene?"], load_tokenizer(folder))
    assert [word.text for word in sentence.words] == ["FINE", "caf\u00e9", "Scene"]
    assert sentence.with_words({0: "grim", 2: "plot"}) == "Was  it grim, the caf\u00e9-plot?"
    assert sentence.with_words({}) == sentence.text


@pytest.mark.parametrize(
    ("piece", "expected"),
    [("film", True), ("##er", False), ("[SEP]", False), ("[unused7]", False), ("[", True), (",", True), ("", False)],
)
def test_which_pieces_are_words(piece: str, expected: bool) -> None:
    assert is_word(piece) is expected


def test_a_model_without_head_is_refused_by_the_name_of_the_tensor(tmp_path: Path) -> None:
    folder = make_masked_lm(tmp_path / "bare", has_head=False)
    with pytest.raises(BadInput, match=r"the tensor cls\.predictions\.transform\.dense\.weight is missing"):
        find_masked_lm(str(folder))


def test_a_head_under_older_names_is_found(folder: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    older = tmp_path / "older"
    shutil.copytree(folder, older)
    tensors = load_file(older / "model.safetensors")
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in tensors.items()
    }
    save_file(renamed, older / "model.safetensors", metadata={"format": "pt"})
    assert find_masked_lm(str(older)).fingerprint != find_masked_lm(str(folder)).fingerprint
    (sentence,) = split_sentences(TEXTS[:1], load_tokenizer(folder))
    assert source_of(older).of([sentence]) == source_of(folder).of([sentence])


def test_other_tokenizers_and_models_are_refused(folder: Path, tmp_path: Path) -> None:
    import json
    import shutil

    with pytest.raises(BadInput, match=f"a tokenizer of {len(PIECES) + 3} pieces and a model of {len(PIECES)}"):
        source_of(make_masked_lm(tmp_path / "extra", extra_pieces=3))
    with pytest.raises(InvalidParameter, match=r"candidates=900 \(K\) is more than the \d+ words"):
        source_of(folder, candidates=900)
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    del tokenizer["model"]["vocab"]["[MASK]"]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(BadInput, match=r"has no piece \[MASK\]: use a masked LM with a WordPiece vocabulary"):
        load_tokenizer(other)
    tokenizer["model"] = {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(BadInput, match="is of the kind WordLevel"):
        load_tokenizer(other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "model_type": "electra"}))
    with pytest.raises(BadInput, match="is of type electra: use a masked language model of type bert"):
        find_masked_lm(str(other))
