#!/bin/sh
# An askpass that writes down what it is asked and answers from files.
here=$(dirname "$0")

next_answer() {
    for file in "$here"/answers/*; do
        if mv "$file" "$here/given/" 2>/dev/null; then
            cat "$here/given/${file##*/}"
            return
        fi
    done
    echo cancel
}

printf '%s [%s] %s\n' "$$" "${SSH_ASKPASS_PROMPT-}" "$(printf '%s' "$1" | tr '\n' ' ')" >>"$here/log"
if [ "${SSH_ASKPASS_PROMPT-}" = none ]; then
    # A notice, which nobody answers, and which ends with its cause.
    mkfifo "$here/notice.$$"
    read -r _ <"$here/notice.$$"
fi
answer=$(next_answer)
case $answer in
"type "*) printf '%s\n' "${answer#type }" ;;
ok | slip) ;;
no | cancel) exit 1 ;;
hang)
    # Opening a pipe that nobody writes to waits until this process is killed.
    mkfifo "$here/hang.$$"
    read -r _ <"$here/hang.$$"
    ;;
esac
