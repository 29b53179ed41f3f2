#!/bin/bash
# Waggle beside its peers on shaped links (bench/peers/swarm); arguments go to swarm.py. What only this bench needs is
# installed here: Debian's aria2, udpcast, uftp and libtorrent, and anacrolix/torrent from the Go module proxy.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PATH:/usr/local/go/bin
torrent=github.com/anacrolix/torrent/cmd/torrent@v1.59.1
programs=$PWD/build-bench/peers
dev.d/setup.sh dev.d/packages.txt dev.d/packages-swarm.txt
mkdir -p "$programs"
if [ ! -x "$programs/torrent" ]; then  # Debian 12's Go is too old for it
  CGO_ENABLED=0 GOBIN=$programs go install "$torrent" || echo "peers-swarm: no Go 1.24 or newer here: no anacrolix" >&2
fi
build() { # NAME [LIBRARY...]: bench/peers/swarm/NAME.cpp
  local source=bench/peers/swarm/$1.cpp program=$programs/$1
  if [ "$source" -ot "$program" ]; then return; fi
  g++ -std=c++20 -O2 -Wall -Wextra -Wpedantic -Werror -o "$program" "$source" "${@:2}"
}
build chain
build reader -lcurl -lcrypto
exec python3 bench/peers/swarm/swarm.py "$@"
