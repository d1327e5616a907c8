#!/bin/sh
# A pinentry with three buttons whose person presses the third, which says how long the yes holds, if it is there; else the first.
here=$(dirname "$0")
third=
note() { printf '%s %s\n' "$$" "$1" >>"$here/log"; }
echo "OK Pleased to meet you"
while IFS= read -r line; do
    note "$line"
    case $line in
    "SETNOTOK Allow"*) third=yes && echo OK ;;
    CONFIRM*)
        # A yes needs a moment to be meant.
        sleep 0.8
        if [ "$third" ]; then echo "ERR 83886194 Not confirmed <Pinentry>"; else echo OK; fi
        ;;
    "GETINFO flavor") echo "D gtk2" && echo OK ;;
    "GETINFO pid") echo "D $$" && echo OK ;;
    BYE*) echo "OK closing connection" && exit ;;
    *) echo OK ;;
    esac
done
