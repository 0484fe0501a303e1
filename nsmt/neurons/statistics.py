"""How often each neuron fires for each task: counted on the device, merged across ranks.

Source: Neuron Specialization (arXiv 2404.11201), section 3.1, and the released code, which differ
in the unit of a count. `token` counts every position at which the post-ReLU value is not zero (the
code); `sentence_union` counts each sentence in which the neuron fired at least once (as the paper
is reported to say). Padding is left out unless `count_padding` asks for it, as the code does.

Counts are int64 and therefore exact whatever the order of batches, ranks or layouts. A neuron is
active where its value is positive, which for ReLU is where it is not zero; so the same counts serve
language models, whose activations are seldom zero (LAPE, arXiv 2402.16438, equation 2). Moments
(`nsmt.neurons.moments`) are gathered beside the counts where they are asked for.

Shape suffixes: B rows, S positions, C sentences (B of them, or packed into one row), F neurons of a
site, T tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from nsmt.errors import AtlasError
from nsmt.neurons.moments import Moment, sums_by_task, transformed
from nsmt.neurons.sites import Site, require_same_sites
from nsmt.neurons.storage import Header, read_tensors, write_tensors

CountUnit = Literal["token", "sentence_union"]
_FORMAT = "nsmt.activation_statistics"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class CountRule:
    """What one count is, so that statistics of different rules are never added up."""

    unit: CountUnit = "token"
    count_padding: bool = False


class _StatisticsHeader(Header):
    rule: CountRule
    moments: tuple[Moment, ...] = ()


class ActivationStatistics:
    """Activation counts of named tasks at the sites of one model.

    `active[site.name]` is int64 [T, F]: how many units (tokens or sentences) of each task had the
    neuron active. `units[site.name]` is int64 [T]: how many were looked at. `moments[kind]` holds,
    for each kind asked for, float64 [T, F] by site name: sums over tokens.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        sites: Sequence[Site],
        *,
        rule: CountRule | None = None,
        moments: Sequence[Moment] = (),
        provenance: Mapping[str, Any] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if len(set(tasks)) != len(tasks):
            raise AtlasError("a task is named twice", fix="give every direction once")
        self.tasks = tuple(tasks)
        self.sites = tuple(sites)
        self.rule = rule or CountRule()
        self.provenance = dict(provenance or {})
        count = len(self.tasks)
        self.active = {
            site.name: torch.zeros(count, site.width, dtype=torch.int64, device=device)
            for site in self.sites
        }
        self.units = {
            site.name: torch.zeros(count, dtype=torch.int64, device=device) for site in self.sites
        }
        if moments and self.rule != CountRule("token"):
            raise AtlasError(
                "moments are sums over real tokens", fix="count by token, without padding"
            )
        self.moments = {
            kind: {
                site.name: torch.zeros(count, site.width, dtype=torch.float64, device=device)
                for site in self.sites
            }
            for kind in moments
        }

    def row(self, task: str) -> int:
        """The row of `task` in the tensors; unknown tasks are an AtlasError."""
        if task not in self.tasks:
            raise AtlasError(
                f"the statistics say nothing of '{task}'",
                fix=f"use one of {', '.join(self.tasks)}, or gather statistics of '{task}'",
            )
        return self.tasks.index(task)

    def update(
        self,
        site: str,
        activation_BSF: Tensor,
        *,
        task_C: Tensor,
        real_BS: Tensor,
        sentence_S: Tensor | None = None,
    ) -> None:
        """Add the post-activation values of one batch, which may mix tasks.

        `task_C` holds positions in `tasks`; `real_BS` is False at padding. A row is a sentence, or
        there is one row and `sentence_S` says which sentence each position belongs to. Nothing
        leaves the device and nothing waits for it.
        """
        for kind in self.moments:
            if kind != "written":
                values_BSF = transformed(activation_BSF, kind)
                self.add_moment(kind, site, values_BSF, task_C, real_BS, sentence_S)
        if sentence_S is not None and self.rule == CountRule("token"):
            fired_TF, units_T = count_fired_by_task(
                activation_BSF[0],
                real_S=real_BS[0],
                task_S=task_C[sentence_S],
                tasks=len(self.tasks),
            )
            self.active[site] += fired_TF
            self.units[site] += units_T
            return
        if sentence_S is None:
            fired_CF, units_C = count_fired(activation_BSF, real_BS=real_BS, rule=self.rule)
        else:
            fired_CF, units_C = count_fired_packed(
                activation_BSF[0],
                real_S=real_BS[0],
                sentence_S=sentence_S,
                sentences=len(task_C),
                rule=self.rule,
            )
        self.active[site].index_add_(0, task_C, fired_CF)
        self.units[site].index_add_(0, task_C, units_C)

    def add_moment(
        self,
        kind: Moment,
        site: str,
        values_BSF: Tensor,
        task_C: Tensor,
        real_BS: Tensor,
        sentence_S: Tensor | None = None,
    ) -> None:
        """Add up one value a real position and neuron, by task."""
        self.moments[kind][site] += sums_by_task(
            values_BSF, task_C=task_C, real_BS=real_BS, sentence_S=sentence_S, tasks=len(self.tasks)
        )

    def mean(self, kind: Moment, site: Site) -> Tensor:
        """A moment for each token: float64 [T, F]; AtlasError if it was not gathered."""
        if kind not in self.moments:
            raise AtlasError(
                f"the statistics hold no '{kind}'", fix="gather them again with this moment"
            )
        return self.moments[kind][site.name] / self.units[site.name].clamp(min=1)[:, None]

    def merge(self, other: ActivationStatistics) -> None:
        """Add the counts of `other`, which must be of the same tasks, sites and rule."""
        require_same_sites(self.sites, other.sites, what="the statistics")
        mine, theirs = (self.tasks, self.rule), (other.tasks, other.rule)
        if mine != theirs or set(self.moments) != set(other.moments):
            raise AtlasError(
                "statistics of different tasks, counting rules or moments cannot be added",
                fix="gather both with the same directions, count_unit and count_padding",
            )
        for site in self.sites:
            self.active[site.name] += other.active[site.name]
            self.units[site.name] += other.units[site.name]
            for kind, table in self.moments.items():
                table[site.name] += other.moments[kind][site.name]

    @classmethod
    def beside(cls, parts: Sequence[ActivationStatistics]) -> ActivationStatistics:
        """Statistics of different tasks of one model as one; their provenance is listed."""
        first = parts[0]
        for part in parts:
            require_same_sites(first.sites, part.sites, what="the statistics")
            if (first.rule, first.moments.keys()) != (part.rule, part.moments.keys()):
                raise AtlasError(
                    "statistics of different counting rules or moments cannot be joined",
                    fix="gather all of them with the same settings",
                )
        joined = cls(
            [task for part in parts for task in part.tasks],
            first.sites,
            rule=first.rule,
            moments=tuple(first.moments),
            provenance={"of": [part.provenance for part in parts]},
        )
        for name in joined.active:
            joined.active[name] = torch.cat([part.active[name] for part in parts])
            joined.units[name] = torch.cat([part.units[name] for part in parts])
            for kind, table in joined.moments.items():
                table[name] = torch.cat([part.moments[kind][name] for part in parts])
        return joined

    def all_reduce(self) -> None:
        """Sum over all ranks of the default process group; without one, do nothing."""
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return
        for site in self.sites:
            torch.distributed.all_reduce(self.active[site.name])
            torch.distributed.all_reduce(self.units[site.name])
            for table in self.moments.values():
                torch.distributed.all_reduce(table[site.name])

    def save(self, path: Path) -> None:
        """Write safetensors, with everything that is not a tensor as JSON in its header."""
        header = _StatisticsHeader(
            format=_FORMAT,
            version=_VERSION,
            tasks=self.tasks,
            sites=tuple((site.name, site.width) for site in self.sites),
            provenance=self.provenance,
            rule=self.rule,
            moments=tuple(self.moments),
        )
        tensors = {f"active.{name}": counts for name, counts in self.active.items()}
        tensors |= {f"units.{name}": units for name, units in self.units.items()}
        for kind, table in self.moments.items():
            tensors |= {f"{kind}.{name}": values for name, values in table.items()}
        write_tensors(path, header, tensors)

    @classmethod
    def load(cls, path: Path) -> ActivationStatistics:
        """Read what `save` wrote; anything else is an AtlasError."""
        header, tensors = read_tensors(
            path, _StatisticsHeader, format_name=_FORMAT, version=_VERSION
        )
        sites = [Site.parse(name, width) for name, width in header.sites]
        statistics = cls(
            header.tasks,
            sites,
            rule=header.rule,
            moments=header.moments,
            provenance=header.provenance,
        )
        found = {"active": statistics.active, "units": statistics.units} | statistics.moments
        for kind, counts in found.items():
            for site in sites:
                counts[site.name] = _like(counts[site.name], tensors, f"{kind}.{site.name}", path)
        return statistics


def count_fired(
    activation_BSF: Tensor, *, real_BS: Tensor, rule: CountRule
) -> tuple[Tensor, Tensor]:
    """Count active units by sentence: int64 [B, F], and the units looked at: int64 [B].

    The sum over positions is a batched product with the 0/1 weights of the positions, which is
    several times faster than a boolean reduction and exact in fp32 up to 2^24 positions. What fires
    is compared into fp32 at once: by way of booleans it would be one more pass over memory.
    """
    weight_BS = torch.ones_like(real_BS) if rule.count_padding else real_BS
    weight_B1S = weight_BS[:, None].to(torch.float32)
    with torch.autocast(activation_BSF.device.type, enabled=False):
        fired_BF = torch.bmm(weight_B1S, _fires(activation_BSF))[:, 0]
    return _by_unit(fired_BF.to(torch.int64), weight_BS.sum(1), rule)


def count_fired_packed(
    activation_SF: Tensor, *, real_S: Tensor, sentence_S: Tensor, sentences: int, rule: CountRule
) -> tuple[Tensor, Tensor]:
    """The same for sentences one after the other: int64 [C, F] and [C], C = `sentences`.

    Padding lies between no sentences, so a rule that counts it is a ValueError.
    """
    if rule.count_padding:
        raise ValueError("packed batches have no padding of their own to count")
    fired_SF = ((activation_SF > 0) & real_S[:, None]).to(torch.int32)
    fired_CF = fired_SF.new_zeros(sentences, fired_SF.shape[1])
    fired_CF.index_add_(0, sentence_S, fired_SF)
    units_C = fired_SF.new_zeros(sentences).index_add_(0, sentence_S, real_S.to(torch.int32))
    return _by_unit(fired_CF.to(torch.int64), units_C.to(torch.int64), rule)


def count_fired_by_task(
    activation_SF: Tensor, *, real_S: Tensor, task_S: Tensor, tasks: int
) -> tuple[Tensor, Tensor]:
    """Active and real tokens of each task among positions that may mix them: int64 [T, F] and [T].

    A product with the 0/1 weights of the positions, as in `count_fired`: a GPU takes a fraction of
    the time that adding a batch of 30,720 positions up by index takes, and it is as exact.
    """
    task_T1 = torch.arange(tasks, device=task_S.device)[:, None]
    weight_TS = ((task_S == task_T1) & real_S).to(torch.float32)
    with torch.autocast(activation_SF.device.type, enabled=False):
        fired_TF = weight_TS @ _fires(activation_SF)
    return fired_TF.to(torch.int64), weight_TS.sum(1).to(torch.int64)


def _fires(activation: Tensor) -> Tensor:
    """1 where a neuron is active, else 0: fp32."""
    fired = torch.empty_like(activation, dtype=torch.float32)
    return torch.gt(activation, 0, out=fired)


def _by_unit(fired_CF: Tensor, units_C: Tensor, rule: CountRule) -> tuple[Tensor, Tensor]:
    if rule.unit == "sentence_union":
        return (fired_CF > 0).to(torch.int64), (units_C > 0).to(torch.int64)
    return fired_CF, units_C


def _like(expected: Tensor, tensors: Mapping[str, Tensor], name: str, path: Path) -> Tensor:
    """The tensor of that name, if it has the shape and type of `expected`."""
    found = tensors.get(name)
    if found is None or (found.shape, found.dtype) != (expected.shape, expected.dtype):
        raise AtlasError(
            f"{path} does not hold the counts {name} that its header names", fix="make it again"
        )
    return found
