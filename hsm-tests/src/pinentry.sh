#!/bin/sh
# A pinentry (Assuan server on standard input and output) that writes down what it is told and answers from files.
here=$(dirname "$0")

note() { printf '%s %s\n' "$$" "$1" >>"$here/log"; }
say() { printf '%s\n' "$1"; }

next_answer() {
    for file in "$here"/answers/*; do
        if mv "$file" "$here/given/" 2>/dev/null; then
            cat "$here/given/${file##*/}"
            return
        fi
    done
    note "# no answer left for this dialog"
    echo cancel
}

# The error codes are those of GnuPG's pinentry: source 5 << 24 | code.
# dialog confirm|other
dialog() {
    answer=$(next_answer)
    if [ "$answer" = hang ]; then
        # Opening a pipe waits until somebody writes to it, or until this process is killed.
        mkfifo "$here/hang.$$"
        read -r answer <"$here/hang.$$"
    fi
    case $answer in
    "type "*) say "D $(printf '%s' "${answer#type }" | sed 's/%/%25/g')" && say OK ;;
    ok)
        # A yes needs a moment to be meant.
        [ "$1" != confirm ] || sleep 0.8
        say OK
        ;;
    slip) say OK ;;
    no) say "ERR 83886194 Not confirmed <Pinentry>" ;;
    cancel) say "ERR 83886179 Operation cancelled <Pinentry>" ;;
    esac
}

note "# started with arguments: $*"
say "OK Pleased to meet you"
while IFS= read -r line; do
    note "$line"
    case $line in
    CONFIRM*) dialog confirm ;;
    GETPIN* | MESSAGE*) dialog other ;;
    "GETINFO pid") say "D $$" && say OK ;;
    "GETINFO flavor") say "D scripted" && say OK ;;
    BYE*) say "OK closing connection" && exit ;;
    *) say OK ;;
    esac
done
