"""Claims about statistics of language models: those of a slow pass that keeps everything."""

from contextlib import nullcontext
from functools import partial

import pytest
import torch
from language_models import model_of
from torch import nn
from torch._subclasses import FakeTensorMode

from nsmt.errors import AtlasError
from nsmt.neurons.recording import ActivationRecorder, Positions
from nsmt.neurons.sites import Site
from nsmt.neurons.statistics import ActivationStatistics, CountRule
from nsmt.neurons.taps import Tap
from nsmt.steering.families import FAMILIES, language_model_taps
from nsmt.steering.gathering import Contexts, gather

MOMENTS = ("sum", "square", "positive", "written")


def batches(seed=0):
    torch.manual_seed(seed)
    made = []
    for language in ("de", "en", "de", "fr"):
        ids = torch.randint(3, 64, (3, 10))
        real = torch.ones_like(ids, dtype=torch.bool)
        real[1, 6:] = language == "fr"
        made.append((language, Contexts(ids, real)))
    return made


def counted(model, taps, some):
    statistics = ActivationStatistics(("de", "en", "fr"), tuple(taps), moments=MOMENTS)
    heard = []
    gather(model.base_model, taps, some, statistics, tell=heard.append)
    assert sum(heard) == sum(int(batch.real_BS.sum()) for _, batch in some)
    return statistics


def watched(model, taps, ids):
    """The activations of each site, and what its second projection reads."""
    seen, read, hooks = {}, {}, []
    for site, tap in taps.items():
        keep, note = partial(seen.__setitem__, site.name), partial(read.__setitem__, site.name)
        hooks += [
            tap.module.register_forward_hook(lambda _, __, out, keep=keep: keep(out)),
            tap.second.register_forward_pre_hook(lambda _, into, note=note: note(into[0])),
        ]
    model.base_model(input_ids=ids)
    for hook in hooks:
        hook.remove()
    return seen, read


@pytest.mark.parametrize("family", FAMILIES)
def test_statistics_are_those_of_every_token_by_itself(family):
    model = model_of(family).double()
    taps = language_model_taps(model)
    found = counted(model, taps, batches())
    kept = {(site.name, language): [] for site in taps for language in found.tasks}
    written = {key: [] for key in kept}
    for language, batch in batches():
        for ids, real in zip(batch.ids_BS, batch.real_BS, strict=True):
            # A row alone, as long as it is: padding on the right does not reach it.
            seen, read = watched(model, taps, ids[real][None])
            for site, tap in taps.items():
                length = tap.second.weight.detach().norm(dim=0)
                kept[site.name, language].append(seen[site.name].detach().reshape(-1, site.width))
                through = read[site.name].detach().reshape(-1, site.width).abs() * length
                written[site.name, language].append(through)
    for site in taps:
        for language in found.tasks:
            values = torch.cat(kept[site.name, language])
            row = found.row(language)
            assert torch.equal(found.active[site.name][row], (values > 0).sum(0))
            assert found.units[site.name][row] == len(values)
            for kind, expected in {
                "sum": values.sum(0),
                "square": values.square().sum(0),
                "positive": values.clamp(min=0).sum(0),
                "written": torch.cat(written[site.name, language]).sum(0),
            }.items():
                moment = found.moments[kind][site.name][row]
                torch.testing.assert_close(moment, expected, atol=1e-4, rtol=1e-5)


def test_parts_add_up_to_the_whole():
    model = model_of("llama")
    taps = language_model_taps(model)
    some = batches()
    whole, one, other = (counted(model, taps, part) for part in (some, some[:1], some[1:]))
    one.merge(other)
    for site in taps:
        assert torch.equal(one.active[site.name], whole.active[site.name])
        assert torch.equal(one.units[site.name], whole.units[site.name])
        for kind in MOMENTS:
            torch.testing.assert_close(one.moments[kind][site.name], whole.moments[kind][site.name])


def test_moments_are_kept_in_the_file_and_compared(tmp_path):
    model = model_of("llama")
    taps = language_model_taps(model)
    found = counted(model, taps, batches())
    found.save(tmp_path / "statistics.safetensors")
    again = ActivationStatistics.load(tmp_path / "statistics.safetensors")
    for site in taps:
        torch.testing.assert_close(
            again.mean("square", site), found.mean("square", site), rtol=2**-24, atol=0
        )
    without = ActivationStatistics(found.tasks, found.sites)
    with pytest.raises(AtlasError, match="moments"):
        without.merge(found)
    with pytest.raises(AtlasError, match="no 'sum'"):
        without.mean("sum", found.sites[0])
    with pytest.raises(AtlasError, match="real tokens"):
        ActivationStatistics(
            ("a",), found.sites, rule=CountRule("sentence_union"), moments=("sum",)
        )


class Spread(nn.Module):
    """Two blocks, one a device, as `device_map` leaves them; the devices are pretended."""

    def __init__(self, devices):
        super().__init__()
        self.devices = devices
        self.acts = nn.ModuleList(nn.ReLU() for _ in devices)
        self.seconds = nn.ModuleList(nn.Identity() for _ in devices)

    def forward(self, input_ids, **_):
        for device, act, second in zip(self.devices, self.acts, self.seconds, strict=True):
            second(act(torch.randn(*input_ids.shape, 4, device=device)))


def test_the_sums_of_a_layer_are_on_the_device_of_the_layer(monkeypatch):
    # Of the devices that can be pretended, the one with every operation knows no autocast.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    with FakeTensorMode():
        devices = [torch.device("lazy", number) for number in range(2)]
        with pytest.raises(RuntimeError, match="same device"):
            torch.ones(2, device=devices[0]) + torch.ones(2, device=devices[1])
        body = Spread(devices)
        for number, second in enumerate(body.seconds):
            second.weight = torch.ones(3, 4, device=devices[number])
        sites = [Site("decoder", layer, 4) for layer in range(2)]
        taps = {
            site: Tap(act, second)
            for site, act, second in zip(sites, body.acts, body.seconds, strict=True)
        }
        statistics = ActivationStatistics(("de",), sites, moments=MOMENTS, device=devices[0])
        recorder = ActivationRecorder(statistics)
        ids_BS = torch.ones(2, 3, device=devices[0])
        task_B = torch.zeros(2, dtype=torch.int64, device=devices[0])
        with recorder.tapping(taps):
            for _ in range(2):
                recorder.observe(task_B, {"decoder": Positions(ids_BS)})
                body(ids_BS)
        for site, device in zip(sites, devices, strict=True):
            tables = (statistics.active, statistics.units, *statistics.moments.values())
            assert all(table[site.name].device == device for table in tables)
