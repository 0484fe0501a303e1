"""How often each neuron fires for each task: counted on the device, merged across ranks.

Source: Neuron Specialization (arXiv 2404.11201), section 3.1, and the released code, which differ
in the unit of a count. `token` counts every position at which the post-ReLU value is not zero (the
code); `sentence_union` counts each sentence in which the neuron fired at least once (as the paper
is reported to say). Padding is left out unless `count_padding` asks for it, as the code does.

Counts are integers and therefore exact whatever the order of batches, ranks or layouts. A neuron is
active where its value is positive, which for ReLU is where it is not zero; so the same counts serve
language models, whose activations are seldom zero (LAPE, arXiv 2402.16438, equation 2). Moments
(`nsmt.neurons.moments`) are gathered beside the counts where they are asked for. While they are
added to, tables are wide; in files, and as they are read, they are narrow (`nsmt.neurons.widths`).

The tables of a site live where its activations are, as a model may be spread over devices.

Shape suffixes: B rows, S positions, C sentences (B of them, or packed into one row), F neurons of a
site, T tasks, K sums of a row (one, or of packed rows one a task).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from nsmt.errors import AtlasError
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.moments import Moment, Summand, position_sums
from nsmt.neurons.sites import Site, require_same_sites
from nsmt.neurons.storage import Header, read_tensors, write_tensors
from nsmt.neurons.widths import COUNTS, SUMS, WIDE_COUNT, WIDE_SUM, narrow, wide

CountUnit = Literal["token", "sentence_union"]
_FORMAT = "nsmt.activation_statistics"
# 1 had wide tables alone.
_VERSION, _READ = 2, (1, 2)


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
    for each kind asked for, float64 [T, F] by site name: sums over tokens. What was read from a
    file may be int32 and float32, until something is added to it.
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
            site.name: torch.zeros(count, site.width, dtype=WIDE_COUNT, device=device)
            for site in self.sites
        }
        self.units = {
            site.name: torch.zeros(count, dtype=WIDE_COUNT, device=device) for site in self.sites
        }
        if moments and self.rule != CountRule("token"):
            raise AtlasError(
                "moments are sums over real tokens", fix="count by token, without padding"
            )
        self.moments = {
            kind: {
                site.name: torch.zeros(count, site.width, dtype=WIDE_SUM, device=device)
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
        if self.rule != CountRule("token"):
            self._update_by_sentence(site, activation_BSF, task_C, real_BS, sentence_S)
            return
        weight_BKS = self._weights(task_C, real_BS, sentence_S)
        kinds: list[Summand] = ["active", *(kind for kind in self.moments if kind != "written")]
        row_task_C = task_C if sentence_S is None else None
        for kind, sums_BKF in position_sums(activation_BSF, weight_BKS, kinds).items():
            self._add(kind, site, sums_BKF, row_task_C)
        self._add("units", site, weight_BKS.sum(2), row_task_C)

    def add_written(
        self,
        site: str,
        hidden_BSF: Tensor,
        length_F: Tensor,
        *,
        task_C: Tensor,
        real_BS: Tensor,
        sentence_S: Tensor | None = None,
    ) -> None:
        """Add the moment `written`: what the second projection reads, and its columns' lengths."""
        weight_BKS = self._weights(task_C, real_BS, sentence_S)
        sums_BKF = position_sums(hidden_BSF, weight_BKS, ["written"])["written"] * length_F
        self._add("written", site, sums_BKF, task_C if sentence_S is None else None)

    def _weights(self, task_C: Tensor, real_BS: Tensor, sentence_S: Tensor | None) -> Tensor:
        """1 where a position counts: fp32 [B, 1, S] for sums by row, packed [1, T, S] by task."""
        if sentence_S is None:
            return real_BS[:, None].to(torch.float32)
        task_T1 = torch.arange(len(self.tasks), device=task_C.device)[:, None]
        return ((task_C[sentence_S] == task_T1) & real_BS).to(torch.float32)[None]

    def _add(self, kind: str, site: str, sums_BK: Tensor, task_C: Tensor | None) -> None:
        """Add sums [B, K, ...] of rows whose tasks are told, or of one row by task."""
        table = self._tables()[kind]
        _own(table, site, sums_BK.device)
        if task_C is None:
            table[site] += sums_BK[0].to(table[site].dtype)
        else:
            table[site].index_add_(0, task_C, sums_BK[:, 0].to(table[site].dtype))

    def _update_by_sentence(
        self,
        site: str,
        activation_BSF: Tensor,
        task_C: Tensor,
        real_BS: Tensor,
        sentence_S: Tensor | None,
    ) -> None:
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
        for table, found in ((self.active, fired_CF), (self.units, units_C)):
            _own(table, site, found.device)
            table[site].index_add_(0, task_C, found)

    def mean(self, kind: Moment, site: Site) -> Tensor:
        """A moment for each token: float64 [T, F]; AtlasError if it was not gathered."""
        if kind not in self.moments:
            raise AtlasError(
                f"the statistics hold no '{kind}'",
                fix=f"gather them again with {kind} among their moments",
            )
        return wide(self.moments[kind][site.name]) / self.units[site.name].clamp(min=1)[:, None]

    @property
    def nbytes(self) -> int:
        """How much memory all tables take."""
        return sum(tensor.nbytes for table in self._tables().values() for tensor in table.values())

    def _tables(self) -> dict[str, dict[str, Tensor]]:
        moments = {str(kind): table for kind, table in self.moments.items()}
        return {"active": self.active, "units": self.units} | moments

    def merge(self, other: ActivationStatistics) -> None:
        """Add the counts of `other`, which must be of the same tasks, sites and rule."""
        require_same_sites(self.sites, other.sites, what="the statistics")
        asked = (self.tasks, self.rule, self.moments.keys())
        if asked != (other.tasks, other.rule, other.moments.keys()):
            raise AtlasError(
                "statistics of different tasks, counting rules or moments cannot be added",
                fix="gather both with the same directions, count_unit and count_padding",
            )
        for kind, mine in self._tables().items():
            for site, table in other._tables()[kind].items():
                _own(mine, site, mine[site].device)
                mine[site] += table.to(mine[site].device)

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
            device="meta",
        )
        for kind, table in joined._tables().items():
            for name in table:
                table[name] = torch.cat([part._tables()[kind][name] for part in parts])
        return joined

    def silence_all_but(self, atlas: NeuronAtlas) -> None:
        """Have the neurons that a task may not use count as those that never fire.

        `atlas` has those that it may use. A masked neuron puts out relu(b1) whatever is read: with
        a positive bias it would be counted at every token, as the most active of all.
        """
        require_same_sites(self.sites, atlas.sites, what="the statistics and the atlas")
        own = atlas.select(self.tasks)
        for kind, table in self._tables().items():
            for site in self.sites if kind != "units" else ():
                masked_TF = ~own.masks(site).to(table[site.name].device)
                table[site.name] = table[site.name].masked_fill(masked_TF, 0)

    def all_reduce(self) -> None:
        """Sum over all ranks of the default process group; without one, do nothing."""
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return
        for table in self._tables().values():
            for site in table:
                table[site] = wide(table[site])
                torch.distributed.all_reduce(table[site])

    def save(self, path: Path, *, widths: Literal["narrow", "as they are"] = "narrow") -> None:
        """Write safetensors, with everything that is not a tensor as JSON in its header.

        Statistics that are to be added to later are written as they are.
        """
        header = _StatisticsHeader(
            format=_FORMAT,
            version=_VERSION,
            tasks=self.tasks,
            sites=tuple((site.name, site.width) for site in self.sites),
            provenance=self.provenance,
            rule=self.rule,
            moments=tuple(self.moments),
        )
        tensors = {
            f"{kind}.{name}": values
            for kind, table in self._tables().items()
            for name, values in table.items()
        }
        if widths == "narrow":
            tensors = {name: narrow(table) for name, table in tensors.items()}
        write_tensors(path, header, tensors)

    @classmethod
    def load(cls, path: Path) -> ActivationStatistics:
        """Read what `save` wrote, as narrow as it is there; anything else is an AtlasError."""
        header, tensors = read_tensors(path, _StatisticsHeader, format_name=_FORMAT, version=_READ)
        sites = [Site.parse(name, width) for name, width in header.sites]
        statistics = cls(
            header.tasks,
            sites,
            rule=header.rule,
            moments=header.moments,
            provenance=header.provenance,
            # Only what is found is held.
            device="meta",
        )
        for kind, counts in statistics._tables().items():
            for site in sites:
                counts[site.name] = _like(counts[site.name], tensors, f"{kind}.{site.name}", path)
        return statistics


def count_fired(
    activation_BSF: Tensor, *, real_BS: Tensor, rule: CountRule
) -> tuple[Tensor, Tensor]:
    """Count active units by sentence: int64 [B, F], and the units looked at: int64 [B]."""
    weight_BS = torch.ones_like(real_BS) if rule.count_padding else real_BS
    weight_B1S = weight_BS[:, None].to(torch.float32)
    fired_BF = position_sums(activation_BSF, weight_B1S, ["active"])["active"][:, 0]
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


def _by_unit(fired_CF: Tensor, units_C: Tensor, rule: CountRule) -> tuple[Tensor, Tensor]:
    if rule.unit == "sentence_union":
        return (fired_CF > 0).to(torch.int64), (units_C > 0).to(torch.int64)
    return fired_CF, units_C


def _own(table: dict[str, Tensor], site: str, device: torch.device) -> None:
    """Have a site's table wide, and where its activations are."""
    table[site] = wide(table[site]).to(device)


def _like(expected: Tensor, tensors: Mapping[str, Tensor], name: str, path: Path) -> Tensor:
    """The tensor of that name, if it has the shape of `expected` and a type of its kind."""
    found = tensors.get(name)
    allowed = SUMS if expected.is_floating_point() else COUNTS
    if found is None or found.shape != expected.shape or found.dtype not in allowed:
        raise AtlasError(
            f"{path} does not hold the counts {name} that its header names", fix="make it again"
        )
    return found
