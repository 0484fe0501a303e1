"""`identify` of a language model: statistics and atlas, and none of the steps that use them.

    nsmt identify experiment=smollm2
    torchrun --nproc-per-node 2 -m nsmt.cli identify experiment=smollm2

It has the words of `nsmt languages`, which goes on from what this leaves in `output`. Several ranks
gather each language together; each holds the whole model.
"""

from __future__ import annotations

from functools import partial

from nsmt.commands.language_steps import ATLAS, gathering_step, selected, statistics_folder
from nsmt.commands.languages import LanguagesConfig, opened
from nsmt.data.monolingual import check_text
from nsmt.errors import ConfigurationError
from nsmt.progress import progress_bar, result_console
from nsmt.training.settings import TrainerSettings
from nsmt.training.world import found_world, join_ranks, rank

_MIB = 1 << 20


def identify_languages(config: LanguagesConfig) -> None:
    """Gather what is missing, select, write both."""
    config.known()
    check_text(config.text, config.languages)
    _join(config)
    with progress_bar(shown=config.progress and rank() == 0) as bar:
        subject = opened(config)
        work = partial(bar.add_task, status="")
        statistics = gathering_step(subject, config.gathering, bar=bar, add=work)
        if statistics is None:
            return
        with selected(subject, statistics, config.selection) as (chosen, neurons):
            atlas = neurons.atlas
    site = statistics.sites[0].name
    tokens, width = statistics.units[site].tolist(), sum(each.width for each in atlas.sites)
    counts = [
        sum(int(atlas.mask(task, each).sum()) for each in atlas.sites) for task in atlas.tasks
    ]
    lines = [
        f"{task}: {looked:,} tokens, {found:,} of {width:,} neurons"
        for task, looked, found in zip(atlas.tasks, tokens, counts, strict=True)
    ]
    folder = statistics_folder(subject, config.gathering)
    lines += [f"statistics: {statistics.nbytes / _MIB:.1f} MiB in {folder}"]
    lines += [f"atlas: {chosen.output / ATLAS}"]
    result_console().print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def _join(config: LanguagesConfig) -> None:
    """Have the ranks know each other, if there are several."""
    world = found_world()
    if world is None:
        return
    if config.language_model.device_map is not None:
        raise ConfigurationError(
            f"each of {world.ranks} ranks holds the whole model, and "
            f"language_model.device_map={config.language_model.device_map} spreads it",
            fix="start one process, or leave device_map out",
        )
    join_ranks(
        TrainerSettings(
            accelerator=config.accelerator, devices=world.per_node, num_nodes=world.nodes
        )
    )
