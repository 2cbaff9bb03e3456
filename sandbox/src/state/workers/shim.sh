#!/bin/sh
# What ends a machine from inside, on a worker of the sandbox: it tells the sandbox and leaves this machine alone.
deed=poweroff
minutes=0
case "${0##*/}" in
sudo)
    while [ "${1#-}" != "$1" ]; do
        case "$1" in -u | -g) shift ;; esac
        shift
    done
    exec "$@"
    ;;
reboot) deed=reboot ;;
systemctl)
    while [ "${1#-}" != "$1" ]; do shift; done
    case "$1" in
    poweroff | halt) ;;
    *) deed="systemctl $1" ;;
    esac
    ;;
shutdown)
    minutes=1
    for word; do
        case "$word" in
        -r | --reboot) deed=reboot ;;
        -c) deed=cancel ;;
        now) minutes=0 ;;
        +[0-9]*) minutes=${word#+} ;;
        esac
    done
    ;;
esac
if [ "$deed" != poweroff ]; then
    echo "${0##*/}: workers of the sandbox cannot do this: $deed" >&2
    exit 1
fi
if [ "$minutes" -gt 0 ]; then
    (sleep $((minutes * 60)) && echo poweroff >"$ROOT/run/initctl") >/dev/null 2>&1 &
    exit 0
fi
echo poweroff >"$ROOT/run/initctl"
