"""What a program of interventions does, as written: an operation after the other."""

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
        own = statistics.tasks.index(step.languages[0])
        others = [row for row in range(len(means)) if row != own]
        done = {
            "constant": torch.full_like(activation, step.value),
            "add": activation + means[own],
            "replace": means[own].expand_as(activation),
            "multiply": activation * step.value,
            "diffmean": activation + means[own] - means[others].mean(0),
            "mean": means.mean(0).expand_as(activation),
        }[step.operation]
        blended = activation + step.strength * (done - activation)
        activation = torch.where(member, blended, activation)
    return activation
