#!/bin/bash
# Waggle beside its peers on shaped links (bench/peers/swarm); arguments go to swarm.py. What only this bench needs is
# installed here: Debian's aria2, udpcast, uftp and libtorrent, and anacrolix/torrent from the Go module proxy.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PATH:/usr/local/go/bin
torrent=github.com/anacrolix/torrent/cmd/torrent@v1.59.1
programs=$PWD/build-bench/peers
lists=(dev.d/packages.txt dev.d/packages-swarm.txt)
if ! command -v go >/dev/null; then lists+=(dev.d/packages-go.txt); fi
dev.d/setup.sh "${lists[@]}"
mkdir -p "$programs"
if [ ! -x "$programs/torrent" ]; then CGO_ENABLED=0 GOBIN=$programs go install "$torrent"; fi
if [ ! bench/peers/swarm/chain.cpp -ot "$programs/chain" ]; then
  g++ -std=c++20 -O2 -Wall -Wextra -Wpedantic -Werror -o "$programs/chain" bench/peers/swarm/chain.cpp
fi
exec python3 bench/peers/swarm/swarm.py "$@"
