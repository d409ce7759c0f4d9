"""Runs the commands of the light installation on models made by hand: ``python tests/light_commands.py [--block]``.

With ``--block`` every import of a library that the light installation leaves out fails, as if it were not there;
`gate --live`, which takes seconds, is left out then. Prints one line a command and ends with 1 at the first that fails.
"""

import csv
import importlib.abc
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import numpy as np

LEFT_OUT = frozenset({
    "torch", "transformers", "datasets", "optimum", "evaluate", "sklearn", "pandas", "pyarrow", "scipy", "onnxscript",
    "safetensors", "matplotlib", "openvino", "nncf",
})  # fmt: skip
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "the", "film", "was", "fine", "great", "dull", "grim")
WIDTH, INNER = 16, 32


class Blocked(importlib.abc.MetaPathFinder):
    """Answers for the libraries that are left out: there is none of that name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Refuse what is left out, and leave the rest to others."""
        if fullname.split(".", maxsplit=1)[0] in LEFT_OUT:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return None


def write_model(folder: Path, *, seed: int, inner: int = INNER) -> Path:
    """An ONNX artifact: the mean over words of a small network's outputs decides between two classes."""
    from onnx import TensorProto, helper, numpy_helper

    from compressbench.artifacts.manifest import Manifest, files_sha256

    folder.mkdir()
    rng = np.random.default_rng(seed)
    weights = {
        "words": rng.standard_normal((len(WORDS), WIDTH)),
        "inner": rng.standard_normal((WIDTH, inner)),
        "classes": rng.standard_normal((inner, 2)),
    }
    node = helper.make_node
    nodes = [
        node("Gather", ["words", "input_ids"], ["embedded"]),
        node("MatMul", ["embedded", "inner"], ["projected"]),
        node("Tanh", ["projected"], ["bent"]),
        node("Cast", ["attention_mask"], ["kept"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["kept", "last"], ["mask"]),
        node("Mul", ["bent", "mask"], ["masked"]),
        node("ReduceSum", ["masked", "tokens"], ["pooled"], keepdims=0),
        node("MatMul", ["pooled", "classes"], ["logits"]),
    ]
    shape = ["batch", "length"]
    graph = helper.make_graph(
        nodes,
        "by_hand",
        [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [
            *(numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()),
            numpy_helper.from_array(np.array([2]), "last"),
            numpy_helper.from_array(np.array([1]), "tokens"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    (folder / "config.json").write_text(json.dumps({"vocab_size": len(WORDS), "max_position_embeddings": 64}))
    _write_tokenizer(folder / "tokenizer.json")
    Manifest(
        key=f"by-hand-{seed}-{inner}", format="onnx-fp32", task="CoLA", chain="by-hand", method="by-hand", revision=1,
        parameters={}, seed=None, labels=("unacceptable", "acceptable"), geometry={}, files=files_sha256(folder),
    ).write(folder)  # fmt: skip
    return folder


def _write_tokenizer(path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(path))


def write_rows(folder: Path, *, count: int = 40) -> None:
    """CoLA in GLUE's layout, and the same rows as a CSV of one's own."""
    rng = np.random.default_rng(0)
    rows = [(" ".join(rng.choice(WORDS[5:], size=6)), int(rng.integers(2))) for _ in range(count)]
    cola = folder / "glue" / "CoLA"
    cola.mkdir(parents=True)
    for name in ("train", "dev"):
        (cola / f"{name}.tsv").write_text("".join(f"x\t{label}\t\t{text}\n" for text, label in rows))
    with (folder / "own.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("text", "label"), *rows])


def write_torch_folder(folder: Path) -> None:
    """What `from_pretrained` would open, as far as a look from outside tells."""
    folder.mkdir()
    (folder / "config.json").write_text(
        json.dumps({"model_type": "bert", "architectures": ["BertForSequenceClassification"]})
    )
    header = json.dumps({"classifier.weight": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    _write_tokenizer(folder / "tokenizer.json")


def commands() -> dict[str, tuple[list[str], int]]:
    """The command lines with the exit code of each, in an order in which each finds what it needs."""
    glue = ["--task", "CoLA", "--data-dir", "glue", "--threads", "1"]
    own = ["--train", "own.csv", "--validation", "own.csv", "--threads", "1"]
    timing = ["--shapes", "1x16", "--offline"]
    return {
        "measure": (["measure", "small", "large", *glue, *timing, "--out", "run"], 0),
        "predict": (["predict", "small", *glue, "--to", "CoLA.tsv"], 0),
        "predict by a bare file": (["predict", "small/model.onnx", *own, "--to", "own.tsv"], 0),
        "report": (["report", "run", "--format", "md,html,csv,json,tex"], 0),
        "compare": (["compare", "run", "run", "--margin", "1pt"], 0),
        "recommend": (["recommend", "run", "--max-size", "1MiB"], 0),
        "gate records": (["gate", "--record", "run", "--to", "baseline.json"], 0),
        "gate against a record": (["gate", "baseline.json", "run"], 0),
        "a PyTorch folder": (["measure", "torch", *glue, *timing], 2),
    }


def live_commands() -> dict[str, tuple[list[str], int]]:
    """`gate --live`, which takes seconds: a model against itself, and against one that is larger.

    The threshold is wide and the budget short, for what is tested is the way and not this machine's clock.
    """
    live = ["gate", "--live", "--budget", "1s", "--latency-threshold", "100%", "--on-inconclusive", "warn"]
    how = ["--task", "CoLA", "--data-dir", "glue", "--threads", "1", "--shapes", "1x16", "--offline"]
    return {
        "gate on two artifacts": ([*live, *how, "small", "small", "--to", "gated"], 0),
        "gate finds a larger artifact": ([*live, *how, "small", "large"], 1),
    }


def main() -> int:
    """Make the models and run every command in this process."""
    if "--block" in sys.argv[1:]:
        sys.meta_path.insert(0, Blocked())
    with tempfile.TemporaryDirectory() as folder:
        os.environ["COMPRESSBENCH_HOME"] = str(Path(folder) / "home")
        os.chdir(folder)
        from compressbench.__main__ import main as compressbench

        write_model(Path("small"), seed=0)
        write_model(Path("large"), seed=1, inner=64)
        write_rows(Path())
        write_torch_folder(Path("torch"))
        chosen = commands() if "--block" in sys.argv[1:] else {**commands(), **live_commands()}
        for name, (arguments, expected) in chosen.items():
            code = compressbench(arguments)
            print(f"light: {name}: exit {code}", flush=True)
            if code != expected:
                print(f"light: {name} should end with {expected}")
                return 1
        os.chdir("/")
    loaded = sorted(LEFT_OUT & {name.split(".")[0] for name in sys.modules})
    print(f"light: loaded of what is left out: {', '.join(loaded) or 'nothing'}")
    return int(bool(loaded))


if __name__ == "__main__":
    sys.exit(main())
