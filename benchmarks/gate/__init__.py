"""How often the gate is wrong: a bank of real rounds, replayed through its own decisions, confirmed live.

    python -m benchmarks.gate bank       --to BANK       record it: 25 minutes for TinyBERT4; goes on where it was
    python -m benchmarks.gate replay     --bank BANK     1,000 decisions a condition, and the operating curve
    python -m benchmarks.gate live       --bank BANK     20 calls of `compressbench gate --live`, timed (goes on, too)
    python -m benchmarks.gate coverage   --bank BANK     2,000 simulated data sets with the bank's noise
    python -m benchmarks.gate overhead   --to FOLDER     what measuring adds to the time inside the runtime

Each prints Markdown. A bank is a few MB of records and is not committed. On two quiet cores `replay --plot FILE` takes
two minutes, `live` about a minute a call (20 minutes), `coverage` ten minutes, `overhead` two. For BERT-Base give
`bank --geometry 12x768x12x3072 --processes 0` (the models alone), then `live --count 4`: three minutes a call.
"""
