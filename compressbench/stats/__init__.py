"""Statistics of measurements: arrays in, intervals and p-values out. Nothing here has heard of a model or a file.

`ratios`: latencies, paired by round, processes before rounds. `rows`: scores of models that answered the same rows.
`intervals`: of one sample. `families`: several questions at once. docs/measuring.md says which is used where.
"""

from compressbench.stats.families import holm, spent_at_look, within_margin
from compressbench.stats.intervals import (
    geometric_mean,
    mean_interval,
    order_statistic_interval,
    percentile,
    seeds_and_rows_interval,
    student_quantile,
    trimmed_mean_interval,
    wilson_interval,
)
from compressbench.stats.ratios import (
    RESAMPLES,
    SAME,
    Interval,
    Rounds,
    Slowdown,
    ratio_interval,
    slowdown_interval,
    unpaired_ratio_interval,
    unpaired_slowdown_interval,
)
from compressbench.stats.rows import (
    Difference,
    WeightedMetric,
    bootstrap_interval,
    mcnemar_p,
    paired_bootstrap,
    resampled_scores,
    retained_interval,
)

__all__ = [
    "RESAMPLES",
    "SAME",
    "Difference",
    "Interval",
    "Rounds",
    "Slowdown",
    "WeightedMetric",
    "bootstrap_interval",
    "geometric_mean",
    "holm",
    "mcnemar_p",
    "mean_interval",
    "order_statistic_interval",
    "paired_bootstrap",
    "percentile",
    "ratio_interval",
    "resampled_scores",
    "retained_interval",
    "seeds_and_rows_interval",
    "slowdown_interval",
    "spent_at_look",
    "student_quantile",
    "trimmed_mean_interval",
    "unpaired_ratio_interval",
    "unpaired_slowdown_interval",
    "wilson_interval",
    "within_margin",
]
