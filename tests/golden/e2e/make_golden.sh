#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Make stage1.jsonl and stage2.jsonl beside this file: what torch in f64 gives for trainer.sh's runs.
# usage: make_golden.sh PYTHON, with LLAVA and LLAVA_TEST_SOURCE as meson sets them
here=$(cd "$(dirname "$0")" && pwd)
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"
. "$here/trainer_inputs.sh"
make_trainer_inputs || exit 1
reference() { # reference STAGE DATA TEMPLATE
    "$1" "$here/reference_train.py" "$work/$2.json" --data "$quick/$3" --images "$quick/photos" \
        --template "$4" --precision f64 --out "$work/reference-$2" &&
        cp "$work/reference-$2/steps.json" "$here/$2.jsonl"
}
reference "$1" stage1 captions.json plain && reference "$1" stage2 questions.json v1
