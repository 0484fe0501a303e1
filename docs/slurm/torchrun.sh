#!/bin/bash
# Several nodes without a scheduler. The same on each of them, HOST being one of them and ID a new
# word for each launch:
#     HOST=node1 ID=monday bash docs/slurm/torchrun.sh
# torchrun ends with status 1 where its ranks were asked to stop: the same command goes on. It gives
# them 30 seconds after a SIGTERM, and does not pass SIGUSR1 on.
exec torchrun --nnodes=2 --nproc-per-node=4 \
    --rdzv-backend=c10d --rdzv-endpoint="$HOST:29500" --rdzv-id="$ID" \
    train.py data=files data.root=text data.pairs='[en-de,en-fr]' model=mt_big \
    trainer=ddp trainer.devices=4 trainer.num_nodes=2 batch.tokens=7680 batch.per_update=88
