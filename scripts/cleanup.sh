#!/usr/bin/env bash
# The fallback for cron: cleans up only when the service is dead or not healthy, and nobody else did within AGE.
#
#   17 * * * *  root  /opt/indexer/scripts/cleanup.sh /srv/media/storage 26h
#
# Quiet while there is nothing to do, so that cron sends mail only for trouble. INDEXER names another `indexer` than
# the one beside this script or on PATH. Exit codes are those of `indexer cleanup`; a run of somebody else that is
# under way (5) is no trouble.
set -uo pipefail

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "usage: ${0##*/} STORE [AGE]" >&2
    exit 2
fi
if [ -z "${INDEXER:-}" ]; then
    INDEXER=$(dirname "$(readlink -f "$0")")/indexer
    [ -x "$INDEXER" ] || INDEXER=indexer
fi

"$INDEXER" --quiet -C "$1" cleanup --if-stale "${2:-26h}" --yes
code=$?
[ $code -eq 5 ] && code=0
exit $code
