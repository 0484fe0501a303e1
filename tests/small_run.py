"""A run that takes seconds, for tests."""

from nsmt.commands.launch import prepared_corpus, run_stages
from nsmt.training.signals import StopSignal

SMALL = (
    "name=small",
    "data=synthetic",
    "data.sentences=400",
    "data.vocabulary.size=120",
    "data.workers=1",
    "data.cleaning.max_tokens=40",
    "model.encoder_layers=1",
    "model.decoder_layers=2",
    "model.d_model=32",
    "model.d_ff=48",
    "model.heads=2",
    "model.max_positions=48",
    "model.dropout=0.1",
    "optimizer.learning_rate=0.005",
    "optimizer.warmup_updates=10",
    "batch.tokens=512",
    "batch.per_update=2",
    "decoding=greedy",
    "decoding.max_length_extra=20",
    "test.bootstrap_samples=50",
    "callbacks.progress=false",
    "callbacks.log_every=5",
    "trainer.threads=1",
    "schedule.dense.updates=30",
    "schedule.dense.validate_every=15",
    "schedule.specialise.updates=10",
    "schedule.specialise.validate_every=10",
)


def train_stages(config):
    """Prepare and train, without scores and report; the names of the stages."""
    with StopSignal().listening() as stop:
        return run_stages(config, prepared_corpus(config), stop)
