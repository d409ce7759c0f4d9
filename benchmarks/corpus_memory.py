"""Peak memory of a corpus's way to training batches, for corpora of several sizes: it must not grow with them.

    python -m benchmarks.corpus_memory --text wiki-sample.txt --teacher DIR --mib 20,2000

Each size is made by repeating the text, and goes in a process of its own through the product's code: packed into rows,
then every batch of one epoch drawn and read. Prints a table and writes `results/corpus_memory.json`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BATCH = 32


def work(corpus: Path, tokenizer: Path) -> dict[str, Any]:
    """Pack a corpus and read one epoch of it; what a process of its own found."""
    import resource

    import numpy as np

    from compressbench.corpus import Corpus
    from compressbench.corpus.packing import packed_rows, special_ids, tokenized
    from compressbench.corpus.row_file import PackedRows, shuffled_batches, write_row_file

    start = time.perf_counter()
    tokens, cls_id, sep_id, pad_id = special_ids(tokenizer)
    pieces = tokenized(Corpus(str(corpus)).lines(), tokens)
    path = corpus.with_suffix(".rows")
    rows = packed_rows(pieces, length=128, cls_id=cls_id, sep_id=sep_id)
    count = write_row_file(path, rows, length=128, pad_id=pad_id, vocab=tokens.get_vocab_size())
    packed_s = time.perf_counter() - start
    packed = PackedRows.open(path)
    read = sum(
        len(packed.batch(indices)["input_ids"])
        for indices in shuffled_batches(count, batch_size=BATCH, rng=np.random.default_rng(0))
    )
    assert read == count
    return {
        "rows": count,
        "row_bytes": path.stat().st_size,
        "packed_s": packed_s,
        "epoch_read_s": time.perf_counter() - start - packed_s,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True, help="plain text that is repeated")
    parser.add_argument("--teacher", type=Path, required=True, help="folder with tokenizer.json")
    parser.add_argument("--mib", default="20,2000", help="sizes of the corpora")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(work(options.worker, options.teacher / "tokenizer.json")))
        return
    text = options.text.read_bytes()
    found = []
    print("| Corpus (MiB) | Rows | Tokens on disk (MiB) | Packing (s) | Reading an epoch (s) | Peak memory (MiB) |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for size in options.mib.split(","):
        with tempfile.TemporaryDirectory() as folder:
            corpus = Path(folder) / "corpus.txt"
            size_bytes = int(float(size) * 1024**2)
            with corpus.open("wb") as stream:
                while (left := size_bytes - stream.tell()) > len(text):
                    stream.write(text)
                stream.write(text[: text.rfind(b"\n", 0, left) + 1])
            command = [sys.executable, "-m", "benchmarks.corpus_memory", "--text", str(options.text)]
            command += ["--teacher", str(options.teacher), "--worker", str(corpus)]
            answer = subprocess.run(command, capture_output=True, text=True, check=True)
        each = {"corpus_bytes": size_bytes, **json.loads(answer.stdout)}
        found.append(each)
        mib = [each[name] / 1024**2 for name in ("corpus_bytes", "row_bytes", "peak_bytes")]
        figures = [mib[0], each["rows"], mib[1], each["packed_s"], each["epoch_read_s"], mib[2]]
        print(f"| {' | '.join(f'{figure:.0f}' for figure in figures)} |", flush=True)
    options.to.mkdir(parents=True, exist_ok=True)
    (options.to / "corpus_memory.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
