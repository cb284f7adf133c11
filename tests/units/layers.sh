#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# layers.sh [ROOT]: proves from the #include lines that dependencies go one way, between folders
# and within data/ and train/, and that mpi.h is included where MPI is called and in no header.
# Exit 0 if they do, 1 with the lines that do not.
set -u
root=${1:-${LLAVA_TEST_SOURCE:?}}

# A line a folder: what its files may include, as folders from the root. A folder that is not here
# is reported. autograd/kernels knows no tape: of autograd/ it may include the headers named here.
rules() {
    cat <<'END'
autograd autograd autograd/kernels
autograd/kernels autograd/kernels autograd/cpu.h autograd/error.h autograd/real.h autograd/tensor.h
autograd/kernels/vector autograd/kernels autograd/kernels/vector autograd/real.h autograd/tensor.h
autograd/ops autograd autograd/kernels autograd/ops
optim AUTOGRAD optim
data/base AUTOGRAD data/base
data/json AUTOGRAD data/base data/json
data/image AUTOGRAD data/base data/json data/image
data/tokenizer AUTOGRAD data/base data/json data/tokenizer
data/chat AUTOGRAD data/base data/json data/image data/tokenizer data/chat
data/pack AUTOGRAD data/base data/json data/image data/tokenizer data/chat data/pack
data/pack/write AUTOGRAD data/base data/json data/image data/tokenizer data/chat data/pack data/pack/write
data/loader AUTOGRAD data/base data/json data/image data/tokenizer data/chat data/pack data/loader
train/model BELOW train/model
train/model/weights BELOW train/model train/model/weights
train/model/params BELOW train/model train/model/weights train/model/params
train/model/vision BELOW train/model train/model/weights train/model/params train/model/vision
train/model/language BELOW train/model train/model/weights train/model/params train/model/language
train/model/connector BELOW train/model train/model/weights train/model/params train/model/connector
train/model/hf BELOW MODEL
train/model/llava BELOW MODEL
train/host BELOW train/host
train/config BELOW MODEL train/config
train/cluster BELOW MODEL train/host train/cluster
train/answer BELOW MODEL train/host train/config train/cluster train/answer
train/exchange BELOW MODEL train/host train/config train/cluster train/exchange
train/checkpoint BELOW MODEL train/host train/config train/cluster train/checkpoint
train/watch BELOW MODEL train/host train/config train/cluster train/watch
train BELOW MODEL RUN train
train/plan BELOW MODEL RUN train train/plan
tools ANY tools
tools/inspect ANY tools tools/inspect
END
}

expand() {
    sed 's/ ANY/ BELOW MODEL RUN train train\/plan train\/answer/
        s/ RUN/ train\/host train\/config train\/cluster train\/exchange train\/checkpoint train\/watch/
        s/ MODEL/ train\/model train\/model\/weights train\/model\/params train\/model\/vision train\/model\/language train\/model\/connector train\/model\/hf train\/model\/llava/
        s/ BELOW/ AUTOGRAD optim data\/base data\/json data\/image data\/tokenizer data\/chat data\/pack data\/pack\/write data\/loader/
        s/ AUTOGRAD/ autograd autograd\/kernels/'
}

# Where mpi.h may be included: in .c files of these.
mpi='train/cluster/|train/exchange/|train/plan/comm_probe\.c'

# check ROOT: prints every include that breaks a rule.
check() {
    cd "$1" || exit 1
    for dir in autograd optim data train tools; do
        [ -d "$dir" ] || echo "$dir/ is not there"
    done
    find autograd optim data train tools -name '*.[ch]' -o -name '*.def' | sort |
        xargs grep -nHE '^[[:space:]]*#[[:space:]]*include' |
        awk -v mpi="^($mpi)" -v rules="$(rules | expand)" '
            BEGIN {
                n = split(rules, line, "\n")
                for (i = 1; i <= n; i++) {
                    k = split(line[i], word, " ")
                    known[word[1]] = 1
                    for (j = 2; j <= k; j++) may[word[1] " " word[j]] = 1
                }
            }
            {
                split($0, part, ":")
                file = part[1]
                dir = file
                sub(/\/[^\/]*$/, "", dir)
                if (!match($0, /["<][^">]*[">]/)) next
                quoted = substr($0, RSTART, 1) == "\""
                name = substr($0, RSTART + 1, RLENGTH - 2)
                folder = name
                if (!sub(/\/[^\/]*$/, "", folder)) folder = ""
                if (name ~ /(^|\/)mpi\.h$/) {
                    if (quoted || folder != "" || file !~ /\.c$/ || file !~ mpi) print
                } else if (!(dir in known)) {
                    print $0 " (" dir "/ has no rule)"
                } else if (quoted && folder == "") {
                    if (name !~ /\.def$/) print
                } else if (quoted || folder ~ /^(autograd|optim|data|train|tools|tests)(\/|$)/) {
                    if (!((dir " " folder) in may) && !((dir " " name) in may)) print
                }
            }'
}

# A check that finds nothing in a tree full of breaches would prove nothing.
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
put() {
    mkdir -p "$scratch/$(dirname "$1")"
    printf "$2" >"$scratch/$1"
}
put autograd/a.c '#include "data/json/json.h"\n'
put autograd/kernels/b.c '#include "autograd/tape.h"\n'
put data/base/c.c '#include <hdf5.h>\n# include <mpi.h>\n'
put data/json/d.h '#include "data/image/image.h"\n'
put data/loader/e.c '#include "data/pack/write/job.h"\n'
put data/loader/right.c '#include "data/pack/pack.h"\n#include <stdio.h>\n'
put data/scene/f.c '#include "data/base/file.h"\n'
put optim/g.h '#include "data/base/text.h"\n'
put train/answer/o.c '#include "train/setup.h"\n'
put train/cluster/h.h '#include <mpi.h>\n'
put train/cluster/right.c '#include <mpi.h>\n#include "train/host/stop.h"\n'
put train/cluster/n.c '#include "train/config/config.h"\n'
put train/config/i.c '#include "train/cluster/comm.h"\n'
put train/host/j.c '#include "../tools/main.h"\n'
put train/model/params/k.c '#include "train/model/llava/llava.h"\n'
put train/model/hf/l.c '  #  include <train/config/config.h> /* data/x.h */\n'
put train/step.c '#include <mpi.h>\n#include "train/plan/step.h"\n'
put tools/m.c '#include "train/mpi.h"\n#include "mpi.h"\n#include "cli.h"\n'
found=$(check "$scratch" | cut -d: -f1 | uniq -c | sed 's/^ *//' | tr '\n' ';')
expected='1 autograd/a.c;1 autograd/kernels/b.c;1 data/base/c.c;1 data/json/d.h;1 data/loader/e.c;'
expected=$expected'1 data/scene/f.c;1 optim/g.h;3 tools/m.c;1 train/answer/o.c;1 train/cluster/h.h;1 train/cluster/n.c;1 train/config/i.c;'
expected=$expected'1 train/host/j.c;1 train/model/hf/l.c;1 train/model/params/k.c;2 train/step.c;'
if [ "$found" != "$expected" ]; then
    echo "the check itself is broken: it found only $found"
    exit 1
fi

breaches=$(check "$root")
if [ -n "$breaches" ]; then
    echo "includes against the layers:"
    echo "$breaches"
    exit 1
fi
