"""What a program of interventions does, as written: an operation after the other."""

import math

import torch


def one_by_one(program, neurons, site, activation):
    """Activations of a site, each operation blended by its strength; means are of tasks' tokens."""
    statistics = neurons.statistics
    units = statistics.units[site.name].clamp(min=1)[:, None]
    means = (statistics.moments["sum"][site.name] / units).to(activation.dtype)
    for step in program:
        if step.layers is not None and site.layer not in step.layers:
            continue
        member = torch.zeros(site.width, dtype=torch.bool)
        for language in step.languages:
            member |= neurons.atlas.mask(language, site)
        member &= _most_specific(neurons, step.ratio)[site.name]
        own = statistics.tasks.index(step.languages[0])
        others = [row for row in range(len(means)) if row != own]
        done = {
            "constant": torch.full_like(activation, step.value or 0.0),
            "add": activation + means[own],
            "replace": means[own].expand_as(activation),
            "multiply": activation * (step.value or 0.0),
            "diffmean": activation + means[own] - means[others].mean(0),
            "mean": means.mean(0).expand_as(activation),
        }[step.operation]
        blended = activation + step.strength * (done - activation)
        activation = torch.where(member, blended, activation)
    return activation


def _most_specific(neurons, ratio):
    """Of the neurons of any language, the share of the lowest entropy over languages."""
    statistics, ranked = neurons.statistics, []
    for place, site in enumerate(neurons.atlas.sites):
        tokens = statistics.units[site.name].tolist()
        for neuron in range(site.width):
            if not neurons.atlas.masks(site)[:, neuron].any():
                continue
            counts = statistics.active[site.name][:, neuron].tolist()
            often = [count / of for count, of in zip(counts, tokens, strict=True)]
            shares = [each / sum(often) for each in often if each > 0]
            entropy = -sum(share * math.log(share) for share in shares)
            ranked.append((round(entropy, 12), place, neuron))
    ranked.sort()
    chosen = {site.name: torch.zeros(site.width, dtype=torch.bool) for site in neurons.atlas.sites}
    for _, place, neuron in ranked[: round(ratio * len(ranked))]:
        chosen[neurons.atlas.sites[place].name][neuron] = True
    return chosen
