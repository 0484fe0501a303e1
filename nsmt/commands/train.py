"""`train`: the main job. Prepare, train every stage, test, report."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from nsmt.commands.config import RunConfig
from nsmt.commands.given import GIVEN, changed_inputs, given_inputs, require_same_inputs
from nsmt.commands.launch import prepared_corpus, run_stages
from nsmt.commands.notes import Tell, telling, told, withdraw
from nsmt.commands.report import report, show
from nsmt.commands.resume import begin, check_resume, take_over
from nsmt.commands.score import score_systems
from nsmt.data.corpus import Corpus
from nsmt.data.encode import given_vocabulary
from nsmt.data.given import given_corpus
from nsmt.data.sources import make_source
from nsmt.data.split import SPLITS
from nsmt.errors import ConfigurationError, DataError
from nsmt.evaluation.scoring import require_tokenizer
from nsmt.files import replace_text
from nsmt.models.transformer import Transformer
from nsmt.progress import result_console
from nsmt.records import (
    certificate,
    command_line,
    log_into,
    now,
    read_record,
    write_record,
)
from nsmt.training.optimization import for_stage
from nsmt.training.signals import StopSignal
from nsmt.training.tracking import missing_tracker
from nsmt.training.trainer import chosen_precision, device_of, on_machine
from nsmt.training.world import check_world, rank
from nsmt.turns import taking_turns

_LOG = logging.getLogger(__name__)


def train(config: RunConfig) -> Path | None:
    """Run the whole job; the path of its report, or None where there is none to make."""
    check_consistency(config)
    config = decided(config)
    check_resume(config)
    if config.check:
        show_check(config)
        return None
    check_world(config.trainer)
    device_of(config.trainer.accelerator)
    with StopSignal().listening() as stop:
        if rank() > 0:
            if (corpus := told(config)) is not None:
                run_stages(config, corpus, stop)
            return None
        with telling(config) as tell:
            corpus = prepared_corpus(config)
            with taking_turns(config.lock("run")):
                withdraw(config)
                return _train(config, corpus, stop, tell)


def _train(config: RunConfig, corpus: Corpus, stop: StopSignal, tell: Tell) -> Path | None:
    """The job in the first rank; others wait until the folder is as they are to find it."""
    given = given_inputs(config.schedule)
    begin(config)
    if (finished := finished_report(config.folder, corpus.fingerprint, given)) is not None:
        console = result_console()
        console.print(f"{config.run_name} is finished; resume=never would start it again.")
        show(config.folder)
        tell(None)
        return finished
    log_into(config.folder)
    take_over(config, corpus, given)
    _LOG.info("corpus %s, %s", corpus.folder, corpus.fingerprint)
    record = _begun(config, corpus, given)
    write_record(config.folder, record)
    resolved = OmegaConf.to_yaml(OmegaConf.create(config.model_dump(mode="json")))
    replace_text(config.folder / "config.yaml", resolved)
    tell(corpus)
    names = run_stages(config, corpus, stop)
    score_systems(config, corpus, names, models=config.folder, into=config.folder)
    write_record(config.folder, record | {"stages": names, "finished": now()})
    path = report(config.folder)
    _LOG.info("finished: %s", path)
    show(config.folder)
    return path


def _begun(config: RunConfig, corpus: Corpus, given: Mapping[str, str]) -> dict[str, Any]:
    """The certificate of a run that begins, or goes on."""
    record = certificate(
        command=command_line(),
        config=config.model_dump(mode="json"),
        seed=config.seed,
        fingerprint=corpus.fingerprint,
    )
    # Stages that an interrupted run finished are kept, so the record keeps what made them.
    if before := read_record(config.folder):
        _require_same_text(before, corpus, config.folder)
        require_same_inputs(before, given, config.folder)
        attempt = {key: before[key] for key in ("command", "commit", "started")}
        record["resumed"] = [*before.get("resumed", []), attempt]
    record[GIVEN] = dict(given)
    record["licences"] = corpus.licences
    record["preparation"] = {
        str(pair): {split: len(corpus.table(pair, split)) for split in SPLITS}
        for pair in corpus.pairs
    }
    return record


def decided(config: RunConfig) -> RunConfig:
    """The configuration with what it leaves to the machine, which numbers and folder depend on."""
    trainer = config.trainer.model_copy(update={"precision": chosen_precision(config.trainer)})
    batch = on_machine(config.batch, trainer, config.model)
    return config.model_copy(update={"trainer": trainer, "batch": batch})


def _require_same_text(before: Mapping[str, Any], corpus: Corpus, folder: Path) -> None:
    """Refuse to go on with a run of other text, before its certificate is touched."""
    if before["data_fingerprint"] != corpus.fingerprint:
        raise DataError(
            f"{folder} holds a run of other text than {corpus.folder}",
            fix="start it again with resume=never, or give this run a name of its own",
        )


def finished_report(folder: Path, fingerprint: str, given: Mapping[str, str]) -> Path | None:
    """The report of a run that came to its end on the same text, from the same inputs."""
    path, record = folder / "report" / "report.html", read_record(folder)
    same = "finished" in record and record["data_fingerprint"] == fingerprint
    return path if same and not changed_inputs(record, given) and path.is_file() else None


def check_consistency(config: RunConfig) -> None:
    """Find what each group allows by itself but not together with the others."""
    longest = config.data.cleaning.max_tokens + 2
    faults = _batch_faults(config, longest=longest)
    if config.model.max_positions < longest:
        faults.append(
            f"model.max_positions={config.model.max_positions} is too short for "
            f"data.cleaning.max_tokens={config.data.cleaning.max_tokens} with tag and </s>"
        )
    faults += _method_faults(config)
    try:
        require_tokenizer(config.test.tokenizer)
    except ConfigurationError as error:
        faults.append(f"test.tokenizer: {error.problem}; {error.fix}")
    if (missing := missing_tracker(config.logger)) is not None:
        faults.append(missing)
    paths = [("checkpoint", config.schedule.checkpoint), ("atlas", config.schedule.atlas)]
    faults += [
        f"schedule.{key}={path} does not exist"
        for key, path in paths
        if path is not None and not Path(path).exists()
    ]
    if faults:
        raise ConfigurationError(
            "the configuration does not fit together:\n" + "\n".join(f"  - {f}" for f in faults),
            fix="change one side of each",
        )


def _method_faults(config: RunConfig) -> list[str]:
    """What the method cannot do under the other settings."""
    method, data, faults = config.method, config.data, []
    if method.needs_whole_weights and config.trainer.strategy == "fsdp":
        faults.append(
            f"method={method.name} needs all of a weight in every rank, which "
            "trainer.strategy=fsdp does not give; ddp does"
        )
    if not method.bears_recompute and config.trainer.recompute:
        faults.append(f"trainer.recompute would compute layers without the masks of {method.name}")
    if config.schedule.atlas is not None and not method.takes_atlas:
        faults.append(f"method={method.name} has no use for schedule.atlas")
    directions, languages = data.parsed_directions, data.language_table()
    if (refusal := method.refusal(directions, languages, pivot=data.pivot)) is not None:
        faults.append(f"method={method.name}: {refusal}")
    return faults


def _batch_faults(config: RunConfig, *, longest: int) -> list[str]:
    """What is wrong with the batches of what is trained, by the keys that ask for them."""
    faults, world = [], config.trainer.world
    for stage in config.schedule.trained(config.method.parts):
        batch = config.schedule.stage(stage).batch(config.batch)
        tokens = config.schedule.asking(stage, "tokens")
        if (per_update := batch.per_update) % world:
            multiple = -(-per_update // world) * world
            faults.append(
                f"{config.schedule.asking(stage, 'per_update')}={per_update} cannot be shared by "
                f"{world} ranks; {multiple} could, with {tokens} smaller in proportion"
            )
        if batch.tokens < longest:
            faults.append(f"{tokens}={batch.tokens} cannot hold a sentence of {longest}")
    # What several take from one place is told once.
    return list(dict.fromkeys(faults))


def show_check(config: RunConfig) -> None:
    """Look for the inputs, build the model without memory and say what a run would do."""
    if given_corpus(config.data) is None:
        make_source(config.data)
    given = given_vocabulary(config.data)
    vocabulary = given.size if given is not None else config.data.vocabulary.size
    with torch.device("meta"):
        model = Transformer(config.model, vocabulary_size=vocabulary, pad=0)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    neurons = sum(site.width for site in model.sites)
    directions = config.data.parsed_directions
    lines = [
        f"run         {config.folder}",
        f"corpus      {config.data.name}: {len(directions)} directions "
        f"({', '.join(map(str, directions[:6]))}{', …' if len(directions) > 6 else ''})",
        f"model       {parameters / 1e6:,.1f}M parameters, {neurons:,} feed-forward neurons "
        f"at {len(model.sites)} sites, vocabulary {vocabulary:,}",
        f"schedule    {config.schedule.kind}, {_updates(config)} updates, "
        f"peak rates {_rates(config)}",
        f"ranks       {config.trainer.world} x {config.trainer.accelerator}, "
        f"{_batches(config)} tokens an update",
    ]
    result_console().print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def _updates(config: RunConfig) -> str:
    schedule, parts = config.schedule, config.method.parts
    return " + ".join(
        f"{schedule.stage(key).updates:,}"
        + (f" (each model of schedule.{key})" if key == parts else "")
        for key in schedule.trained(parts)
    )


def _rates(config: RunConfig) -> str:
    """Stages may have rates of their own, beside which the optimiser's is not read."""
    stages = map(config.schedule.stage, config.schedule.trained(None))
    return ", ".join(f"{for_stage(config.optimizer, each).learning_rate:g}" for each in stages)


def _batches(config: RunConfig) -> str:
    """Micro-batches of an update and their tokens, by stage where these differ."""
    found = {}
    for key in config.schedule.trained(config.method.parts):
        batch = config.schedule.stage(key).batch(config.batch)
        found[key] = f"{batch.per_update} x {batch.tokens:,}"
    if len(set(found.values())) == 1:
        return next(iter(found.values()))
    return ", ".join(f"{text} ({key})" for key, text in found.items())
