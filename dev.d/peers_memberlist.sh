#!/bin/bash
# A hundred real memberlist nodes in one process (bench/peers/memberlist); arguments go to it. Go is
# installed here, because nothing else needs it; the module comes from the Go module proxy.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PATH:/usr/local/go/bin
if ! command -v go >/dev/null; then dev.d/setup.sh dev.d/packages-go.txt; fi
program=$PWD/build-bench/peers/memberlist
mkdir -p "$(dirname "$program")"
(cd bench/peers/memberlist && CGO_ENABLED=0 go build -o "$program" .)
exec "$program" "$@"
