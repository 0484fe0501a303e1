"""The hyper-parameters of EC30 and IWSLT-14, key by key, as their scripts have them.

Those of EC30 are Neuron Specialization's (arXiv 2404.11201, released scripts), those of IWSLT-14
LaSS's (arXiv 2105.09259, released configuration), which the paper is recalled to follow. Rows that
are ours are marked so; everything of the groups is here, so that no key goes unpinned.
"""

GROUPS = (
    *("model.", "schedule.", "selection.", "optimizer.", "batch.", "callbacks.", "trainer."),
    *("decoding.", "data.vocabulary."),
)
# What is shown decides nothing.
SHOWN = ("callbacks.progress", "callbacks.log_every")

_BOTH = {
    "model.encoder_layers": 6,
    "model.decoder_layers": 6,
    "model.dropout": 0.1,
    "model.activation_dropout": 0.0,
    "model.share_embeddings": "decoder",
    "model.mask_bias": False,
    "optimizer.name": "adam",
    "optimizer.learning_rate": 5e-4,
    "optimizer.betas": [0.9, 0.98],
    "optimizer.weight_decay": 0.0,
    "optimizer.warmup_updates": 4000,
    "optimizer.decay": "inverse_sqrt",
    "optimizer.clip_norm": 0.0,
    "optimizer.label_smoothing": 0.1,
    # Every stage has the optimiser's own; its moments and schedule begin anew.
    **{
        f"schedule.{stage}.{key}": None
        for stage in ("dense", "specialise", "separate", "tuning")
        for key in ("learning_rate", "warmup_updates")
    },
    "schedule.kind": "two_stage",
    "schedule.checkpoint": None,
    "schedule.atlas": None,
    # LaSS's copies: 16,384 tokens an update.
    "schedule.tuning.updates": 160_000,
    "schedule.tuning.validate_every": 500,
    "schedule.tuning.patience": 30,
    "schedule.tuning.tokens": 4096,
    "schedule.tuning.per_update": 4,
    "selection.rule": "cumulative",
    "selection.k": 95.0,
    "selection.count_unit": "token",
    # Ours: the released code counts padding.
    "selection.count_padding": False,
    **{
        f"selection.{way}_pivot.{stack}": None
        for way in ("from", "into")
        for stack in ("encoder", "decoder")
    },
    "batch.homogeneous": True,
    "batch.layout": "auto",
    "batch.round_to": None,
    "callbacks.patience": 20,
    "callbacks.keep": "best",
    "callbacks.average": 5,
    "callbacks.ema_decay": 0.999,
    "decoding.beam": 5,
    "decoding.length_penalty": 1.0,
    "decoding.max_length_factor": 0.0,
    "decoding.max_length_extra": 200,
    "decoding.batch_sentences": 64,
    "test.tokenizer": "13a",
    "data.pivot": "en",
    "data.vocabulary.model": None,
    "data.vocabulary.kind": "bpe",
    "data.vocabulary.character_coverage": 1.0,
    "data.vocabulary.byte_fallback": False,
    "data.vocabulary.seed": 0,
    "trainer.accelerator": "gpu",
    "trainer.devices": 4,
    "trainer.num_nodes": 1,
    "trainer.strategy": "ddp",
    # Ours: fp16 there.
    "trainer.precision": "bf16-mixed",
    "trainer.tf32": True,
    "trainer.deterministic": False,
    "trainer.background": True,
    "trainer.recompute": False,
    "trainer.compile": True,
    "trainer.loss": "chunked",
    "trainer.threads": None,
}
EC30 = _BOTH | {
    "seed": 222,
    "model.d_model": 1024,
    "model.d_ff": 4096,
    "model.heads": 16,
    "model.norm": "pre",
    "model.attention_dropout": 0.1,
    "model.max_positions": 256,
    "optimizer.epsilon": 1e-6,
    "schedule.dense.updates": 900_000,
    "schedule.dense.validate_every": 2000,
    "schedule.dense.patience": 10,
    "schedule.dense.tokens": 8192,
    # 20 on each of four GPUs, and 21 below.
    "schedule.dense.per_update": 80,
    "schedule.specialise.updates": 900_000,
    "schedule.specialise.validate_every": 500,
    "schedule.specialise.patience": 20,
    "schedule.specialise.tokens": None,
    "schedule.specialise.per_update": None,
    # Ours, as nothing of the bilingual models is known.
    "schedule.separate.updates": 100_000,
    "schedule.separate.validate_every": 1000,
    "schedule.separate.patience": None,
    "schedule.separate.tokens": None,
    "schedule.separate.per_update": 12,
    "batch.tokens": 7680,
    "batch.per_update": 84,
    "data.temperature": 5.0,
    "data.vocabulary.size": 128_000,
    "data.vocabulary.sample_sentences": 12_000_000,
    "data.vocabulary.temperature": 2.0,
    # With the language tag and </s>, 256.
    "data.cleaning.max_tokens": 254,
}
IWSLT14 = _BOTH | {
    "seed": 22,
    "model.d_model": 512,
    "model.d_ff": 1024,
    "model.heads": 4,
    "model.norm": "post",
    "model.attention_dropout": 0.0,
    # This and the epsilon are left to fairseq there.
    "model.max_positions": 1024,
    "optimizer.epsilon": 1e-8,
    "schedule.dense.updates": 160_000,
    "schedule.dense.validate_every": 1000,
    "schedule.dense.patience": 20,
    "schedule.specialise.updates": 160_000,
    "schedule.specialise.validate_every": 500,
    "schedule.specialise.patience": 20,
    **{
        f"schedule.{stage}.{key}": None
        for stage in ("dense", "specialise")
        for key in ("tokens", "per_update")
    },
    # Ours: no bilingual models there.
    "schedule.separate.updates": None,
    "schedule.separate.validate_every": None,
    "schedule.separate.patience": None,
    "schedule.separate.tokens": 4096,
    "schedule.separate.per_update": 4,
    "batch.tokens": 16_384,
    "batch.per_update": 16,
    "data.temperature": 2.0,
    "data.vocabulary.size": 30_000,
    # Ours.
    "data.vocabulary.sample_sentences": 1_000_000,
    "data.vocabulary.temperature": 5.0,
    "data.cleaning.max_tokens": 1022,
}
RECIPES = {"ec30/mt_big": EC30, "iwslt14/mt_small": IWSLT14}

# What each stage comes to: updates, validated every, patience, peak rate, warm-up, and of an update
# tokens of a micro-batch and micro-batches.
STAGES = {
    "ec30/mt_big": {
        "dense": (900_000, 2000, 10, 5e-4, 4000, 8192, 80),
        "specialise": (900_000, 500, 20, 5e-4, 4000, 7680, 84),
        "tuning": (160_000, 500, 30, 5e-4, 4000, 4096, 4),
        "separate": (100_000, 1000, 10, 5e-4, 4000, 8192, 12),
    },
    "iwslt14/mt_small": {
        "dense": (160_000, 1000, 20, 5e-4, 4000, 16_384, 16),
        "specialise": (160_000, 500, 20, 5e-4, 4000, 16_384, 16),
        "tuning": (160_000, 500, 30, 5e-4, 4000, 4096, 4),
        "separate": (160_000, 1000, 20, 5e-4, 4000, 4096, 4),
    },
}

# The files of each corpus are its base with a method.
METHODS = {
    "neuron_specialization": {"name": "neuron_specialization"},
    "encoder": {"name": "neuron_specialization_encoder"},
    "decoder": {"name": "neuron_specialization_decoder"},
    # Ours: a seed beside the run's.
    "random": {"name": "random", "seed": 1},
    "lass": {
        "name": "lass",
        # Not known of either corpus.
        "rate": 0.3,
        "scope": "all",
        "output_projection": False,
        "dropout": 0.3,
    },
    # Of the paper's +87 % parameters; that of families is not known.
    "adapter_pair": {"name": "adapter_pair", "bottleneck": 256},
    "adapter_family": {"name": "adapter_family", "bottleneck": 256},
    "bilingual": {"name": "bilingual", "unit": "pair"},
}
