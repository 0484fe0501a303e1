"""`identify` of a language model: statistics and atlas, and none of the steps that use them.

    nsmt identify experiment=smollm2
    torchrun --nproc-per-node 2 -m nsmt.cli identify experiment=smollm2

It has the words of `nsmt languages`, which goes on from what this leaves in `output`. Several ranks
gather each language together; each holds the whole model.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path

from nsmt.commands.language_steps import gathering_step
from nsmt.commands.languages import LanguagesConfig, opened, require_catalogued
from nsmt.errors import ConfigurationError
from nsmt.neurons.language_selection import select_languages
from nsmt.progress import progress_bar, result_console
from nsmt.training.settings import TrainerSettings
from nsmt.training.world import found_world, join_ranks, rank
from nsmt.turns import taking_turns

_MIB = 1 << 20


def identify_languages(config: LanguagesConfig) -> None:
    """Gather what is missing, select, write both."""
    require_catalogued(config.languages)
    _join(config)
    output, first = Path(config.output), rank() == 0
    # The first rank's turn is that of all.
    turn = taking_turns(output.parent / f".{output.name}.lock") if first else nullcontext()
    with turn, progress_bar(shown=config.progress and first) as bar:
        subject = opened(config, output)
        work = partial(bar.add_task, status="")
        statistics = gathering_step(subject, config.gathering, bar=bar, add=work)
        if statistics is None:
            return
        atlas = select_languages(statistics, config.selection)
        atlas.save(output / "atlas.safetensors")
    site = statistics.sites[0].name
    tokens, neurons = statistics.units[site].tolist(), sum(each.width for each in atlas.sites)
    chosen = [
        sum(int(atlas.mask(task, each).sum()) for each in atlas.sites) for task in atlas.tasks
    ]
    lines = [
        f"{task}: {looked:,} tokens, {found:,} of {neurons:,} neurons"
        for task, looked, found in zip(atlas.tasks, tokens, chosen, strict=True)
    ]
    lines += [f"statistics: {statistics.nbytes / _MIB:.1f} MiB in {output / 'statistics'}"]
    lines += [f"atlas: {output / 'atlas.safetensors'}"]
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
