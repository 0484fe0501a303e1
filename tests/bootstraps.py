"""Comparisons by the paired bootstrap in one call, and sacreBLEU's p of the same resamples."""

import numpy as np

from nsmt.evaluation.comparison import draw_all
from nsmt.evaluation.significance import resample, summarise


def paired_bootstrap(system, baseline, *, samples=1000, seed):
    """The difference between two systems on one test set."""
    drawn = resample({"system": system, "baseline": baseline}, samples=samples, seed=seed)
    observed = system.corpus_value() - baseline.corpus_value()
    return summarise(observed, drawn["system"] - drawn["baseline"])


def sacrebleu_p_value(observed, resampled_S):
    """What sacreBLEU's `PairedTest(test_type="bs")` reports for the same resamples."""
    sizes_S = np.abs(resampled_S)
    extreme = sizes_S - sizes_S.mean() > abs(observed)
    return float((extreme.sum() + 1) / (len(resampled_S) + 1))


def compare_all(systems, *, baselines, groups, samples=1000, seed=12345, **more):
    """One comparison a baseline, without the resamples that they are made from."""
    found, _ = draw_all(
        systems, baselines=baselines, groups=groups, samples=samples, seed=seed, **more
    )
    return found


def compare(systems, *, baseline, **more):
    """The comparison with one baseline."""
    return compare_all(systems, baselines=[baseline], **more)[baseline]
