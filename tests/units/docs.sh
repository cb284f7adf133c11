#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# docs.sh: the documents name what there is: files, links, subcommands with their flags, config keys,
# Meson options, suites; the table of keys in configs/README.md is that of the program. The commands
# of the documents are run by tests/mpi/commands.sh.
. "${LLAVA_TEST_SOURCE:?}/tests/support/common.sh"
. "$LLAVA_TEST_SOURCE/tests/support/documents.sh"
cd "$LLAVA_TEST_SOURCE" || exit 1
tools=$(sed -nE 's/^LV_TOOL\(([a-z]+),.*/\1/p' tools/tools.def)
declare -A help
for tool in $tools; do
    help[$tool]="$("$LLAVA" "$tool" --help)
  --help "
done
sections='run|model|data|train|optim|checkpoint|comm|log'
keys=" $(sed -nE "s/^ *STORED\(\"(($sections)\.[a-z_.]+)\".*/\1/p" train/config/fields.c | tr '\n' ' ')"
options=" $(sed -nE "s/^option\('([a-z]+)'.*/-D\1/p" meson_options.txt | tr '\n' ' ')"
options+=$(grep -rhoE "suite: '[a-z]+'" tests --include=meson.build | sed -E "s/.*'(.*)'/--suite \1 /" | sort -u | tr '\n' ' ')
statuses=$(sed -nE 's/^enum \{ (EXIT_DONE .*) \};/\1/p' tools/cli.c | grep -oE '[0-9]+')

# Names that are not the repository's. By rule: what commands write (these folders), what users have,
# what is or ends in a placeholder (capitals); globs of names that commands write.
written='^(build[a-z-]*|model|runs|packs|run\.dir|checkpoints|heartbeat|step-[0-9]+|rank-[0-9]+)(/|\.|$)'
placeholder='^([a-z]+/)*[A-Z][A-Z_]*(\.[a-z]+)?$|^(samples|images)-\*\.h5$'
users='^(models|downloads|mydata|photos)/|^(my\.json|photo\.jpg|seen\.png|llava\.sif|mpi\.h)$'

slugs() { # of the headings of a document, as in links to them
    sed -nE 's/^#+ +//p' "$1" | tr 'A-Z' 'a-z' | sed -E "s/[^a-z0-9 _-]//g; s/ /-/g"
}

link_is_there() { # FILE TARGET
    local target=${2%%#*} anchor=
    [[ $2 == *#* ]] && anchor=${2#*#}
    [[ $2 == http*://* ]] && return
    target=${target:+$(dirname "$1")/$target}
    target=${target:-$1}
    [ -e "$target" ] && { [ -z "$anchor" ] || slugs "$target" | grep -qxF -- "$anchor"; }
}

exists() {
    case $1 in
    *'*'*) compgen -G "${1%/}" >/dev/null ;;
    */) [ -d "$1" ] ;;
    *) [ -e "$1" ] ;;
    esac
}

# path_is_there FILE WORD: from the root, the document's folder, or the folder of a path earlier in the
# same paragraph (near). A data file that is not there is one that the program writes.
path_is_there() {
    local folder
    for folder in . "$(dirname "$1")"; do
        if exists "$folder/$2"; then
            [[ $2 == */* ]] && near+=("$folder/${2%/*}")
            return 0
        fi
    done
    for folder in "${near[@]}"; do
        exists "$folder/$2" && return
    done
    [[ $2 == *README* ]] && return 1
    [[ $2 =~ $written || $2 =~ $users || $2 =~ $placeholder ]] && return
    [[ $2 =~ ^[a-z_.]+\.(jsonl?|h5|safetensors|model)$ ]] && grep -rqF --include='*.[ch]' "$2" data train
}

is_path() { # WORD: does it look like a file's name?
    [[ $1 =~ ^[A-Za-z_.][][A-Za-z0-9_./*-]*$ && $1 != *...* ]] &&
        [[ $1 == */* || $1 =~ \.(c|h|sh|py|md|json|jsonl|def|sbatch|h5|safetensors|model|png|jpg|build)$ ]]
}

check_command() { # FILE LINE TEXT: each part of a pipe or list that calls a program of this repository
    [[ $3 == *llava\ * || $3 == *--* || $3 == meson* ]] || return
    local part rest tool script
    while read -r part; do
        part=${part%% \# *}
        rest=$part
        if [[ $part =~ (^|[ /])llava\ ([a-z]+)( |$) ]]; then
            tool=${BASH_REMATCH[2]}
            rest=${part#*llava "$tool"}
            [ -n "${help[$tool]:-}" ] || { echo "$1:$2: no subcommand: llava $tool" && continue; }
            while [[ $rest =~ (^|[ [])(--[a-z-]+)(.*) ]]; do
                rest=${BASH_REMATCH[3]}
                [[ ${help[$tool]} == *"  ${BASH_REMATCH[2]} "* ]] ||
                    echo "$1:$2: llava $tool has no flag ${BASH_REMATCH[2]}"
            done
        elif [[ $part =~ ^((tools|tests)/[a-z_/]+\.sh)\ (.*) ]]; then
            script=${BASH_REMATCH[1]}
            rest=${BASH_REMATCH[3]}
            while [[ $rest =~ (--[a-z-]+)(.*) ]]; do
                rest=${BASH_REMATCH[2]}
                grep -qF -- "${BASH_REMATCH[1]}" "$script" ||
                    echo "$1:$2: $script has no flag ${BASH_REMATCH[1]}"
            done
        elif [[ $part == meson* ]]; then
            while [[ $rest =~ (-D|--suite )([a-z]+)(.*) ]]; do
                rest=${BASH_REMATCH[3]}
                [[ $options == *" ${BASH_REMATCH[1]}${BASH_REMATCH[2]} "* ]] ||
                    echo "$1:$2: Meson has no ${BASH_REMATCH[1]}${BASH_REMATCH[2]}"
            done
        elif [[ $part =~ ^(--[a-z][a-z-]*) ]]; then # by itself: of any subcommand
            [[ ${help[*]} == *"  ${BASH_REMATCH[1]} "* ]] ||
                echo "$1:$2: llava has no flag ${BASH_REMATCH[1]}"
        fi
    done <<<"${3// && /$'\n'}"
    rest=$3
    while [[ $rest =~ --set\ ([a-z_.]+)=(.*) ]]; do
        rest=${BASH_REMATCH[2]}
        tool=${BASH_REMATCH[1]}
        [ "$tool" = section.key ] || [[ $keys == *" $tool "* ]] || echo "$1:$2: no config key $tool"
    done
}

check_key() { # FILE LINE TEXT: a span that begins with a key
    local key
    [[ $3 =~ ^(($sections)\.[a-z_]+(\.[a-z_]+)*) ]] || return
    key=${BASH_REMATCH[1]}
    [[ $key =~ \.(c|h|sh|md|json|sbatch)$ ]] && return
    [[ $keys == *" $key "* || $keys == *" $key."* ]] || echo "$1:$2: no config key $key"
}

check_identifier() { # FILE LINE TEXT: a span that is a C name or a variable of the environment
    [[ $3 =~ ^(lv_[a-z0-9_]+|LV_[A-Z0-9_]+|LLAVA_[A-Z_]+)$ ]] || return
    grep -rqwF --include='*.[ch]' "$3" autograd optim data train tools || echo "$1:$2: no such name: $3"
}

# findings FILE: a line for each thing that it names and that is not.
findings() {
    local line unit kind text word unit_before=
    local -a near=()
    while IFS=$'\t' read -r line unit kind text; do
        [ "$unit" = "$unit_before" ] || near=()
        unit_before=$unit
        if [ "$kind" = link ]; then
            link_is_there "$1" "$text" || echo "$1:$line: no such target: $text"
            continue
        fi
        check_command "$1" "$line" "$text"
        if [ "$kind" = span ]; then
            check_key "$1" "$line" "$text"
            check_identifier "$1" "$line" "$text"
        fi
        set -f
        for word in $text; do
            set +f
            word=${word#[\"\'(]}
            word=${word%[\"\',;:)]}
            word=${word%.}
            [[ $word == */*\<*\>* ]] && word=${word%%<*} word=${word%/*}/ # <name>.c: its folder
            [[ $word == ../shared/* ]] && continue # beside the repository, or not there
            is_path "$word" || continue
            if [ "$kind" = block ]; then # also output, of which only this is the repository's
                [[ $word =~ ^(autograd|configs|data|optim|tests|tools|train)/ ]] || continue
            fi
            path_is_there "$1" "$word" || echo "$1:$line: no such file: $word"
        done
        set +f
    done < <(pieces "$1")
    for word in $(grep -oE 'status [0-9]+' "$1" | sed 's/.* //' | grep -vxF "$statuses"); do
        echo "$1: no exit status $word"
    done
}

# A check that finds nothing in a document full of mistakes would prove nothing.
finds_what_is_wrong() {
    local name=document.md found wrong
    wrong='#no-heading --none --none --nothing --wire -Dnone 3 autograd/none.h configs/none.json configs/none/ '
    wrong+='data.pack data/none/README.md lv_none none none.def none.h none.jsonl none.md none/ paint '
    wrong+='run.none tests/*/none.c train.none '
    cat >"$work/$name" <<'END'
# A heading
`autograd/ops.h`, `ops.def`, [here](#a-heading), `runs/x/model.safetensors`, `metrics.jsonl`, `CONFIG.json`,
`data.packs`, `checkpoint.on_error: stop`, `--max-rejects`, `llava bench comm --wire bf16`, status 75.
`autograd/none.h`, `none.def`, [there](#no-heading), [file](none.md), `none.jsonl`, `configs/none/`, `tests/*/none.c`,
`data/none/README.md`, `none/<name>.c`,
`lv_none`, `lv_comm_agree`, `data.pack`, `run.none: 1`, `--none`, `llava pack --wire bf16`, `llava
paint`, `tools/test.sh --none`, status 3.

| `train/host/stop.c` | `stop.h`, `none.h` |

    build/llava train configs/none.json --set train.none=1 --set data.workers=2 --dry-run --nothing
    meson setup build -Dnone=1 && meson test -C build --suite none
END
    found=$(findings "$work/$name" | sed -E 's/.* //' | LC_ALL=C sort | tr '\n' ' ')
    echo "$found"
    [ "$found" = "$wrong" ]
}
check "mistakes in a document are found" finds_what_is_wrong
for document in $documents; do
    names_what_is_there() {
        findings "$document" >"$work/findings"
        cat "$work/findings"
        [ -s "$document" ] && [ ! -s "$work/findings" ]
    }
    check "$document names what there is" names_what_is_there
done

units_mirror_the_sources() { # but for toys/: parts that only tests have
    local folder missing=0
    for folder in $(cd tests/units && find . -mindepth 1 -type d -name toys -prune -o -type d -print); do
        [ -d "$folder" ] || { echo "tests/units/$folder: no such folder of sources" && missing=1; }
    done
    return "$missing"
}
check "tests/units mirrors the folders of the sources" units_mirror_the_sources

suites_are_there() { # in the table of tiers: a suite, or a test, whose file's build may put a prefix before it
    local name missing=0
    for name in $(sed -nE 's/^\| (short|long) \|//p' CONTRIBUTING.md | grep -oE '`[A-Za-z0-9_]+`' | tr -d '`'); do
        [[ $options == *"--suite $name "* ]] ||
            grep -rqE --include=meson.build "'($name|${name#*_})'" tests || { echo "$name" && missing=1; }
    done
    return "$missing"
}
check "CONTRIBUTING.md names suites and tests that there are" suites_are_there

# ---- tables that are the program's own ----

same() { # FILE FILE, one from the documents, one from the sources
    [ -s "$1" ] && diff "$1" "$2"
}

keys_are_the_programs() { # key, type, default, on resume
    tr '\n' ' ' <train/config/fields.c | sed -E 's/STORED\("/\n&/g; s/\};.*//' | awk '
        BEGIN {
            type["PATH"] = "path"; type["TEXT"] = "text"; type["PACKS"] = "packs"; type["TEXTS"] = "texts"
            type["INT"] = "integer"; type["LAYER"] = "integer"; type["REAL"] = "number"
            type["BETAS"] = "two numbers"; type["BOOL"] = "boolean"
        }
        /^STORED\("/ {
            split($0, quoted, "\"")
            key = quoted[2]
            match($0, /KIND_[A-Z]+/); kind = substr($0, RSTART + 5, RLENGTH - 5)
            match($0, /(MAY_DIFFER|MUST_MATCH), */)
            resume = substr($0, RSTART, 3) == "MAY" ? "any" : "same"
            preset = substr($0, RSTART + RLENGTH)
            if (preset ~ /^NULL/) preset = "required"
            else {
                sub(/^"/, "", preset)
                match(preset, /([^\\])"[,)]/)
                preset = substr(preset, 1, RSTART)
                gsub(/\\"/, "", preset)
                preset = "`" preset "`"
            }
            kind = type[kind]
            if (match($0, /CHOICES\([^)]*\)/)) {
                kind = substr($0, RSTART + 8, RLENGTH - 9)
                gsub(/"/, "`", kind)
            }
            print key " | " kind " | " preset " | " resume
        }' >"$work/keys.program"
    awk -F ' *[|] *' '/^\| `[a-z]+\.[a-z_.]+` \|/ { gsub(/`/, "", $2); print $2 " | " $3 " | " $4 " | " $6 }' \
        configs/README.md >"$work/keys.documented"
    same "$work/keys.documented" "$work/keys.program" && [ "$(grep -c . "$work/keys.program")" -ge 40 ]
}
check "configs/README.md has the table of keys, types, defaults" keys_are_the_programs

commands_are_the_programs() {
    sed -nE 's/^\| `llava ([a-z]+)` \|.*/\1/p' README.md >"$work/commands"
    same "$work/commands" <(echo "$tools")
}
check "README.md has the table of commands" commands_are_the_programs

statuses_are_the_programs() {
    sed -nE 's/^\| ([0-9]+) \|.*/\1/p' train/README.md >"$work/statuses"
    same "$work/statuses" <(echo "$statuses")
}
check "train/README.md has the exit statuses" statuses_are_the_programs

templates_are_the_programs() {
    sed -nE '/^\| name \| for/,/^$/ s/^\| `([a-z0-9_]+)` \|.*/\1/p' data/README.md | sort >"$work/templates"
    same "$work/templates" <(sed -nE 's/^ *\.name = "([a-z0-9_]+)",/\1/p' data/chat/template_table.c | sort) &&
        same "$work/templates" <(ls configs/templates | sed 's/\.json$//' | sort)
}
check "data/README.md has the table of templates" templates_are_the_programs

plan_has_its_lines() { # the names of the lines that --dry-run prints
    local line missing=0
    while read -r line; do
        grep -qF "$line" tools/dry_run.c train/plan/*.c || { echo "$line" && missing=1; }
    done < <(output train/README.md | sed -E 's/^ +//; s/ {2,}.*//')
    return "$missing"
}
check "train/README.md shows the lines of a plan" plan_has_its_lines

everything_is_listed() { # in configs/ and tests/reports/, each file in the document that lists them
    local path missing=0
    for path in configs/*; do
        grep -qF "$(basename "$path")" configs/README.md || { echo "configs/README.md lacks $path" && missing=1; }
    done
    for path in configs/shapes/*; do
        grep -qF "shapes/$(basename "$path")" configs/README.md || { echo "configs/README.md lacks $path" && missing=1; }
    done
    for path in tests/reports/*.md; do
        grep -qF "$path" README.md || { echo "README.md lacks $path" && missing=1; }
    done
    return "$missing"
}
check "every config, shape and report is listed" everything_is_listed
finish
