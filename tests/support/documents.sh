# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# To be sourced by the tests of the documents.

# The documents, from the root.
documents='README.md CONTRIBUTING.md configs/README.md configs/slurm/README.md data/README.md train/README.md'

# output FILE: the blocks of text, which are what a command prints.
output() {
    awk '/^```text/ { inside = 1; next } /^```/ { inside = 0 } inside' "$1"
}

# pieces FILE: a line a piece of code: line number, unit (paragraph, row, item), kind, text. Kinds:
# span (between backquotes), link (its target), block (a line of a code block, joined at backslashes).
pieces() {
    awk '
        function spans(text, at,   n, i, part, rest) {
            rest = text
            gsub(/\\\|/, "|", rest)
            n = split(rest, part, "`")
            for (i = 2; i <= n; i += 2) print at "\t" unit "\tspan\t" part[i]
            rest = text
            while (match(rest, /\]\([^)]*\)/)) {
                print at "\t" unit "\tlink\t" substr(rest, RSTART + 2, RLENGTH - 3)
                rest = substr(rest, RSTART + RLENGTH)
            }
        }
        function flush() { if (text != "") spans(text, from); text = ""; unit++ }
        function code(line) {
            joined = joined line
            if (sub(/\\$/, "", joined)) return
            print NR "\t" unit "\tblock\t" joined
            joined = ""
        }
        /^```/ { flush(); fenced = !fenced; next }
        fenced { code($0); next }
        /^    / && text == "" { code(substr($0, 5)); next }
        /^ *$/ { flush(); next }
        /^(\||- |[0-9]+\. |#)/ { flush() }
        { if (text == "") from = NR; text = text " " $0 }
        END { flush() }' "$1"
}
