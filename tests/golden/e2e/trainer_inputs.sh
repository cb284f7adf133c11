# SPDX-License-Identifier: Apache-2.0
# To be sourced, after common.sh, by trainer.sh (the test) and make_golden.sh: two runs of 30 steps
# over the quickstart's data with a model small enough for every machine.

# trainer_config FILE TRAINABLE PACK OUTPUT LR DECAY
trainer_config() {
    cat >"$1" <<END
{ "run": { "dir": "$(basename "$1" .json)" },
  "model": { "vision_tower": "init/vision_tower", "language_model": "init/language_model",
             "projector": { "type": "mlp2x_gelu", "weights": "fresh/projector.safetensors" } },
  "data": { "packs": ["$3"], "shuffle": false, "max_length": 100, "workers": 1 },
  "train": { "trainable": [$2], "max_steps": 30, "global_batch_size": 5, "seed": 7,
             "micro_batch_tokens": 150, "precision": "f32", "output": "$4" },
  "optim": { "lr": $5, "weight_decay": $6, "warmup_ratio": 0.1, "max_grad_norm": 0.8 } }
END
}

# Packs, models, a fresh projector (a run at lr 0 writes it) and both configs, in $work.
make_trainer_inputs() {
    make_inputs && write_config "$work/fresh.json" 1 &&
        "$LLAVA" train "$work/fresh.json" --set run.dir="$work/fresh" --set train.max_steps=1 \
            --set optim.lr=0 &&
        trainer_config "$work/stage1.json" '"projector"' captions projector 1e-2 0 &&
        trainer_config "$work/stage2.json" '"projector", "language_model"' questions full 3e-3 0.1
}
